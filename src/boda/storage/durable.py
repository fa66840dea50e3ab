"""Flushes to the disk, with every error raised.

A flush that failed is not tried again: the kernel may have dropped the pages, and a second flush
would then report a false success.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_below(folder: Path) -> None:
    """Make all files below a folder durable, by one system call. Raises OSError.

    A flush for each of thousands of files would take seconds.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync_file_system(descriptor, folder)
    finally:
        os.close(descriptor)


def _sync_file_system(descriptor: int, folder: Path) -> None:
    flush = getattr(_libc, "syncfs", None)
    if flush is None:  # a C library without it: ``sync`` reports no errors, a flush of each does
        for place, _, names in os.walk(folder):
            for name in names:
                sync_file(Path(place, name))
            sync_folder(Path(place))
    elif flush(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(folder))


def sync_file(path: Path) -> None:
    """Make a file's content durable, unless it is a symbolic link. Raises OSError."""
    if path.is_symlink():
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file atomically; return once it is on disk. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
