"""The share of the machine's own limits that all functions together may take."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from boda.sandbox.cgroups.files import write

_KERNEL = Path("/proc/sys/kernel")
_ARGUMENTS = Path("/proc/cmdline")


def processes_together(group: Path, kernel: Path = _KERNEL) -> int:
    """Return how many processes and threads all functions may have together.

    That is three quarters of the kernel's limits and of the limits of the cgroups around ``group``.
    The rest is left for the machine, for the platform and for the inits of sandboxes, which are in
    none of their cgroups.
    """
    return _least(_found(group, kernel)) * 3 // 4


def uncounted(arguments: Path = _ARGUMENTS) -> frozenset[str]:
    """Return those of ``socket`` and ``kmem`` that the kernel's command line excludes from the
    memory of cgroups."""
    try:
        words = arguments.read_text().split()
    except OSError:
        return frozenset()
    given = [word.partition("=")[2] for word in words if word.startswith("cgroup.memory=")]
    named = {name for each in given for name in each.split(",")}
    return frozenset(name for name in ("socket", "kmem") if f"no{name}" in named)


def counted_memory() -> frozenset[str]:
    """Return those of ``sockets`` and ``kernel`` that count as a cgroup's memory here."""
    missing = uncounted()
    names = (("socket", "sockets"), ("kmem", "kernel"))
    return frozenset(name for word, name in names if word not in missing)


def bound_processes(base: Path) -> int:
    """Limit the processes of all cgroups below ``base`` together; return the limit, or 0 if that
    is not possible."""
    most = processes_together(base)
    return most if write(base, "pids.max", most) else 0


def _found(group: Path, kernel: Path) -> Iterable[Path]:
    yield kernel / "pid_max"
    yield kernel / "threads-max"
    for parent in group.parents:
        yield parent / "pids.max"


def _least(files: Iterable[Path]) -> int:
    numbers = []
    for path in files:
        try:
            numbers.append(int(path.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(numbers, default=32_768)
