"""What this machine really gives: a sandbox is started, and what it sees and may do is compared
with what is promised.

``examine`` blocks for a fraction of a second, or for a few when ``thorough``: then the limits are
tried by running into them, instead of by asking whether the kernel took them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import shutil
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from boda.sandbox import plan
from boda.sandbox.cgroups.contract import CgroupHierarchy
from boda.sandbox.contract import Interpreter, Sandbox, SandboxError, SandboxSpec
from boda.sandbox.findings import (
    AS_ROOT,
    NAMESPACE,
    SANDBOX,
    WITH_SANDBOX,
    Finding,
    can_isolate,
    can_start,
)
from boda.sandbox.host import HostFacts
from boda.sandbox.linux import LinuxSandboxes
from boda.sandbox.mode import IsolationMode
from boda.sandbox.reach import METADATA, NOTHING, REFUSED, AddressRange, Reach

_GUEST = Path(__file__).parent.parent / "guest"
_DELEGATE = (
    f"{AS_ROOT}, or give it cgroups of its own: systemd-run --user --scope -p Delegate=yes boda up"
)
_DELEGATE_CPU = (
    f"{AS_ROOT}, or let root put `Delegate=cpu memory pids` under [Service] into "
    "/etc/systemd/system/user@.service.d/delegate.conf"
)
_ABSENT, _OTHER = "is missing", "is no device"
_MINORS = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
"""Of the memory devices, whose major number is 1. Source: Linux, admin-guide/devices.txt."""


@dataclass(frozen=True, slots=True)
class _OwnPython:
    """The platform's own interpreter, good enough to look around with."""

    name: str
    interpreter: Path
    version: str
    prefix: Path
    kind: Literal["python", "provided"] = "python"


class _ProbeLibrary:
    """The guest with the probe as its bootstrap; no boto3, so that it starts at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self, runtime: Interpreter) -> Path:
        package = self._folder / "_boda"
        package.mkdir(parents=True)
        for source in _GUEST.glob("*.py"):
            shutil.copyfile(source, package / source.name)
        shutil.copyfile(_GUEST / "probe.py", package / "bootstrap.py")
        for path in (self._folder, package, *package.iterdir()):
            path.chmod(0o755)
        return self._folder

    def finish(self, runtime: Interpreter) -> None:
        """There is nothing else in it."""


def examine(
    folder: Path,
    *,
    network: bool = True,
    reach: Reach = NOTHING,
    thorough: bool = True,
    plain: bool = False,
) -> list[Finding]:
    """Try every promise here. folder: where the platform would keep its sandboxes' files; only
    a folder inside, removed again, is used. network, reach: as the platform would be told.

    Where sandboxes cannot be isolated at all, or with ``plain``, what holds for plain processes is
    found; a single finding says that not even those can be started."""
    wanted = _Wanted(folder, network, reach, thorough)
    return _in_own_thread(lambda: _examine(wanted, plain))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What ``examine`` is asked for."""

    folder: Path
    network: bool
    reach: Reach
    thorough: bool


def _in_own_thread(
    make: Callable[[], Coroutine[Any, Any, list[Finding]]],
) -> list[Finding]:
    """Run to completion whether or not the caller's thread runs an event loop."""
    result: list[list[Finding] | BaseException] = []

    def work() -> None:
        try:
            result.append(asyncio.run(make()))
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=work, name="boda-doctor")
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def _working_folder(folder: Path) -> Path:
    """A fresh folder where the platform would keep its own, or as near as can be written."""
    base = folder
    while not base.is_dir():
        base = base.parent
    if not os.access(base, os.W_OK):
        base = Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix=".doctor-", dir=base))


def _own_python() -> _OwnPython:
    version = ".".join(str(part) for part in sys.version_info[:3])
    executable = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
    return _OwnPython("python", executable, version, Path(sys.base_prefix).resolve())


async def _examine(wanted: _Wanted, plain: bool) -> list[Finding]:
    findings = [] if plain else await _visit(wanted, "")
    if can_isolate(findings):
        return findings
    # What is left without isolation; the reason why there is none stands first.
    reason = findings[0].missing if findings else "not asked for"
    weaker = await _visit(wanted, reason)
    return weaker if can_start(weaker) or not findings else findings


