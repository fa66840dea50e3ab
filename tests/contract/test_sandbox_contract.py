"""What every kind of sandbox does alike: isolated ones and plain processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from boda.sandbox.architectures import own
from boda.sandbox.contract import Exit, Sandbox, SandboxError, SandboxSpec
from boda.sandbox.init_process import InitProcess
from boda.sandbox.linux import LinuxSandboxes
from support.sandbox_snippets import (
    Died,
    SnippetLibrary,
    ThisPython,
    console,
    run,
    serving,
    why_not_root,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
_numbers = itertools.count()


class Kit:
    """Sandboxes of one kind and what their specs have in common."""

    def __init__(self, sandboxes: LinuxSandboxes, code: Path) -> None:
        self.sandboxes = sandboxes
        self.code = code
        self.isolated = sandboxes.mode.isolated

    def spec(self, **fields: Any) -> SandboxSpec:
        values: dict[str, Any] = {
            "sandbox_id": f"contract-{next(_numbers)}",
            "runtime": "python",
            "code_dir": self.code,
            "ephemeral_mb": 64,
            "network": False,
            "environment": {"WHO": "a"},
        }
        return SandboxSpec(**(values | fields))

    async def start(self, **fields: Any) -> Sandbox:
        return await self.sandboxes.start(self.spec(**fields))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["full", "process"])
async def kit(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Kit]:
    if request.param == "full" and why_not_root():
        pytest.skip(why_not_root())
    folder = tmp_path_factory.mktemp("sandboxes")
    code = folder / "code"
    code.mkdir()
    (code / "mine.txt").write_text("code of the function")
    python = ThisPython()
    provided = ThisPython("provided.al2023", kind="provided")
    sandboxes = LinuxSandboxes(
        folder / "state",
        {python.name: python, provided.name: provided},
        SnippetLibrary(folder / "library"),
        plain=request.param == "process",
        network=False,
        instance=f"contract-{os.getpid()}-{request.param}",
    )
    yield Kit(sandboxes, code)
    await sandboxes.close()


@pytest_asyncio.fixture(loop_scope="module")
async def sandbox(kit: Kit) -> AsyncIterator[Sandbox]:
    made = await kit.start()
    yield made
    await made.destroy()


async def test_runs_in_the_code_with_exactly_the_given_environment(
    kit: Kit, sandbox: Sandbox
) -> None:
    await run(sandbox, "import os, sys")
    assert await run(sandbox, "answer = open('mine.txt').read()") == "code of the function"
    environ = await run(sandbox, "answer = dict(os.environ)")
    assert environ["WHO"] == "a"
    if kit.isolated:
        assert environ == {"WHO": "a"}
    task = "/var/task" if kit.isolated else str(kit.code)
    assert await run(sandbox, "answer = [sys.path[0], os.getcwd()]") == [task, task]


async def test_holds_only_the_descriptors_it_was_given(sandbox: Sandbox) -> None:
    held = await run(sandbox, "import os; answer = sorted(os.listdir('/proc/self/fd'), key=int)")
    assert held == ["0", "1", "2", "3", "4", "5"]  # 5 is the listing itself
    assert await run(sandbox, "answer = [channel_fd, log_fd]") == [3, 4]
    flags = "import fcntl; answer = [fcntl.fcntl(fd, fcntl.F_GETFD) for fd in (3, 4)]"
    assert await run(sandbox, flags) == [1, 1]  # children do not inherit them


async def test_does_not_interrupt_who_wakes_it(sandbox: Sandbox) -> None:
    assert await run(sandbox, "import os; answer = os.sched_getscheduler(0)") == os.SCHED_BATCH


async def test_console_and_log_reach_the_platform(sandbox: Sandbox) -> None:
    await run(sandbox, "import os; os.write(1, b'out '); os.write(2, b'err'); os.write(4, b'rec')")
    assert console(sandbox) == "out err"
    assert os.read(sandbox.log, 100) == b"rec"


async def test_platform_holds_the_accepting_ends(kit: Kit, sandbox: Sandbox) -> None:
    ports = [socket.getsockname()[1] for socket in (sandbox.runtime_api, sandbox.endpoint)]
    if kit.isolated:
        assert ports == [9001, 4566]
    fetch = (
        "import socket; s = socket.create_connection(('127.0.0.1', {})); "
        "answer = s.recv(9).decode()"
    )
    async with serving(sandbox.runtime_api, b"runtime"), serving(sandbox.endpoint, b"endpoint"):
        assert await run(sandbox, fetch.format(ports[0])) == "runtime"
        assert await run(sandbox, fetch.format(ports[1])) == "endpoint"


async def test_addresses_in_the_environment_lead_to_those_sockets(kit: Kit) -> None:
    sandbox = await kit.start(
        environment={"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "URL": "http://127.0.0.1:4566"}
    )
    api = await run(sandbox, "import os; answer = os.environ['AWS_LAMBDA_RUNTIME_API']")
    url = await run(sandbox, "answer = os.environ['URL']")
    assert api == f"127.0.0.1:{sandbox.runtime_api.getsockname()[1]}"
    assert url == f"http://127.0.0.1:{sandbox.endpoint.getsockname()[1]}"
    await sandbox.restart({"API": "127.0.0.1:9001"})
    assert await run(sandbox, "import os; answer = os.environ['API']") == api
    await sandbox.destroy()


@pytest.mark.parametrize(
    ("snippet", "how"),
    [
        ("import os; os._exit(7)", Exit(7, None)),
        ("raise SystemExit(3)", Exit(3, None)),
        ("import os; os.kill(os.getpid(), 9)", Exit(None, signal.SIGKILL)),
        ("import os; os.abort()", Exit(None, signal.SIGABRT)),
    ],
)
async def test_tells_how_the_runtime_ended(kit: Kit, snippet: str, how: Exit) -> None:
    sandbox = await kit.start()
    with pytest.raises(Died) as died:
        await run(sandbox, snippet)
    assert died.value.how == how
    assert await sandbox.wait_runtime() == how
    await sandbox.destroy()


async def test_restart_keeps_tmp_and_nothing_else(kit: Kit, sandbox: Sandbox) -> None:
    await run(sandbox, "import os, tempfile; tmp = tempfile.gettempdir()")
    await run(sandbox, "open(tmp + '/kept', 'w').write('x'); seen = 1")
    await run(sandbox, "import subprocess; other = subprocess.Popen(['sleep', '1000'])")
    waiting = asyncio.create_task(sandbox.wait_runtime())
    await asyncio.sleep(0)  # it waits for the present process, not for the next
    old = sandbox.channel
    await sandbox.restart({"WHO": "b"})
    assert (await waiting).signal == signal.SIGKILL
    assert sandbox.channel is not old and old.fileno() == -1
    state = await run(
        sandbox,
        "import os, tempfile; answer = [os.environ['WHO'], 'seen' in globals(), "
        "os.path.exists(tempfile.gettempdir() + '/kept')]",
    )
    assert state == ["b", False, True]
    if kit.isolated:
        alive = await run(sandbox, "answer = sorted(n for n in os.listdir('/proc') if n.isdigit())")
        assert len(alive) == 2  # init and itself; the sleeper is gone
    with pytest.raises(Died) as died:
        await run(sandbox, "os._exit(4)")
    assert died.value.how == Exit(4, None)


async def test_restart_after_a_crash(kit: Kit) -> None:
    sandbox = await kit.start()
    for number in range(3):
        with pytest.raises(Died):
            await run(sandbox, "import os; os._exit(1)")
        await sandbox.restart({"N": str(number)})
        assert await run(sandbox, "import os; answer = os.environ['N']") == str(number)
    await sandbox.destroy()


async def test_stop_gives_grace_then_kills(kit: Kit) -> None:
    sandbox = await kit.start()
    await run(sandbox, "import os, signal; signal.signal(15, lambda *_: os._exit(9))")
    await sandbox.stop_runtime(grace_s=5)
    assert await sandbox.wait_runtime() == Exit(9, None)
    await sandbox.restart({})
    await run(sandbox, "import signal; signal.signal(15, signal.SIG_IGN)")
    await sandbox.stop_runtime(grace_s=0.05)
    assert await sandbox.wait_runtime() == Exit(None, signal.SIGKILL)
    await sandbox.destroy()


async def test_frozen_uses_no_cpu_and_thaws(sandbox: Sandbox) -> None:
    await run(
        sandbox,
        "import threading\nspins = 0\ndef spin():\n global spins\n while True: spins += 1\n"
        "threading.Thread(target=spin, daemon=True).start()",
    )
    sandbox.freeze()
    sandbox.freeze()
    await asyncio.sleep(0.05)
    before = sandbox.usage().cpu_s
    await asyncio.sleep(0.2)
    assert sandbox.usage().cpu_s - before < 0.005
    sandbox.thaw()
    sandbox.thaw()
    first = await run(sandbox, "answer = spins")
    await asyncio.sleep(0.05)
    assert await run(sandbox, "answer = spins") > first


async def test_a_frozen_sandbox_can_be_restarted_and_destroyed(kit: Kit) -> None:
    sandbox = await kit.start()
    sandbox.freeze()
    await sandbox.restart({"X": "1"})
    assert await run(sandbox, "import os; answer = os.environ['X']") == "1"
    sandbox.freeze()
    await asyncio.wait_for(sandbox.destroy(), 5)
    assert not os.path.exists(f"/proc/{sandbox.pid}")


async def test_usage_follows_memory(sandbox: Sandbox) -> None:
    before = sandbox.usage()
    await run(sandbox, "block = bytearray(40 << 20); block[::4096] = b'x' * len(block[::4096])")
    after = sandbox.usage()
    if after.memory_bytes == 0:
        pytest.skip("this machine counts no memory")
    assert after.memory_bytes - before.memory_bytes > 38 << 20
    await run(sandbox, "del block")
    assert sandbox.usage().memory_bytes < after.memory_bytes - (30 << 20)
    assert sandbox.usage().peak_bytes >= after.memory_bytes
    assert sandbox.peak_bytes() >= after.memory_bytes
    sandbox.reset_peak()
    assert sandbox.peak_bytes() < after.memory_bytes
    assert sandbox.usage().peak_bytes < after.memory_bytes


async def test_everything_is_safe_after_its_death(kit: Kit) -> None:
    sandbox = await kit.start()
    await asyncio.gather(sandbox.destroy(), sandbox.destroy())
    await sandbox.destroy()
    sandbox.freeze()
    sandbox.thaw()
    sandbox.usage()
    sandbox.peak_bytes()
    sandbox.reset_peak()
    sandbox.init_done()
    await asyncio.wait_for(sandbox.stop_runtime(), 1)
    assert (await sandbox.wait_runtime()).signal == signal.SIGKILL
    with pytest.raises(SandboxError, match="gone"):
        await sandbox.restart({})


async def test_the_end_of_the_init_is_the_end_of_the_runtime(kit: Kit) -> None:
    sandbox = await kit.start()
    os.kill(sandbox.pid, signal.SIGKILL)
    end = await asyncio.wait_for(sandbox.wait_runtime(), 5)
    # The function could have done it itself where nothing isolates it.
    assert end == Exit(None, signal.SIGKILL, machine=kit.isolated)
    await sandbox.destroy()


async def test_unknown_runtime_and_missing_code_are_clear_errors(kit: Kit, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="no runtime cobol"):
        await kit.start(runtime="cobol")
    if kit.isolated:
        with pytest.raises(SandboxError, match=r"show .*absent at /var/task.*No such file"):
            await kit.start(code_dir=tmp_path / "absent")
    else:
        with pytest.raises(SandboxError, match="No such file"):
            await kit.start(code_dir=tmp_path / "absent")
    same = kit.spec()
    first = await kit.sandboxes.start(same)
    if first.usage().memory_bytes:
        with pytest.raises(SandboxError, match="exists"):
            await kit.sandboxes.start(same)
    await first.destroy()
    again = await kit.sandboxes.start(same)
    await again.destroy()


async def without_spares(kit: Kit) -> None:
    """From now on starts need a zygote, until inits have been made ahead again."""
    inits = kit.sandboxes._inits
    for kind in list(inits._waiting):
        while (init := inits.take(kind)) is not None:
            await init.end()


async def test_a_zygote_that_dies_is_replaced(kit: Kit) -> None:
    before = await kit.start()
    [zygote] = kit.sandboxes._zygotes
    await without_spares(kit)
    os.kill(zygote.pid, signal.SIGKILL)
    after = await asyncio.wait_for(kit.start(), 20)
    assert await run(before, "answer = 1") == 1  # environments outlive it
    assert await run(after, "answer = 2") == 2
    await asyncio.gather(before.destroy(), after.destroy())


async def test_a_zygote_of_another_tier_that_dies_is_replaced(kit: Kit, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "uses.py").write_text("import boto3")
    before = await kit.start(code_dir=code)
    bare, grown = kit.sandboxes._zygotes
    await without_spares(kit)
    os.kill(bare.pid, signal.SIGKILL)
    between = await asyncio.wait_for(kit.start(code_dir=code), 20)
    assert grown in list(kit.sandboxes._zygotes)  # it outlives the one it came from
    await without_spares(kit)
    os.kill(grown.pid, signal.SIGKILL)
    after = await asyncio.wait_for(kit.start(code_dir=code), 20)
    made = (before, between, after)
    assert [await run(one, "answer = 1") for one in made] == [1, 1, 1]
    await asyncio.gather(*(one.destroy() for one in made))
    [last] = [zygote for zygote in kit.sandboxes._zygotes if zygote not in (bare, grown)][1:]
    await last.close()  # the other tests know of one


async def test_a_zygote_that_dies_over_an_order_is_replaced(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may close the order's socket before the one that tells of the zygote's death."""
    before = await kit.start()
    [zygote] = kit.sandboxes._zygotes
    await without_spares(kit)
    taken: list[bytes] = []

    async def take(order: bytes, fds: Sequence[int]) -> None:
        taken.append(order)

    monkeypatch.setattr(zygote, "fork", take)
    after = await asyncio.wait_for(kit.start(), 20)
    assert len(taken) == 1 and not zygote.alive
    assert [await run(one, "answer = 1") for one in (before, after)] == [1, 1]
    await asyncio.gather(before.destroy(), after.destroy())


