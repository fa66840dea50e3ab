"""Cgroups of version 1: one tree per controller."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

from boda.sandbox.cgroups.contract import PERIOD_US, Cgroup, CgroupLimits, quota_us
from boda.sandbox.cgroups.descriptors import CgroupDescriptors
from boda.sandbox.cgroups.files import (
    must_write,
    parse_fields,
    read,
    read_number,
    read_processes,
    remove_group,
    write,
)
from boda.sandbox.cgroups.leftovers import sweep
from boda.sandbox.cgroups.machine_share import bound_processes, counted_memory
from boda.sandbox.contract import ResourceUsage, SandboxError

CONTROLLERS = ("memory", "cpu", "pids", "freezer", "cpuacct")
_NEARLY = 1 << 20
"""A peak so near to the limit is one at the limit: the kernel charges in batches."""
_SOCKETS = "memory.kmem.tcp.limit_in_bytes"
"""Despite its name, it limits what lies in UDP sockets as well."""


class Version1Cgroup(CgroupDescriptors):
    thawed = "THAWED"

    def __init__(self, paths: dict[str, Path], limit: CgroupLimits) -> None:
        super().__init__()
        self._paths = paths
        self._limit_bytes = limit.memory_bytes
        try:
            for path in set(paths.values()):
                path.mkdir()
            if (memory := paths.get("memory")) is not None:
                write(memory, "memory.swappiness", 0)
                must_write(memory, "memory.limit_in_bytes", limit.memory_bytes)
                write(memory, "memory.memsw.limit_in_bytes", limit.memory_bytes)
                must_write(memory, _SOCKETS, limit.socket_bytes)
                self._open_peak(memory / "memory.max_usage_in_bytes")
            if (pids := paths.get("pids")) is not None:
                must_write(pids, "pids.max", limit.processes)
            self.set_cpu(limit.cpu)
            for number, path in enumerate(sorted(set(paths.values()))):
                self._open(f"cgroup{number}", path, "cgroup.procs")
            if (freezer := paths.get("freezer")) is not None:
                self.freezer = os.open(freezer / "freezer.state", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            self.remove()
            raise

    def _at(self, controller: str) -> Path:
        return self._paths.get(controller, Path("/nonexistent"))

    def set_cpu(self, cpu: float) -> None:
        path = self._at("cpu")
        write(path, "cpu.cfs_burst_us", 0)  # a quota below the burst would be refused
        write(path, "cpu.cfs_period_us", PERIOD_US)
        write(path, "cpu.cfs_quota_us", quota_us(cpu))
        write(path, "cpu.cfs_burst_us", quota_us(cpu))

    def freeze(self) -> None:
        self._freezer_write(b"FROZEN")
        self._fulls = self._failures()

    def thaw(self) -> None:
        self._freezer_write(b"THAWED")

    def usage(self) -> ResourceUsage:
        now = _memory_bytes(self._at("memory"))
        cpu_s = read_number(self._at("cpuacct"), "cpuacct.usage") / 1e9
        return ResourceUsage(now, max(self.peak_bytes(), now), cpu_s)

    def reset_peak(self) -> None:
        if self._peak is not None:
            with contextlib.suppress(OSError):
                os.write(self._peak, b"0")

    def oom_kills(self) -> int:
        return parse_fields(read(self._at("memory"), "memory.oom_control")).get("oom_kill", 0)

    def ran_full(self) -> bool:
        """Whether the group came to its limit, also if dropping cache was enough.

        For that reason the count is reset at each freezing.
        """
        found = self._failures()
        seen, self._fulls = self._fulls, found
        if found:
            return found > seen
        return self.peak_bytes() > self._limit_bytes - _NEARLY  # a kernel that does not count

    def _failures(self) -> int:
        # Memory and swap together have the same limit, and are asked first.
        names = ("memory.failcnt", "memory.memsw.failcnt")
        return sum(read_number(self._at("memory"), name) for name in names)

    def lower_memory(self, limit_bytes: int) -> None:
        if (memory := self._paths.get("memory")) is not None:
            write(memory, "memory.limit_in_bytes", limit_bytes)  # never above the next one
            write(memory, "memory.memsw.limit_in_bytes", limit_bytes)
            self._limit_bytes = limit_bytes

    def processes(self) -> list[int]:
        return read_processes(next(iter(self._paths.values()), Path("/nonexistent")))

    def kill(self) -> None:
        """Do nothing: version 1 has no such file, and the init's end kills the processes."""

    def remove(self) -> bool:
        self._close()
        gone = [remove_group(path) for path in set(self._paths.values())]
        return all(gone)


class Version1Hierarchy:
    """One tree per controller."""

    version: Literal[0, 1, 2] = 1

    def __init__(self, tops: dict[str, Path], name: str) -> None:
        self._bases: dict[str, Path] = {}
        for controller, top in tops.items():
            base = top / name
            try:
                base.mkdir(exist_ok=True)
            except OSError:
                continue
            if os.access(base / "cgroup.procs", os.W_OK):
                self._bases[controller] = base
        if not self._bases:
            raise SandboxError("no cgroup hierarchy of version 1 is writable")
        self.can = frozenset(self._bases) - {"cpuacct"}
        if (memory := self._bases.get("memory")) is not None:
            self.can |= counted_memory() - {"sockets"}
            if write(memory, _SOCKETS, -1):
                self.can |= {"sockets"}
        self.paths = tuple(sorted({str(base) for base in self._bases.values()}))
        self.processes = bound_processes(self._bases.get("pids", Path("/nonexistent")))

    def make(self, name: str, limit: CgroupLimits) -> Cgroup:
        try:
            return Version1Cgroup({key: base / name for key, base in self._bases.items()}, limit)
        except OSError as error:
            raise SandboxError(f"cgroup {name}: {error.strerror}") from error

    def memory_bytes(self) -> int:
        base = self._bases.get("memory")
        return 0 if base is None else _memory_bytes(base)

    def close(self) -> bool:
        return sweep(self.paths)


def _memory_bytes(path: Path) -> int:
    """Return the memory of a group and those below it, without cache that was not used lately."""
    now = read_number(path, "memory.usage_in_bytes")
    return max(0, now - parse_fields(read(path, "memory.stat")).get("total_inactive_file", 0))
