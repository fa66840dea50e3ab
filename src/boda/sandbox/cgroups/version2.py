"""Cgroups of version 2: one tree for all controllers."""

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

PLATFORM = "boda-platform"


class Version2Cgroup(CgroupDescriptors):
    thawed = "0"

    def __init__(self, path: Path, limit: CgroupLimits) -> None:
        super().__init__()
        self._path = path
        path.mkdir()
        try:
            must_write(path, "memory.max", limit.memory_bytes)
            write(path, "memory.swap.max", 0)
            write(path, "memory.zswap.max", 0)
            write(path, "memory.oom.group", 1)
            must_write(path, "pids.max", limit.processes)
            self.set_cpu(limit.cpu)
            self._open("cgroup0", path, "cgroup.procs")
            self.freezer = os.open(path / "cgroup.freeze", os.O_WRONLY | os.O_CLOEXEC)
            self._open_peak(path / "memory.peak")
        except OSError:
            self.remove()
            raise

    def set_cpu(self, cpu: float) -> None:
        write(self._path, "cpu.max", f"{quota_us(cpu)} {PERIOD_US}")
        write(self._path, "cpu.max.burst", quota_us(cpu))

    def freeze(self) -> None:
        self._freezer_write(b"1")

    def thaw(self) -> None:
        self._freezer_write(b"0")

    def usage(self) -> ResourceUsage:
        now = _memory_bytes(self._path)
        cpu = parse_fields(read(self._path, "cpu.stat")).get("usage_usec", 0) / 1e6
        return ResourceUsage(now, max(self.peak_bytes(), now), cpu)

    def reset_peak(self) -> None:
        if self._peak is not None:
            with contextlib.suppress(OSError):
                os.write(self._peak, b"reset")  # Linux 6.12; before, the peak is of a lifetime

    def oom_kills(self) -> int:
        return parse_fields(read(self._path, "memory.events")).get("oom_kill", 0)

    def ran_full(self) -> bool:
        # Events of this group alone: those of the groups above are not counted here.
        found = parse_fields(read(self._path, "memory.events")).get("oom", 0)
        seen, self._fulls = self._fulls, found
        return found > seen

    def lower_memory(self, limit_bytes: int) -> None:
        write(self._path, "memory.max", limit_bytes)

    def processes(self) -> list[int]:
        return read_processes(self._path)

    def kill(self) -> None:
        write(self._path, "cgroup.kill", 1)

    def remove(self) -> bool:
        self._close()
        return remove_group(self._path)


class Version2Hierarchy:
    """A tree whose leaves hold processes and whose inner groups hold controllers, never both."""

    version: Literal[0, 1, 2] = 2

    def __init__(self, top: Path, name: str, *, whole: bool = False) -> None:
        """Make the group of this instance below ``top``. Raises SandboxError if that fails.

        whole: ``top`` is the root of the tree that this machine or container sees.
        """
        self._whole = whole
        wanted = {"memory", "cpu", "pids"} & set(read(top, "cgroup.controllers").split())
        self._enable(top, wanted)
        self._base = top / name
        try:
            self._base.mkdir(exist_ok=True)
        except OSError as error:
            raise SandboxError(f"cgroup {self._base}: {error.strerror}") from error
        self._enable(self._base, wanted)
        enabled = set(read(self._base, "cgroup.subtree_control").split())
        if not os.access(self._base / "cgroup.procs", os.W_OK):
            raise SandboxError(f"cgroup {self._base} does not take processes")
        counted = counted_memory() if "memory" in enabled else frozenset()
        self.can: frozenset[str] = frozenset(enabled & wanted) | {"freezer"} | counted
        self.paths: tuple[str, ...] = (str(self._base),)
        self.processes = bound_processes(self._base)

    def _enable(self, path: Path, wanted: set[str]) -> None:
        missing = wanted - set(read(path, "cgroup.subtree_control").split())
        for controller in sorted(missing):
            if write(path, "cgroup.subtree_control", f"+{controller}"):
                continue
            # The group holds processes. In a cgroup of the platform's own (a delegated scope, the
            # root of a container) they are moved into a leaf; other processes are not touched.
            if self._step_aside(path):
                write(path, "cgroup.subtree_control", f"+{controller}")

    def _step_aside(self, path: Path) -> bool:
        """Move the processes of a group into a leaf of it, if all of them are this platform's own
        or this is the root of a container."""
        leaf = path / PLATFORM
        anybody = self._whole and os.geteuid() == 0
        for _ in range(10):  # a process may start another one just before it is moved
            inside = read(path, "cgroup.procs").split()
            if not inside:
                return True
            if not anybody and not all(_is_own(pid) for pid in inside):
                return False
            try:
                leaf.mkdir(exist_ok=True)
                for pid in inside:
                    with contextlib.suppress(ProcessLookupError):
                        (leaf / "cgroup.procs").write_text(pid)
            except OSError:
                return False
        return False

    def make(self, name: str, limit: CgroupLimits) -> Cgroup:
        try:
            return Version2Cgroup(self._base / name, limit)
        except OSError as error:
            raise SandboxError(f"cgroup {name}: {error.strerror}") from error

    def memory_bytes(self) -> int:
        return _memory_bytes(self._base)

    def close(self) -> bool:
        return sweep(self.paths)


def _memory_bytes(path: Path) -> int:
    """Return the memory of a group and those below it, without cache that was not used lately."""
    now = read_number(path, "memory.current")
    return max(0, now - parse_fields(read(path, "memory.stat")).get("inactive_file", 0))


def _is_own(pid: str) -> bool:
    """Whether a process is this one, was started by it, or has ended meanwhile."""
    at = pid
    while at != str(os.getpid()):
        if at in ("0", "1"):
            return False
        try:
            stat = Path(f"/proc/{at}/stat").read_text()
        except OSError:
            return at == pid
        at = stat.rpartition(")")[2].split()[1]
    return True