async def spares(kit: Kit) -> list[InitProcess]:
    """Those that wait at the bare zygote, once there are as many as there shall be."""
    async with asyncio.timeout(30):
        while True:
            for kind, waiting in kit.sandboxes._inits._waiting.items():
                if kind.tier == "bare" and len(waiting) >= 2:
                    return list(waiting)
            await asyncio.sleep(0.01)


async def test_an_init_made_ahead_becomes_one_sandbox_and_no_other(kit: Kit) -> None:
    await (await kit.start()).destroy()
    ahead = [init.pid for init in await spares(kit)]
    made = [await kit.start() for _ in range(4)]
    pids = [one.pid for one in made]
    assert pids[0] in ahead
    assert len(set(pids)) == 4
    await asyncio.gather(*(one.destroy() for one in made))
    later = [init.pid for init in await spares(kit)]
    assert not set(later) & set(pids)


async def test_an_init_made_ahead_that_died_is_passed_over(kit: Kit) -> None:
    await (await kit.start()).destroy()
    ahead = await spares(kit)
    for init in ahead:
        os.kill(init.pid, signal.SIGKILL)
    while not all(init.lost for init in ahead):
        await asyncio.sleep(0.01)
    sandbox = await kit.start()
    assert await run(sandbox, "answer = 1") == 1
    await sandbox.destroy()


