"""Concurrency for real: limits and throttles over HTTP, provisioned environments that are killed
and moved, memory that runs short, tenants that never meet."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bench.host import Boda
from botocore.exceptions import ClientError

from support import waiting

eventually = partial(waiting.eventually, timeout_s=40)

WAIT = """
import time

def lambda_handler(event, context):
    time.sleep(event.get("s", 0))
    return event
"""
SLOW = """
import os, time

def lambda_handler(event, context):
    time.sleep(event["s"])
    return os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
"""
WHO = """
import os, time, uuid

ID = str(uuid.uuid4())
time.sleep(float(os.environ.get("INIT_S", "0")))
SEEN = []

def lambda_handler(event, context):
    tenant = getattr(context, "tenant_id", None)
    SEEN.append(tenant)
    if event.get("end"):
        os._exit(1)
    return {"id": ID, "init": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], "seen": SEEN,
            "version": context.function_version}
"""
FILL = """
import time

KEPT = bytearray(0)

def lambda_handler(event, context):
    global KEPT
    KEPT = bytearray(b"x" * (40 << 20))
    time.sleep(event.get("s", 0))
    return len(KEPT)
"""
BROKEN = "raise ValueError('no init')\n\ndef lambda_handler(event, context): pass\n"


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """So many calls at the same time; what each returned, or the error it was answered with."""

    def tried(number: int) -> Any:
        try:
            return call(number)
        except ClientError as error:
            return error.response

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(tried, range(count)))


def environments(boda: Boda) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = boda.client("boda").list_environments()["Environments"]
    return found


def reasons(answers: list[Any]) -> Counter[str]:
    """ "" for those that were served."""
    return Counter(each.get("Reason", "") for each in answers)


def answer(response: Any) -> Any:
    return json.loads(response["Payload"].read())


def test_limits_and_what_a_refused_call_is_told(tmp_path: Path) -> None:
    options = ("--quota", "concurrent_executions=12", "--quota", "unreserved_minimum=1")
    with Boda(tmp_path / "data", *options) as boda:
        for name in ("r", "u", "fast"):
            boda.function(name, WAIT)
        aws = boda.client("lambda", max_pool_connections=64)
        aws.put_function_concurrency(FunctionName="r", ReservedConcurrentExecutions=3)

        def wait(name: str) -> Callable[[int], Any]:
            return lambda _: aws.invoke(FunctionName=name, Payload=b'{"s": 2}')

        answers = at_once(6, wait("r"))
        full = "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert reasons(answers) == {"": 3, full: 3}
        refused = next(each for each in answers if "Reason" in each)
        assert refused["Error"] == {"Code": "TooManyRequestsException", "Message": "Rate Exceeded."}
        assert (refused["Type"], refused["message"]) == ("User", "Rate Exceeded.")
        assert refused["ResponseMetadata"]["HTTPStatusCode"] == 429
        assert "retryAfterSeconds" not in refused  # recorded without
        answers = at_once(12, wait("u"))
        assert reasons(answers) == {"": 9, "ConcurrentInvocationLimitExceeded": 3}
        assert next(a for a in answers if "Reason" in a)["retryAfterSeconds"] == "1"

        aws.put_function_concurrency(FunctionName="fast", ReservedConcurrentExecutions=1)
        found: Counter[str] = Counter()
        for _ in range(25):  # one after the other: the rate and not the concurrency
            found += reasons(at_once(1, lambda _: aws.invoke(FunctionName="fast")))
        assert set(found) <= {"", "ReservedFunctionInvocationRateLimitExceeded"}
        assert 10 <= found[""] < 25
        aws.put_function_concurrency(FunctionName="fast", ReservedConcurrentExecutions=0)
        assert reasons(at_once(1, lambda _: aws.invoke(FunctionName="fast"))) == {full: 1}


def test_a_function_grows_by_its_rate(tmp_path: Path) -> None:
    with Boda(tmp_path / "data", "--quota", "scale_rate=5") as boda:
        boda.function("f", WAIT)
        aws = boda.client("lambda", max_pool_connections=64)
        answers = at_once(12, lambda _: aws.invoke(FunctionName="f", Payload=b'{"s": 3}'))
        found = reasons(answers)
        assert set(found) == {"", "FunctionInvocationRateLimitExceeded"}
        assert 5 <= found[""] <= 7  # it refills meanwhile
        refused = next(each for each in answers if "Reason" in each)
        assert int(refused["retryAfterSeconds"]) in (1, 2)
        # An event waits in the queue until there may be more; none is lost.
        for _ in range(8):
            aws.invoke(FunctionName="f", InvocationType="Event", Payload=b'{"s": 0.1}')

        def ran() -> bool:
            groups = boda.client("logs").filter_log_events(logGroupName="/aws/lambda/f")
            return sum("REPORT" in e["message"] for e in groups["events"]) == found[""] + 8

        eventually(ran)


def test_provisioned_environments_are_replaced_and_move_with_their_alias(
    boda: Boda, name: str
) -> None:
    boda.function(name, WHO)
    aws = boda.client("lambda", max_pool_connections=64)
    aws.publish_version(FunctionName=name)
    aws.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="1")
    aws.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    live = {"FunctionName": name, "Qualifier": "live"}

    def standing() -> tuple[str, int, int]:
        found = aws.get_provisioned_concurrency_config(**live)
        return (
            found["Status"],
            found["AllocatedProvisionedConcurrentExecutions"],
            found["AvailableProvisionedConcurrentExecutions"],
        )

    aws.put_provisioned_concurrency_config(**live, ProvisionedConcurrentExecutions=3)
    eventually(lambda: standing() == ("READY", 3, 3))
    ids = {answer(aws.invoke(**live))["id"] for _ in range(4)}
    assert len(ids) == 1  # the one used last

    def pids() -> dict[int, str]:
        shown = environments(boda)
        return {s["Pid"]: s["State"] for s in shown if s["FunctionName"] == name and s["Pid"]}

    before = pids()
    assert len(before) == 3
    os.kill(min(before), signal.SIGKILL)  # of one sandbox, with all that is in it
    eventually(lambda: min(before) not in pids())
    eventually(lambda: standing() == ("READY", 3, 3) and len(pids()) == 3)
    # A function that ends its process: the environment is replaced before a call needs it.
    assert aws.invoke(**live, Payload=b'{"end": 1}')["FunctionError"] == "Unhandled"
    eventually(lambda: standing() == ("READY", 3, 3))
    for found in at_once(3, lambda _: answer(aws.invoke(**live))):
        assert found["init"] == "provisioned-concurrency" and found["version"] == "1"

    slower = {"Variables": {"INIT_S": "1"}}
    aws.update_function_configuration(FunctionName=name, Environment=slower)
    aws.get_waiter("function_updated").wait(FunctionName=name)
    aws.publish_version(FunctionName=name)
    aws.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="2")
    aws.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    met = []  # its calls stay where environments are ready until they are ready there
    while not met or met[-1]["version"] != "2":
        met.append(answer(aws.invoke(**live)))
        assert met[-1]["init"] == "provisioned-concurrency"
        time.sleep(0.05)
    assert met[0]["version"] == "1"
    eventually(lambda: standing() == ("READY", 3, 3))
    for found in at_once(3, lambda _: answer(aws.invoke(**live))):
        assert found["init"] == "provisioned-concurrency" and found["version"] == "2"
    aws.delete_function(FunctionName=name)
    eventually(lambda: not pids())


def test_spill_over_and_what_cannot_be_initialised(boda: Boda, name: str) -> None:
    boda.function(name, SLOW)
    boda.function(f"{name}-broken", BROKEN)
    aws = boda.client("lambda", max_pool_connections=64)
    for each in (name, f"{name}-broken"):
        aws.publish_version(FunctionName=each)
        aws.get_waiter("published_version_active").wait(FunctionName=each, Qualifier="1")
        aws.put_provisioned_concurrency_config(
            FunctionName=each, Qualifier="1", ProvisionedConcurrentExecutions=2
        )

    def standing(each: str) -> dict[str, Any]:
        return aws.get_provisioned_concurrency_config(FunctionName=each, Qualifier="1")

    eventually(lambda: standing(name)["Status"] == "READY")
    one = {"FunctionName": name, "Qualifier": "1", "Payload": b'{"s": 1}'}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(aws.invoke, **one)
        eventually(lambda: standing(name)["AvailableProvisionedConcurrentExecutions"] == 1)
        waiting.result()
    kinds = Counter(at_once(5, lambda _: answer(aws.invoke(**one))))
    assert kinds == {"provisioned-concurrency": 2, "on-demand": 3}
    broken = eventually(
        lambda: (found := standing(f"{name}-broken"))["Status"] == "FAILED" and found
    )
    assert broken["StatusReason"] == "FUNCTION_ERROR_INIT_FAILURE"
    assert broken["AllocatedProvisionedConcurrentExecutions"] == 0


class Box:
    """A cgroup with a memory limit, as a container's: what is started inside stays inside."""

    def __init__(self, limit_mb: int) -> None:
        self.version = 1 if Path("/sys/fs/cgroup/memory").is_dir() else 2
        top = Path("/sys/fs/cgroup/memory" if self.version == 1 else "/sys/fs/cgroup")
        self.path = top / f"boda-test-{uuid.uuid4().hex[:8]}"
        own = Path("/proc/self/cgroup").read_text().splitlines()
        wanted = ":memory:" if self.version == 1 else "0::"
        self.before = top / next(line for line in own if wanted in line).split(":", 2)[2][1:]
        self.path.mkdir()
        name = "memory.limit_in_bytes" if self.version == 1 else "memory.max"
        (self.path / name).write_text(str(limit_mb << 20))

    def start(self, boda: Boda) -> None:
        (self.path / "cgroup.procs").write_text(str(os.getpid()))
        try:
            boda.start()
        finally:
            (self.before / "cgroup.procs").write_text(str(os.getpid()))

    def kills(self) -> int:
        """How often the kernel had to kill for memory in here."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        lines = (self.path / name).read_text().splitlines()
        return int(next(line for line in lines if line.startswith("oom_kill ")).split()[1])

    def close(self) -> None:
        for folder in sorted(self.path.rglob("*/"), reverse=True):
            if folder.is_dir():
                folder.rmdir()
        self.path.rmdir()


@pytest.fixture
def box() -> Iterator[Box]:
    try:
        made = Box(700)
    except (OSError, StopIteration):
        pytest.skip("no cgroup with a memory limit can be made here")
    try:
        yield made
    finally:
        made.close()


def test_idle_environments_go_before_memory_is_gone(own_boda: Boda, box: Box) -> None:
    """In 700 MiB, platform included, twenty functions that keep 40 MiB each are served, one after
    the other and all at once, and nothing is killed."""
    boda = own_boda
    box.start(boda)
    aws = boda.client("lambda", max_pool_connections=64)
    names = [f"f{number}" for number in range(20)]
    for name in names:
        # With the CPU of 128 MB, where memory is short, and perhaps beside other work.
        boda.function(name, FILL, Timeout=60)
    for name in names:
        assert answer(aws.invoke(FunctionName=name)) == 40 << 20
    shown = {each["FunctionName"] for each in environments(boda)}
    assert 2 <= len(shown) < 20
    assert shown <= set(names[-len(shown) :])  # those used last
    answers = at_once(20, lambda n: aws.invoke(FunctionName=names[n], Payload=b'{"s": 0.2}'))
    assert reasons(answers) == {"": 20}
    # The same of one function: a burst of starts, whose memory shows late.
    aws.put_function_concurrency(FunctionName="f0", ReservedConcurrentExecutions=40)
    answers = at_once(40, lambda _: aws.invoke(FunctionName="f0", Payload=b'{"s": 0.5}'))
    assert reasons(answers) == {"": 40}
    assert box.kills() == 0
    assert boda.stop() == 0


def test_tenants_never_meet(boda: Boda, name: str) -> None:
    boda.function(name, WHO, TenancyConfig={"TenantIsolationMode": "PER_TENANT"})
    aws = boda.client("lambda", max_pool_connections=64)
    tenants = ("blue", "green", "a b@c/d")
    for _ in range(3):
        for tenant in tenants:
            found = answer(aws.invoke(FunctionName=name, TenantId=tenant))
            assert set(found["seen"]) == {tenant}
    for tenant in tenants:
        stream = aws.invoke_with_response_stream(FunctionName=name, TenantId=tenant)
        parts = [e["PayloadChunk"]["Payload"] for e in stream["EventStream"] if "PayloadChunk" in e]
        found = json.loads(b"".join(parts))
        assert set(found["seen"]) == {tenant} and len(found["seen"]) >= 4
        aws.invoke(FunctionName=name, InvocationType="Event", TenantId=tenant, Payload=b"{}")

    def ran() -> bool:
        seen = [answer(aws.invoke(FunctionName=name, TenantId=each))["seen"] for each in tenants]
        assert all(set(each) == {tenant} for each, tenant in zip(seen, tenants, strict=True))
        return all(len(each) >= 6 for each in seen)

    eventually(ran)
    with pytest.raises(ClientError, match="Add a valid tenant ID"):
        aws.invoke(FunctionName=name)
    with pytest.raises(ClientError, match="TenancyConfig"):
        aws.create_function_url_config(FunctionName=name, AuthType="NONE")
