"""The part of a transaction that is the same on every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from boda.storage.own_tables import leases, numbers
from boda.storage.prepared import DriverStatement, PreparedStatement
from boda.storage.rows import Result, Statement, Values

NO_VALUES: Mapping[str, Any] = {}
_BUFFERED_ROWS = 32
_STREAMED = {"stream_results": True, "max_row_buffer": _BUFFERED_ROWS}


class Statements:
    """The statements of one engine that are made from tables, each made once.

    dialect: numbers its parameters, as drivers' statements need.
    """

    def __init__(self, dialect: sa.Dialect) -> None:
        self.dialect = dialect
        on_sqlite = dialect.name == "sqlite"
        self._insert: Any = sqlite.insert if on_sqlite else postgresql.insert
        self._made: dict[tuple[str, sa.Table, tuple[str, ...]], Statement] = {}
        made = self._insert(numbers)
        self.number = PreparedStatement(
            made.on_conflict_do_update(
                index_elements=["name"],
                set_={"last": numbers.c.last + made.excluded.last},
            ).returning(numbers.c.last)
        )
        made = self._insert(leases)
        self.lease = PreparedStatement(
            made.on_conflict_do_update(
                index_elements=["name"],
                set_={"owner": made.excluded.owner, "until_s": made.excluded.until_s},
                where=sa.or_(
                    leases.c.owner == made.excluded.owner,
                    leases.c.until_s <= sa.bindparam("now", type_=sa.Float),
                ),
            )
        )

    def upsert(self, table: sa.Table, row: Values) -> Statement:
        names = tuple(row)
        found = self._made.get(("upsert", table, names))
        if found is None:
            made = self._insert(table).values({name: sa.bindparam(name) for name in names})
            keys = [column.name for column in table.primary_key]
            others = {name: made.excluded[name] for name in names if name not in keys}
            made = (
                made.on_conflict_do_update(index_elements=keys, set_=others)
                if others
                else made.on_conflict_do_nothing(index_elements=keys)
            )
            found = self._made["upsert", table, names] = _prepared(made)
        return found

    def add(self, table: sa.Table, row: Values) -> Statement:
        names = tuple(row)
        found = self._made.get(("add", table, names))
        if found is None:
            made = self._insert(table).values({name: sa.bindparam(name) for name in names})
            found = self._made["add", table, names] = _prepared(made.on_conflict_do_nothing())
        return found


def _prepared(statement: Any) -> Statement:
    try:
        return PreparedStatement(statement)
    except TypeError:  # SQLAlchemy converts the values of some column
        made: sa.Executable = statement
        return made


class Transaction:
    """A transaction on a connection of SQLAlchemy's.

    changes: topics and keys for their followers. after: what is called after the commit.
    """

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self.connection = connection
        self.changes: list[tuple[str, str]] = []
        self.after: list[Callable[[], None]] = []
        self._statements = statements

    # What an engine's driver does its own way

    def _execute(self, statement: DriverStatement, values: list[Any]) -> Result:
        raise NotImplementedError

    def _execute_many(self, statement: DriverStatement, many: Iterable[list[Any]]) -> int:
        raise NotImplementedError

    def _execute_slowly(self, statement: DriverStatement, values: list[Any]) -> Iterator[Any]:
        raise NotImplementedError

    def _now(self) -> float:
        """Epoch seconds by the database's clock."""
        raise NotImplementedError

    def lock(self, *key: str) -> None:
        raise NotImplementedError

    def stored(self, table: sa.Table) -> Iterator[Sequence[tuple[bytes | None, str]]]:
        raise NotImplementedError

    # The contract

    def run(self, statement: Statement, values: Values | None = None) -> Result:
        if isinstance(statement, PreparedStatement):
            made = statement.on(self._statements.dialect)
            return self._execute(made, made.given(values or NO_VALUES))
        return self.connection.execute(statement, values)

    def run_many(self, statement: Statement, many: Iterable[Values]) -> int:
        if isinstance(statement, PreparedStatement):
            made = statement.on(self._statements.dialect)
            return self._execute_many(made, map(made.given, many))
        listed = list(many)
        return self.connection.execute(statement, listed).rowcount if listed else 0

    def stream(self, statement: Statement, values: Values | None = None) -> Iterator[Any]:
        if isinstance(statement, PreparedStatement):
            made = statement.on(self._statements.dialect)
            yield from self._execute_slowly(made, made.given(values or NO_VALUES))
            return
        with self.connection.execute(statement, values, execution_options=_STREAMED) as rows:
            yield from rows

    def upsert(self, table: sa.Table, row: Values) -> None:
        self.run(self._statements.upsert(table, row), row)

    def add(self, table: sa.Table, row: Values) -> bool:
        return self.run(self._statements.add(table, row), row).rowcount == 1

    def number(self, name: str, count: int = 1) -> int:
        last: int = self.run(self._statements.number, {"name": name, "last": count}).scalar()
        return last - count + 1

    def changed(self, topic: str, key: str) -> None:
        self.changes.append((topic, key))

    def then(self, told: Callable[[], None]) -> None:
        self.after.append(told)

    def lease(self, name: str, owner: str, for_s: float) -> bool:
        now = self._now()
        row = {"name": name, "owner": owner, "until_s": now + for_s, "now": now}
        return self.run(self._statements.lease, row).rowcount == 1
