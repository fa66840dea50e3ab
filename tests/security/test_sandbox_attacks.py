"""Attacks from inside a sandbox, each with its refusal. Real sandboxes, as root."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import platform
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from boda.sandbox.contract import Exit, Sandbox, SandboxSpec
from boda.sandbox.linux import LinuxSandboxes
from support.sandbox_snippets import (
    Died,
    Refused,
    SnippetLibrary,
    ThisPython,
    run,
    serving,
    why_not_root,
)

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(why_not_root()), reason=why_not_root() or "root"),
]
_numbers = itertools.count()


class Prison:
    def __init__(self, sandboxes: LinuxSandboxes, folder: Path) -> None:
        self.sandboxes = sandboxes
        self.folder = folder
        self.code = folder / "code"

    async def start(self, **fields: Any) -> Sandbox:
        values: dict[str, Any] = {
            "sandbox_id": f"attack-{next(_numbers)}",
            "runtime": "python",
            "code_dir": self.code,
            "memory_mb": 256,
            "ephemeral_mb": 64,
            "network": False,
        }
        return await self.sandboxes.start(SandboxSpec(**(values | fields)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prison(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prison]:
    folder = tmp_path_factory.mktemp("prison")
    for name in ("code", "other"):
        (folder / name).mkdir()
        (folder / name / "secret.txt").write_text("of " + name)
    python = ThisPython()
    sandboxes = LinuxSandboxes(
        folder / "state",
        {python.name: python},
        SnippetLibrary(folder / "library"),
        instance=f"attacks-{os.getpid()}",
    )
    yield Prison(sandboxes, folder)
    await sandboxes.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(prison: Prison) -> AsyncIterator[Sandbox]:
    """One sandbox for the attacks that leave no trace."""
    sandbox = await prison.start()
    await run(sandbox, "import os, sys, socket, ctypes, errno, subprocess, resource")
    await run(sandbox, "libc = ctypes.CDLL(None, use_errno=True)")
    yield sandbox
    await sandbox.destroy()


# Files


async def test_nothing_of_the_host_can_be_read(prison: Prison, shared: Sandbox) -> None:
    paths = [
        "/etc/shadow",
        "/etc/hostname",
        "/etc/machine-id",
        "/root",
        "/boot",
        "/srv",
        "/mnt",
        "/sys/kernel",
        "/run/boda",
        "/var/lib",
        "/.host/etc/passwd",
        "/proc/1/root/etc/shadow",
        "/proc/self/root/etc/shadow",
        "/var/task/../../etc/shadow",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/sda",
        "/dev/vda",
        "/dev/loop0",
        "/dev/loop-control",
        "/dev/ptmx",
        "/dev/fuse",
        "/dev/net/tun",
        str(prison.folder / "other" / "secret.txt"),
        str(prison.folder),
        str(Path(__file__)),
    ]
    visible = await run(shared, f"answer = [p for p in {paths!r} if os.path.exists(p)]")
    assert visible == []
    assert await run(shared, "answer = open('/var/task/secret.txt').read()") == "of code"
    assert await run(shared, "answer = os.listdir('/home') + os.listdir('/usr/local')") == []


async def test_own_users_only(shared: Sandbox) -> None:
    names = await run(shared, "import pwd; answer = sorted(p.pw_name for p in pwd.getpwall())")
    assert names == ["nobody", "root", "sbx_user1051"]


@pytest.mark.parametrize(
    "path",
    [
        "/x",
        "/usr/x",
        "/bin/x",
        "/etc/passwd",
        "/etc/x",
        "/var/x",
        "/var/task/x",
        "/var/task/secret.txt",
        "/var/runtime/x",
        "/var/runtime/_boda/init.py",
        "/var/lang/x",
        "/opt/x",
        "/dev/x",
        "/home/x",
        "/run/x",
        "/proc/x",
        "/.layers/0/x",
        "/lib/x",
    ],
)
async def test_nothing_but_tmp_can_be_written(shared: Sandbox, path: str) -> None:
    with pytest.raises(Refused) as refused:
        await run(shared, f"open({path!r}, 'w')")
    assert refused.value.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT)


async def test_tmp_is_private_and_writable(prison: Prison, shared: Sandbox) -> None:
    await run(shared, "open('/tmp/mine', 'w').write('x')")
    other = await prison.start()
    assert await run(other, "import os; answer = os.listdir('/tmp')") == []
    await other.destroy()
    assert not Path("/tmp/mine").exists()


async def test_tmp_ends_at_its_size(prison: Prison) -> None:
    sandbox = await prison.start(memory_mb=128, ephemeral_mb=200)
    fill = (
        "block = b'x' * (1 << 20); answer = 0; f = open('/tmp/full', 'wb', buffering=0)\n"
        "try:\n while answer < 400: answer += f.write(block) >> 20\n"
        "except OSError as error: reason = error.errno"
    )
    written = await run(sandbox, fill, 60)
    # More than the memory: what is written to /tmp is not the function's memory.
    assert 195 <= written <= 215
    assert await run(sandbox, "answer = reason") == errno.ENOSPC
    await sandbox.destroy()


async def test_tmp_ends_at_its_number_of_files(prison: Prison) -> None:
    sandbox = await prison.start(ephemeral_mb=64)
    create = (
        "import os; answer = 0\ntry:\n"
        " while answer < 20000: os.close(os.open(f'/tmp/{answer}', 65)); answer += 1\n"
        "except OSError as error: reason = error.errno"
    )
    assert 1000 < await run(sandbox, create, 60) < 20000
    assert await run(sandbox, "answer = reason") == errno.ENOSPC
    await sandbox.destroy()


async def test_links_in_tmp_lead_nowhere_else(shared: Sandbox) -> None:
    await run(shared, "os.symlink('/etc/shadow', '/tmp/s'); os.symlink('/', '/tmp/r')")
    await run(shared, "os.symlink('/proc/1/root', '/tmp/p')")
    for path in ("/tmp/s", "/tmp/r/root/.profile", "/tmp/p/etc", "/tmp/r/../../../etc/shadow"):
        with pytest.raises(Refused) as refused:
            await run(shared, f"os.stat({path!r})")
        assert refused.value.errno in (errno.ENOENT, errno.EACCES)
    with pytest.raises(Refused):  # a hard link would keep what is to be replaced
        await run(shared, "os.link('/var/task/secret.txt', '/tmp/hard')")


# Exhaustion


async def test_a_memory_bomb_kills_only_itself(prison: Prison, shared: Sandbox) -> None:
    sandbox = await prison.start(memory_mb=128)
    with pytest.raises(Died) as died:
        await run(sandbox, "blocks = []\nwhile True: blocks.append(b'x' * (8 << 20))", 30)
    assert died.value.how.signal == signal.SIGKILL and died.value.how.oom
    await sandbox.restart({})
    assert await run(sandbox, "answer = 1") == 1
    with pytest.raises(Died) as died:
        await run(sandbox, "import os; os.kill(os.getpid(), 9)")
    assert not died.value.how.oom  # an end like it, but not for memory
    await sandbox.destroy()
    assert await run(shared, "answer = 2") == 2


async def test_whom_the_kernel_kills_for_others_is_not_blamed(prison: Prison) -> None:
    """What all sandboxes may have together is less here than what this one may."""
    paths = [Path(each) for each in prison.sandboxes.hierarchy.paths]
    names = ("memory.max", "memory.limit_in_bytes")
    limits = [path / name for path in paths for name in names if (path / name).exists()]
    if not limits:
        pytest.skip("memory is not limited here")
    sandbox = await prison.start(memory_mb=512)
    had = prison.sandboxes.hierarchy.memory_bytes()
    before = [limit.read_text() for limit in limits]
    for limit in limits:
        limit.write_text(str(had + (96 << 20)))
    try:
        with pytest.raises(Died) as died:
            await run(sandbox, "x = bytearray(256 << 20); x[::4096] = b'1' * len(x[::4096])")
    finally:
        for limit, text in zip(limits, before, strict=True):
            limit.write_text(text)
    assert died.value.how == Exit(None, signal.SIGKILL, oom=False, machine=True)
    await sandbox.restart({})
    assert await run(sandbox, "answer = 1") == 1
    await sandbox.destroy()


@pytest.mark.parametrize(
    "hoard",
    [
        "fd = os.memfd_create('m'); os.write(fd, b'x' * (20 << 20))",
        "pid = os.fork()\nif not pid:\n x = b'x' * (20 << 20); __import__('time').sleep(60)",
    ],
    ids=["memfd", "children"],
)
async def test_memory_counts_wherever_it_hides(prison: Prison, hoard: str) -> None:
    sandbox = await prison.start(memory_mb=128)
    snippet = "import os\nkept = []\nfor n in range(30):\n "
    snippet += hoard.replace("\n", "\n ")
    snippet += "\n kept.append(None)\n __import__('time').sleep(0.01)"
    # Refused by a limit of its own, or killed for memory: never more than was paid for.
    with contextlib.suppress(Died, Refused):
        await run(sandbox, snippet, 30)
    assert sandbox.usage().memory_bytes <= (128 + 17) << 20
    assert sandbox.usage().peak_bytes <= (128 + 17) << 20
    await sandbox.destroy()


async def test_memory_counts_in_sockets_that_nobody_reads(prison: Prison) -> None:
    """Beside the memory in cgroups of version 1, where it is a quarter of it; else as its part."""
    sandbox = await prison.start(memory_mb=128)
    fill = """
