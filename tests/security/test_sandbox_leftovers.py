"""What remains when the platform stops, and when it is killed: nothing that runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from boda.sandbox.contract import SandboxError, SandboxSpec
from boda.sandbox.instance_lease import tag_of
from boda.sandbox.linux import LinuxSandboxes
from support.sandbox_snippets import SnippetLibrary, ThisPython, run, why_not_root

pytestmark = pytest.mark.skipif(bool(why_not_root()), reason=why_not_root() or "root")

PLATFORM = """
import asyncio, sys
from pathlib import Path
from boda.sandbox.contract import SandboxSpec
from boda.sandbox.linux import LinuxSandboxes
from support.sandbox_snippets import SnippetLibrary, ThisPython, run


async def main(folder, instance, isolation):
    python = ThisPython()
    sandboxes = LinuxSandboxes(folder / "state", {"python": python},
                               SnippetLibrary(folder / "library"),
                               plain=isolation == "process", instance=instance)
    busy = await sandboxes.start(SandboxSpec("busy", "python", folder / "code"))
    await run(busy, "import subprocess, sys; subprocess.Popen(['sleep', '1000'])")
    frozen = await sandboxes.start(SandboxSpec("frozen", "python", folder / "code"))
    frozen.freeze()
    while not any(len(waiting) == 2 for waiting in sandboxes._inits._waiting.values()):
        await asyncio.sleep(0.01)
    ahead = [init.pid for waiting in sandboxes._inits._waiting.values() for init in waiting]
    print(busy.pid, frozen.pid, *ahead, flush=True)
    await asyncio.sleep(1000)


asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
"""


def sandboxes_of(folder: Path, instance: str, **options: object) -> LinuxSandboxes:
    (folder / "code").mkdir(exist_ok=True)
    python = ThisPython()
    return LinuxSandboxes(
        folder / "state",
        {python.name: python},
        SnippetLibrary(folder / "library"),
        instance=instance,
        **options,  # type: ignore[arg-type]
    )


def traces(instance: str) -> dict[str, list[str]]:
    """Everything on this machine that carries the instance's mark."""
    tag = tag_of(instance)
    cgroups = [str(path) for path in Path("/sys/fs/cgroup").rglob(f"boda-{tag}")]
    links = [path.name for path in Path("/sys/class/net").iterdir() if tag in path.name]
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")
    rules = subprocess.run(
        [nft, "list", "tables"] if nft else ["true"], capture_output=True, text=True, check=False
    ).stdout
    mounts = Path("/proc/self/mountinfo").read_text()
    lease = Path("/run/boda") / f"{tag}.json"
    return {
        "cgroups": cgroups,
        "links": links,
        "tables": [line for line in rules.splitlines() if tag in line],
        "mounts": [line for line in mounts.splitlines() if tag in line],
        "lease": [str(lease)] if lease.exists() else [],
        "processes": list(processes_with(tag)),
        "volumes": [line for line in loop_files() if tag in line],
    }


def loop_files() -> list[str]:
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            found.append(backing.read_text())
    return found


