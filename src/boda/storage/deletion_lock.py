"""Keeps stored files from being deleted while a backup reads them, across processes.

Files that rows name are never changed, only deleted. A backup reads its rows and then the files
that they name, under a shared lock of one file in the data folder; whoever deletes files that rows
have named takes the lock exclusively, without waiting, and tries later if a backup holds it. The
kernel gives the lock back when its process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class DeletionLock:
    """The lock of one data folder. path: made if absent."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def beside(cls, contents: Path) -> DeletionLock:
        """Return the lock of the data folder that a folder of files is in."""
        return cls(contents.parent / "backup.lock")

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Keep every file that a row names. Waits while files are being deleted. Raises OSError."""
        with self._opened() as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield

    @contextlib.contextmanager
    def deleting(self) -> Iterator[bool]:
        """Yield whether files may be deleted now: False while a backup reads them."""
        with contextlib.ExitStack() as stack:
            try:
                descriptor = stack.enter_context(self._opened())
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                allowed = True
            except OSError:
                allowed = False
            yield allowed

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
