"""Memory, CPU and process limits, freezing and accounting, by cgroups of version 2 or 1.

Only the runtime process and its children are in a sandbox's cgroup. The init stays outside: it
must not be frozen, killed for memory or counted, since it ends everything when the platform dies.

    <own>/boda-<instance>/<sandbox_id>      one directory in version 2, one per hierarchy in 1
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from boda.sandbox.bounds import processes_together, uncounted
from boda.sandbox.contract import SandboxError, Usage

PERIOD_US = 100_000
_NEARLY = 1 << 20
"""A peak so near to the limit is one at the limit: the kernel charges in batches."""
PLATFORM = "boda-platform"
_SOCKETS = "memory.kmem.tcp.limit_in_bytes"
"""Of version 1. It bounds what lies in UDP sockets as well, despite its name."""
CONTROLLERS = ("memory", "cpu", "pids", "freezer", "cpuacct")


@dataclass(frozen=True, slots=True)
class Limit:
    """memory_bytes: hard, without swap. cpu: vCPUs. processes: with threads."""

    memory_bytes: int
    cpu: float
    processes: int

    @property
    def socket_bytes(self) -> int:
        """What sockets hold, where that is counted beside the memory instead of as a part of it:
        room for a few connections at full speed, and no second memory."""
        return self.memory_bytes // 4


class Group(Protocol):
    """The cgroup of one sandbox. Every method is safe when it has gone."""

    entries: dict[str, int]
    """Descriptors by name: writing "0" into each puts the writer into the group."""
    freezer: int | None
    """A descriptor with which the init can thaw."""
    thawed: str
    """What to write into it."""

    def set_cpu(self, cpu: float) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def usage(self) -> Usage: ...
    def peak_bytes(self) -> int: ...
    def reset_peak(self) -> None: ...
    def oom_kills(self) -> int:
        """How many of its processes the kernel killed for memory, whoever had none left."""

    def ran_full(self) -> bool:
        """Whether the group came to its own limit of memory since this was last asked. If not,
        a kill for memory was somebody else's doing."""

    def lower_memory(self, limit_bytes: int) -> None:
        """Another hard limit of memory, less than the one that it was made with."""

    def processes(self) -> list[int]:
        """Numbers of its processes, as this machine sees them."""

    def kill(self) -> None: ...
    def remove(self) -> bool:
        """False when processes are still leaving it; ask again."""


class Hierarchy(Protocol):
    """Where groups are made, and what can be limited there."""

    version: Literal[0, 1, 2]
    can: frozenset[str]
    """Controllers; ``sockets`` and ``kernel`` where the memory of sockets and what else the kernel
    holds for a group are limited as well."""
    paths: tuple[str, ...]
    processes: int
    """How many all groups may have together; 0 where that is not limited."""

    def make(self, name: str, limit: Limit) -> Group: ...
    def memory_bytes(self) -> int:
        """What all groups use together, without cache that has not been used lately."""

    def close(self) -> bool:
        """Remove every group, whoever is in it. False when that was not possible. Blocking."""


def _read(path: Path, name: str) -> str:
    try:
        with open(f"{path}/{name}", "rb", 0) as file:  # text takes twice as long
            return file.read().decode()
    except OSError:
        return ""


def _number(path: Path, name: str) -> int:
    try:
        return int(_read(path, name))
    except ValueError:
        return 0


def _numbers(path: Path) -> list[int]:
    return [int(word) for word in _read(path, "cgroup.procs").split()]


def _write(path: Path, name: str, value: object) -> bool:
    try:
        _put(path, name, value)
    except OSError:
        return False
    return True


def _put(path: Path, name: str, value: object) -> None:
    """OSError."""
    fd = os.open(f"{path}/{name}", os.O_WRONLY)  # a start writes many; joining paths takes longer
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def _must_write(path: Path, name: str, value: object) -> None:
    """A limit that is promised wherever its controller is there. OSError when it is not taken."""
    try:
        _put(path, name, value)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OSError(errno.EACCES, "limit refused", f"{path}/{name}") from error


