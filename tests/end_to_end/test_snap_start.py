"""SnapStart with real environments: init runs once, when a version is published."""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from bench.host import Boda

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="templates are of this processor only"
)

ONCE = """
import os, random, ssl, tempfile, threading, time, uuid
import boto3
from snapshot_restore_py import register_after_restore, register_before_snapshot

order = ["init"]
identity = str(uuid.uuid4())
sts = boto3.client("sts")
random.random()
with open("/tmp/made-in-init", "w") as file:
    file.write(identity)


@register_before_snapshot
def before():
    order.append("before-snapshot")
    print("before the snapshot")


@register_after_restore
def first():
    order.append("after-restore")
    print("after the restore")


@register_after_restore
def second():
    order.append("after-restore-2")


def lambda_handler(event, context):
    time.sleep(event.get("wait", 0))
    return {
        "order": order,
        "init": identity,
        "tmp": open("/tmp/made-in-init").read(),
        "uuid": str(uuid.uuid4()),
        "random": random.random(),
        "system": random.SystemRandom().random(),
        "ssl": ssl.RAND_bytes(8).hex(),
        "temporary": tempfile.mktemp(),
        "time": time.time(),
        "kind": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "keys": [name for name in os.environ if "ACCESS_KEY" in name],
        "stream": context.log_stream_name,
        "role": sts.get_caller_identity()["Arn"],
        "request": context.aws_request_id,
    }
"""


def published(boda: Boda, name: str, source: str, **settings: Any) -> dict[str, Any]:
    """What becomes of its first version."""
    boda.function(name, source, SnapStart={"ApplyOn": "PublishedVersions"}, **settings)
    aws = boda.client("lambda")
    made = aws.publish_version(FunctionName=name)
    assert (made["State"], made["StateReasonCode"]) == ("Pending", "Creating")
    return settled(aws, name, made["Version"])


def settled(aws: Any, name: str, version: str = "1") -> dict[str, Any]:
    end = time.monotonic() + 60
    while True:
        found = aws.get_function_configuration(FunctionName=name, Qualifier=version)
        if found["State"] != "Pending":
            return dict(found)
        assert time.monotonic() < end
        time.sleep(0.05)


def call(boda: Boda, name: str, **event: Any) -> dict[str, Any]:
    answer = boda.client("lambda").invoke(
        FunctionName=f"{name}:1", Payload=json.dumps(event).encode(), LogType="Tail"
    )
    return {"answer": answer, "payload": json.loads(answer["Payload"].read())}


def lines(boda: Boda, name: str, enough: Callable[[dict[str, list[str]]], Any]) -> Any:
    """Log lines by stream, in the order of their first events."""
    logs = boda.client("logs")
    end = time.monotonic() + 20
    while True:
        events = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
        streams: dict[str, list[str]] = {}
        for event in events:
            streams.setdefault(event["logStreamName"], []).append(event["message"].rstrip("\n"))
        if (found := enough(streams)) or time.monotonic() > end:
            return found
        time.sleep(0.1)


@pytest.fixture
def snapped(boda: Boda, name: str) -> str:
    found = published(boda, name, ONCE, Timeout=20, MemorySize=512)
    assert (found["State"], found["SnapStart"]["OptimizationStatus"]) == ("Active", "On")
    return name


def test_two_environments_share_an_init_and_nothing_else(boda: Boda, snapped: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: call(boda, snapped, wait=1)["payload"], range(2)))
    for one in both:
        assert one["order"] == ["init", "before-snapshot", "after-restore", "after-restore-2"]
        assert one["init"] == both[0]["init"] == one["tmp"]
        assert (one["kind"], one["keys"], one["stream"]) == ("snap-start", [], None)
        assert ":assumed-role/" in one["role"]
        assert abs(one["time"] - time.time()) < 30
    for unique in ("uuid", "random", "system", "ssl", "temporary", "request"):
        assert both[0][unique] != both[1][unique], unique


