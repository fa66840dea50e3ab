"""Whether the disk accepts writes: by trying, and from errors."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from boda.core.errors import Unwritable

MIB = 1 << 20
_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
_REFUSED_ROWS = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
}
_LOW_BYTES = 16 * MIB
_LOW_SHARE = 50
_RESERVED_BYTES = 512 * MIB
_RESERVED_SHARE = 20


def refused(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, is the disk's refusal of a write.

    SQLite's refusals end the whole transaction, and with it the savepoint; rolling back to that
    savepoint then fails too, so the cause is looked for along the chain.
    """
    while error is not None:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, Unwritable):
            return True
        if isinstance(cause, OSError) and cause.errno in _REFUSED:
            return True
        # The upper bits of an extended code are details.
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF in _REFUSED_ROWS:
            return True
        error = error.__cause__ or error.__context__
    return False


def unwritable(error: BaseException) -> Unwritable:
    """Return the error that the caller of a refused write gets."""
    if isinstance(error, Unwritable):
        return error
    while not isinstance(error, OSError) and (below := error.__cause__ or error.__context__):
        error = below
    return Unwritable(error.strerror or str(error) if isinstance(error, OSError) else str(error))


def why_unwritable(folder: Path, size: int = 4096) -> str:
    """Write a file of ``size`` bytes and remove it; return why that failed, or "". Blocking."""
    path = folder / f".probe-{os.getpid()}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(bytes(size))
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.strerror or str(error)
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    return ""


def why_short(folder: Path) -> str:
    """Return how little space is left on a folder's disk, or "" if enough is. Blocking.

    Enough are 16 MiB, or the fiftieth part of a small disk.
    """
    return _why_less(folder, _LOW_BYTES, _LOW_SHARE)


def why_reserved(folder: Path) -> str:
    """Return how little space is left on a folder's disk for data that may be lost, such as logs,
    or "" if there is some. Blocking.

    The last 512 MiB, or the twentieth part of a small disk, are reserved for data that may not be
    lost.
    """
    return _why_less(folder, _RESERVED_BYTES, _RESERVED_SHARE)


def _why_less(folder: Path, enough: int, share: int) -> str:
    """Return how little is left if that is less than enough bytes, and than a share of the disk."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        return error.strerror or str(error)
    left = found.f_bavail * found.f_frsize
    if left >= min(enough, found.f_blocks * found.f_frsize // share):
        return ""
    return f"{left // 1024:,} KiB are left"