async def _visit(wanted: _Wanted, why_plain: str) -> list[Finding]:
    """why_plain: empty to try isolated sandboxes, else the reason for plain processes."""
    place, python = _working_folder(wanted.folder), _own_python()
    sandboxes = LinuxSandboxes(
        place / "state",
        {python.name: python},
        _ProbeLibrary(place / "library"),
        plain=bool(why_plain),
        network=wanted.network,
        reach=wanted.reach,
        instance=f"doctor-{os.getpid()}-{place.name}",
    )
    code = place / "code"
    code.mkdir()
    try:
        return await _Examination(sandboxes, code, wanted, why_plain).run()
    finally:
        await sandboxes.close()
        shutil.rmtree(place, ignore_errors=True)


def _but(what: str, *open_: AddressRange) -> str:
    """What is refused, and what is not."""
    return f"{what}; open: {', '.join(map(str, open_))}" if open_ else what


def _sysctl(name: str) -> str:
    try:
        return Path("/proc/sys", *name.split(".")).read_text().strip()
    except OSError:
        return ""


def _wrong_mode(name: str) -> str:
    """What is wrong with a device's mode, or ""."""
    try:
        mode = os.stat(f"/dev/{name}").st_mode
    except OSError:
        return _ABSENT
    if not stat.S_ISCHR(mode):
        return _OTHER
    wanted = 0o444 if "random" in name else 0o666
    return "" if mode & wanted == wanted else f"has mode {stat.S_IMODE(mode):04o}"


def _device_commands(unusable: Mapping[str, str]) -> Iterator[str]:
    """The commands that make devices usable.

    unusable: what is wrong with them, by path.
    """
    closed = sorted(path for path, what in unusable.items() if what not in (_ABSENT, _OTHER))
    if closed:
        yield f"chmod 666 {' '.join(closed)}"
    for path, what in sorted(unusable.items()):
        if what in (_ABSENT, _OTHER):
            minor = _MINORS[path.removeprefix("/dev/")]
            cleared = f"rm -r {path} && " if what == _OTHER else ""
            yield f"{cleared}mknod -m 666 {path} c 1 {minor}"


async def _ask(sandbox: Sandbox, question: str, timeout_s: float = 15.0) -> dict[str, Any]:
    """One line to the probe and one back; empty when it died of the question."""
    loop = asyncio.get_running_loop()
    answer = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(timeout_s):
            await loop.sock_sendall(sandbox.channel, question.encode() + b"\n")
            while not answer.endswith(b"\n"):
                chunk = await loop.sock_recv(sandbox.channel, 1 << 16)
                if not chunk:
                    break
                answer += chunk
    return dict(json.loads(answer)) if answer.endswith(b"\n") else {}


