"""Measures the memory that this machine can still give, in MiB.

It is the least of the memory that the kernel calls available and of the memory that the limits on
boda's own cgroup and those above it leave (``memory.max`` and ``memory.high`` in version 2,
``memory.limit_in_bytes`` in version 1): a container may have less than its machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

MIB = 1 << 20


def machine_memory_mb() -> int:
    """Return the memory of the machine, or the limit of boda's cgroup if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(limit for _, limit in _limits(Path("/")))]) // MIB


def stalled_percent(path: Path = Path("/proc/pressure/memory")) -> float:
    """Return the share of the last ten seconds in which some task waited for memory, or 0 if the
    kernel does not count it.

    It is only a hint: a function at its own limit stalls as well, which does not concern others.
    """
    try:
        some = path.read_text().splitlines()[0]
        return float(some.split("avg10=")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return 0.0


def available_memory(root: Path = Path("/")) -> Callable[[], int]:
    """Return a function that measures; the cgroups with limits are looked up once."""
    bounds = [cgroup for cgroup, _ in _limits(root)]
    info = root / "proc/meminfo"

    def measure() -> int:
        least = min([_left(bound) for bound in bounds], default=1 << 62)
        for line in info.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) // 1024, least // MIB)
        return least // MIB

    return measure


def _limits(root: Path) -> Iterator[tuple[Path, int]]:
    """Yield the cgroups from boda's own upward that have a limit, and the limit."""
    for path in _own(root):
        limit = _limit(path)
        if limit is not None:
            yield path, limit


def _own(root: Path) -> Iterator[Path]:
    """Yield the directories of boda's cgroup and those above, as far as they are visible."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if controllers == "":
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif "memory" in controllers.split(","):
            mounts = [root / "sys/fs/cgroup/memory"]
        else:
            continue
        for mount in mounts:
            path = mount / own.lstrip("/")
            while path != mount and mount in path.parents:
                if path.is_dir():
                    yield path
                path = path.parent
            yield mount


def _limit(path: Path) -> int | None:
    """Return a cgroup's limit in bytes, or None."""
    found = []
    for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
        try:
            found.append(int((path / name).read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    limit = min(found, default=None)
    return limit if limit is not None and limit < 1 << 60 else None


def _left(path: Path) -> int:
    """Return the bytes left below a limit; page cache that was not used lately counts as free."""
    limit = _limit(path)
    if limit is None:
        return 1 << 62
    for used, cache in (
        ("memory.current", "inactive_file "),
        ("memory.usage_in_bytes", "total_inactive_file "),
    ):
        try:
            taken = int((path / used).read_text())
            for line in (path / "memory.stat").read_text().splitlines():
                if line.startswith(cache):
                    taken -= int(line.rpartition(" ")[2])
            return max(0, limit - taken)
        except (OSError, ValueError):
            continue
    return 1 << 62