async def test_many_start_at_once_each_on_its_own(kit: Kit) -> None:
    made = await asyncio.gather(*(kit.start(environment={"N": str(n)}) for n in range(8)))
    answers = await asyncio.gather(
        *(run(one, "import os; answer = os.environ['N']") for one in made)
    )
    assert answers == [str(n) for n in range(8)]
    await asyncio.gather(*(one.destroy() for one in made))


async def test_no_two_have_the_same_chance(kit: Kit) -> None:
    draw = (
        "import random, ssl, uuid, tempfile; "
        "answer = [random.random(), ssl.RAND_bytes(8).hex(), str(uuid.uuid4())]"
    )
    made = await asyncio.gather(*(kit.start() for _ in range(3)))
    draws = [await run(one, draw) for one in made]
    for kind in zip(*draws, strict=True):
        assert len(set(kind)) == 3
    await asyncio.gather(*(one.destroy() for one in made))


async def test_layers_are_merged_and_the_later_wins(kit: Kit, tmp_path: Path) -> None:
    layers = []
    for name in ("one", "two", "three"):
        package = tmp_path / name / "python"
        package.mkdir(parents=True)
        (package / "shared.py").write_text(f"WHO = {name!r}")
        (package / f"only_{name}.py").write_text("")
        layers.append(tmp_path / name)
    for path in tmp_path.rglob("*"):
        path.chmod(0o755)
    sandbox = await kit.start(layer_dirs=tuple(layers))
    found = await run(sandbox, "import shared, only_one, only_two, only_three; answer = shared.WHO")
    assert found == "three"
    if kit.isolated:
        listing = await run(sandbox, "import os; answer = sorted(os.listdir('/opt/python'))")
        assert "only_one.py" in listing and "only_three.py" in listing
        assert not await run(sandbox, "answer = os.access('/opt', os.W_OK)")
    await sandbox.destroy()
    single = await kit.start(layer_dirs=tuple(layers[:1]))
    assert await run(single, "import shared; answer = shared.WHO") == "one"
    await single.destroy()