class _Examination:
    """One visit. Each method answers for one group of promises."""

    def __init__(
        self, sandboxes: LinuxSandboxes, code: Path, wanted: _Wanted, why_plain: str
    ) -> None:
        self._sandboxes = sandboxes
        self._mode: IsolationMode = sandboxes.mode
        self._code = code
        self._thorough = wanted.thorough
        self._reach = wanted.reach
        self._why_plain = why_plain
        self._count = 0
        self._findings: list[Finding] = []

    async def run(self) -> list[Finding]:
        try:
            sandbox = await self._start(128)
        except SandboxError as error:
            return [Finding(SANDBOX, False, missing=str(error), remedy=self._remedy())]
        facts = await _ask(sandbox, "facts")
        if not facts:
            await sandbox.destroy()
            why = "what was started in it ended without a word"
            return [Finding(SANDBOX, False, missing=why, remedy=self._remedy())]
        hierarchy = self._sandboxes.hierarchy
        self._add(
            SANDBOX,
            self._mode.isolated,
            self._mode.describe(),
            f"only {self._mode.describe()}: {self._why_plain}",
            self._remedy(),
        )
        self._identity(facts)
        self._namespaces(facts)
        self._mounts(facts)
        self._devices(facts)
        self._powers(facts)
        await self._limits(facts, hierarchy)
        await self._freezing(sandbox, hierarchy)
        await self._network(sandbox, facts)
        await sandbox.destroy()
        return self._findings

    async def _start(self, memory_mb: int, processes: int = 1024) -> Sandbox:
        self._count += 1
        return await self._sandboxes.start(
            SandboxSpec(
                f"doctor-{self._count}",
                "python",
                self._code,
                memory_mb=memory_mb,
                ephemeral_mb=64,
                processes=processes,
            )
        )

    def _remedy(self) -> str:
        """How to get isolated sandboxes."""
        if os.geteuid() == 0:
            return f"{AS_ROOT} of the machine itself, or in a container with --privileged"
        closed = [
            f"{name}={open_}"
            for name, shut, open_ in (
                ("user.max_user_namespaces", "0", "15000"),
                ("kernel.unprivileged_userns_clone", "0", "1"),
                ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
            )
            if _sysctl(name) == shut
        ]
        if closed:
            return f"{AS_ROOT}, or let root allow user namespaces: sysctl {' '.join(closed)}"
        return f"{AS_ROOT}, outside of containers that refuse namespaces"

    def _add(
        self,
        name: str,
        ok: bool,
        enforced: str,
        missing: str = "",
        remedy: str = "",
        *,
        required: bool = True,
    ) -> None:
        """A finding; of ``missing`` and ``remedy`` only what applies is kept."""
        if ok:
            self._findings.append(Finding(name, True, enforced, required=required))
        else:
            self._findings.append(Finding(name, False, "", missing, remedy, required))

    def _identity(self, facts: dict[str, Any]) -> None:
        isolated, privileged = self._mode.isolated, self._mode.privileged
        self._add(
            "user",
            isolated and facts["uid"] == 993,
            "each sandbox has a uid of its own"
            if privileged
            else "a user namespace; outside of it all sandboxes are the platform's user",
            "functions run as the platform's user",
            WITH_SANDBOX,
        )

    def _namespaces(self, facts: dict[str, Any]) -> None:
        words = {
            "mnt": "mounts",
            "pid": "processes",
            "ipc": "shared memory and queues",
            "uts": "host name",
            "user": "users",
            "net": "network",
            "cgroup": "cgroups",
        }
        for name, inside in facts["namespaces"].items():
            self._add(
                NAMESPACE + words[name],
                inside != os.readlink(f"/proc/self/ns/{name}"),
                "separate from this machine's",
                "shared with this machine",
                WITH_SANDBOX,
            )

    def _mounts(self, facts: dict[str, Any]) -> None:
        remedy = WITH_SANDBOX
        counted = "memory" in self._sandboxes.hierarchy.can
        code = facts["writable"][-1:] == [facts["task"]]
        self._add(
            "read-only root",
            self._mode.isolated and not facts["hidden"] and not facts["writable"],
            "only the runtime's files show, none can be written",
            "the machine's files show",
            remedy,
        )
        self._add(
            "read-only code",
            not code,
            "/var/task cannot be written",
            "the code's folder can be written",
            remedy,
        )
        self._add(
            "size of /tmp",
            48 <= facts["tmp_mb"] <= 72,
            "a file system of its own"
            if self._sandboxes.has_volumes
            else "memory of its own, "
            + ("counted as the function's" if counted else "not counted"),
            "it is a folder without a limit",
            remedy,
        )
        self._add(
            "own /proc",
            facts["processes"] <= 3 and not facts["sysctl"],
            "only the sandbox's processes show",
            "this machine's processes show",
            remedy,
        )
        self._add(
            "minimal /dev",
            len(facts["devices"]) <= 10,
            ", ".join(facts["devices"]) if len(facts["devices"]) <= 10 else "",
            "this machine's devices show",
            remedy,
        )

    def _devices(self, facts: dict[str, Any]) -> None:
        """Modes are this machine's own: a sandbox shows its devices as they are."""
        wrong = {f"/dev/{name}": mode for name in plan.DEVICES if (mode := _wrong_mode(name))}
        unusable = dict.fromkeys(facts["closed_devices"], "cannot be opened") | wrong
        self._add(
            "modes of devices",
            not unusable,
            "everybody may use them",
            "; ".join(f"{path} {what}" for path, what in sorted(unusable.items())),
            "; ".join(_device_commands(unusable)),
        )

    def _powers(self, facts: dict[str, Any]) -> None:
        held, bounding = facts["capabilities"], int(facts["bounding"], 16)
        held_none = all(int(value, 16) == 0 for value in held)
        self._add(
            "no capabilities",
            held_none and (not bounding or facts["no_new_privs"] == "1"),
            "none is held, and no program gives any" if bounding else "every set is empty",
            "some are left",
            WITH_SANDBOX,
        )
        self._add(
            "no new privileges",
            facts["no_new_privs"] == "1",
            "setuid programs give nothing",
            "the kernel refused",
            "a kernel that knows no_new_privs",
        )
        self._add(
            "seccomp",
            facts["seccomp"] == "2" and facts["unshare"] == facts["mount"] == "EPERM",
            "an allow-list of system calls",
            "no filter is in force",
            "a kernel with CONFIG_SECCOMP_FILTER",
        )

    async def _limits(self, facts: dict[str, Any], hierarchy: CgroupHierarchy) -> None:
        how = f"by a cgroup of version {hierarchy.version}"
        can = hierarchy.can
        root = os.geteuid() == 0
        remedy = "mount the cgroup controller and let boda write to it" if root else _DELEGATE
        memory = "memory" in can
        self._add(
            "memory",
            memory and (not self._thorough or await self._memory_holds()),
            how,
            "the limit does not hold"
            if memory
            else "each process alone is limited, by an rlimit; the sandbox as a whole is not",
            remedy,
        )
        sockets = "sockets" in can
        self._add(
            "socket memory",
            sockets and (not self._thorough or await self._sockets_hold()),
            how,
            "the limit does not hold"
            if sockets
            else "what lies unread in a function's sockets is not limited",
            f"boot without cgroup.memory=nosocket; {remedy}" if memory else remedy,
        )
        self._add(
            "kernel memory",
            "kernel" in can,
            how,
            "pipes, sockets and page tables of a function are not limited",
            f"boot without cgroup.memory=nokmem; {remedy}" if memory else remedy,
        )
        counted = "pids" in can or self._mode.isolated
        self._add(
            "processes",
            counted and (not self._thorough or await self._processes_hold()),
            how if "pids" in can else "by an rlimit",
            "the limit does not hold" if counted else "a function may start as many as boda may",
            remedy,
        )
        self._add(
            "processes together",
            hierarchy.processes > 0,
            f"{how}: {hierarchy.processes:,} of all functions",
            "functions together may use up this machine's processes",
            remedy,
        )
        cpu = "cpu" in can
        self._add(
            "CPU",
            cpu and (not self._thorough or await self._cpu_holds()),
            f"{how}: 1 vCPU per 1,769 MB",
            "the limit does not hold" if cpu else "functions take what CPU there is",
            _DELEGATE_CPU if memory and not root else remedy,
        )
        self._add(
            "open files",
            facts["open_files"] == 1024,
            "1,024 by an rlimit",
            "the limit was refused",
            "raise boda's own limit of open files to 1,024 or more",
        )

    async def _memory_holds(self) -> bool:
        sandbox = await self._start(64)
        answer = await _ask(sandbox, "memory 256")
        ended = await sandbox.wait_runtime() if not answer else None
        await sandbox.destroy()
        return ended is not None and ended.oom

    async def _sockets_hold(self) -> bool:
        sandbox = await self._start(64)
        answer = await _ask(sandbox, "datagrams 128")
        await sandbox.destroy()
        # It may have been killed for it instead.
        return int(answer.get("kept_mib", 0)) <= 64 + plan.BOOTSTRAP_MB

    async def _processes_hold(self) -> bool:
        sandbox = await self._start(256, processes=20)
        answer = await _ask(sandbox, "processes 40")
        await sandbox.destroy()
        return 0 < int(answer.get("started", 40)) < 40

    async def _cpu_holds(self) -> bool:
        sandbox = await self._start(177)
        sandbox.init_done()
        await _ask(sandbox, "spin 0.5")
        used = sandbox.usage().cpu_s
        await sandbox.destroy()
        return used < 0.35

    async def _freezing(self, sandbox: Sandbox, hierarchy: CgroupHierarchy) -> None:
        stopped = True
        if self._thorough:
            before = float((await _ask(sandbox, "spin 0")).get("cpu_s", 0))
            spinning = asyncio.create_task(_ask(sandbox, "spin 0.4"))
            await asyncio.sleep(0.05)
            sandbox.freeze()
            await asyncio.sleep(0.25)
            sandbox.thaw()
            stopped = float((await spinning).get("cpu_s", 1)) - before < 0.25
        self._add(
            "freezing",
            stopped,
            "by the freezer" if "freezer" in hierarchy.can else "by SIGSTOP",
            "idle functions keep computing",
            remedy="a kernel with the cgroup freezer",
        )

    async def _surroundings(self, sandbox: Sandbox, no_network: str) -> None:
        """What functions reach beside the internet: nothing but what was opened to them."""
        reach, isolated = self._reach, self._mode.isolated
        if isolated and no_network and reach:
            why = f"{reach} cannot be opened to functions: {no_network}"
            remedy = f"{AS_ROOT} with nftables installed"
            self._add("open places", False, "", why, remedy, required=False)
        remedy = "a kernel whose nftables refuse it" if isolated else WITH_SANDBOX
        samples = [str(ipaddress.IPv4Network(one)[-1]) for one in REFUSED] if self._thorough else []
        reached = [
            address
            for address in (METADATA, *samples)
            if isolated
            and not reach.allows(address, 80)
            and await self._connects(sandbox, address, 80)
        ]
        self._add(
            "private networks",
            isolated and not reached,
            _but("refused, as metadata services of clouds are", *reach.networks),
            f"functions reach {', '.join(reached) or 'all that this machine reaches'}",
            remedy,
        )
        with socket.create_server((self._sandboxes.gateway or "127.0.0.1", 0)) as listener:
            open_ = not isolated or await self._connects(sandbox, *listener.getsockname())
        self._add(
            "this machine's ports",
            not open_,
            _but("refused, boda's endpoint for the function excepted", *reach.hosts),
            "functions reach them, those on the loopback included",
            remedy,
        )

    async def _connects(self, sandbox: Sandbox, address: str, port: int) -> bool:
        answer = await _ask(sandbox, f"connect {address} {port}")
        return answer.get("error") == ""

    async def _network(self, sandbox: Sandbox, facts: dict[str, Any]) -> None:
        missing = self._sandboxes.network_missing
        self._add(
            "internet",
            "eth0" in facts["interfaces"] if self._mode.isolated else True,
            "through NAT, this machine and its other sandboxes excepted"
            if self._mode.isolated
            else "this machine's own network, its loopback included",
            f"functions have no way out: {missing}",
            "run boda as root with nftables installed, and sysctl net.ipv4.ip_forward=1",
            required=False,
        )
        await self._surroundings(sandbox, missing)
        if self._mode.isolated and not missing:
            self._add(
                "connection tracking",
                not self._sandboxes.untracked,
                "each sandbox fills a small part of the machine's table of connections at most",
                "functions may fill the machine's table of connections: "
                + self._sandboxes.untracked,
                "a kernel with nft_connlimit (CONFIG_NFT_CONNLIMIT)",
                required=False,
            )
        self._add(
            "SnapStart",
            self._sandboxes.can_fork,
            "environments go on from an image of their version's init",
            f"every environment is initialised by itself: {self._sandboxes.templates_missing}",
            "run boda where sandboxes can be isolated, on a machine that permits templates",
            required=False,
        )
        host = HostFacts.of_this_machine()
        self._add(
            "name servers",
            bool(host.nameservers) or not self._mode.isolated,
            ", ".join(host.nameservers),
            "every name server of /etc/resolv.conf is on this machine's loopback, out of reach"
            if host.loopback_nameservers
            else "/etc/resolv.conf names no server",
            "put a server that sandboxes can reach into /etc/resolv.conf",
            required=False,
        )
