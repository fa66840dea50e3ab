"""Copies a database that may be in use, and reads and relabels the copy."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from boda.storage.database import driver
from boda.storage.generation import TABLE, DatabaseLabel

T = TypeVar("T")

_STEP_PAGES = 2048


def copy_database(
    source: Path, target: Path, progress: Callable[[int, int], object] = lambda *_: None
) -> None:
    """Copy the rows of one moment into a new file, while others read and write. Blocking.

    progress: called with the bytes copied so far, and those of the whole.
    Raises sqlite3.Error and OSError.
    """
    target.unlink(missing_ok=True)
    address = f"{source.absolute().as_uri()}?mode=ro"
    with (
        contextlib.closing(sqlite3.connect(address, uri=True, isolation_level=None)) as read,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as write,
    ):
        (page,) = read.execute("PRAGMA page_size").fetchone()
        # The transaction holds one state of the database, or each commit of another process
        # would have the copy begin again.
        read.execute("BEGIN")
        read.execute("SELECT count(*) FROM sqlite_master").fetchone()
        write.execute("PRAGMA journal_mode=OFF")
        write.execute("PRAGMA synchronous=OFF")
        read.backup(
            write,
            pages=_STEP_PAGES,
            progress=lambda _, left, all_: progress((all_ - left) * page, all_ * page),
            sleep=0,
        )


@contextlib.contextmanager
def reading_copy(copy: Path) -> Iterator[Callable[[Callable[[Connection], Any]], Any]]:
    """Yield what runs a function on a connection to a copy, which nothing is to change."""
    address = f"sqlite:///{copy.absolute().as_uri()}?immutable=1&uri=true"
    engine = sa.create_engine(address)

    def read(work: Callable[[Connection], T]) -> T:
        with engine.connect() as connection:
            return work(connection)

    try:
        yield read
    finally:
        engine.dispose()


def page_faults(connection: Connection) -> list[str]:
    """Return what SQLite finds wrong with the pages of a database, a line for each fault."""
    found = driver(connection).execute("PRAGMA quick_check(10)").fetchall()
    lines = [" ".join(str(row[0]).split()) for row in found]
    return [] if lines == ["ok"] else lines


def relabel(copy: Path, folder: str) -> DatabaseLabel | None:
    """Make a copy the database of another data folder; return its label.

    folder: the new folder's id. Returns None for a database from before labels. Raises
    sqlite3.Error.
    """
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        known = "SELECT 1 FROM sqlite_master WHERE name = ?"
        if connection.execute(known, (TABLE,)).fetchone() is None:
            return None
        (text,) = connection.execute(f"SELECT label FROM {TABLE}").fetchone()  # noqa: S608
        found = DatabaseLabel.parse(str(text).encode())
        label = DatabaseLabel(folder, found.generation if found else 0)
        connection.execute(f"UPDATE {TABLE} SET label = ?", (str(label),))  # noqa: S608
    return label