def _fields(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _counted() -> frozenset[str]:
    """What the kernel counts as a group's memory besides its pages."""
    missing = uncounted()
    names = (("socket", "sockets"), ("kmem", "kernel"))
    return frozenset(name for word, name in names if word not in missing)


def _bound_processes(base: Path) -> int:
    """Limit what all groups below have together; the limit, or 0 where that was not possible."""
    most = processes_together(base)
    return most if _write(base, "pids.max", most) else 0


def _quota(cpu: float) -> int:
    """Microseconds of each period; the kernel wants at least one millisecond."""
    return max(1000, int(cpu * PERIOD_US))


def _remove(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _number_at(fd: int | None) -> int:
    """What an open file of one number holds now; 0 when it cannot be read."""
    if fd is not None:
        with contextlib.suppress(OSError, ValueError):
            return int(os.pread(fd, 64, 0))
    return 0


def _memory2(path: Path) -> int:
    """Bytes that a group and those below it use; cache not used lately is left out."""
    now = _number(path, "memory.current")
    return max(0, now - _fields(_read(path, "memory.stat")).get("inactive_file", 0))


def _memory1(path: Path) -> int:
    """The same in version 1."""
    now = _number(path, "memory.usage_in_bytes")
    return max(0, now - _fields(_read(path, "memory.stat")).get("total_inactive_file", 0))


class _Entries:
    """Descriptors that belong to a group, closed with it."""

    def __init__(self) -> None:
        self.entries: dict[str, int] = {}
        self.freezer: int | None = None
        self._peak: int | None = None
        self._fulls = 0

    def peak_bytes(self) -> int:
        """Of the time since it was last reset; 0 where nothing counts it."""
        return _number_at(self._peak)

    def _open_peak(self, path: Path) -> None:
        """Kept open: in version 2 a peak is reset for those only who read this descriptor."""
        with contextlib.suppress(OSError):
            self._peak = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def _freezer_write(self, text: bytes) -> None:
        # Through the descriptor that is kept: this stands between a caller and its answer.
        if self.freezer is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self.freezer, text, 0)

    def _open(self, name: str, path: Path, file: str) -> None:
        self.entries[name] = os.open(f"{path}/{file}", os.O_WRONLY | os.O_CLOEXEC)

    def _close(self) -> None:
        for fd in self.entries.values():
            os.close(fd)
        self.entries = {}
        if self.freezer is not None:
            os.close(self.freezer)
            self.freezer = None
        if self._peak is not None:
            os.close(self._peak)
            self._peak = None


class _Group2(_Entries):
    thawed = "0"

    def __init__(self, path: Path, limit: Limit) -> None:
        super().__init__()
        self._path = path
        path.mkdir()
        try:
            _must_write(path, "memory.max", limit.memory_bytes)
            _write(path, "memory.swap.max", 0)
            _write(path, "memory.zswap.max", 0)
            _write(path, "memory.oom.group", 1)
            _must_write(path, "pids.max", limit.processes)
            self.set_cpu(limit.cpu)
            self._open("cgroup0", path, "cgroup.procs")
            self.freezer = os.open(path / "cgroup.freeze", os.O_WRONLY | os.O_CLOEXEC)
            self._open_peak(path / "memory.peak")
        except OSError:
            self.remove()
            raise

    def set_cpu(self, cpu: float) -> None:
        _write(self._path, "cpu.max", f"{_quota(cpu)} {PERIOD_US}")
        _write(self._path, "cpu.max.burst", _quota(cpu))

    def freeze(self) -> None:
        self._freezer_write(b"1")

    def thaw(self) -> None:
        self._freezer_write(b"0")

    def usage(self) -> Usage:
        now = _memory2(self._path)
        cpu = _fields(_read(self._path, "cpu.stat")).get("usage_usec", 0) / 1e6
        return Usage(now, max(self.peak_bytes(), now), cpu)

    def reset_peak(self) -> None:
        if self._peak is not None:
            with contextlib.suppress(OSError):
                os.write(self._peak, b"reset")  # Linux 6.12; before, the peak is of a lifetime

    def oom_kills(self) -> int:
        return _fields(_read(self._path, "memory.events")).get("oom_kill", 0)

    def ran_full(self) -> bool:
        # Of this group alone: what happens further up is not counted down here.
        found = _fields(_read(self._path, "memory.events")).get("oom", 0)
        seen, self._fulls = self._fulls, found
        return found > seen

    def lower_memory(self, limit_bytes: int) -> None:
        _write(self._path, "memory.max", limit_bytes)

    def processes(self) -> list[int]:
        return _numbers(self._path)

    def kill(self) -> None:
        _write(self._path, "cgroup.kill", 1)

    def remove(self) -> bool:
        self._close()
        return _remove(self._path)


class _Group1(_Entries):
    thawed = "THAWED"

    def __init__(self, paths: dict[str, Path], limit: Limit) -> None:
        super().__init__()
        self._paths = paths
        self._limit_bytes = limit.memory_bytes
        try:
            for path in set(paths.values()):
                path.mkdir()
            if (memory := paths.get("memory")) is not None:
                _write(memory, "memory.swappiness", 0)
                _must_write(memory, "memory.limit_in_bytes", limit.memory_bytes)
                _write(memory, "memory.memsw.limit_in_bytes", limit.memory_bytes)
                _must_write(memory, _SOCKETS, limit.socket_bytes)
                self._open_peak(memory / "memory.max_usage_in_bytes")
            if (pids := paths.get("pids")) is not None:
                _must_write(pids, "pids.max", limit.processes)
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
        _write(path, "cpu.cfs_burst_us", 0)  # a quota below the burst would be refused
        _write(path, "cpu.cfs_period_us", PERIOD_US)
        _write(path, "cpu.cfs_quota_us", _quota(cpu))
        _write(path, "cpu.cfs_burst_us", _quota(cpu))

    def freeze(self) -> None:
        self._freezer_write(b"FROZEN")
        self._fulls = self._failures()

    def thaw(self) -> None:
        self._freezer_write(b"THAWED")

    def usage(self) -> Usage:
        now = _memory1(self._at("memory"))
        cpu_s = _number(self._at("cpuacct"), "cpuacct.usage") / 1e9
        return Usage(now, max(self.peak_bytes(), now), cpu_s)

    def reset_peak(self) -> None:
        if self._peak is not None:
            with contextlib.suppress(OSError):
                os.write(self._peak, b"0")

    def oom_kills(self) -> int:
        return _fields(_read(self._at("memory"), "memory.oom_control")).get("oom_kill", 0)

    def ran_full(self) -> bool:
        """True also where giving up cache was enough, hence asked at each freezing."""
        found = self._failures()
        seen, self._fulls = self._fulls, found
        if found:
            return found > seen
        return self.peak_bytes() > self._limit_bytes - _NEARLY  # a kernel that does not count

    def _failures(self) -> int:
        # Memory and swap together have the same limit, and are asked first.
        names = ("memory.failcnt", "memory.memsw.failcnt")
        return sum(_number(self._at("memory"), name) for name in names)

    def lower_memory(self, limit_bytes: int) -> None:
        if (memory := self._paths.get("memory")) is not None:
            _write(memory, "memory.limit_in_bytes", limit_bytes)  # never above the next one
            _write(memory, "memory.memsw.limit_in_bytes", limit_bytes)
            self._limit_bytes = limit_bytes

    def processes(self) -> list[int]:
        return _numbers(next(iter(self._paths.values()), Path("/nonexistent")))

    def kill(self) -> None:
        """Version 1 cannot; the init's end does it."""

    def remove(self) -> bool:
        self._close()
        gone = [_remove(path) for path in set(self._paths.values())]
        return all(gone)


class _NoGroup:
    """Where the machine gives no cgroup. Freezing then is stopping, which the init does."""

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

    def usage(self) -> Usage:
        return Usage(0, 0, 0.0)

    def peak_bytes(self) -> int:
        return 0

    def oom_kills(self) -> int:
        return 0

    def ran_full(self) -> bool:
        return False

    def remove(self) -> bool:
        return True


class NoHierarchy:
    version: Literal[0, 1, 2] = 0
    can: frozenset[str] = frozenset()
    paths: tuple[str, ...] = ()
    processes = 0

    def make(self, name: str, limit: Limit) -> Group:
        return _NoGroup()

    def memory_bytes(self) -> int:
        return 0

    def close(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class _Mount:
    point: Path
    root: str
    kind: str
    controllers: frozenset[str]


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


def _mounts() -> Iterator[_Mount]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if kind[0] in ("cgroup", "cgroup2"):
            point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), fields[4])
            yield _Mount(Path(point), fields[3], kind[0], frozenset(kind[2].split(",")))


