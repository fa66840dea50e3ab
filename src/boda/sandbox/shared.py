"""Memory that a sandbox shares with others, and that counts as used by the function, as on AWS.

A cgroup counts the pages that its processes were the first to touch: for a fork, those that it
wrote to. The interpreter, the libraries and all else that the zygote has loaded exist once for all
of its forks. On AWS each environment has them for itself, and beside the runtime a process of
Lambda's own, so a function that does nothing uses some 30 MB there. Here that is:

    memory that a sandbox is said to use  =  shared  +  its cgroup's highest use
    shared                                =  the init, as the bare zygote that it is a fork of
                                             + the zygote that the runtime process is a fork of
                                             + further files that the runtime maps

Zygotes are measured when they are ready, files when the function's init is done: libraries of a
package are read from the page cache, which is charged to the process that unpacked it. The limit of
the cgroup is ``MemorySize`` without the shared part, so that a function is killed when it uses all
of its memory as AWS counts it. A page of the zygote that a fork writes to is in both parts;
``COPIES_MB`` allows for those, for page tables and for buffers of pipes and sockets.
"""

from __future__ import annotations

import mmap
from pathlib import Path

MIB = 1 << 20

COPIES_MB = 6
"""Allowed above that limit. A fork of the bare zygote writes to some 3 MB of it."""

_LEAST_MB = 48
"""The least limit of a function, however large its zygote."""


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, with shared pages; 0 if the process has ended."""
    return _pages(pid, 1)


def _pages(pid: int, column: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[column]) * mmap.PAGESIZE
    except (OSError, IndexError, ValueError):
        return 0


def mapped_bytes(pid: int) -> int:
    """Return the part of a process's resident memory that is mapped from files or from named shared
    memory; 0 if the process has ended."""
    return _pages(pid, 2)


def limit_bytes(memory_mb: int, shared_bytes: int) -> int:
    """Return the limit of a sandbox's cgroup."""
    return max(_LEAST_MB * MIB, (memory_mb + COPIES_MB) * MIB - shared_bytes)
