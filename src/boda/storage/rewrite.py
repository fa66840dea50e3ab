"""Makes database files able to shrink: new ones at once, older ones by one rewrite.

``PRAGMA auto_vacuum`` is a write, so it is no part of opening a connection.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
from pathlib import Path

INCREMENTAL = 2
"""The mode of ``auto_vacuum`` in which free pages are given back on request."""
_REWRITTEN_BYTES = 512 << 20

_log = logging.getLogger("boda.storage")


def let_shrink(path: Path) -> None:
    """Make a new file able to shrink, before its first table is made."""
    if path.stat().st_size:
        return
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA auto_vacuum=INCREMENTAL")
        raw.execute("PRAGMA journal_mode=WAL")


def make_shrinkable(path: Path) -> None:
    """Rewrite a file that was made unable to shrink. Blocking.

    Call it while nothing reads or writes. A file that is too large to be rewritten at a start, or
    for its disk, stays as it is.
    """
    if not path.exists() or not (size := path.stat().st_size):
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as raw:
            if raw.execute("PRAGMA auto_vacuum").fetchone()[0] == INCREMENTAL:
                return
            if size > _REWRITTEN_BYTES or shutil.disk_usage(path.parent).free < 3 * size:
                _log.warning("the database %s stays without the means to shrink", path)
                return
            raw.execute("PRAGMA auto_vacuum=INCREMENTAL")
            raw.execute("VACUUM")
    except (sqlite3.Error, OSError) as error:
        # The file is unchanged; opening it will raise what is wrong with it.
        _log.info("the database %s was not rewritten: %s", path, error)
