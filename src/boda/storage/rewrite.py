"""The means to shrink of a database file: new ones get it, older ones are rewritten once.

``PRAGMA auto_vacuum`` is a write, so it is no part of opening a connection.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
from pathlib import Path

INCREMENTAL = 2
"""The mode of ``auto_vacuum`` in which free pages are given back when asked."""
_REWRITTEN_BYTES = 512 << 20

_log = logging.getLogger("boda.storage")


def let_shrink(path: Path) -> None:
    """Give a new file the means to shrink, which must be there before anything else is."""
    if path.stat().st_size:
        return
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("PRAGMA auto_vacuum=INCREMENTAL")
        raw.execute("PRAGMA journal_mode=WAL")


def make_shrinkable(path: Path) -> None:
    """Rewrite a file once that was made without the means to shrink. Blocking.

    Called while nobody reads or writes. A file too large to be rewritten at a start, or for its
    disk, stays as it is.
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
        # It is as it was; whoever opens it says what is wrong with it.
        _log.info("the database %s was not rewritten: %s", path, error)