async def test_code_comes_before_layers_and_library(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "six.py").write_text("MINE = True")
    (tmp_path / "init.py").write_text("MINE = True")  # named like a module of the guest
    tmp_path.chmod(0o755)
    sandbox = await kit.start(code_dir=tmp_path)
    assert await run(sandbox, "import six, init; answer = [six.MINE, init.MINE]") == [True, True]
    await sandbox.destroy()


@pytest.mark.parametrize("variable", ["PYTHONHASHSEED", "LD_LIBRARY_PATH"])
async def test_what_only_an_interpreter_can_read_gets_a_fresh_one(kit: Kit, variable: str) -> None:
    value = {"PYTHONHASHSEED": "7", "LD_LIBRARY_PATH": f"{sys.base_prefix}/lib:/var/lang/lib"}
    sandbox = await kit.start(environment={variable: value[variable]})
    command = await run(sandbox, "answer = open('/proc/self/cmdline').read()")
    assert "fresh.py" in command
    assert await run(sandbox, "import sys; answer = open('mine.txt').read()[:4]") == "code"
    assert (await run(sandbox, "answer = sys.path"))[0] in ("/var/task", str(kit.code))
    await sandbox.destroy()


async def test_an_exec_wrapper_starts_the_interpreter(kit: Kit, tmp_path: Path) -> None:
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n')
    wrapper.chmod(0o755)
    tmp_path.chmod(0o755)
    path = "/var/task/wrapper" if kit.isolated else str(wrapper)
    prefix = "/var/lang" if kit.isolated else sys.base_prefix
    sandbox = await kit.start(
        code_dir=tmp_path,
        environment={"AWS_LAMBDA_EXEC_WRAPPER": path, "LD_LIBRARY_PATH": f"{prefix}/lib"},
    )
    assert await run(sandbox, "import os; answer = os.environ['WRAPPED']") == "yes"
    await sandbox.destroy()