import socket
sockets, kept = [], 0
for _ in range(500):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    one.setblocking(False)
    sockets.append(one)
    for _ in range(16):
        try:
            one.sendto(bytes(60_000), one.getsockname())
        except OSError:
            pass
for one in sockets:
    try:
        while True:
            kept += len(one.recv(1 << 16))
    except OSError:
        pass
answer = kept
"""
    with contextlib.suppress(Died):
        assert await run(sandbox, fill, 30) <= (128 + 16) << 20
    await sandbox.destroy()


async def test_memory_counts_in_sockets_that_no_cgroup_counts(prison: Prison) -> None:
    """Answers of the kernel that nobody reads: 2 KiB for each question, 8 MB in each socket."""
    sandbox = await prison.start(memory_mb=128)
    hoard = """
import socket, struct, time
ask = struct.pack("IHHII", 32, 18, 1, 1, 0) + struct.pack("BBHiII", 0, 0, 0, 1, 0, 0)
kept = []
for number in range(400):
    one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    one.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    kept.append(one)
    for _ in range(100):
        try:
            one.send(ask)
        except OSError:
            break
time.sleep(30)
"""
    with pytest.raises(Died) as died:
        await run(sandbox, hoard, 60)
    assert died.value.how.signal == signal.SIGKILL
    await sandbox.restart({})
    names = "import socket; answer = [socket.if_nameindex(), len(socket.getaddrinfo('::1', 1))]"
    assert await run(sandbox, names)  # who reads its answers is not in danger
    await sandbox.destroy()


async def test_a_fork_bomb_ends_at_its_number_of_processes(prison: Prison, shared: Sandbox) -> None:
    sandbox = await prison.start(memory_mb=1024, processes=200)
    bomb = "import os, time; end = time.monotonic() + 1.5\nwhile time.monotonic() < end:\n"
    bomb += (
        " try: os.fork()\n except OSError: pass\nos.getpid() == 2 or time.sleep(100)\nanswer = 1"
    )
    await run(sandbox, bomb, 60)
    alive = await run(sandbox, "answer = sum(n.isdigit() for n in os.listdir('/proc'))", 60)
    assert 150 < alive <= 201
    began = time.monotonic()
    await sandbox.destroy()
    assert time.monotonic() - began < 5
    assert await run(shared, "answer = 3") == 3
    assert processes_of(sandbox) == []


async def test_threads_count_as_processes(prison: Prison) -> None:
    sandbox = await prison.start(processes=50)
    start = (
        "import threading, time; answer = 0\ntry:\n while answer < 100:\n"
        "  threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); answer += 1\n"
        "except RuntimeError: pass"
    )
    assert 30 < await run(sandbox, start) < 50
    await sandbox.destroy()


async def test_descriptors_end_at_1024(prison: Prison) -> None:
    sandbox = await prison.start()
    opened = "import os; kept = []\ntry:\n while len(kept) < 3000: kept.append(os.dup(0))\n"
    opened += "except OSError as error: answer = [len(kept), error.errno]"
    count, reason = await run(sandbox, opened)
    assert 1000 < count < 1024 and reason == errno.EMFILE
    with pytest.raises(Refused):
        await run(
            sandbox, "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))"
        )
    await sandbox.destroy()


async def test_a_cpu_hog_gets_its_share(prison: Prison) -> None:
    sandbox = await prison.start(memory_mb=354)  # a fifth of a vCPU
    sandbox.init_done()
    hogs = "import os, time\nfor _ in range(4):\n if not os.fork():\n  while True: pass"
    await run(sandbox, hogs)
    await asyncio.sleep(0.3)  # whatever had been saved up
    before, began = sandbox.usage().cpu_s, time.monotonic()
    await asyncio.sleep(1.0)
    used = (sandbox.usage().cpu_s - before) / (time.monotonic() - began)
    assert used < 0.35
    await sandbox.destroy()


# Other processes


def processes_of(sandbox: Sandbox) -> list[int]:
    """Processes of this machine in the sandbox's pid namespace, by the uid they run under."""
    uid = UIDS.get(id(sandbox))
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if entry.stat().st_uid == uid:
                    found.append(int(entry.name))
    return found


