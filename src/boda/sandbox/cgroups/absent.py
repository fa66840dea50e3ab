"""A machine that gives no cgroups: nothing is limited, and freezing is done by stopping."""

from __future__ import annotations

from typing import Literal

from boda.sandbox.cgroups.contract import Cgroup, CgroupLimits
from boda.sandbox.contract import ResourceUsage


class AbsentCgroup:
    """Limits and counts nothing. The init freezes by stopping the processes."""

    thawed = ""

    def __init__(self) -> None:
        self.entries: dict[str, int] = {}
        self.freezer: int | None = None

    def set_cpu(self, cpu: float) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def kill(self) -> None: ...
    def reset_peak(self) -> None: ...
    def lower_memory(self, limit_bytes: int) -> None: ...

    def processes(self) -> list[int]:
        return []

    def usage(self) -> ResourceUsage:
        return ResourceUsage(0, 0, 0.0)

    def peak_bytes(self) -> int:
        return 0

    def oom_kills(self) -> int:
        return 0

    def ran_full(self) -> bool:
        return False

    def remove(self) -> bool:
        return True


class AbsentHierarchy:
    version: Literal[0, 1, 2] = 0
    can: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()
    processes = 0

    def make(self, name: str, limit: CgroupLimits) -> Cgroup:
        return AbsentCgroup()

    def memory_bytes(self) -> int:
        return 0

    def close(self) -> bool:
        return True
