"""Groups of both versions, as far as this machine has them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from boda.sandbox.cgroups.absent import AbsentHierarchy
from boda.sandbox.cgroups.contract import Cgroup, CgroupHierarchy, CgroupLimits
from boda.sandbox.cgroups.discovery import open_hierarchy
from boda.sandbox.cgroups.files import must_write
from boda.sandbox.cgroups.leftovers import sweep
from boda.sandbox.cgroups.version1 import CONTROLLERS, Version1Cgroup, Version1Hierarchy
from boda.sandbox.cgroups.version2 import PLATFORM, Version2Hierarchy
from boda.sandbox.contract import SandboxError
from support.sandbox_snippets import why_not_root

LIMIT = CgroupLimits(64 << 20, 0.5, 20)
pytestmark = pytest.mark.skipif(bool(why_not_root()), reason=why_not_root() or "root")


def unified() -> Path | None:
    for path in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (path / "cgroup.controllers").exists():
            return path
    return None


@pytest.fixture(params=["best", "version 2"])
def hierarchy(request: pytest.FixtureRequest) -> Iterator[CgroupHierarchy]:
    name = f"test{os.getpid()}"
    made: CgroupHierarchy
    if request.param == "best":
        made = open_hierarchy(name)
        if isinstance(made, AbsentHierarchy):
            pytest.skip("this machine gives no cgroup")
    else:
        top = unified()
        if top is None:
            pytest.skip("this machine has no cgroup of version 2")
        made = Version2Hierarchy(top, f"boda-{name}")
    yield made
    made.close()
    assert not any(Path(path).exists() for path in made.paths)


@contextlib.contextmanager
def spinning(group: Cgroup) -> Iterator[int]:
    """A process in the group that computes without end."""
    pid = os.fork()
    if pid == 0:
        for fd in group.entries.values():
            os.write(fd, b"0")
        while True:
            pass
    try:
        time.sleep(0.05)
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        group.thaw()
        os.waitpid(pid, 0)


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def until_running(pid: int, want: int) -> None:
    """Return when a process has had so many ticks of CPU, however busy the machine is."""
    end = time.monotonic() + 20
    while ticks(pid) < want:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_freezing_stops_and_thawing_lets_go(hierarchy: CgroupHierarchy) -> None:
    group = hierarchy.make("one", LIMIT)
    with spinning(group) as pid:
        group.freeze()
        time.sleep(0.05)
        before = ticks(pid)
        time.sleep(0.15)
        assert ticks(pid) - before <= 1
        group.thaw()
        until_running(pid, before + 3)
        # Through the descriptor as well, which is how an init does it.
        group.freeze()
        assert group.freezer is not None
        os.write(group.freezer, group.thawed.encode())
        time.sleep(0.02)
        until_running(pid, ticks(pid) + 3)
    assert group.remove()
    assert group.remove()  # gone, and safe to ask again


def filled(kind: str) -> int:
    """Bytes that were kept unread in sockets, after all of them were filled."""
    ends = []
    for _ in range(200):
        if kind == "datagrams":
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind(("127.0.0.1", 0))
            one.connect(one.getsockname())
            ends.append((one, one))
        else:
            with socket.create_server(("127.0.0.1", 0)) as server:
                one = socket.create_connection(server.getsockname())
                ends.append((one, server.accept()[0]))
        for each in ends[-1]:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            each.setblocking(False)
    for sending, _ in ends:
        for _ in range(30):
            with contextlib.suppress(OSError):
                sending.send(bytes(60_000))
    kept = 0
    for sending, receiving in ends:
        sending.close() if sending is not receiving else None
        with contextlib.suppress(OSError):
            while data := receiving.recv(1 << 16):
                kept += len(data)
        receiving.close()
    return kept


@pytest.mark.parametrize("kind", ["datagrams", "streams"])
def test_what_lies_unread_in_sockets_is_limited(hierarchy: CgroupHierarchy, kind: str) -> None:
    if "sockets" not in hierarchy.can:
        pytest.skip("this machine does not count the memory of sockets")
    group = hierarchy.make("sockets", LIMIT)
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        for fd in group.entries.values():
            os.write(fd, b"0")
        os.write(tells, str(filled(kind)).encode())
        os._exit(0)
    os.close(tells)
    with open(told) as file:  # empty where it was killed for it
        kept = int(file.read() or 0)
    os.waitpid(pid, 0)
    assert kept <= LIMIT.memory_bytes
    if hierarchy.version == 1:
        assert 0 < kept <= 2 * LIMIT.socket_bytes  # a little is granted to each connection
    while not group.remove():
        time.sleep(0.01)


def test_all_together_have_less_processes_than_the_machine(hierarchy: CgroupHierarchy) -> None:
    if "pids" not in hierarchy.can:
        pytest.skip("this machine does not count processes")
    kernel = Path("/proc/sys/kernel")
    most = min(int((kernel / name).read_text()) for name in ("pid_max", "threads-max"))
    assert 0 < hierarchy.processes <= most * 3 // 4
    bounds = [Path(path, "pids.max") for path in hierarchy.paths if Path(path, "pids.max").exists()]
    assert [int(bound.read_text()) for bound in bounds] == [hierarchy.processes]
    # It holds for whoever is in the groups, whatever each of them may have by itself.
    bounds[0].write_text("3")
    one, two = hierarchy.make("one", LIMIT), hierarchy.make("two", LIMIT)
    with spinning(one), spinning(two):
        started = []
        try:
            for group in (one, two):
                pid = os.fork()
                if pid == 0:
                    for fd in group.entries.values():
                        os.write(fd, b"0")
                    code = 0
                    try:
                        for _ in range(2):
                            if os.fork() == 0:
                                time.sleep(2)
                                os._exit(0)
                    except OSError:
                        code = 1
                    os._exit(code)
                started.append(pid)
        finally:
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in started]
    assert 1 in codes


def test_two_of_a_name_are_refused(hierarchy: CgroupHierarchy) -> None:
    group = hierarchy.make("same", LIMIT)
    with pytest.raises(SandboxError, match="same: File exists"):
        hierarchy.make("same", LIMIT)
    assert group.remove()


def test_a_group_in_use_is_not_removed_but_later(hierarchy: CgroupHierarchy) -> None:
    group = hierarchy.make("busy", LIMIT)
    with spinning(group):
        assert not group.remove()
    for _ in range(100):
        if group.remove():
            break
        time.sleep(0.01)
    else:
        pytest.fail("the group was never removed")
    assert group.usage().cpu_s == 0
    group.freeze()
    group.set_cpu(1.0)
    assert group.oom_kills() == 0


def test_sweeping_kills_what_is_left_even_if_frozen(hierarchy: CgroupHierarchy) -> None:
    group = hierarchy.make("left", LIMIT)
    pid = os.fork()
    if pid == 0:
        for fd in group.entries.values():
            os.write(fd, b"0")
        time.sleep(1000)
    time.sleep(0.05)
    group.freeze()
    sweep(list(hierarchy.paths))
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    sweep(list(hierarchy.paths))
    assert not any(Path(path).exists() for path in hierarchy.paths)


def test_version_2_reads_its_files(tmp_path: Path) -> None:
    """On a copy of a group's files, since the machine may have version 1."""
    files = {
        "cgroup.procs": "",
        "cgroup.controllers": "cpu memory pids",
        "cgroup.subtree_control": "cpu memory pids",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    base = tmp_path / "boda-x"
    base.mkdir()
    for name, text in files.items():
        (base / name).write_text(text)
    hierarchy = Version2Hierarchy(tmp_path, "boda-x")
    assert hierarchy.can - {"sockets", "kernel"} == {"memory", "cpu", "pids", "freezer"}
    with pytest.raises(SandboxError):  # no kernel makes the files of a new folder here
        hierarchy.make("env", LIMIT)
    assert not (base / "env").exists()


def test_a_limit_that_is_not_taken_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "memory.max").mkdir()  # whatever is written there is refused
    with pytest.raises(OSError, match=r"limit refused.*memory\.max"):
        must_write(tmp_path, "memory.max", 1)
    must_write(tmp_path, "pids.max", 1)  # there is no such controller here


