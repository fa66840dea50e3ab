"""What templates and their forks are to whoever makes them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from boda.runtime.credentials import PATH, ContainerCredentials
from boda.sandbox.contract import SandboxError
from boda.sandbox.zygote import Zygote
from support.sandbox_snippets import why_not_root
from support.templates import InitFailed, Stage, staged

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    if why_not_root():
        pytest.skip(why_not_root())
    async with staged(tmp_path_factory.mktemp("stage")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def stage(whole: Stage) -> AsyncIterator[Stage]:
    yield whole
    await whole.clear()


@dataclass
class Keys:
    access_key_id: str
    secret: str = "s"
    session_token: str = "t"
    expires_at: float | None = None


async def test_forks_begin_where_the_template_ended_each_with_its_own_rest(stage: Stage) -> None:
    code = stage.function(
        """
        import os, random, ssl, uuid, threading, time
        born = [random.random(), ssl.RAND_bytes(8).hex(), str(uuid.uuid1())]
        at = time.time()
        seen = []
        def handler(event, context):
            seen.append(event)
            thread = threading.Thread(target=seen.append, args=("thread",))
            thread.start(); thread.join()
            return {
                "born": born,
                "chance": [random.random(), ssl.RAND_bytes(8).hex(), os.urandom(8).hex(),
                           str(uuid.uuid1()), str(uuid.uuid4())],
                "seen": list(seen),
                "later": time.time() > at,
                "environ": {name: os.environ.get(name) for name in ("OWN", "GONE")},
                "stream": [context.log_stream_name, os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]],
                "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
                "tid": threading.get_native_id() == os.getpid(),
            }
        """
    )
    template = await stage.template(code, environment={"GONE": "yes"})
    one, two = await asyncio.gather(*(stage.fork(template, environment={"OWN": "x"}) for _ in "ab"))
    assert template.sandbox.usage().memory_bytes > 4 << 20  # the image, in which an interpreter is
    first, second = await one.invoke(1), await two.invoke(2)
    assert first["born"] == second["born"]
    assert not set(first["chance"] + first["born"]) & set(second["chance"])
    assert (first["seen"], second["seen"]) == ([1, "thread"], [2, "thread"])
    assert first["later"] and first["tid"]
    assert first["environ"] == {"OWN": "x", "GONE": None}
    assert len({*first["stream"], *second["stream"]}) == 2
    assert first["type"] == "snap-start"
    assert (await one.invoke(3))["seen"] == [1, "thread", 3, "thread"]


async def test_a_fork_outlives_its_template_and_neither_starts_again(stage: Stage) -> None:
    code = stage.function("def handler(event, context): return event")
    template = await stage.template(code)
    assert (await template.until("end")).status == 0
    fork = await stage.fork(template)
    for runtime in (template, fork):
        with pytest.raises(SandboxError):
            await runtime.sandbox.restart({})
    await template.sandbox.destroy()
    assert await fork.invoke("still there") == "still there"
    with pytest.raises(SandboxError, match="gone"):
        await stage.fork(template)


async def test_plain_processes_have_none(tmp_path: Path) -> None:
    stage = Stage(tmp_path, plain=True)
    try:
        assert not stage.sandboxes.can_fork
        with pytest.raises(SandboxError, match="addresses of their own"):
            await stage.template(stage.function(""))
    finally:
        await stage.close()


async def test_before_there_is_an_image_nothing_forks(stage: Stage) -> None:
    code = stage.function("import time; time.sleep(60)\ndef handler(event, context): pass")
    sandbox = await stage.sandboxes.start(stage.spec(code, template=True))
    try:
        with pytest.raises(SandboxError, match="no snapshot yet"):
            await stage.sandboxes.fork(sandbox, stage.spec(code))
        ordinary = await stage.sandboxes.start(stage.spec(code))
        with pytest.raises(SandboxError, match="gone"):
            await stage.sandboxes.fork(ordinary, stage.spec(code))
        await ordinary.destroy()
    finally:
        await sandbox.destroy()


@pytest.mark.parametrize("bundled", [False, True])
async def test_hooks_run_in_awss_order(stage: Stage, bundled: bool) -> None:
    files = {}
    if bundled:
        files["snapshot_restore_py.py"] = (
            "b, a = [], []\n"
            "def register_before_snapshot(f, *p, **k): b.append((f, p, k)); return f\n"
            "def register_after_restore(f, *p, **k): a.append((f, p, k)); return f\n"
            "def get_before_snapshot(): return b\n"
            "def get_after_restore(): return a\n"
        )
    code = stage.function(
        """
        import os
        from snapshot_restore_py import register_after_restore, register_before_snapshot
        ran = []
        @register_before_snapshot
        def first(): ran.append("before 1")
        @register_before_snapshot
        def second(): ran.append("before 2")
        def third(word, *, more): ran.append("after " + word + more + os.environ["WHO"])
        register_after_restore(third, "1", more="x")
        @register_after_restore
        def fourth(): ran.append("after 2"); print("restored")
        def handler(event, context): return ran
        """,
        files,
    )
    template = await stage.template(code, environment={"WHO": "template"})
    fork = await stage.fork(template, environment={"WHO": "fork"})
    assert await fork.invoke() == ["before 2", "before 1", "after 1xfork", "after 2"]
    assert "restored" in fork.output()
    assert "restored" not in template.output()


@pytest.mark.parametrize("which", ["before_snapshot", "after_restore"])
async def test_a_hook_that_exits_is_one_that_fails(stage: Stage, which: str) -> None:
    code = stage.function(
        f"""
        import snapshot_restore_py, sys
        snapshot_restore_py.register_{which}(sys.exit, 0)
        def handler(event, context): pass
        """
    )
    kind = "BeforeSnapshot" if which == "before_snapshot" else "AfterRestore"
    with pytest.raises(InitFailed, match=f"Runtime.{kind}Error"):
        await stage.fork(await stage.template(code))


async def test_a_hook_that_fails_is_told_with_its_kind(stage: Stage) -> None:
    text = (
        "from snapshot_restore_py import register_{0} as register\n"
        "@register\ndef hook(): raise KeyError('no')\ndef handler(event, context): pass"
    )
    with pytest.raises(InitFailed) as failed:
        await stage.template(stage.function(text.format("before_snapshot")))
    assert failed.value.args[0] == "Runtime.BeforeSnapshotError"
    assert failed.value.args[1]["errorType"] == "KeyError"
    template = await stage.template(stage.function(text.format("after_restore")))
    with pytest.raises(InitFailed) as failed:
        await stage.fork(template)
    assert failed.value.args[0] == "Runtime.AfterRestoreError"
    assert "in hook" in failed.value.args[1]["stackTrace"][0]


async def test_an_init_that_fails_makes_no_template(stage: Stage) -> None:
    with pytest.raises(InitFailed) as failed:
        await stage.template(stage.function("import nothing_of_that_name"))
    assert failed.value.args[0] == "Runtime.ImportModuleError"


async def test_what_was_open_is_open_again(stage: Stage) -> None:
    """Files at their place, pipes and pairs with what was in them, loops; connections ended."""
    code = stage.function(
        """
        import asyncio, os, select, socket, tempfile
        from multiprocessing.pool import ThreadPool
        from concurrent.futures import ThreadPoolExecutor
        loop = asyncio.new_event_loop()
        pool = ThreadPoolExecutor(2)
        pool.submit(len, "").result()
        file = open(__file__); file.read(5)
        kept = tempfile.TemporaryFile(); kept.write(b"nameless"); kept.seek(4)
        scratch = os.path.join(os.environ.get("TMPDIR", "/tmp"), "folder")
        os.makedirs(scratch)
        with open(scratch + "/file", "w") as out: out.write("in tmp")
        os.symlink("file", scratch + "/link")
        log = open(scratch + "/log", "a"); log.write("one\\n"); log.flush()
        r, w = os.pipe(); os.write(w, b"held")
        left, right = socket.socketpair(); left.send(b"said")
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.connect(("127.0.0.1", 9))
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        def handler(event, context):
            poll = select.poll(); poll.register(client)
            log.write("two\\n"); log.flush()
            return [
                file.read(3), kept.read().decode(), os.read(r, 10).decode(),
                right.recv(10).decode(), left.fileno() != right.fileno(),
                client.recv(10).decode(), bool(poll.poll(0)),
                udp.getpeername()[1], loop.run_until_complete(asyncio.sleep(0, "slept")),
                pool.submit(len, "four").result(10),
                open(scratch + "/link").read(), open(scratch + "/log").read(),
                right.send(b"x") and left.recv(1).decode(),
            ]
        """
    )
    template = await stage.template(code)
    expected = ["rt ", "less", "held", "said", True, "", True, 9, "slept", 4]
    expected += ["in tmp", "one\ntwo\n", "x"]
    for _ in range(2):
        fork = await stage.fork(template)
        assert await fork.invoke() == expected


async def test_variables_that_init_sets_and_unsets_stay_so(stage: Stage) -> None:
    code = stage.function(
        """
        import os
        os.environ["SECRET"] = "fetched"
        os.environ["MINE"] += ":more"
        del os.environ["UNWANTED"]
        def handler(event, context):
            return [os.environ.get(name) for name in ("SECRET", "MINE", "UNWANTED", "TOKEN")]
        """
    )
    given = {"MINE": "own", "UNWANTED": "x"}
    template = await stage.template(code, environment={**given, "TOKEN": "the template's"})
    for token in ("one", "two"):
        fork = await stage.fork(template, environment={**given, "TOKEN": token})
        assert await fork.invoke() == ["fetched", "own:more", None, token]


async def test_variables_that_a_wrapper_sets_stay_so(stage: Stage) -> None:
    code = stage.function(
        "import os\ndef handler(event, context):\n"
        "    return [os.environ.get(name) for name in ('TRACER', 'OWN', 'TOKEN')]",
        {"wrap": '#!/bin/sh\nexport TRACER=on OWN="$OWN:wrapped"\nexec "$@"\n'},
    )
    (code / "wrap").chmod(0o755)
    given = {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrap", "OWN": "x"}
    template = await stage.template(code, environment={**given, "TOKEN": "the template's"})
    fork = await stage.fork(template, environment={**given, "TOKEN": "own"})
    assert await fork.invoke() == ["on", "x:wrapped", "own"]


async def test_a_database_in_tmp_goes_on(stage: Stage) -> None:
    """SQLite knows its file by the number, and no two environments share its chance."""
    code = stage.function(
        """
        import os, sqlite3
        for number in range(400):
            open(f"/tmp/{number}", "w").close()
        os.makedirs("/tmp/later/below")
        made = {}
        for mode in ("wal", "delete"):
            one = made[mode] = sqlite3.connect(f"/tmp/{mode}.db")
            one.execute(f"pragma journal_mode={mode}")
            one.execute("create table t(x)")
            one.commit()
        for number in range(9, 400):
            os.unlink(f"/tmp/{number}")
        def count(base): return base.execute("select count(*) from t").fetchone()[0]
        def handler(event, context):
            for one in made.values():
                one.execute("insert into t values(1)")
                one.commit()
            two = sqlite3.connect("/tmp/delete.db")
            two.execute("insert into t values(2)")
            two.commit()
            chance = made["wal"].execute("select hex(randomblob(8))").fetchone()[0]
            counts = [count(made["wal"]), count(made["delete"]), count(two)]
            return [counts, two.execute("pragma quick_check").fetchone(), chance]
        """
    )
    template = await stage.template(code)
    chances = set()
    for fork in [await stage.fork(template) for _ in range(2)]:
        for calls in (1, 2):
            counts, checked, chance = await fork.invoke()
            assert (counts, checked) == ([calls, 2 * calls, 2 * calls], ["ok"])
            chances.add(chance)
    assert len(chances) == 4


async def test_memory_that_is_a_file_in_tmp_stays_that(stage: Stage) -> None:
    code = stage.function(
        """
        import mmap
        file = open("/tmp/a file", "w+b"); file.truncate(8192)
        shared = mmap.mmap(file.fileno(), 0); shared[:3] = b"one"
        part = mmap.mmap(file.fileno(), 4096, offset=4096, access=mmap.ACCESS_READ)
        file.close()
        def handler(event, context):
            shared[3:6] = b"two"
            with open("/tmp/a file", "r+b") as again:
                seen = again.read(6).decode()
                again.seek(4096)
                again.write(b"three")
            return [seen, shared[4096:4101].decode(), part[:5].decode()]
        """
    )
    template = await stage.template(code)
    for _ in range(2):
        assert await (await stage.fork(template)).invoke() == ["onetwo", "three", "three"]


async def test_tmp_may_be_locked_and_at_work_while_the_image_is_made(stage: Stage) -> None:
    code = stage.function(
        """
        import os, stat, threading
        os.environ["TMPDIR"] = "/tmp/elsewhere"
        os.makedirs("/tmp/locked/folder")
        open("/tmp/locked/file", "w").write("kept")
        os.chmod("/tmp/locked/file", 0o200)
        os.chmod("/tmp/locked", 0)
        started = threading.Event()
        def work():
            while True:
                with open("/tmp/log", "w") as log:
                    for _ in range(200):
                        log.write("x" * 9000)
                        started.set()
                open("/tmp/now and then", "w").close()
                os.unlink("/tmp/now and then")
        threading.Thread(target=work, daemon=True).start()
        started.wait()
        with open("/tmp/large", "wb") as large:
            large.write(b"l" * 20_000_000)
        def handler(event, context):
            modes = [stat.S_IMODE(os.stat("/tmp/locked").st_mode)]
            os.chmod("/tmp/locked", 0o700)
            modes.append(stat.S_IMODE(os.stat("/tmp/locked/file").st_mode))
            os.chmod("/tmp/locked/file", 0o600)
            with open("/tmp/large", "rb") as large:
                same = large.read() == b"l" * 20_000_000
            kept = open("/tmp/locked/file").read()
            return [modes, kept, same, os.path.isdir("/tmp/locked/folder")]
        """
    )
    for _ in range(3):
        template = await stage.template(code)
        fork = await stage.fork(template)
        assert await fork.invoke() == [[0, 0o200], "kept", True, True]
        await stage.clear()


async def test_threads_of_the_init_are_told_of(stage: Stage) -> None:
    code = stage.function(
        """
        import threading
        stop = threading.Event()
        threading.Thread(target=stop.wait, name="poller", daemon=True).start()
        lock = threading.RLock()
        def handler(event, context):
            with lock:
                return [each.name for each in threading.enumerate()]
        """
    )
    template = await stage.template(code)
    fork = await stage.fork(template)
    assert await fork.invoke() == ["MainThread"]
    assert "not part of the snapshot: poller" in template.output()


async def test_memory_grows_shrinks_and_is_given_back(stage: Stage) -> None:
    """The C library's heap goes on where the kernel lets it, and signals find their handlers."""
    code = stage.function(
        """
        import gc, mmap, os, signal, subprocess
        caught = []
        signal.signal(signal.SIGUSR1, lambda number, frame: caught.append(number))
        shared = mmap.mmap(-1, 4096); shared[:5] = b"first"
        large = bytearray(300_000)
        def handler(event, context):
            large.extend(b"x" * 5_000_000)
            small = [bytes(90_000) for _ in range(300)]
            del small
            gc.collect()
            again = [bytes(100) for _ in range(200_000)]
            os.kill(os.getpid(), signal.SIGUSR1)
            pid = os.fork()
            if not pid:
                shared[:5] = b"child"
                os._exit(0)
            os.waitpid(pid, 0)
            done = subprocess.run(["/bin/echo", "ran"], capture_output=True, text=True)
            def deep(n): return n and 1 + deep(n - 1)
            return [len(large), len(again), caught, shared[:5].decode(), done.stdout, deep(900)]
        """
    )
    template = await stage.template(code, memory_mb=512)
    for _ in range(2):
        fork = await stage.fork(template, memory_mb=512)
        assert await fork.invoke() == [5_300_000, 200_000, [10], "child", "ran\n", 900]