async def test_a_custom_runtime_is_executed(kit: Kit, tmp_path: Path) -> None:
    bootstrap = tmp_path / "bootstrap"
    bootstrap.write_text('#!/bin/sh\necho "here $WHO $(pwd)"\nexit 5\n')
    bootstrap.chmod(0o755)
    tmp_path.chmod(0o755)
    sandbox = await kit.start(runtime="provided.al2023", code_dir=tmp_path)
    assert await sandbox.wait_runtime() == Exit(5, None)
    where = "/var/task" if kit.isolated else str(tmp_path)
    assert console(sandbox) == f"here a {where}\n"
    await sandbox.destroy()
    bootstrap.unlink()
    sandbox = await kit.start(runtime="provided.al2023", code_dir=tmp_path)
    assert (await sandbox.wait_runtime()).status == 127
    said = sandbox.channel.recv(4096)  # an error of its init, in a frame of the channel
    assert b"Runtime.InvalidEntrypoint" in said and b"Couldn't find valid bootstrap" in said
    await sandbox.destroy()


async def test_cpu_is_lent_for_the_start_and_then_limited(kit: Kit) -> None:
    sandbox = await kit.start(memory_mb=177)  # a tenth of a vCPU
    if not sandbox.usage().cpu_s:
        pytest.skip("this machine limits no CPU")
    spin = "import time; end = time.monotonic() + 0.5\nwhile time.monotonic() < end: pass"
    sandbox.init_done()
    await run(sandbox, "import time; time.sleep(0.11)")
    before = sandbox.usage().cpu_s
    await run(sandbox, spin)
    assert sandbox.usage().cpu_s - before < 0.2
    await sandbox.restart({})  # lent again
    await run(
        sandbox,
        "import time; end = time.process_time() + 0.25\nwhile time.process_time() < end: pass",
        2,
    )
    await sandbox.destroy()


