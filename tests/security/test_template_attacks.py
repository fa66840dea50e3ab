"""A template's code is hostile too: it is run once, and many environments are made of it."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from boda.sandbox.contract import SandboxError
from support.sandbox_snippets import GUEST, why_not_root
from support.templates import Ended, InitFailed, Runtime, Stage, staged

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(why_not_root()), reason=why_not_root() or "-"),
]

NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(tmp_path_factory.mktemp("attacks")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def stage(whole: Stage) -> AsyncIterator[Stage]:
    yield whole
    await whole.clear()


def runtime_pid(runtime: Runtime) -> int:
    """The runtime process, as this machine numbers it."""
    children = Path(f"/proc/{runtime.sandbox.pid}/task/{runtime.sandbox.pid}/children").read_text()
    (pid,) = children.split()
    return int(pid)


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: rest.strip() for key, _, rest in (line.partition(":") for line in lines)}


async def test_a_fork_has_no_power_and_nothing_in_common_with_another(stage: Stage) -> None:
    """What the kernel says from outside, not what the process says of itself."""
    template = await stage.template(stage.function("def handler(event, context): return event"))
    ordinary = await stage.sandboxes.start(stage.spec(template.sandbox.spec.code_dir))
    other = stage._keep(ordinary)
    await other.until("ready")
    forks = [await stage.fork(template) for _ in range(2)]
    pids = [runtime_pid(each) for each in (*forks, other)]
    facts = [status(pid) for pid in pids]
    for each in facts:
        assert {each[f"Cap{kind}"] for kind in ("Eff", "Prm", "Inh", "Amb", "Bnd")} == {"0" * 16}
        assert (each["NoNewPrivs"], each["Seccomp"], each["Threads"]) == ("1", "2", "1")
        assert each["Seccomp_filters"] == facts[-1]["Seccomp_filters"]
        assert each["Groups"] == ""
    assert len({each["Uid"] for each in facts}) == 3
    for name in NAMESPACES:
        held = [os.readlink(f"/proc/{pid}/ns/{name}") for pid in (*pids, os.getpid())]
        assert len(set(held)) == 4, name
    assert len({Path(f"/proc/{pid}/cgroup").read_text() for pid in pids}) == 3
    shared = [line for pid in pids[:2] for line in Path(f"/proc/{pid}/maps").read_text().split("\n")
              if line and line.split()[1].endswith("s")]  # fmt: skip
    assert [line for line in shared if " w" in line or "rw" in line.split()[1]] == []
    held = [sorted(os.listdir(f"/proc/{pid}/fd"), key=int) for pid in pids]
    assert held == [["0", "1", "2", "3", "4"]] * 3
    # pipes and sockets of one are of nobody else
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for pid in pids for fd in range(1, 5)]
    assert len(set(links)) == 9  # fd 1 and 2 are one pipe in each


async def test_nothing_of_the_platforms_memory_is_left_in_a_fork(stage: Stage) -> None:
    """The process was a zygote's fork before: with it went what the zygote had read."""
    code = stage.function(
        """
        def handler(event, context):
            found = []
            for line in open("/proc/self/maps"):
                span, rights, *rest = line.split()
                if rights[0] != "r" or rest[-1] in ("[vvar]", "[vsyscall]", "[vvar_vclock]"):
                    continue
                low, high = (int(end, 16) for end in span.split("-"))
                with open("/proc/self/mem", "rb", 0) as memory:
                    memory.seek(low)
                    found.append(memory.read(high - low).count(bytes(event)))
            return sum(found)
        """
    )
    template = await stage.template(code)
    secret = "hush" + os.urandom(8).hex()
    first = await stage.fork(template, environment={"SECRET": secret})
    second = await stage.fork(template)
    assert await first.invoke(list(secret.encode())) > 0
    assert await second.invoke(list(secret.encode())) == 0


async def test_what_a_template_shares_ends_with_it(stage: Stage) -> None:
    """Shared memory, files of its /tmp, sockets, processes: each fork has its own or none."""
    code = stage.function(
        """
        import mmap, os, socket, time
        memory = mmap.mmap(-1, 4096)
        memory[:4] = b"init"
        file = open("/tmp/file", "w+"); file.write("init"); file.flush()
        mapped = mmap.mmap(file.fileno(), 4)
        abstract = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        abstract.bind("\\0meeting")
        left, right = socket.socketpair()
        if not os.fork():
            while True:
                try:
                    left.send(b"helper")
                    memory[8:14] = b"helper"
                except OSError:
                    pass
                time.sleep(0.01)
        def handler(event, context):
            before = [memory[:14].decode("latin-1"), open("/tmp/file").read(), mapped[:4].decode()]
            memory[:4] = mapped[:4] = event.encode()
            file.seek(0); file.write(event); file.flush()
            os.write(left.fileno(), event.encode())
            poke = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                poke.sendto(b"x", "\\0meeting")
                before.append("met")
            except OSError:
                before.append("alone")
            time.sleep(0.1)
            before.append(right.recv(100).decode())
            before.append([each for each in os.listdir("/proc") if each.isdigit()])
            return before
        """
    )
    template = await stage.template(code)
    for word in ("more", "most"):
        fork = await stage.fork(template)
        said = await fork.invoke(word)
        assert said[0][:4] == said[1] == said[2] == "init"
        assert said[3] == "alone"
        assert said[4].replace("helper", "") == word
        assert len(said[5]) == 2  # the init and itself: nobody came along