def test_every_python_has_it(boda: Boda, name: str) -> None:
    found = boda.client("boda").list_runtimes()["Runtimes"]
    for runtime in [one["Name"] for one in found if one["Name"].startswith("python")]:
        own = f"{name}-{runtime.replace('.', '-')}"
        assert published(boda, own, ONCE, Timeout=20, Runtime=runtime)["State"] == "Active"
        assert call(boda, own)["payload"]["order"][-1] == "after-restore-2", runtime


def test_the_lines_of_the_log(boda: Boda, snapped: str) -> None:
    call(boda, snapped)
    warm = call(boda, snapped)
    assert warm["payload"]["order"][-1] == "after-restore-2"

    def found(streams: dict[str, list[str]]) -> Any:
        done = [each for each in streams.values() if each[-1].startswith("REPORT")]
        return list(streams.values()) if len(streams) == 2 and len(done) == 1 else None

    init, restored = lines(boda, snapped, found)
    assert init[0].startswith("INIT_START Runtime Version: python:3.")
    assert "before the snapshot" in init
    assert re.fullmatch(r"INIT_REPORT Init Duration: [\d.]+ ms", init[-1])
    assert restored[0].startswith("RESTORE_START Runtime Version: python:3.")
    assert restored[1] == "after the restore"
    assert re.fullmatch(r"RESTORE_REPORT Restore Duration: [\d.]+ ms", restored[2])
    assert restored[3].startswith("START RequestId: ")
    first, second = [line for line in restored if line.startswith("REPORT")]
    assert re.search(
        r"\tRestore Duration: [\d.]+ ms\tBilled Restore Duration: \d+ ms\t?$", first
    ), first
    assert "Init Duration" not in first
    assert "Restore" not in second


def test_it_is_listed_and_goes_with_its_version(boda: Boda, snapped: str) -> None:
    def states() -> list[str]:
        found = boda.client("boda").list_environments(FunctionName=snapped)["Environments"]
        return sorted(one["State"] for one in found)

    assert states() == ["template"]
    call(boda, snapped)
    assert len(states()) == 2
    boda.client("lambda").delete_function(FunctionName=snapped, Qualifier="1")
    assert states() == []


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("import nothing_like_this\n", "FunctionError.RuntimeInitError", "ImportModuleError"),
        (
            "from snapshot_restore_py import register_before_snapshot\n"
            "@register_before_snapshot\n"
            "def fail():\n"
            "    raise ValueError('not now')\n"
            "def lambda_handler(event, context): pass\n",
            "FunctionError.RuntimeInitError",
            "BeforeSnapshotError",
        ),
        ("import os\nos._exit(3)\n", "FunctionError.RuntimeInitError", "Runtime.ExitError"),
        (
            "held = bytearray(400 << 20)\n",
            "FunctionError.InitResourceExhausted",
            "Runtime.OutOfMemory",
        ),
    ],
)
def test_an_init_that_fails_is_told_at_publish(
    boda: Boda, name: str, source: str, code: str, words: str
) -> None:
    found = published(boda, name, source, MemorySize=128)
    assert (found["State"], found["StateReasonCode"]) == ("Failed", code)
    assert words in found["StateReason"]
    aws = boda.client("lambda")
    with pytest.raises(aws.exceptions.ResourceConflictException):
        aws.invoke(FunctionName=f"{name}:1")
    (log,) = lines(boda, name, lambda streams: list(streams.values()))
    assert re.search(r"INIT_REPORT .*\tPhase: init\tStatus: error", log[-1])


