"""The shape of a database, however it came about."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def shape(path: Path) -> dict[str, Any]:
    """Return the columns, keys and indexes of each table of an SQLite database."""
    with closing(sqlite3.connect(path)) as database:
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {
            table: {
                "columns": sorted(
                    row[1:] for row in database.execute(f"PRAGMA table_info({table})")
                ),
                "indexes": sorted(
                    (name, " ".join(text.split()))
                    for name, text in database.execute(
                        "SELECT name, sql FROM sqlite_master "
                        "WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ?",
                        (table,),
                    )
                ),
            }
            for table in tables
        }