async def test_a_template_that_hooks_forking_harms_itself(stage: Stage) -> None:
    """What runs in the fork an image is taken of is the function's anyway; it may tell lies, or
    go away, and that is all that comes of it."""
    gone = "import os\nos.register_at_fork(after_in_child=lambda: os._exit(3))\n"
    with pytest.raises(InitFailed) as failed:
        await stage.template(stage.function(gone + "def handler(event, context): pass"))
    assert failed.value.args[0] == "Runtime.SnapshotError"
    never = "import os\nos.fork = lambda: 1 / 0\ndef handler(event, context): pass"
    with pytest.raises(InitFailed):
        await stage.template(stage.function(never))
    liar = "import os\nos.write(3, b'\\0\\0\\0\\1\\x09')\nimport time; time.sleep(60)"
    template = await stage.template(stage.function(liar))
    with pytest.raises(SandboxError, match="no snapshot yet"):
        await stage.sandboxes.ripen(template.sandbox)
    with pytest.raises(SandboxError, match="no snapshot yet"):
        await stage.fork(template)


async def test_namespaces_and_privileges_stay_out_of_reach(stage: Stage) -> None:
    code = stage.function(
        """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        def tries():
            refused = []
            for call in (
                lambda: libc.unshare(0x10000000), lambda: libc.unshare(0x40000000),
                lambda: libc.setns(0, 0), lambda: libc.mount(b"x", b"/tmp", b"tmpfs", 0, 0),
                lambda: libc.ptrace(16, 1, 0, 0), lambda: libc.setuid(0), lambda: libc.setgid(0),
                lambda: libc.syscall(310, 1, 0, 0, 0, 0, 0), lambda: libc.chroot(b"/tmp"),
            ):
                refused.append(call() == -1)
            try:
                open("/proc/1/mem", "rb"); refused.append(False)
            except OSError:
                refused.append(True)
            return refused
        in_template = tries()
        def handler(event, context): return [in_template, tries()]
        """
    )
    fork = await stage.fork(await stage.template(code))
    assert await fork.invoke() == [[True] * 10] * 2


def image(
    header: object, region: bytes = b"\xcc" * 9300, contents: bytes = b"", files: int = 0
) -> bytes:
    said = header if isinstance(header, bytes) else json.dumps(header).encode()
    head = struct.Struct(">QIIQ")
    whole = head.size + len(said) + len(region) + len(contents)
    return head.pack(whole, len(said), len(region), files) + said + region + contents


