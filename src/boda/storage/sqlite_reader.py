"""Reads a database file without changing it or anything beside it, also while boda runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import time
from typing import TypeVar

import sqlalchemy as sa

from boda.storage.rows import Tx
from boda.storage.sqlite_tx import SqliteTx, rows_errors
from boda.storage.transaction import Statements

T = TypeVar("T")

_FAULTS = 100


class SqliteReader:
    """The rows of a database file; to be used in a ``with`` statement.

    still: nobody writes to the file.
    """

    def __init__(self, database: Path, *, still: bool = False) -> None:
        how = "immutable=1" if still else "mode=ro"
        self._engine = sa.create_engine(
            f"sqlite:///{database.absolute().as_uri()}?{how}&uri=true",
            connect_args={"timeout": 30},
        )
        self._statements = Statements(self._engine.dialect)

    def __enter__(self) -> SqliteReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run ``work`` in a transaction. Raises RowsError if a statement fails."""
        with rows_errors(), self._engine.connect() as connection:
            return work(SqliteTx(connection, self._statements, time))

    def damaged_pages(self, check: str = "integrity_check") -> list[str]:
        """Return a line for each fault of pages and indexes, which are not those of values.

        check: ``quick_check`` leaves the indexes out.
        Raises RowsError if the file cannot be read to its end.
        """
        with rows_errors(), self._engine.connect() as connection:
            found = connection.exec_driver_sql(f"PRAGMA {check}({_FAULTS})").all()
        lines = [" ".join(str(row[0]).split()) for row in found]
        return [] if lines == ["ok"] else lines