def _own_paths() -> dict[str, str]:
    """This process's cgroup by controller; version 2 under the empty name."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    return own


def _place(mount: _Mount, own: str) -> Path:
    """Where a cgroup lies below a mount, which may show only a part of the tree."""
    if mount.root != "/" and own.startswith(mount.root):
        own = own[len(mount.root) :]
    if own.endswith("/" + PLATFORM):
        own = own[: -len(PLATFORM) - 1]  # where an earlier platform has stepped aside
    path = mount.point / own.lstrip("/")
    return path if path.is_dir() else mount.point


class Hierarchy2:
    """One tree. Its leaves hold processes and its inner groups controllers, never both."""

    version: Literal[0, 1, 2] = 2

    def __init__(self, top: Path, name: str, *, whole: bool = False) -> None:
        """SandboxError when groups cannot be made below ``top``. whole: ``top`` is all of the
        tree that this machine or container sees."""
        self._whole = whole
        wanted = {"memory", "cpu", "pids"} & set(_read(top, "cgroup.controllers").split())
        self._enable(top, wanted)
        self._base = top / name
        try:
            self._base.mkdir(exist_ok=True)
        except OSError as error:
            raise SandboxError(f"cgroup {self._base}: {error.strerror}") from error
        self._enable(self._base, wanted)
        enabled = set(_read(self._base, "cgroup.subtree_control").split())
        if not os.access(self._base / "cgroup.procs", os.W_OK):
            raise SandboxError(f"cgroup {self._base} does not take processes")
        counted = _counted() if "memory" in enabled else frozenset()
        self.can: frozenset[str] = frozenset(enabled & wanted) | {"freezer"} | counted
        self.paths: tuple[str, ...] = (str(self._base),)
        self.processes = _bound_processes(self._base)

    def _enable(self, path: Path, wanted: set[str]) -> None:
        missing = wanted - set(_read(path, "cgroup.subtree_control").split())
        for controller in sorted(missing):
            if _write(path, "cgroup.subtree_control", f"+{controller}"):
                continue
            # The group holds processes. In a cgroup of one's own (a delegated scope, the root of
            # a container) they may step aside into a leaf; nobody else's are touched.
            if self._step_aside(path):
                _write(path, "cgroup.subtree_control", f"+{controller}")

    def _step_aside(self, path: Path) -> bool:
        """Move what is in a group into a leaf of it, if all of that is this platform's own or
        this is the root of a container."""
        leaf = path / PLATFORM
        anybody = self._whole and os.geteuid() == 0
        for _ in range(10):  # what is moved may start another process just before
            inside = _read(path, "cgroup.procs").split()
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

    def make(self, name: str, limit: Limit) -> Group:
        try:
            return _Group2(self._base / name, limit)
        except OSError as error:
            raise SandboxError(f"cgroup {name}: {error.strerror}") from error

    def memory_bytes(self) -> int:
        return _memory2(self._base)

    def close(self) -> bool:
        return sweep(self.paths)


class Hierarchy1:
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
            self.can |= _counted() - {"sockets"}
            if _write(memory, _SOCKETS, -1):
                self.can |= {"sockets"}
        self.paths = tuple(sorted({str(base) for base in self._bases.values()}))
        self.processes = _bound_processes(self._bases.get("pids", Path("/nonexistent")))

    def make(self, name: str, limit: Limit) -> Group:
        try:
            return _Group1({key: base / name for key, base in self._bases.items()}, limit)
        except OSError as error:
            raise SandboxError(f"cgroup {name}: {error.strerror}") from error

    def memory_bytes(self) -> int:
        base = self._bases.get("memory")
        return 0 if base is None else _memory1(base)

    def close(self) -> bool:
        return sweep(self.paths)


def open_hierarchy(instance: str) -> Hierarchy:
    """The best this machine gives: version 2 where it has the controllers, else version 1."""
    name = f"boda-{instance}"
    try:
        mounts, own = list(_mounts()), _own_paths()
    except OSError:
        return NoHierarchy()
    for mount in mounts:
        if mount.kind != "cgroup2":
            continue
        controllers = set(_read(mount.point, "cgroup.controllers").split())
        if not {"memory", "pids"} <= controllers:
            continue
        # At the real root of the tree inner groups may hold processes, so root goes there; it
        # alone has no cgroup.type.
        at_root = os.geteuid() == 0 and not (mount.point / "cgroup.type").exists()
        top = mount.point if at_root else _place(mount, own.get("", "/"))
        with contextlib.suppress(SandboxError):
            return Hierarchy2(top, name, whole=top == mount.point)
    tops: dict[str, Path] = {}
    for mount in mounts:
        if mount.kind == "cgroup":
            for controller in mount.controllers & set(CONTROLLERS):
                tops[controller] = _place(mount, own.get(controller, "/"))
    with contextlib.suppress(SandboxError):
        return Hierarchy1(tops, name)
    return NoHierarchy()


def sweep(paths: Sequence[str], patience_s: float = 2.0) -> bool:
    """Remove what an instance that is no more has left: its processes first. Blocking.

    False when something is still there after so long, for a later sweep to remove."""
    bases = [Path(text) for text in paths if Path(text).name.startswith("boda-")]
    end = time.monotonic() + patience_s
    while not all([_swept(base) for base in bases]):  # noqa: C419  each of them, every time
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _swept(base: Path) -> bool:
    """One attempt; processes take a moment to go once they are killed."""
    try:
        groups = [*(entry for entry in base.iterdir() if entry.is_dir()), base]
    except OSError:
        return not base.exists()
    for group in groups:
        _write(group, "freezer.state", "THAWED")
        _write(group, "cgroup.freeze", "0")
        for pid in _read(group, "cgroup.procs").split():
            with contextlib.suppress(OSError):
                os.kill(int(pid), 9)
        _remove(group)
    return not base.exists()


def favour_moves() -> int | None:
    """Make entering a cgroup cheap: microseconds instead of the six milliseconds that the kernel
    otherwise waits for every processor to notice. Linux 6.0 and newer, as root.

    A cgroup mount with ``favordynmods`` asks for it; this one has no controllers, is seen by
    nobody, and lives as long as the descriptor that is returned.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    cloexec, set_flag, set_string, create = 1, 0, 1, 6
    context = libc.syscall(430, b"cgroup", cloexec)
    if context < 0:
        return None
    try:
        options = [
            (set_flag, b"none", None),
            (set_string, b"name", f"boda{os.getpid()}".encode()),
            (set_flag, b"favordynmods", None),
            (create, None, None),
        ]
        for command, key, value in options:
            if libc.syscall(431, context, command, key, value, 0) < 0:
                return None
        mount = libc.syscall(432, context, cloexec, 0)
        return int(mount) if mount >= 0 else None
    finally:
        os.close(context)