def clock() -> list[list[int]]:
    """The sizes that the kernel's own pages have here, at other addresses."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [
        [int(end, 16) for end in line[0].split("-")]
        for line in lines
        if line[-1].startswith(("[vvar", "[vdso"))
    ]
    return [[(1 << 43) + (n << 20), high - low] for n, (low, high) in enumerate(spans)]


FORGE = """
import json, os, sys
from pathlib import Path
sys.setrecursionlimit(10_000)
def write(data):
    while data:
        data = data[os.write(6, data):]
{forge}
os.write(3, b"\\0\\0\\0\\1\\x09")
import time; time.sleep(60)
"""


def _sane(**lies: object) -> dict[str, object]:
    usual = {"address": 1 << 44, "ranges": [], "contents": [], "clock": clock()}
    return usual | lies


@pytest.mark.parametrize(
    "lie",
    [
        image(b"no json"),
        image(b"[" * 100_000),
        image([]),
        image(_sane(address="x")),
        image(_sane(address=1 << 70)),
        image(_sane(address=-4096)),
        image(_sane(ranges=[[0, 4096]])),
        image(_sane(ranges=[[4096, 4096]])),
        image(_sane(ranges=[[(1 << 20) - 4096, 8192]])),
        image(_sane(address=65536)),
        image(_sane(ranges=[[4096, 1 << 62]])),
        image(_sane(ranges=[[True, 4096]])),
        image(_sane(ranges=[[1 << 45, 4096, 7]])),
        image(_sane(ranges=[[1 << 45, 4096]] * 30_000)),
        image(_sane(ranges=[[1 << 45, 8192], [(1 << 45) + 4096, 8192]])),
        image(_sane(ranges=[[1 << 44, 4096]])),
        image(_sane(ranges=[[1 << 45, 4096]], contents=[[1 << 45, 8192]]), contents=bytes(8192)),
        image(_sane(ranges=[[1 << 45, 4096]], contents=[[1 << 43, 4096]]), contents=bytes(4096)),
        image(_sane(contents=[[1 << 45, 4096]]), contents=bytes(4096)),
        image(_sane(contents=[[1 << 45, 4096]])),
        image(_sane(), files=1),
        image(_sane(), files=1 << 40),
        image(_sane(ranges={})),
        image(_sane(clock=[[4096, 4096]])),
        image(_sane(), region=b"x"),
        struct.pack(">QIIQ", 24, 0, 0, 0),
        struct.pack(">QIIQ", 1 << 60, 1, 1, 0),
        struct.pack(">QIIQ", 0, 0, 0, 0),
        b"short",
    ],
)
async def test_an_image_of_lies_is_refused(stage: Stage, lie: bytes) -> None:
    with pytest.raises(SandboxError):
        await stage.fork(await forged(stage, lie))
    good = await stage.template(stage.function("def handler(event, context): return event"))
    assert await (await stage.fork(good)).invoke(1) == 1


async def forged(stage: Stage, lie: bytes) -> Runtime:
    """A template whose image is this."""
    code = stage.function(FORGE.format(forge="write(Path('lie').read_bytes()); os.close(6)"))
    (code / "lie").write_bytes(lie)
    return await stage.template(code)


async def test_a_template_is_ripe_when_its_image_can_be_gone_on_from(stage: Stage) -> None:
    with pytest.raises(SandboxError, match="cannot be used"):
        await stage.sandboxes.ripen((await forged(stage, image(b"no json"))).sandbox)
    good = await stage.template(stage.function("def handler(event, context): return event"))
    await stage.sandboxes.ripen(good.sandbox)
    await good.destroy()
    with pytest.raises(SandboxError, match="gone"):
        await stage.sandboxes.ripen(good.sandbox)


async def test_an_image_cannot_reach_into_its_zygote(stage: Stage) -> None:
    """What would lie where the zygote has something of its own is put elsewhere, or nowhere."""
    whole = _sane(ranges=[[1 << 20, (1 << 46) + (1 << 45)]])
    with pytest.raises(SandboxError):
        await stage.fork(await forged(stage, image(whole)))
    executable = [[start, 1 << 20] for start in range(4 << 20, 12 << 20, 1 << 20)]
    contents = [[start, 4096] for start, _ in executable]
    lie = image(_sane(ranges=executable, contents=contents), contents=b"\xcc" * 4096 * 8)
    fork = await stage.fork_unready(await forged(stage, lie))
    with pytest.raises(Ended):  # the zygote forked well; what the fork became did not do well
        await fork.until("ready")


MUTATE = """
import json, os, random, struct, sys
sys.path.insert(0, sys.argv[1])
from guest import template_restore
HEAD = struct.Struct(">QIIQ")
usual = json.loads(sys.argv[2])
rest = bytes(9300) + bytes(4096 * 3)
own = [(each.start, each.length) for each in template_restore.mappings("self")]
chance = random.Random(int(sys.argv[3]))
ends = set()
for _ in range(150):
    lie = json.loads(json.dumps(usual))
    for _ in range(chance.randrange(1, 4)):
        part = chance.choice([lie["ranges"], lie["contents"], lie["clock"]])
        if part:
            place, side = chance.randrange(len(part)), chance.randrange(2)
            what = chance.randrange(5)
            if what == 0:
                part[place][side] += chance.choice([-4096, 4096, 1, 1 << 20])
            elif what == 1:
                part[place][side] = chance.getrandbits(chance.randrange(1, 70)) * 4096
            elif what == 2:
                part[place] = list(chance.choice(own))
            elif what == 3:
                part.append(list(chance.choice(part)))
            else:
                part[place][0] = chance.choice(own)[0]
    said = json.dumps(lie).encode()
    contents = sum(each[1] for each in lie["contents"])
    whole = HEAD.size + len(said) + 9300 + contents
    fd = os.memfd_create("image")
    os.write(fd, HEAD.pack(whole % (1 << 64), len(said), 9300, 0) + said + rest)
    pid = os.fork()
    if pid == 0:
        status = 0
        try:
            template_restore.Image(fd)
        except (template_restore.Unusable, OSError):
            status = 1
        except BaseException:
            status = 2
        os._exit(status)
    os.close(fd)
    ends.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(sorted(ends))
