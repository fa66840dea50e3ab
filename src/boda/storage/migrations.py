"""Brings the tables of a database forward to the shape that this version of boda knows.

Law of this file: a migration and the number that records it commit together, so that a start that
is killed half-way leaves every schema at one of its numbers, and the next start goes on from there.

    metadata = Schema("s3", (Migration(1, "Give every upload an owner", give_owners),))

A schema that a database lacks is made from the tables as they are now, at the newest number. An
older one goes through each migration behind its own number, then what its tables still lack is
made: so a new table or index needs a migration that does nothing but raise the number, by which
an older boda refuses the folder. A migration sees the tables as they were before it, and may find
columns that a later one was going to add in tables that this start has made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from boda.core.errors import PlatformError
from boda.storage import disk

_log = logging.getLogger("boda.storage")

_own = sa.MetaData()
numbers = sa.Table(
    "boda_schemas",
    _own,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)
"""The number of the last migration of each schema; 0 for a schema before its first one."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from an older shape of a schema's tables to the next one.

    number: one more than that of the migration before, from 1 on. purpose: one sentence for the
    log, without a full stop. run: called in a transaction of its own.
    """

    number: int
    purpose: str
    run: Callable[[Connection], object] = lambda _: None


class Schema(sa.MetaData):
    """The tables of a room or a service, and the migrations that led to them.

    name: identifies the schema in every database, so that it never changes.
    """

    def __init__(self, name: str, migrations: Sequence[Migration] = ()) -> None:
        super().__init__()
        self.name = name
        self.migrations = tuple(migrations)
        expected = list(range(1, len(self.migrations) + 1))
        assert [each.number for each in self.migrations] == expected, "numbered without a gap"

    @property
    def number(self) -> int:
        """The number of the newest migration, 0 if there is none."""
        return len(self.migrations)


class NewerDatabase(Exception):
    """Raised for a database that a newer boda wrote; the text names the schema."""


def bring_forward(
    schemas: Sequence[Schema], transaction: Callable[[], AbstractContextManager[Connection]]
) -> None:
    """Make the schemas that a database lacks, and migrate those that are older.

    transaction: opens a transaction that commits at its end; called once for each migration. A
    database that is already up to date is only read.
    Raises NewerDatabase before anything is changed, PlatformError if a migration fails.
    """
    with transaction() as connection:
        tables = set(sa.inspect(connection).get_table_names())
        found = stored_numbers(connection)
        check_numbers(found, schemas)
        older: list[tuple[Schema, int]] = []
        for schema in schemas:
            if schema.name in found:
                older.append((schema, found[schema.name]))
            elif tables.isdisjoint(schema.tables):
                _finish(connection, schema)
            else:  # from before schemas had numbers
                older.append((schema, 0))
                if not schema.migrations:
                    _finish(connection, schema)
    for schema, number in older:
        for migration in schema.migrations[number:]:
            _migrate(schema, migration, transaction)


def stored_numbers(connection: Connection) -> dict[str, int]:
    """Return the number of each schema by its name; none of a database from before numbers."""
    if not sa.inspect(connection).has_table(numbers.name):
        return {}
    return {row.name: row.number for row in connection.execute(sa.select(numbers))}


def check_numbers(found: dict[str, int], schemas: Sequence[Schema]) -> None:
    """Raise NewerDatabase if a schema is unknown here, or has migrations that are."""
    known = {schema.name: schema.number for schema in schemas}
    for name, number in sorted(found.items()):
        if name not in known:
            raise NewerDatabase(f"it has {name}, which this one does not know")
        if number > known[name]:
            raise NewerDatabase(f"{name} is at {number}, this one knows {known[name]}")


def create_missing(connection: Connection, tables: sa.MetaData) -> None:
    """Make the tables and indexes that a database lacks."""
    tables.create_all(connection)
    for table in tables.sorted_tables:
        for index in table.indexes:
            connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))


def add_columns(connection: Connection, table: str, *columns: sa.Column[object]) -> None:
    """Add columns to a table, those that it lacks. For migrations.

    columns: each nullable or with a server default, and of no table.
    """
    there = {each["name"] for each in sa.inspect(connection).get_columns(table)}
    for column in columns:
        if column.name not in there:
            alone = sa.Table(table, sa.MetaData(), column)
            definition = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
            name = connection.dialect.identifier_preparer.format_table(alone)
            connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {definition}")


def _migrate(
    schema: Schema,
    migration: Migration,
    transaction: Callable[[], AbstractContextManager[Connection]],
) -> None:
    step = f"migration {migration.number} of {schema.name} ({migration.purpose})"
    try:
        with transaction() as connection:
            migration.run(connection)
            if migration.number == schema.number:
                _finish(connection, schema)
            else:
                _record(connection, schema.name, migration.number)
    except Exception as error:
        if disk.refused(error):
            raise
        raise PlatformError(
            f"The {step} failed ({type(error).__name__}: {error}); the database is as it was "
            "before it. Go back to the boda that wrote it, or restore a backup."
        ) from error
    _log.info("the %s is done", step)


def _finish(connection: Connection, schema: Schema) -> None:
    create_missing(connection, schema)
    _record(connection, schema.name, schema.number)


def _record(connection: Connection, name: str, number: int) -> None:
    numbers.create(connection, checkfirst=True)
    connection.execute(sa.delete(numbers).where(numbers.c.name == name))
    connection.execute(sa.insert(numbers).values(name=name, number=number))
