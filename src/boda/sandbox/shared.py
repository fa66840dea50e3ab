"""Memory that a sandbox shares with others, and that AWS counts against a function all the same.

A cgroup counts the pages that its processes were the first to touch: of a fork, what it wrote. The
interpreter, the libraries and whatever else the zygote has loaded are there once for all of its
forks. On AWS each environment has them for itself, and beside the runtime a process of Lambda's
own, so a function that does nothing uses some 30 MB there. Here that is:

    what a sandbox is counted as using  =  shared  +  its cgroup's highest use
    shared                              =  the init, as the bare zygote it is a fork of
                                           + the zygote that the runtime process is a fork of
                                           + what the runtime maps of further files

Zygotes are measured when they are ready, files when the function's init is done: libraries that a
package brings are read from the page cache, which is charged to whoever unpacked it. The limit of
the cgroup is what is left of ``MemorySize`` beyond the shared part, so that a function that uses
all of it as AWS counts is killed. A page of the zygote's that a fork writes to is in both parts;
``COPIES_MB`` allows for those, for page tables and for buffers of pipes and sockets.
"""

from __future__ import annotations

import mmap
from pathlib import Path

MIB = 1 << 20

COPIES_MB = 6
"""Allowed above what is left. A fork of the bare zygote writes to some 3 MB of it."""

_LEAST_MB = 48
"""Left to any function, whatever a zygote may have grown to."""


def resident_bytes(pid: int) -> int:
    """What a process has in memory, shared pages included; 0 when it is gone."""
    return _pages(pid, 1)


def _pages(pid: int, column: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[column]) * mmap.PAGESIZE
    except (OSError, IndexError, ValueError):
        return 0


def mapped_bytes(pid: int) -> int:
    """The part of it that is of files, or of memory that is shared by its name; 0 likewise."""
    return _pages(pid, 2)


def limit_bytes(memory_mb: int, shared_bytes: int) -> int:
    """The limit of a sandbox's cgroup."""
    return max(_LEAST_MB * MIB, (memory_mb + COPIES_MB) * MIB - shared_bytes)