@pytest.mark.parametrize("variable", ["PYTHONHASHSEED", "MALLOC_ARENA_MAX"])
async def test_an_interpreter_of_its_own_makes_a_template_too(stage: Stage, variable: str) -> None:
    code = stage.function("import os\ndef handler(event, context): return os.environ.get('SET')")
    template = await stage.template(code, environment={variable: "1"})
    fork = await stage.fork(template, environment={variable: "1", "SET": "x"})
    assert await fork.invoke() == "x"


async def test_a_boto3_client_made_by_the_init_signs_with_the_forks_own_keys(stage: Stage) -> None:
    code = stage.function(
        """
        import boto3
        client = boto3.client("s3", region_name="us-east-1")
        def handler(event, context):
            return client.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
        """
    )

    def keys(name: str, longest_s: float) -> ContainerCredentials:
        return ContainerCredentials("t", lambda: Keys(name), time.time, longest_s)

    environment = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:9001{PATH}",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "t",
    }
    template = await stage.template(code, keys=keys("AKIAINIT", 300), environment=environment)
    for name in ("AKIAONE", "AKIATWO"):
        fork = await stage.fork(template, keys=keys(name, 3600), environment=environment)
        assert f"AWSAccessKeyId={name}&" in await fork.invoke()


def of_images(stage: Stage) -> list[Zygote]:
    return [zygote for kind, zygote in stage.sandboxes._zygotes._known.items() if kind.template]


async def test_the_zygote_of_a_template_is_started_again(stage: Stage) -> None:
    code = stage.function("def handler(event, context): return event")
    template = await stage.template(code)
    first = await stage.fork(template)
    (zygote,) = of_images(stage)
    os.kill(zygote.pid, 9)
    while zygote.alive:
        await asyncio.sleep(0.01)
    second = await stage.fork(template)
    assert [await first.invoke(1), await second.invoke(2)] == [1, 2]
    await template.sandbox.destroy()
    assert not of_images(stage)
