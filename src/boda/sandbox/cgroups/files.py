"""Reads and writes the files of a cgroup."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path


def read(path: Path, name: str) -> str:
    try:
        with open(f"{path}/{name}", "rb", 0) as file:  # text takes twice as long
            return file.read().decode()
    except OSError:
        return ""


def read_number(path: Path, name: str) -> int:
    try:
        return int(read(path, name))
    except ValueError:
        return 0


def read_processes(path: Path) -> list[int]:
    return [int(word) for word in read(path, "cgroup.procs").split()]


def read_number_at(fd: int | None) -> int:
    """Read an open file of one number; 0 if it cannot be read."""
    if fd is not None:
        with contextlib.suppress(OSError, ValueError):
            return int(os.pread(fd, 64, 0))
    return 0


def parse_fields(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def write(path: Path, name: str, value: object) -> bool:
    try:
        put(path, name, value)
    except OSError:
        return False
    return True


def put(path: Path, name: str, value: object) -> None:
    """Write a file. Raises OSError."""
    fd = os.open(f"{path}/{name}", os.O_WRONLY)  # a start writes many; joining paths takes longer
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def must_write(path: Path, name: str, value: object) -> None:
    """Write a limit that is promised wherever its controller exists. Raises OSError if the kernel
    refuses it."""
    try:
        put(path, name, value)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OSError(errno.EACCES, "limit refused", f"{path}/{name}") from error


def remove_group(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