def processes_with(tag: str) -> list[str]:
    """Processes that hold a mount, as zygotes and inits do, of this instance's root folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if f"sandbox-{tag}" in (entry / "mountinfo").read_text():
                    found.append(entry.name)
    return found


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


async def until_gone(pids: list[int], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < end, f"still alive: {[pid for pid in pids if alive(pid)]}"
        await asyncio.sleep(0.02)


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid] + [each for child in children for each in family(int(child))]


async def test_close_leaves_nothing(tmp_path: Path) -> None:
    instance = f"close-{tmp_path}"
    sandboxes = sandboxes_of(tmp_path, instance)
    spec = [SandboxSpec(f"s{n}", "python", tmp_path / "code") for n in range(3)]
    made = [await sandboxes.start(each) for each in spec]
    await run(made[0], "import subprocess; subprocess.Popen(['sleep', '1000'])")
    made[1].freeze()
    pids = [pid for one in made for pid in family(one.pid)]
    pids += [zygote.pid for zygote in sandboxes._zygotes]
    assert len(pids) == 8
    while not any(len(waiting) == 2 for waiting in sandboxes._inits._waiting.values()):
        await asyncio.sleep(0.01)
    pids += [init.pid for waiting in sandboxes._inits._waiting.values() for init in waiting]
    during = traces(instance)
    assert during["cgroups"] and during["lease"]
    await sandboxes.close()
    assert [pid for pid in pids if alive(pid)] == []
    assert {kind: left for kind, left in traces(instance).items() if left} == {}
    assert list((tmp_path / "state").iterdir()) == []
    with pytest.raises(SandboxError, match="closed"):
        await sandboxes.start(spec[0])


async def test_descriptors_do_not_pile_up(tmp_path: Path) -> None:
    sandboxes = sandboxes_of(tmp_path, f"fds-{tmp_path}", network=False)
    counts = []
    for number in range(6):
        sandbox = await sandboxes.start(SandboxSpec(f"s{number}", "python", tmp_path / "code"))
        await sandbox.restart({})
        await sandbox.destroy()
        with contextlib.suppress(SandboxError):
            await sandboxes.start(SandboxSpec(f"f{number}", "python", tmp_path / "absent"))
        await asyncio.sleep(0.05)
        counts.append(len(os.listdir("/proc/self/fd")))
    [zygote] = sandboxes._zygotes
    held = len(os.listdir(f"/proc/{zygote.pid}/fd"))
    await sandboxes.close()
    assert max(counts[2:]) - min(counts[2:]) <= 3  # the ready volumes come and go
    assert held < 10


@pytest.mark.parametrize("isolation", ["full", "process"])
async def test_a_killed_platform_leaves_no_process(tmp_path: Path, isolation: str) -> None:
    instance = f"killed-{tmp_path}"
    (tmp_path / "code").mkdir()
    (tmp_path / "instance.py").write_text(PLATFORM)
    paths = [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    platform = subprocess.Popen(
        [sys.executable, tmp_path / "instance.py", tmp_path, instance, isolation],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
        assert platform.stdout is not None
        inits = [int(pid) for pid in platform.stdout.readline().split()]
        assert len(inits) == 4  # two of them made ahead
        pids = [pid for init in inits for pid in family(init)] + family(platform.pid)
        assert len(pids) >= 9
        # One instance, one platform: the second is refused while the first lives.
        second = sandboxes_of(tmp_path, instance)
        with pytest.raises(SandboxError, match="another platform"):
            await second.open()
    finally:
        platform.send_signal(signal.SIGKILL)
        platform.wait()
        assert platform.stdout is not None
        platform.stdout.close()
    await until_gone(pids)
    left = traces(instance)
    assert left["processes"] == [] and left["mounts"] == [] and left["volumes"] == []
    # What needs no process is swept by whoever starts next.
    next_one = sandboxes_of(tmp_path, f"next-{tmp_path}", network=False)
    await next_one.open()
    assert {kind: trace for kind, trace in traces(instance).items() if trace} == {}
    await next_one.close()


async def test_the_doctor_leaves_nothing(tmp_path: Path) -> None:
    from boda.sandbox.doctor.examine import examine
    from boda.sandbox.doctor.findings import strong_enough

    findings = examine(tmp_path / "state" / "sandbox", thorough=False)
    names = [finding.name for finding in findings]
    for promise in ("user", "read-only root", "seccomp", "memory", "freezing", "internet"):
        assert promise in names
    assert strong_enough(findings)
    weaker = examine(tmp_path, plain=True, thorough=False)
    assert not strong_enough(weaker)
    assert all(finding.missing and finding.remedy for finding in weaker if not finding.ok)
    assert list(tmp_path.iterdir()) == []