UIDS: dict[int, int] = {}


@pytest.fixture(autouse=True)
def _remember_uids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note under which uid each sandbox runs, while it can still be asked."""
    start = Prison.start

    async def noting(self: Prison, **fields: Any) -> Sandbox:
        sandbox = await start(self, **fields)
        child = Path(f"/proc/{sandbox.pid}/task/{sandbox.pid}/children").read_text().split()[0]
        UIDS[id(sandbox)] = Path(f"/proc/{child}").stat().st_uid
        return sandbox

    monkeypatch.setattr(Prison, "start", noting)


async def test_each_runs_as_a_user_of_its_own(prison: Prison) -> None:
    first, second = await prison.start(), await prison.start()
    uids = {UIDS[id(first)], UIDS[id(second)]}
    assert len(uids) == 2 and min(uids) >= 2_000_000
    assert await run(first, "import os; answer = [os.getuid(), os.getgid()]") == [993, 990]
    await asyncio.gather(first.destroy(), second.destroy())


async def test_only_its_own_processes_are_there_to_kill(prison: Prison, shared: Sandbox) -> None:
    sandbox = await prison.start()
    pids = await run(
        sandbox, "import os; answer = sorted(n for n in os.listdir('/proc') if n.isdigit())"
    )
    assert pids == ["1", "2"]
    with pytest.raises(Refused) as refused:
        await run(sandbox, "os.kill(1, 9)")
    assert refused.value.errno == errno.EPERM
    with pytest.raises(Refused):
        await run(sandbox, f"os.kill({os.getpid()}, 0)")
    with contextlib.suppress(Died, Refused):
        await run(sandbox, "os.kill(-1, 9)")
    assert os.path.exists(f"/proc/{sandbox.pid}")
    assert await run(shared, "answer = 1") == 1
    await sandbox.destroy()


@pytest.mark.parametrize(
    "path", ["mem", "environ", "root", "cwd", "fd", "maps", "ns/pid", "exe", "auxv", "syscall"]
)
async def test_the_init_keeps_its_secrets(shared: Sandbox, path: str) -> None:
    with pytest.raises(Refused) as refused:
        action = (
            "os.listdir"
            if path == "fd"
            else "os.readlink"
            if "/" in path or path in ("root", "cwd", "exe")
            else "open"
        )
        call = f"{action}('/proc/1/{path}')"
        await run(shared, call + (".read(1)" if action == "open" else ""))
    assert refused.value.errno in (errno.EACCES, errno.EPERM)


async def test_background_processes_die_with_the_sandbox(prison: Prison) -> None:
    sandbox = await prison.start()
    daemon = (
        "import os, time\nif not os.fork():\n os.setsid()\n if not os.fork():\n"
        "  import signal\n  for n in range(1, 32):\n"
        "   n in (9, 19) or signal.signal(n, signal.SIG_IGN)\n  time.sleep(1000)\n os._exit(0)"
    )
    await run(sandbox, daemon)
    assert len(processes_of(sandbox)) >= 2
    await sandbox.destroy()
    assert processes_of(sandbox) == []


# The kernel

CALLS = {
    "x86_64": {
        "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272,
        "setns": 308, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
        "kcmp": 312, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "keyctl": 250,
        "add_key": 248, "request_key": 249, "open_by_handle_at": 304, "name_to_handle_at": 303,
        "init_module": 175, "finit_module": 313, "delete_module": 176, "kexec_load": 246,
        "kexec_file_load": 320, "reboot": 169, "swapon": 167, "swapoff": 168, "acct": 163,
        "quotactl": 179, "syslog": 103, "iopl": 172, "ioperm": 173, "settimeofday": 164,
        "clock_settime": 227, "adjtimex": 159, "sethostname": 170, "setdomainname": 171,
        "mknod": 133, "mknodat": 259, "fanotify_init": 300, "vhangup": 153, "modify_ldt": 154,
        "lookup_dcookie": 212, "nfsservctl": 180, "uselib": 134, "sysfs": 139, "ustat": 136,
        "move_pages": 279, "migrate_pages": 256, "io_setup": 206,
    },
    "aarch64": {
        "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268,
        "ptrace": 117, "process_vm_readv": 270, "kcmp": 272, "bpf": 280, "perf_event_open": 241,
        "userfaultfd": 282, "keyctl": 219, "add_key": 217, "open_by_handle_at": 265,
        "init_module": 105, "kexec_load": 104, "reboot": 142, "swapon": 224, "syslog": 116,
        "settimeofday": 170, "sethostname": 161, "mknodat": 33, "fanotify_init": 262,
    },
}  # fmt: skip
SINCE_UNIFIED = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_getfd": 438, "mount_setattr": 442, "quotactl_fd": 443, "memfd_secret": 447,
    "process_madvise": 440,
}  # fmt: skip
FORBIDDEN = CALLS.get(platform.machine(), {}) | SINCE_UNIFIED


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
async def test_ways_into_the_kernel_are_shut(shared: Sandbox, name: str) -> None:
    call = (
        f"r = libc.syscall({FORBIDDEN[name]}, 0, 0, 0, 0, 0, 0); answer = [r, ctypes.get_errno()]"
    )
    assert await run(shared, call) == [-1, errno.EPERM]


@pytest.mark.parametrize(
    "flag", [0x10000000, 0x00020000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000]
)
async def test_no_clone_into_a_new_namespace(shared: Sandbox, flag: int) -> None:
    number = {"x86_64": 56, "aarch64": 220}[platform.machine()]
    call = f"r = libc.syscall({number}, {flag | 17}, 0, 0, 0, 0); r or os._exit(0)"
    assert await run(shared, f"{call}; answer = [r, ctypes.get_errno()]") == [-1, errno.EPERM]
    clone3 = "r = libc.syscall(435, 0, 0); answer = [r, ctypes.get_errno()]"
    assert await run(shared, clone3) == [-1, errno.ENOSYS]


async def test_no_odd_personality_and_no_terminal_injection(shared: Sandbox) -> None:
    odd = "r = libc.personality(0x0040000); answer = [r, ctypes.get_errno()]"
    assert await run(shared, odd) == [-1, errno.EPERM]
    inject = "r = libc.ioctl(0, 0x5412, b'x'); answer = [r, ctypes.get_errno()]"
    assert await run(shared, inject) == [-1, errno.EPERM]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="an x86 instruction")
async def test_calls_of_another_architecture_are_fatal(prison: Prison) -> None:
    sandbox = await prison.start()
    code = (
        "import ctypes, mmap; m = mmap.mmap(-1, 4096, prot=7)\n"
        "m.write(bytes.fromhex('b814000000cd80c3'))\n"  # getpid by the 32-bit gate
        "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()"
    )
    with pytest.raises(Died) as died:
        await run(sandbox, code)
    assert died.value.how.signal in (signal.SIGSYS, signal.SIGSEGV)
    await sandbox.destroy()


@pytest.mark.parametrize(
    "path",
    [
        "sys/kernel/core_pattern",
        "sys/kernel/modprobe",
        "sys/kernel/hostname",
        "sysrq-trigger",
        "sys/vm/drop_caches",
        "sys/net/ipv4/ip_forward",
        "sys/kernel/ns_last_pid",
        "1/oom_score_adj",
        "irq/default_smp_affinity",
        "sys/fs/suid_dumpable",
    ],
)
async def test_proc_turns_no_knobs(shared: Sandbox, path: str) -> None:
    with pytest.raises(Refused) as refused:
        await run(shared, f"open('/proc/{path}', 'w').write('1')")
    assert refused.value.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT)


@pytest.mark.parametrize("name", ["keys", "kallsyms", "timer_list", "kmsg", "config.gz", "kcore"])
async def test_proc_shows_nothing_of_the_kernel(shared: Sandbox, name: str) -> None:
    look = (
        f"try: answer = len(open('/proc/{name}', 'rb').read(10))\n"
        "except (FileNotFoundError, PermissionError): answer = 0"
    )
    assert await run(shared, look) == 0


async def test_no_capability_is_left_or_can_be_had(shared: Sandbox) -> None:
    status = await run(shared, "answer = open('/proc/self/status').read()")
    values = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(values[name], 16) == 0
    assert (values["NoNewPrivs"], values["Seccomp"]) == ("1", "2")
    for attempt in ("os.setuid(0)", "os.setgid(0)", "os.setgroups([0])", "os.setresuid(0, 0, 0)"):
        with pytest.raises(Refused):
            await run(shared, attempt)


async def test_setuid_programs_give_nothing(shared: Sandbox) -> None:
    flags = (
        "answer = [os.statvfs(p).f_flag & os.ST_NOSUID for p in ('/', '/usr', '/tmp', '/var/task')]"
    )
    assert 0 not in await run(shared, flags)
    copy = "import shutil; shutil.copy('/usr/bin/id', '/tmp/id'); os.chmod('/tmp/id', 0o6755)"
    await run(shared, copy)
    whoami = "answer = subprocess.check_output(['/tmp/id', '-u'], text=True).strip()"
    assert await run(shared, whoami) == "993"


async def test_no_device_can_be_made(shared: Sandbox) -> None:
    for kind in ("0o20666", "0o60666"):
        with pytest.raises(Refused) as refused:
            await run(shared, f"os.mknod('/tmp/device', {kind}, os.makedev(1, 1))")
        assert refused.value.errno == errno.EPERM


async def test_a_named_pipe_can_be_made_and_used(shared: Sandbox) -> None:
    use = """