"""


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_reads_a_lie_is_not_harmed(seed: int) -> None:
    """Refused or loaded, but never the end of the zygote, nor anything it does not expect."""
    ranges = [[(1 << 45) + (n << 20), 3 * 4096] for n in range(6)]
    usual = _sane(ranges=ranges, contents=[[low, 4096] for low, _ in ranges[:3]])
    done = subprocess.run(
        [sys.executable, "-c", MUTATE, str(GUEST.parent), json.dumps(usual), str(seed)],
        capture_output=True,
        text=True,
        check=True,
        env={"GLIBC_TUNABLES": "glibc.pthread.rseq=0"},
    )
    assert done.stdout == "[0, 1]\n"


async def test_code_in_an_image_runs_without_power(stage: Stage) -> None:
    """An image whose table is no table but the attacker's own code: what runs it has nothing."""
    # setuid(0), unshare(NEWUSER), then what they answered, together, as the exit status
    attack = bytes.fromhex(
        "31ff b869000000 0f05 89c3 bf00000010 b810010000 0f05 01c3 89df f7df b8e7000000 0f05"
    )
    region = bytes(0x22) + attack + bytes(9300 - 0x22 - len(attack))
    fork = await stage.fork_unready(await forged(stage, image(_sane(), region)))
    with pytest.raises(Ended) as ended:
        await fork.until("ready")
    assert ended.value.args[0].status == 22 + 1  # EINVAL for an id not mapped here, and EPERM


async def test_an_image_is_no_larger_than_the_function_may_be(stage: Stage) -> None:
    forge = "import struct\nwrite(struct.pack('>QIIQ', 1 << 33, 0, 0, 0)); write(bytes(1 << 20))"
    code = stage.function(FORGE.format(forge=forge))
    sandbox = await stage.sandboxes.start(stage.spec(code, template=True))
    runtime = stage._keep(sandbox)
    await runtime.hear()  # whatever it says
    with pytest.raises(SandboxError, match="more than"):
        await stage.fork(runtime)


async def test_no_file_leads_from_one_fork_to_another(stage: Stage) -> None:
    """What comes with /tmp is read from a file that a hostile fork can keep: it is its own."""
    code = stage.function(
        """
        import fcntl, os
        open("/tmp/file", "w").write("init")
        kept = []
        original = os.fdopen
        def fdopen(fd, *rest):
            kept.append(os.dup(fd))
            return original(fd, *rest)
        os.fdopen = fdopen
        def handler(event, context):
            found = []
            for fd in kept:
                where = os.lseek(fd, 0, os.SEEK_CUR)
                os.lseek(fd, 100_000, os.SEEK_SET)
                os.pwrite(fd, event.encode(), 0)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append([where, os.fstat(fd).st_ino])
            return found
        """
    )
    template = await stage.template(code)
    one, two = await stage.fork(template), await stage.fork(template)
    first, second = await one.invoke("x" * 5000), await two.invoke("y")
    assert len(first) == len(second) == 2  # the variables and the tar
    assert first[0][0] != 100_000 != first[1][0]
    assert [at for at, _ in first][1] == [at for at, _ in second][1]
    assert not {inode for _, inode in first} & {inode for _, inode in second}
    assert len(await (await stage.fork(template)).invoke("z")) == 2


async def test_an_image_is_changed_by_nobody_once_it_is_whole(stage: Stage) -> None:
    template = await stage.template(stage.function("def handler(event, context): return event"))
    await stage.fork(template)
    origin = stage.sandboxes._images.of(template.sandbox)
    with pytest.raises(PermissionError):
        os.write(os.dup(origin.image), b"x")
    with pytest.raises(PermissionError):
        os.ftruncate(origin.image, 0)


async def test_what_a_fork_does_to_its_memory_nobody_else_sees(stage: Stage) -> None:
    code = stage.function(
        """
        import ctypes
        state = bytearray(b"clean" * 1000)
        def handler(event, context):
            seen = bytes(state[:5]).decode()
            ctypes.memset(id(state) + 0, 0, 0)
            state[:] = event.encode() * 1000
            return seen
        """
    )
    template = await stage.template(code)
    one = await stage.fork(template)
    assert [await one.invoke("dirty"), await one.invoke("dirty")] == ["clean", "dirty"]
    assert await (await stage.fork(template)).invoke("dirty") == "clean"


async def test_limits_hold_for_forks(stage: Stage) -> None:
    code = stage.function(
        """
        import os
        def handler(event, context):
            if event == "memory":
                kept = []
                while True:
                    kept.append(bytearray(1 << 20))
            count = 0
            try:
                while count < 200:
                    if not os.fork():
                        import time; time.sleep(60)
                    count += 1
            except OSError:
                pass
            return count
        """
    )
    template = await stage.template(code)
    fork = await stage.fork(template)
    with pytest.raises(Ended) as ended:
        await fork.invoke("memory")
    assert ended.value.args[0].oom
    fork = await stage.fork(template, processes=32)
    assert await fork.invoke("processes") < 32
