"""What the machine has once for everybody, and how much of it all functions together may take."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_KERNEL = Path("/proc/sys/kernel")
_ARGUMENTS = Path("/proc/cmdline")


def processes_together(group: Path, kernel: Path = _KERNEL) -> int:
    """How many processes and threads all functions may have together: three quarters of what the
    kernel numbers and of what the cgroups around ``group`` may have. What is left is for the
    machine, for the platform and for the inits of sandboxes, which are in none of their cgroups.
    """
    return _least(_found(group, kernel)) * 3 // 4


def uncounted(arguments: Path = _ARGUMENTS) -> frozenset[str]:
    """Of ``socket`` and ``kmem``: what the kernel was told not to count as a cgroup's memory."""
    try:
        words = arguments.read_text().split()
    except OSError:
        return frozenset()
    told = [word.partition("=")[2] for word in words if word.startswith("cgroup.memory=")]
    named = {name for each in told for name in each.split(",")}
    return frozenset(name for name in ("socket", "kmem") if f"no{name}" in named)


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