os.mkfifo('/tmp/pipe')
if os.fork() == 0:
    open('/tmp/pipe', 'w').write('through')
    os._exit(0)
answer = open('/tmp/pipe').read()
os.unlink('/tmp/pipe')
"""
    assert await run(shared, use) == "through"


async def test_pipes_are_no_longer_than_they_come(shared: Sandbox) -> None:
    """What lies in one at the end of an invocation is read at once."""
    for fd in ("1", "log_fd", "os.pipe()[1]"):
        with pytest.raises(Refused) as refused:
            await run(shared, f"import fcntl; fcntl.fcntl({fd}, fcntl.F_SETPIPE_SZ, 1 << 20)")
        assert refused.value.errno == errno.EPERM


WATCH = """
watching = libc.inotify_init1(0)
answer = [watching >= 0]
for path in (b"/usr/bin", b"/var/lang/bin", b"/var/runtime", b"/var/task", b"/etc", b"/tmp"):
    done = libc.inotify_add_watch(watching, path, 0xFFF)
    answer.append(errno.errorcode[ctypes.get_errno()] if done < 0 else path.decode())
os.close(watching)
"""


async def test_nobody_is_told_what_others_do_with_shared_files(shared: Sandbox) -> None:
    """Neither by inotify, nor by notices of a directory, nor by a lease that another breaks."""
    assert await run(shared, WATCH) == [True, *["EACCES"] * 6]
    for command, argument in (("F_NOTIFY", 1), ("F_SETLEASE", 0)):
        for path in ("/usr/bin", "/var/task/secret.txt", "/tmp"):
            with pytest.raises(Refused) as refused:
                await run(
                    shared,
                    f"import fcntl; fd = os.open({path!r}, os.O_RDONLY)\n"
                    f"try: fcntl.fcntl(fd, fcntl.{command}, {argument})\nfinally: os.close(fd)",
                )
            assert refused.value.errno == errno.EPERM


DEVICES = ("null", "zero", "full", "random", "urandom")
CHANGES = """
answer = []
for name in {devices!r}:
    path = "/dev/" + name
    fd = os.open(path, os.O_RDWR)
    for change in (
        lambda: os.chmod(path, 0o600), lambda: os.fchmod(fd, 0o600), lambda: os.utime(path, (1, 1)),
        lambda: os.chown(path, 993, 990), lambda: os.fchown(fd, 993, 990), lambda: os.unlink(path),
        lambda: os.setxattr(path, "user.x", b"1"), lambda: os.rename(path, "/tmp/device"),
        lambda: os.chmod(f"/proc/self/fd/{{fd}}", 0o600),
    ):
        try:
            change()
            answer.append(name)
        except OSError:
            pass
    os.close(fd)
