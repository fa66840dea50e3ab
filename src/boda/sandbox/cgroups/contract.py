"""The cgroup of one sandbox, and the hierarchy in which cgroups are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from boda.sandbox.contract import ResourceUsage

PERIOD_US = 100_000


@dataclass(frozen=True, slots=True)
class CgroupLimits:
    """Limits of a cgroup. memory_bytes: hard, without swap. cpu: vCPUs. processes: with threads."""

    memory_bytes: int
    cpu: float
    processes: int

    @property
    def socket_bytes(self) -> int:
        """The limit for the memory of sockets, where that is not counted as a part of the memory.

        It allows for a few connections at full speed, but not for a second memory.
        """
        return self.memory_bytes // 4


class Cgroup(Protocol):
    """The cgroup of one sandbox. Every method is safe after its removal."""

    entries: dict[str, int]
    """Descriptors by name: writing "0" into each puts the writer into the group."""
    freezer: int | None
    """The descriptor that the init thaws the group with."""
    thawed: str
    """The text to write into ``freezer``."""

    def set_cpu(self, cpu: float) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def usage(self) -> ResourceUsage: ...
    def peak_bytes(self) -> int: ...
    def reset_peak(self) -> None: ...
    def oom_kills(self) -> int:
        """Return how many of its processes the kernel killed for memory, for whatever limit."""

    def ran_full(self) -> bool:
        """Whether the group came to its own limit of memory since the last call.

        If not, a kill for memory was due to another limit.
        """

    def lower_memory(self, limit_bytes: int) -> None:
        """Set a hard limit of memory below the present one."""

    def processes(self) -> list[int]:
        """Return the ids of its processes, as this machine numbers them."""

    def kill(self) -> None: ...
    def remove(self) -> bool:
        """Remove the group; False while processes are still leaving it."""


class CgroupHierarchy(Protocol):
    """Makes the cgroups of sandboxes.

    version: 0 if there are none. can: the controllers that work, and ``sockets`` and ``kernel`` if
    the memory of sockets and the kernel's other memory of a group are limited as well. paths: the
    directories of all groups. processes: the limit for all groups together; 0: none.
    """

    version: Literal[0, 1, 2]
    can: frozenset[str]
    paths: tuple[str, ...]
    processes: int

    def make(self, name: str, limit: CgroupLimits) -> Cgroup: ...
    def memory_bytes(self) -> int:
        """Return the memory of all groups together, without cache that was not used lately."""

    def close(self) -> bool:
        """Kill all processes and remove all groups; False if that failed. Blocking."""


def quota_us(cpu: float) -> int:
    """Convert vCPUs to microseconds of each period; the kernel's minimum is one millisecond."""
    return max(1000, int(cpu * PERIOD_US))
