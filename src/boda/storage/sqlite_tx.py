"""A transaction in SQLite, and the errors of its driver."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from boda.storage.prepared import DriverResult, DriverStatement
from boda.storage.rows import Result, RowsError
from boda.storage.transaction import Statements, Transaction


class SqliteTx(Transaction):
    """raw: the driver's connection, in the same transaction; only for this room."""

    def __init__(
        self, connection: Connection, statements: Statements, now: Callable[[], float]
    ) -> None:
        super().__init__(connection, statements)
        self.raw = driver_of(connection)
        self._now = now  # type: ignore[method-assign]

    def lock(self, *key: str) -> None:
        """There is one writer."""

    def stored(self, table: sa.Table) -> Iterator[Sequence[tuple[bytes | None, str]]]:
        known = "SELECT 1 FROM sqlite_master WHERE name = ?"
        if not self.raw.execute(known, (table.name,)).fetchone():
            return
        names = ", ".join(f'CAST("{each.name}" AS BLOB), typeof("{each.name}")' for each in table.c)
        for row in self.raw.execute(f'SELECT {names} FROM "{table.name}"'):  # noqa: S608
            yield list(zip(row[::2], row[1::2], strict=True))

    def _execute(self, statement: DriverStatement, values: list[Any]) -> Result:
        return DriverResult(self.raw.execute(statement.sql, values), statement.row)

    def _execute_many(self, statement: DriverStatement, many: Iterable[list[Any]]) -> int:
        return self.raw.executemany(statement.sql, many).rowcount

    def _execute_slowly(self, statement: DriverStatement, values: list[Any]) -> Iterator[Any]:
        return map(statement.row, self.raw.execute(statement.sql, values))


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Return the connection below SQLAlchemy's, in the same transaction."""
    below = connection.connection.driver_connection
    assert isinstance(below, sqlite3.Connection)
    return below


def translated(error: Exception) -> Exception:
    """Return a RowsError for an error of the driver's, and any other error unchanged."""
    if not isinstance(error, sa.exc.SQLAlchemyError | sqlite3.Error):
        return error
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error
    failure = RowsError(" ".join(str(cause).split()))
    failure.__cause__ = error
    return failure


@contextlib.contextmanager
def rows_errors() -> Iterator[None]:
    """Raise RowsError for an error of the driver's."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
        raise translated(error) from error