"""


async def test_no_device_of_the_host_is_changed(prison: Prison) -> None:
    """Neither by what makes, restarts and ends sandboxes, nor by what runs in them: not even to
    the mode it has, which would show as a change of the inode."""
    before = {name: inode(f"/dev/{name}") for name in DEVICES}
    sandbox = await prison.start()
    assert await run(sandbox, "import os" + CHANGES.format(devices=DEVICES)) == []
    await sandbox.restart({})
    use = "answer = [os.write(os.open('/dev/null', 1), b'x'), len(os.urandom(9))]"
    assert await run(sandbox, "import os; " + use) == [1, 9]
    await sandbox.destroy()
    dying = await prison.start()
    os.kill(dying.pid, signal.SIGKILL)
    await dying.wait_runtime()
    await dying.destroy()
    assert {name: inode(f"/dev/{name}") for name in DEVICES} == before


def inode(path: str) -> tuple[int, ...]:
    found = os.stat(path)
    return (found.st_mode, found.st_uid, found.st_gid, found.st_rdev, found.st_ctime_ns)


async def test_limits_cannot_be_raised(shared: Sandbox) -> None:
    for name in ("NOFILE", "NPROC", "CORE", "MEMLOCK"):
        with pytest.raises(Refused):
            await run(shared, f"resource.setrlimit(resource.RLIMIT_{name}, (1 << 20, 1 << 20))")
    assert not await run(shared, "answer = os.path.exists('/sys/fs/cgroup')")


# The network


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("AF_INET", "SOCK_RAW"),
        ("AF_INET6", "SOCK_RAW"),
        ("AF_PACKET", "SOCK_RAW"),
        ("AF_VSOCK", "SOCK_STREAM"),
        ("AF_ALG", "SOCK_SEQPACKET"),
        ("31", "SOCK_RAW"),
    ],
)
async def test_no_raw_or_odd_sockets(shared: Sandbox, family: str, kind: str) -> None:
    with pytest.raises(Refused) as refused:
        await run(shared, f"socket.socket(getattr(socket, {family!r}, 31), socket.{kind}, 1)")
    assert refused.value.errno in (
        errno.EPERM,
        errno.EACCES,
        errno.EAFNOSUPPORT,
        errno.EPROTONOSUPPORT,
    )


@pytest.mark.parametrize("family", [2, 10, 16, 21, 29, 30, 38, 40, 44])
async def test_no_pair_of_odd_sockets(shared: Sandbox, family: int) -> None:
    """The kernel loads a family's module before it finds that there are no pairs of it; and of
    some there are."""
    pair = f"r = libc.socketpair({family}, 5, 0, (ctypes.c_int * 2)())"
    assert await run(shared, f"{pair}; answer = [r, ctypes.get_errno()]") == [-1, errno.EPERM]


@pytest.mark.parametrize(
    ("family", "kind", "protocol"),
    [
        *((family, 5, 132) for family in (2, 10)),  # SCTP
        *((family, 1, 132) for family in (2, 10)),
        *((family, 6, 33) for family in (2, 10)),  # DCCP
        (2, 1, 262),  # MPTCP
        *((16, 3, protocol) for protocol in (4, 6, 8, 12, 15, 16, 20)),
    ],
)
async def test_no_protocol_that_wants_a_module(
    shared: Sandbox, family: int, kind: int, protocol: int
) -> None:
    call = f"r = libc.socket({family}, {kind}, {protocol}); answer = [r, ctypes.get_errno()]"
    assert await run(shared, call) == [-1, errno.EPROTONOSUPPORT]


def addresses_of_this_machine() -> list[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        found = ["127.0.0.1"]
        with contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))
            found.append(probe.getsockname()[0])
    return found


async def networked(prison: Prison) -> Sandbox:
    sandbox = await prison.start(network=True)
    if prison.sandboxes.network_missing:
        await sandbox.destroy()
        pytest.skip(prison.sandboxes.network_missing)
    await run(sandbox, "import socket, os")
    return sandbox


CONNECT = "socket.create_connection(({!r}, {}), 1.5)"


async def test_the_machine_itself_is_out_of_reach(prison: Prison) -> None:
    sandbox = await networked(prison)
    assert prison.sandboxes._resources.network is not None
    assert prison.sandboxes._resources.network.subnet is not None
    gateway = str(prison.sandboxes._resources.network.subnet[1])
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((gateway, port), 2):
            pass  # it does listen there
        for address in [*addresses_of_this_machine(), gateway, "0.0.0.0"]:
            with pytest.raises(Refused):
                await run(sandbox, CONNECT.format(address, port))
    await sandbox.destroy()


async def test_metadata_and_link_local_are_refused_at_once(prison: Prison) -> None:
    sandbox = await networked(prison)
    began = time.monotonic()
    for address in ("169.254.169.254", "169.254.170.2", "224.0.0.1"):
        with pytest.raises(Refused):
            await run(sandbox, CONNECT.format(address, 80))
    assert time.monotonic() - began < 1.4  # no SDK waits for a metadata service
    await sandbox.destroy()


async def test_neighbours_are_out_of_reach(prison: Prison) -> None:
    one, two = await networked(prison), await networked(prison)
    own = (
        "import fcntl, struct; s = socket.socket(); "
        "answer = socket.inet_ntoa(fcntl.ioctl(s, 0x8915, struct.pack('256s', b'eth0'))[20:24])"
    )
    address = await run(two, own)
    await run(two, "server = socket.create_server(('0.0.0.0', 8000))")
    assert await run(two, CONNECT.format(address, 8000) + "; answer = 1") == 1
    for port in (8000, 9001, 4566):
        with pytest.raises(Refused):
            await run(one, CONNECT.format(address, port))
    await asyncio.gather(one.destroy(), two.destroy())


async def test_the_table_of_neighbours_is_not_filled(prison: Prison) -> None:
    """Whoever is asked for on a link is noted in a table of the whole machine."""
    sandbox = await networked(prison)
    assert prison.sandboxes._resources.network is not None
    subnet = prison.sandboxes._resources.network.subnet
    assert subnet is not None
    there = [str(subnet[number]) for number in range(2, 402)]
    ask = (
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"for address in {there!r}:\n"
        " try: s.sendto(b'x', (address, 9))\n except OSError: pass\n"
        "answer = open('/proc/net/arp').read().splitlines()[1:]"
    )
    assert len(await run(sandbox, ask)) <= 1
    with pytest.raises(Refused):
        await run(
            sandbox,
            "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
            "s.sendto(b'x', ('fe80::1', 9, 0, socket.if_nametoindex('eth0')))",
        )
    await sandbox.destroy()


async def test_each_has_a_runtime_api_of_its_own(prison: Prison) -> None:
    one, two = await prison.start(), await prison.start()
    fetch = "import socket; answer = socket.create_connection(('127.0.0.1', 9001)).recv(9).decode()"
    async with serving(one.runtime_api, b"one") as seen, serving(two.runtime_api, b"two"):
        assert await run(one, fetch) == "one"
        assert await run(two, fetch) == "two"
        assert len(seen) == 1
    with pytest.raises(Refused):  # nobody inside can take the address over
        await run(one, "socket.create_server(('127.0.0.1', 9001))")
    await asyncio.gather(one.destroy(), two.destroy())


async def test_unix_sockets_of_the_host_are_out_of_reach(prison: Prison, shared: Sandbox) -> None:
    name = f"\0boda-{secrets.token_hex(8)}"
    path = prison.folder / "code" / "host.sock"
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as by_path:
        server.bind(name)
        server.listen()
        by_path.bind(str(path))
        by_path.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(name)
        with pytest.raises(Refused) as refused:
            await run(shared, f"socket.socket(socket.AF_UNIX).connect({name!r})")
        assert refused.value.errno == errno.ECONNREFUSED
        # A socket in the code's own folder is on a read-only mount owned by somebody else.
        with pytest.raises(Refused) as refused:
            await run(shared, "socket.socket(socket.AF_UNIX).connect('/var/task/host.sock')")
        assert refused.value.errno in (errno.EACCES, errno.EROFS)
    path.unlink()


async def test_without_network_there_is_only_loopback(shared: Sandbox) -> None:
    names = await run(shared, "answer = [name for _, name in socket.if_nameindex()]")
    assert names == ["lo"]
    with pytest.raises(Refused) as refused:
        await run(shared, CONNECT.format("192.0.2.1", 80))
    assert refused.value.errno == errno.ENETUNREACH