def test_a_hook_that_fails_is_the_callers_error(boda: Boda, name: str) -> None:
    published(
        boda,
        name,
        "import snapshot_restore_py\n"
        "@snapshot_restore_py.register_after_restore\n"
        "def fail():\n"
        "    raise ValueError('no connection')\n"
        "def lambda_handler(event, context): pass\n",
    )
    aws = boda.client("lambda")
    with pytest.raises(aws.exceptions.SnapStartException):
        aws.invoke(FunctionName=f"{name}:1")
    restored = lines(
        boda,
        name,
        lambda streams: [each for each in streams.values() if each[0].startswith("RESTORE_START")],
    )[0]
    assert re.search(r"RESTORE_REPORT .*\tStatus: error\tError Type: Runtime.AfterR", restored[-1])
    assert any("no connection" in line for line in restored)


def test_after_a_crash_the_next_call_is_restored_anew(boda: Boda, name: str) -> None:
    published(
        boda,
        name,
        "import os\n"
        "calls = 0\n"
        "def lambda_handler(event, context):\n"
        "    global calls\n"
        "    calls += 1\n"
        "    if event.get('end'):\n"
        "        os._exit(1)\n"
        "    return calls\n",
    )
    assert call(boda, name)["payload"] == 1
    assert call(boda, name, end=True)["payload"]["errorType"] == "Runtime.ExitError"
    assert call(boda, name)["payload"] == 1


def test_a_restart_makes_the_template_again(own_boda: Boda, name: str) -> None:
    own_boda.start()
    published(own_boda, name, ONCE, Timeout=20, MemorySize=512)
    before = call(own_boda, name)["payload"]["init"]
    own_boda.stop()
    own_boda.start()
    found = settled(own_boda.client("lambda"), name)
    assert (found["State"], found["SnapStart"]["OptimizationStatus"]) == ("Active", "On")
    assert call(own_boda, name)["payload"]["init"] != before


def test_nothing_is_left_of_templates_after_a_kill(own_boda: Boda, name: str) -> None:
    own_boda.start()
    published(own_boda, name, ONCE, Timeout=20, MemorySize=512)
    call(own_boda, name)
    assert own_boda.process is not None
    ours = descendants(own_boda.process.pid)
    assert len(ours) > 3
    own_boda.kill()
    end = time.monotonic() + 10
    while (left := [pid for pid, began in ours.items() if stat(pid)[19:20] == [began]]) and (
        time.monotonic() < end
    ):
        time.sleep(0.05)
    assert left == []


def descendants(pid: int) -> dict[int, str]:
    """Every process below this one, with the time it began by the machine's clock."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for child in parents.get(waiting.pop(), []):
            if fields := stat(child):
                found[child] = fields[19]
                waiting.append(child)
    return found


def stat(pid: int) -> list[str]:
    """The fields of a process behind its name, none when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return fields if fields[0] not in "ZX" else []


def test_a_kill_amid_pending_is_made_up_for(own_boda: Boda, name: str) -> None:
    own_boda.start()
    aws = own_boda.client("lambda")
    slow = "import time\ntime.sleep(2)\ndef lambda_handler(event, context): return 1\n"
    own_boda.function(name, slow, SnapStart={"ApplyOn": "PublishedVersions"})
    assert aws.publish_version(FunctionName=name)["State"] == "Pending"
    own_boda.kill()
    own_boda.start()
    aws = own_boda.client("lambda")
    found = aws.get_function_configuration(FunctionName=name, Qualifier="1")
    assert found["State"] == "Pending"
    assert settled(aws, name)["State"] == "Active"
    assert call(own_boda, name)["payload"] == 1


def test_the_waiter_of_the_sdk(boda: Boda, name: str) -> None:
    boda.function(name, "import time\ntime.sleep(1)\ndef lambda_handler(e, c): return 1\n",
                  SnapStart={"ApplyOn": "PublishedVersions"})  # fmt: skip
    aws = boda.client("lambda")
    aws.publish_version(FunctionName=name)
    with pytest.raises(aws.exceptions.SnapStartNotReadyException):
        aws.invoke(FunctionName=f"{name}:1")
    aws.get_waiter("published_version_active").wait(
        FunctionName=name, Qualifier="1", WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
    assert aws.invoke(FunctionName=f"{name}:1")["StatusCode"] == 200