def test_the_platform_steps_aside_with_what_it_has_started_and_with_nothing_else() -> None:
    top = unified()
    if top is None:
        pytest.skip("this machine has no cgroup of version 2")
    group = top / f"boda-aside{os.getpid()}"
    outsider = os.fork()  # a child of the tests, not of the process that steps aside
    if outsider == 0:
        time.sleep(1000)
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(outsider))
        assert in_a_process_of(group, with_child=False) == "no"
        (top / "cgroup.procs").write_text(str(outsider))
        assert in_a_process_of(group, with_child=True) == "yes"
        assert (group / PLATFORM).is_dir() and not (group / "cgroup.procs").read_text()
    finally:
        os.kill(outsider, signal.SIGKILL)
        os.waitpid(outsider, 0)
        sweep([str(group)])
    assert not group.exists()


def in_a_process_of(group: Path, *, with_child: bool) -> str:
    """Whether a process in a group can step aside: yes or no."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = b"failed"
        try:
            (group / "cgroup.procs").write_text(str(os.getpid()))
            child = os.fork() if with_child else 0
            if with_child and child == 0:
                time.sleep(1000)
            hierarchy = Version2Hierarchy.__new__(Version2Hierarchy)
            hierarchy._whole = False
            said = b"yes" if hierarchy._step_aside(group) else b"no"
            if with_child:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        finally:
            os.write(writes, said)
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writes)
    with os.fdopen(reads) as answer:
        return answer.read()


def test_version_1_needs_one_hierarchy_at_least(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="no cgroup hierarchy"):
        Version1Hierarchy(dict.fromkeys(CONTROLLERS, tmp_path / "absent"), "boda-x")


def test_without_cgroups_nothing_is_promised() -> None:
    nothing = AbsentHierarchy()
    group = nothing.make("any", LIMIT)
    group.freeze()
    group.thaw()
    assert nothing.can == frozenset() and group.entries == {} and group.freezer is None
    assert group.usage().memory_bytes == 0 and group.remove()


def _fill(group: Cgroup, mib: int) -> int:
    """How a process of the group ends that takes so much memory."""
    pid = os.fork()
    if pid == 0:
        try:
            for fd in group.entries.values():
                os.write(fd, b"0")
            held = bytearray(mib << 20)
            for at in range(0, len(held), 4096):
                held[at] = 1
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1]


def _limit_above(hierarchy: CgroupHierarchy, mib: int) -> None:
    """Let all groups together have so much."""
    for path in map(Path, hierarchy.paths):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (path / name).exists():
                (path / name).write_text(str(mib << 20))


def test_whose_memory_was_used_up_can_be_told(hierarchy: CgroupHierarchy) -> None:
    if "memory" not in hierarchy.can:
        pytest.skip("memory is not limited here")
    own = hierarchy.make("own", CgroupLimits(24 << 20, 1.0, 20))
    assert os.WTERMSIG(_fill(own, 64)) == signal.SIGKILL
    assert own.oom_kills() > 0 and own.ran_full()
    _limit_above(hierarchy, 32)
    others = hierarchy.make("others", CgroupLimits(512 << 20, 1.0, 20))
    assert os.WTERMSIG(_fill(others, 128)) == signal.SIGKILL
    assert others.oom_kills() > 0 and not others.ran_full()
    for group in (own, others):
        assert group.remove()


def test_a_limit_can_be_lowered(hierarchy: CgroupHierarchy) -> None:
    if "memory" not in hierarchy.can:
        pytest.skip("memory is not limited here")
    group = hierarchy.make("lowered", CgroupLimits(256 << 20, 1.0, 20))
    assert os.waitstatus_to_exitcode(_fill(group, 64)) == 0
    group.lower_memory(32 << 20)
    assert os.WTERMSIG(_fill(group, 64)) == signal.SIGKILL
    assert group.ran_full() and group.processes() == []
    assert group.remove()


def test_what_all_groups_use_is_one_figure(hierarchy: CgroupHierarchy) -> None:
    if "memory" not in hierarchy.can:
        pytest.skip("memory is not limited here")
    group = hierarchy.make("using", LIMIT)
    ready, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        for fd in group.entries.values():
            os.write(fd, b"0")
        held = bytearray(b"x" * (16 << 20))
        os.write(tells, held[:1])
        time.sleep(1000)
    os.read(ready, 1)
    assert hierarchy.memory_bytes() >= 16 << 20
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(ready)
    os.close(tells)
    for _ in range(100):
        if group.remove():
            break
        time.sleep(0.01)


@pytest.mark.parametrize("counted", [True, False])
def test_version_1_tells_its_own_limit_from_others(tmp_path: Path, counted: bool) -> None:
    """On files as they are: a kernel may count how often a limit was met, or not."""
    group = object.__new__(Version1Cgroup)
    group._paths, group._fulls, group._limit_bytes = {"memory": tmp_path}, 0, 64 << 20
    group._peak = os.open(tmp_path / "memory.max_usage_in_bytes", os.O_RDWR | os.O_CREAT, 0o600)
    group.freezer = None
    failures = tmp_path / "memory.memsw.failcnt"

    def peak(mib: int) -> None:
        os.pwrite(group._peak, str(mib << 20).encode().ljust(64), 0)  # type: ignore[arg-type]

    try:
        peak(40)
        failures.write_text("0")
        assert not group.ran_full()
        peak(64)
        failures.write_text("7" if counted else "0")
        assert group.ran_full()
        assert group.ran_full() != counted, "what was counted before is over"
        if counted:
            failures.write_text("9")
            group.freeze()
            assert not group.ran_full(), "cache that was given up before it rested"
    finally:
        os.close(group._peak)