async def test_variables_that_are_too_long_harm_nobody_else(kit: Kit) -> None:
    before = await kit.start()
    with pytest.raises(SandboxError, match="too long"):
        await kit.start(environment={"BIG": "x" * (1 << 20)})
    with pytest.raises(SandboxError):
        await kit.start(environment={"NUL": "a\0b"})
    [zygote] = kit.sandboxes._zygotes
    assert zygote.alive and await run(before, "answer = 1") == 1
    await before.destroy()


async def test_a_start_that_is_given_up_leaves_no_sandbox(kit: Kit) -> None:
    for pause_s in (0.0, 0.002, 0.004, 0.006, 0.01):
        task = asyncio.create_task(kit.start())
        await asyncio.sleep(pause_s)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await task).destroy()
    assert not kit.sandboxes._alive
    for path in kit.sandboxes.hierarchy.paths:
        assert not [entry for entry in Path(path).iterdir() if entry.is_dir()]


async def test_on_uvloop_too(kit: Kit, tmp_path: Path) -> None:
    """The platform runs on it, and it has its own ways with sockets and descriptors."""
    uvloop = pytest.importorskip("uvloop")
    python = ThisPython()

    async def life() -> None:
        sandboxes = LinuxSandboxes(
            tmp_path / "state",
            {python.name: python},
            SnippetLibrary(tmp_path / "library"),
            plain=not kit.isolated,
            network=False,
            instance=f"uvloop-{tmp_path}",
        )
        try:
            sandbox = await sandboxes.start(SandboxSpec("env", "python", kit.code))
            assert await run(sandbox, "answer = 1") == 1
            await sandbox.restart({})
            with pytest.raises(Died) as died:
                await run(sandbox, "import os; os._exit(2)")
            assert died.value.how == Exit(2, None)
            await sandbox.destroy()
        finally:
            await sandboxes.close()

    await asyncio.to_thread(lambda: uvloop.run(life()))


async def test_code_for_another_kind_of_machine_is_not_run(kit: Kit) -> None:
    other = {"x86_64": "arm64", "arm64": "x86_64"}[own()]
    with pytest.raises(SandboxError, match=f"does not run python for {other}"):
        await kit.start(architecture=other)
