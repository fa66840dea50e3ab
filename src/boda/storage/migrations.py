"""Brings the tables of a database forward to the shape that this version of boda knows.

Law of this file: a migration and the number that records it commit together, so that a start that
is killed half-way leaves every schema at one of its numbers, and the next start goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import sqlalchemy as sa

from boda.core.errors import PlatformError
from boda.storage import disk, own_tables
from boda.storage.rows import Tx
from boda.storage.schema import Migration, Schema
from boda.storage.transaction import Transaction

_log = logging.getLogger("boda.storage")

_own = sa.MetaData()
numbers = sa.Table(
    "boda_schemas",
    _own,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)
"""The number of the last migration of each schema; 0 for a schema before its first one."""


class NewerDatabase(Exception):
    """Raised for a database that a newer boda wrote; the text names the schema."""


def bring_forward(
    schemas: Sequence[Schema], transaction: Callable[[], AbstractContextManager[Transaction]]
) -> None:
    """Make the schemas that a database lacks, and migrate those that are older.

    transaction: opens a transaction that commits at its end; called once for each migration. A
    database that is already up to date is only read.
    Raises NewerDatabase before anything is changed, PlatformError if a migration fails.
    """
    with transaction() as tx:
        tables = set(sa.inspect(tx.connection).get_table_names())
        found = stored_numbers(tx)
        check_numbers(found, schemas)
        older: list[tuple[Schema, int]] = []
        for schema in schemas:
            if schema.name in found:
                older.append((schema, found[schema.name]))
            elif tables.isdisjoint(schema.tables):
                _finish(tx, schema)
            else:  # from before schemas had numbers
                older.append((schema, 0))
                if not schema.migrations:
                    _finish(tx, schema)
    for schema, number in older:
        for migration in schema.migrations[number:]:
            _migrate(schema, migration, transaction)


def stored_numbers(tx: Tx) -> dict[str, int]:
    """Return the number of each schema by its name; none of a database from before numbers."""
    assert isinstance(tx, Transaction)
    if not sa.inspect(tx.connection).has_table(numbers.name):
        return {}
    return {row.name: row.number for row in tx.run(sa.select(numbers))}


def check_numbers(found: dict[str, int], schemas: Sequence[Schema]) -> None:
    """Raise NewerDatabase if a schema is unknown here, or has migrations that are.

    schemas: those of the services and rooms; storage's own is known anyway.
    """
    known = {schema.name: schema.number for schema in (own_tables.metadata, *schemas)}
    for name, number in sorted(found.items()):
        if name not in known:
            raise NewerDatabase(f"it has {name}, which this one does not know")
        if number > known[name]:
            raise NewerDatabase(f"{name} is at {number}, this one knows {known[name]}")


def create_missing(tx: Transaction, tables: sa.MetaData) -> None:
    """Make the tables and indexes that a database lacks."""
    tables.create_all(tx.connection)
    for table in tables.sorted_tables:
        for index in table.indexes:
            tx.run(sa.schema.CreateIndex(index, if_not_exists=True))


def add_columns(tx: Tx, table: str, *columns: sa.Column[object]) -> None:
    """Add columns to a table, those that it lacks. For migrations.

    columns: each nullable or with a server default, and of no table.
    """
    assert isinstance(tx, Transaction)
    connection = tx.connection
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
    transaction: Callable[[], AbstractContextManager[Transaction]],
) -> None:
    step = f"migration {migration.number} of {schema.name} ({migration.purpose})"
    try:
        with transaction() as tx:
            migration.run(tx)
            if migration.number == schema.number:
                _finish(tx, schema)
            else:
                _record(tx, schema.name, migration.number)
    except Exception as error:
        if disk.refused(error):
            raise
        raise PlatformError(
            f"The {step} failed ({type(error).__name__}: {error}); the database is as it was "
            "before it. Go back to the boda that wrote it, or restore a backup."
        ) from error
    _log.info("the %s is done", step)


def _finish(tx: Transaction, schema: Schema) -> None:
    create_missing(tx, schema)
    _record(tx, schema.name, schema.number)


def _record(tx: Transaction, name: str, number: int) -> None:
    numbers.create(tx.connection, checkfirst=True)
    tx.upsert(numbers, {"name": name, "number": number})
