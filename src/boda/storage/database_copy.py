"""Copies a database that may be in use, and relabels the copy."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from boda.storage.generation import TABLE, DatabaseLabel
from boda.storage.sqlite_tx import rows_errors

_STEP_PAGES = 2048


def copy_database(
    source: Path, target: Path, progress: Callable[[int, int], object] = lambda *_: None
) -> None:
    """Copy the rows of one moment into a new file, while others read and write. Blocking.

    progress: called with the bytes copied so far, and those of the whole.
    Raises RowsError and OSError.
    """
    target.unlink(missing_ok=True)
    address = f"{source.absolute().as_uri()}?mode=ro"
    with (
        rows_errors(),
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


def relabel(copy: Path, folder: str) -> DatabaseLabel | None:
    """Make a copy the database of another data folder; return its label.

    folder: the new folder's id. Returns None for a database from before labels. Raises RowsError.
    """
    opened = sqlite3.connect(copy, isolation_level=None)
    with rows_errors(), contextlib.closing(opened) as connection:
        known = "SELECT 1 FROM sqlite_master WHERE name = ?"
        if connection.execute(known, (TABLE,)).fetchone() is None:
            return None
        (text,) = connection.execute(f"SELECT label FROM {TABLE}").fetchone()  # noqa: S608
        found = DatabaseLabel.parse(str(text).encode())
        label = DatabaseLabel(folder, found.generation if found else 0)
        connection.execute(f"UPDATE {TABLE} SET label = ?", (str(label),))  # noqa: S608
    return label
