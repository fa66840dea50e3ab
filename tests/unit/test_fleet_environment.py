"""Environments over a scripted guest, in both framings of the Runtime API, on a clock that moves
when told."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re

import pytest

from boda.core.arn import Arn
from boda.core.errors import AwsError
from boda.invoke.call import Call
from boda.runtime.function import LogSettings
from support.fake_guests import FramedGuest, HttpGuest
from support.fake_sandbox import function
from support.fleet_platform import Platform


@pytest.fixture(params=[FramedGuest, HttpGuest], ids=["frames", "http"])
async def platform(request):
    made = Platform(guest=request.param)
    yield made
    await made.fleet.close()
    await made.clock.settle()
    assert made.sandboxes.alive == []
    assert not any(made.endpoints.values())


over_frames = pytest.mark.parametrize("platform", [FramedGuest], ids=["frames"], indirect=True)
over_http = pytest.mark.parametrize("platform", [HttpGuest], ids=["http"], indirect=True)


def after(platform: Platform, seconds: float, callback, *args) -> None:
    platform.clock.call_later(seconds, callback, *args)


async def test_cold_then_warm(platform):
    version = function(memory_mb=256)
    platform.sandboxes.init = lambda guest: after(platform, 0.0842, guest.ready)
    platform.sandboxes.handle = lambda guest, call: after(
        platform, 0.0025, guest.respond, call, b'"done"'
    )
    task = platform.begin(version)
    await platform.advance(0.2)
    cold = await task
    assert (cold.payload, cold.function_error, cold.executed_version) == (b'"done"', "", "$LATEST")
    assert round(cold.init_ms, 1) == 84.2 and round(cold.duration_ms, 2) == 2.5
    assert cold.billed_ms == 87 and cold.max_memory_mb == 30
    task = platform.begin(version)
    await platform.advance(0.2)
    warm = await task
    assert warm.init_ms is None and warm.billed_ms == 3
    assert len(platform.sandboxes.made) == 1
    assert platform.sandboxes.made[0].cpu_limits == 1
    lines = platform.telemetry.lines()
    assert re.fullmatch(
        r"INIT_START Runtime Version: python:3\.12\.v1\tRuntime Version ARN: "
        r"arn:aws:lambda:us-east-1::runtime:[0-9a-f]{64}\n",
        lines[0],
    )
    assert lines[1:] == [
        "START RequestId: id-1 Version: $LATEST\n",
        "END RequestId: id-1\n",
        "REPORT RequestId: id-1\tDuration: 2.50 ms\tBilled Duration: 87 ms\tMemory Size: 256 MB"
        "\tMax Memory Used: 30 MB\tInit Duration: 84.20 ms\t\n",
        "START RequestId: id-2 Version: $LATEST\n",
        "END RequestId: id-2\n",
        "REPORT RequestId: id-2\tDuration: 2.50 ms\tBilled Duration: 3 ms\tMemory Size: 256 MB"
        "\tMax Memory Used: 30 MB\t\n",
    ]
    (key,) = platform.telemetry.logs
    assert key.group == "/aws/lambda/f"
    assert re.fullmatch(r"2026/01/01/\[\$LATEST\][0-9a-f]{32}", key.stream)
    first, second = platform.telemetry.metered
    assert (first.billed_ms, round(first.init_ms, 1), first.function.memory_mb) == (87, 84.2, 256)
    assert (second.request_id, second.init_ms, second.function_error) == ("id-2", 0.0, False)


async def test_init_counts_from_when_the_runtime_began(platform):
    """It runs before the platform hears that it does, and its first moments are paid for, too."""
    start = platform.sandboxes.start

    async def slow_to_tell(spec):
        sandbox = await start(spec)
        await platform.clock.sleep(0.5)
        return sandbox

    platform.sandboxes.start = slow_to_tell
    task = platform.begin(function())
    await platform.advance(1)
    assert round((await task).init_ms) == 500


async def test_no_more_memory_is_told_than_the_function_has(platform):
    def take_all(guest, call):
        guest.sandbox.peak = 144 << 20
        guest.exit(None, 9, oom=True)

    platform.sandboxes.handle = take_all
    assert (await platform.invoke(function())).max_memory_mb == 128

    def take_little(guest, call):
        guest.sandbox.peak = max(guest.sandbox.peak, 20 << 20)
        guest.respond(call, b"1")

    # A new process: what the old one took is not its own.
    platform.sandboxes.handle = take_little
    again = await platform.invoke(function())
    assert (again.payload, again.max_memory_mb) == (b"1", 20)


async def test_memory_that_is_shared_counts_as_used(platform):
    def take(guest, call):
        guest.sandbox.peak = 3 << 20
        guest.respond(call, b"1")

    platform.sandboxes.handle = take
    platform.sandboxes.shared_bytes = 27 << 20
    assert (await platform.invoke(function())).max_memory_mb == 30


async def test_streams_of_a_shared_group_name_their_function(platform):
    version = function(log=LogSettings(group="/shared"))
    await platform.invoke(version)
    (key,) = platform.telemetry.logs
    assert key.group == "/shared"
    assert re.fullmatch(r"2026/01/01/f\[\$LATEST\][0-9a-f]{32}", key.stream)


async def test_metrics_by_function_and_by_qualifier(platform):
    version = function()
    await platform.invoke(version)
    call = Call(version, b"{}", "id-x", version.arn + ":live")
    await platform.invoker.invoke(call)
    by_function = (("FunctionName", "f"),)
    by_alias = (("FunctionName", "f"), ("Resource", "f:live"))
    by_both = (("ExecutedVersion", "$LATEST"), *by_alias)
    counted = [(n, v, d) for n, v, d in platform.telemetry.metrics if n == "Invocations"]
    expected = ((), by_function, (), by_function, by_alias, by_both)
    assert counted == [("Invocations", 1.0, d) for d in expected]
    assert ("Errors", 0.0, by_alias) in platform.telemetry.metrics


async def test_handler_error_is_an_outcome(platform):
    body = json.dumps({"errorType": "ValueError", "errorMessage": "x"}).encode()
    platform.sandboxes.handle = lambda guest, call: guest.fail(call, "ValueError", body)
    outcome = await platform.invoke(function())
    assert (outcome.payload, outcome.function_error) == (body, "Unhandled")
    assert outcome.error_type == "ValueError"
    assert "Status" not in platform.telemetry.lines()[-1]
    assert platform.telemetry.metered[0].function_error
    assert platform.states() == ["idle"]


async def test_what_the_guest_is_told(platform):
    version = function(timeout_s=7, tenant_isolation=True)
    await platform.invoke(
        version, b'{"a":1}', client_context='{"c":1}', trace_id="Root=1", tenant="blue"
    )
    (invoked,) = platform.sandboxes.guests[0].invoked
    now_ms = int(platform.clock.now() * 1000)
    assert invoked.payload == b'{"a":1}'
    assert invoked.header == {
        "id": "id-1",
        "deadline": now_ms + 7000,
        "arn": version.arn,
        "trace": "Root=1",
        "client": '{"c":1}',
        "tenant": "blue",
    }


async def test_timeout_stops_the_runtime_and_the_next_call_resets_it(platform):
    platform.sandboxes.handle = lambda guest, call: None
    version = function(timeout_s=1)
    task = platform.begin(version)
    await platform.advance(0.999)
    assert not task.done()
    await platform.advance(0.01)
    outcome = await task
    assert json.loads(outcome.payload) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: id-1 Error: Task timed out after 1.00 seconds",
    }
    assert (outcome.function_error, outcome.error_type) == ("Unhandled", "Sandbox.Timedout")
    assert platform.telemetry.lines()[-1].endswith("Init Duration: 0.00 ms\tStatus: timeout\n")
    assert (outcome.duration_ms, outcome.billed_ms) == (1000.0, 1000)
    assert platform.states() == ["cold"]
    assert not platform.sandboxes.guests[0].alive

    platform.sandboxes.init = lambda guest: after(platform, 0.3, guest.ready)
    platform.sandboxes.handle = lambda guest, call: after(platform, 0.1, guest.respond, call)
    task = platform.begin(version)
    await platform.advance(1)
    again = await task
    assert again.payload == b"null" and again.init_ms is None
    assert round(again.duration_ms) == 400  # the suppressed init is part of the invocation
    (sandbox,) = platform.sandboxes.made
    assert sandbox.restarts == 1
    lines = platform.telemetry.lines()
    assert [line.split()[0] for line in lines] == ["INIT_START", *("START", "END", "REPORT") * 2]


async def test_a_call_right_after_a_failure_gets_the_same_sandbox(platform):
    platform.sandboxes.handle = lambda guest, call: guest.exit(1)
    states, second = [], []

    def failed(outcome, error):
        platform.sandboxes.handle = lambda guest, call: guest.respond(call, b"1")
        states.extend(platform.states())
        second.append(platform.begin(function()))

    platform.invoker.dispatch(Call(function(), b"{}", "id-0", "arn"), failed)
    await platform.clock.settle()
    assert states == ["stopping"]
    assert (await second[0]).payload == b"1"
    (sandbox,) = platform.sandboxes.made
    assert sandbox.restarts == 1


async def test_an_answer_after_the_deadline_is_nobodys(platform):
    late = []
    platform.sandboxes.handle = lambda guest, call: late.append((guest, call))
    version = function(timeout_s=1)
    task = platform.begin(version)
    await platform.advance(1.1)
    assert (await task).error_type == "Sandbox.Timedout"
    platform.sandboxes.handle = lambda guest, call: guest.respond(call, b'"mine"')
    guest, call = late[0]
    guest.alive = True
    task = platform.begin(version)
    guest.respond(call, b'"late"')
    await platform.clock.settle()
    assert (await task).payload == b'"mine"'


@pytest.mark.parametrize(
    ("end", "error_type", "words"),
    [
        ({"status": 0}, "Runtime.ExitError", "Runtime exited without providing a reason"),
        ({"status": 127}, "Runtime.ExitError", "Runtime exited with error: exit status 127"),
        (
            {"status": None, "signal": 9},
            "Runtime.ExitError",
            "Runtime exited with error: signal: killed",
        ),
        (
            {"status": None, "signal": 11},
            "Runtime.ExitError",
            "Runtime exited with error: signal: segmentation fault",
        ),
        (
            {"status": None, "signal": 9, "oom": True},
            "Runtime.OutOfMemory",
            "Runtime exited with error: signal: killed",
        ),
    ],
)
async def test_the_end_of_the_process_is_an_outcome(platform, end, error_type, words):
    platform.sandboxes.handle = lambda guest, call: guest.exit(**end)
    outcome = await platform.invoke(function())
    assert json.loads(outcome.payload) == {
        "errorType": error_type,
        "errorMessage": f"RequestId: id-1 Error: {words}",
    }
    report = platform.telemetry.lines()[-1]
    assert report.endswith(f"\tStatus: error\tError Type: {error_type}\n")
    platform.sandboxes.handle = lambda guest, call: guest.respond(call, b"1")
    assert (await platform.invoke(function())).payload == b"1"
    assert platform.sandboxes.made[0].restarts == 1


async def test_an_answer_right_before_the_end_counts(platform):
    def answer_and_die(guest, call):
        guest.respond(call, b'"kept"')
        guest.exit(1)

    platform.sandboxes.handle = answer_and_die
    assert (await platform.invoke(function())).payload == b'"kept"'
    platform.sandboxes.handle = lambda guest, call: guest.respond(call, b'"next"')
    assert (await platform.invoke(function())).payload == b'"next"'


async def test_failed_init_is_tried_again_within_the_call(platform):
    body = b'{"errorType":"Runtime.ImportModuleError","requestId":""}'

    def fail(guest):
        after(platform, 0.01, guest.init_error, "Runtime.ImportModuleError", body)

    platform.sandboxes.init = fail
    task = platform.begin(function())
    await platform.advance(0.1)
    outcome = await task
    assert (outcome.payload, outcome.error_type) == (body, "Runtime.ImportModuleError")
    assert outcome.init_ms is None
    lines = platform.telemetry.lines()
    assert lines[1] == (
        "INIT_REPORT Init Duration: 10.00 ms\tPhase: init\tStatus: error"
        "\tError Type: Runtime.ImportModuleError\n"
    )
    assert lines[2].startswith("INIT_REPORT Init Duration: 10.00 ms\tPhase: invoke\tStatus: error")
    assert [line.split()[0] for line in lines[3:]] == ["START", "END", "REPORT"]
    assert lines[-1].endswith("Status: error\tError Type: Runtime.ImportModuleError\n")
    assert [len(platform.sandboxes.made), platform.sandboxes.made[0].restarts] == [1, 1]

    platform.sandboxes.init = lambda guest: guest.ready()
    assert (await platform.invoke(function(), b"7")).payload == b"7"


async def test_an_exit_during_init_is_an_exit_error(platform):
    platform.sandboxes.init = lambda guest: after(platform, 0.01, guest.exit, 3)
    task = platform.begin(function())
    await platform.advance(0.1)
    outcome = await task
    assert json.loads(outcome.payload) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": "RequestId: id-1 Error: Runtime exited with error: exit status 3",
    }


async def test_a_bootstrap_that_cannot_be_executed_is_told_in_the_platforms_words(platform):
    words = b"fork/exec /var/task/bootstrap: permission denied"
    platform.sandboxes.init = lambda guest: after(
        platform, 0.01, guest.init_error, "Runtime.InvalidEntrypoint", words
    )
    task = platform.begin(function())
    await platform.advance(0.1)
    message = f"RequestId: id-1 Error: {words.decode()}"
    assert json.loads((await task).payload) == {
        "errorType": "Runtime.InvalidEntrypoint",
        "errorMessage": message,
    }
    assert f"{message}\nRuntime.InvalidEntrypoint\n" in platform.telemetry.lines()


async def test_slow_init_gets_ten_seconds_then_the_functions_timeout(platform):
    platform.sandboxes.init = lambda guest: after(platform, 12, guest.ready)
    task = platform.begin(function(timeout_s=3))
    await platform.advance(10.1)
    assert "INIT_REPORT Init Duration: 10000.00 ms\tPhase: init\tStatus: timeout\n" in (
        platform.telemetry.lines()
    )
    assert not task.done()
    await platform.advance(3.1)
    assert (await task).error_type == "Sandbox.Timedout"
    task = platform.begin(function(timeout_s=3))
    platform.sandboxes.init = lambda guest: after(platform, 1, guest.ready)
    await platform.advance(1.5)
    assert (await task).function_error == ""


async def test_what_init_inside_a_call_writes_stands_before_its_start(platform):
    platform.sandboxes.handle = lambda guest, call: guest.exit(1)
    await platform.invoke(function())

    def init(guest):
        guest.write("loading\n")
        guest.ready()

    platform.sandboxes.init = init
    platform.sandboxes.handle = lambda guest, call: (guest.write("working\n"), guest.respond(call))
    await platform.invoke(function())
    lines = platform.telemetry.lines()
    assert [line.split()[0] for line in lines[4:]] == [
        "loading", "START", "working", "END", "REPORT",
    ]  # fmt: skip


async def test_a_restart_that_fails_leaves_no_start_behind(platform):
    platform.sandboxes.handle = lambda guest, call: guest.exit(1)
    await platform.invoke(function())
    platform.sandboxes.fail_restarts = True
    platform.sandboxes.handle = lambda guest, call: guest.respond(call, b"1")
    assert (await platform.invoke(function())).payload == b"1"
    assert len(platform.sandboxes.made) == 2
    starts = [line for line in platform.telemetry.lines() if line.startswith("START")]
    assert len(starts) == 2, "one per call"


async def test_json_tells_of_init_inside_a_call(platform):
    platform.sandboxes.handle = lambda guest, call: guest.exit(1)
    version = function(log=LogSettings("/g", "JSON", "INFO", "DEBUG"))
    await platform.invoke(version)
    seen = len(platform.telemetry.lines())
    platform.sandboxes.init = lambda guest: after(platform, 0.2, guest.ready)
    platform.sandboxes.handle = lambda guest, call: guest.respond(call)
    task = platform.begin(version)
    await platform.advance(0.3)
    await task
    records = [json.loads(line) for line in platform.telemetry.lines()[seen:]]
    assert [record["type"].removeprefix("platform.") for record in records] == [
        "initStart", "initRuntimeDone", "initReport", "start", "runtimeDone", "report",
    ]  # fmt: skip
    assert {record["record"]["phase"] for record in records[:3]} == {"invoke"}
    assert records[2]["record"]["metrics"] == {"durationMs": 200.0}
    assert "initDurationMs" not in records[-1]["record"]["metrics"]


def other_attempt(guest, call):
    guest.respond(dataclasses.replace(call, id=b"12345678"), b'"not asked"')


def another_call(guest, call):
    guest.respond(dataclasses.replace(call, header={**call.header, "id": "id-9"}), b'"not asked"')


@over_frames
@pytest.mark.parametrize(
    "misdeed",
    [
        other_attempt,
        lambda guest, call: guest.send(b"\xff" * 64),
        lambda guest, call: guest.send(b"\x00\x00\x00\x00\x01"),
        lambda guest, call: guest.frame(99, b"what"),
        lambda guest, call: guest.frame(3, b"short"),
        lambda guest, call: guest.ready(),
        lambda guest, call: guest.frame(4, call.id + b"\xff\xff"),
        lambda guest, call: guest.init_error("Late"),
    ],
)
async def test_a_lying_guest_dies_and_its_caller_hears_an_error(platform, misdeed):
    platform.sandboxes.handle = misdeed
    outcome = await platform.invoke(function())
    assert (outcome.function_error, outcome.error_type) == ("Unhandled", "Runtime.Unknown")
    assert platform.states() == []
    platform.sandboxes.handle = lambda guest, call: guest.respond(call, b"1")
    assert (await platform.invoke(function())).payload == b"1"


@over_http
@pytest.mark.parametrize(
    "misdeed",
    [
        other_attempt,
        another_call,
        lambda guest, call: guest.ready(),
        lambda guest, call: guest.send(b"\xff" * 64),
        lambda guest, call: guest.request("POST", "/nope"),
        lambda guest, call: guest.init_error("Late"),
    ],
)
async def test_what_a_lying_guest_says_is_refused_and_its_caller_waits(platform, misdeed):
    """It ends where it is refused an invocation; else the time of its call passes."""
    platform.sandboxes.handle = misdeed
    task = platform.begin(function(timeout_s=1))
    await platform.advance(1.1)
    outcome = await task
    assert outcome.error_type in ("Runtime.ExitError", "Sandbox.Timedout")
    refused = [status for status in platform.sandboxes.guests[0].statuses if status != 200]
    assert refused and set(refused) <= {400, 403, 404}
    platform.sandboxes.handle = lambda guest, call: guest.respond(call, b"1")
    assert (await platform.invoke(function(timeout_s=1))).payload == b"1"
    assert len(platform.sandboxes.made) == 1


def twice(guest, call):
    guest.respond(call, b'"one"')
    guest.respond(call, b'"two"')


@over_frames
async def test_a_second_answer_ends_the_environment_but_not_the_first_answer(platform):
    platform.sandboxes.handle = twice
    assert (await platform.invoke(function())).payload == b'"one"'
    await platform.clock.settle()
    assert platform.states() == []


@over_http
async def test_a_second_answer_is_refused(platform):
    platform.sandboxes.handle = twice
    assert (await platform.invoke(function())).payload == b'"one"'
    await platform.clock.settle()
    assert sorted(platform.sandboxes.guests[0].statuses) == [200, 202, 400]
    platform.sandboxes.handle = lambda guest, call: guest.respond(call, b"1")
    assert (await platform.invoke(function())).payload == b"1"


@over_frames
async def test_an_answer_without_a_question_ends_the_environment(platform):
    await platform.invoke(function())
    guest = platform.sandboxes.guests[0]
    guest.respond(guest.invoked[0], b'"again"')
    await platform.clock.settle()
    assert platform.states() == []


@over_http
async def test_an_answer_without_a_question_is_refused(platform):
    await platform.invoke(function())
    guest = platform.sandboxes.guests[0]
    guest.respond(guest.invoked[0], b'"again"')
    await platform.clock.settle()
    assert guest.statuses[-1] == 400
    assert (await platform.invoke(function(), b"5")).payload == b"5"


async def test_too_large_an_answer_is_named_and_the_environment_goes_on(platform):
    size = 6_291_557

    def big(guest, call):
        guest.respond(call, b"x" * size)

    platform.sandboxes.handle = big
    task = platform.begin(function())
    outcome = await task
    assert json.loads(outcome.payload) == {
        "errorMessage": "Response payload size exceeded maximum allowed payload size "
        "(6291556 bytes).",
        "errorType": "Function.ResponseSizeTooLarge",
    }
    assert outcome.function_error == "Unhandled"
    await platform.clock.settle()
    platform.sandboxes.handle = lambda guest, call: guest.respond(call, b"1")
    assert (await platform.invoke(function())).payload == b"1"
    assert len(platform.sandboxes.made) == 1


async def test_output_stands_between_start_and_end_and_in_the_tail(platform):
    def speak(guest, call):
        guest.log("framed\nrecord\n")
        guest.write("console one\ncon")
        guest.write("sole two\nopen")
        guest.respond(call)

    platform.sandboxes.handle = speak
    outcome = await platform.invoke(function(), tail=True)
    lines = platform.telemetry.lines()[1:]
    assert lines[:5] == [
        "START RequestId: id-1 Version: $LATEST\n",
        "framed\nrecord\n",
        "console one\n",
        "console two\n",
        "open",
    ]
    tail = outcome.tail.decode()
    assert tail.startswith("START RequestId: id-1") and "open\nEND RequestId: id-1\nREPORT" in tail
    assert tail.endswith("\t\n")
    assert (await platform.invoke(function())).tail == b""


async def test_the_tail_is_the_last_four_kilobytes(platform):
    def speak(guest, call):
        for n in range(2000):
            guest.write(f"line {n}\n")
        guest.respond(call)

    platform.sandboxes.handle = speak
    outcome = await platform.invoke(function(), tail=True)
    assert len(outcome.tail) == 4096
    assert b"line 1999\nEND" in outcome.tail


async def test_a_burst_is_read_without_loss_and_waits_for_room(platform):
    platform.telemetry.room = asyncio.Event()
    loop = asyncio.get_running_loop()

    def burst(guest, call):
        os.set_blocking(guest.console, False)
        left = memoryview(b"".join(b"line %d\n" % n for n in range(100_000)))

        def go_on():
            nonlocal left
            left = left[os.write(guest.console, left) :]
            if not len(left):
                loop.remove_writer(guest.console)
                guest.respond(call)

        loop.add_writer(guest.console, go_on)

    platform.sandboxes.handle = burst
    task = platform.begin(function())
    while not platform.telemetry.asked_for_room:
        await asyncio.sleep(0)
    seen = len(platform.telemetry.lines())
    for _ in range(20):
        await platform.clock.settle()
    assert len(platform.telemetry.lines()) == seen < 100_000 and not task.done()
    platform.telemetry.room.set()
    await task
    lines = [line for line in platform.telemetry.lines() if line.startswith("line ")]
    assert lines == [f"line {n}\n" for n in range(100_000)]


async def test_idle_environments_are_frozen_and_thawed(platform):
    await platform.invoke(function())
    (sandbox,) = platform.sandboxes.made
    assert not sandbox.frozen
    await platform.advance(0.02)
    assert sandbox.frozen and platform.fleet.environments()[0].frozen
    await platform.invoke(function())
    assert not sandbox.frozen
    for _ in range(5):  # calls that follow closely never freeze it
        await platform.advance(0.005)
        await platform.invoke(function())
    assert sandbox.freezes == 1


async def test_a_process_that_ends_while_idle_is_started_again(platform):
    await platform.invoke(function())
    platform.sandboxes.guests[0].exit(1)
    await platform.clock.settle()
    assert platform.states() == ["cold"]
    assert (await platform.invoke(function(), b"5")).payload == b"5"
    assert len(platform.sandboxes.made) == 1


async def test_an_environment_that_cannot_be_reset_is_replaced(platform):
    platform.sandboxes.handle = lambda guest, call: guest.exit(1)
    await platform.invoke(function())
    platform.sandboxes.handle = lambda guest, call: guest.respond(call, b"1")
    platform.sandboxes.fail_restarts = True
    assert (await platform.invoke(function())).payload == b"1"
    assert len(platform.sandboxes.made) == 2


async def test_json_logs_and_their_levels(platform):
    log = LogSettings("/aws/lambda/f", "JSON", "INFO", "INFO")
    version = function(log=log)
    platform.sandboxes.handle = lambda guest, call: guest.respond(call)
    await platform.invoke(version)
    items = [json.loads(line) for line in platform.telemetry.lines()]
    assert [item["type"] for item in items] == [
        "platform.initStart",
        "platform.start",
        "platform.report",
    ]
    assert items[0]["time"] == "2026-01-01T00:00:00.000Z"
    assert items[1]["record"] == {"requestId": "id-1", "version": "$LATEST"}
    report = items[2]["record"]
    assert report["status"] == "success" and report["metrics"]["memorySizeMB"] == 128
    assert "initDurationMs" in report["metrics"]
    platform.telemetry.logs.clear()
    platform.sandboxes.handle = lambda guest, call: guest.fail(call, "ValueError")
    await platform.invoke(function(log=LogSettings("g", "JSON", "INFO", "WARN"), revision="2"))
    items = [json.loads(line) for line in platform.telemetry.lines()]
    assert [item["type"] for item in items] == ["platform.runtimeDone", "platform.report"]
    assert items[1]["record"]["errorType"] == "ValueError"


async def test_variables_of_the_environment(platform):
    version = function(
        memory_mb=512,
        environment=(("MINE", "1"), ("AWS_REGION", "mars"), ("PATH", "/mine")),
        log=LogSettings("/g", "JSON", "DEBUG", "INFO"),
    )
    await platform.invoke(version)
    seen = platform.sandboxes.made[0].environment
    assert seen["MINE"] == "1" and seen["PATH"] == "/mine" and seen["AWS_REGION"] == "us-east-1"
    (key,) = platform.telemetry.logs
    assert seen["AWS_LAMBDA_LOG_STREAM_NAME"] == key.stream
    expected = {
        "_HANDLER": "app.handler",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12",
        "AWS_ACCESS_KEY_ID": "ASIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_LEVEL": "DEBUG",
        "LAMBDA_TASK_ROOT": "/var/task",
        "TZ": ":UTC",
    }
    assert {name: seen[name] for name in expected} == expected


async def test_a_caller_that_goes_away_leaves_its_invocation_running(platform):
    held = []
    platform.sandboxes.handle = lambda guest, call: held.append((guest, call))
    version = function()
    task = platform.begin(version)
    await platform.clock.settle()
    task.cancel()
    await platform.clock.settle()
    assert platform.concurrency.running(version.account, version.region, "f") == 1
    assert platform.states() == ["busy"]
    guest, call = held[0]
    guest.respond(call)
    await platform.clock.settle()
    assert platform.concurrency.running(version.account, version.region, "f") == 0
    assert platform.states() == ["idle"]
    assert platform.telemetry.metered[0].request_id == "id-1"


async def test_snapshot_for_the_operator(platform):
    await platform.invoke(function())
    await platform.advance(5)
    (shot,) = platform.fleet.environments()
    assert (shot.function, shot.version, shot.state) == ("f", "$LATEST", "idle")
    assert (shot.invocations, shot.pid, shot.memory_bytes) == (1, 4711, 20 << 20)
    assert 5 <= shot.age_s < 6
    assert platform.endpoints[shot.id]


async def test_close_lets_running_calls_finish_within_the_grace(platform):
    platform.sandboxes.handle = lambda guest, call: after(platform, 1, guest.respond, call, b"1")
    running = platform.begin(function(timeout_s=60))
    await platform.clock.settle()
    closing = asyncio.ensure_future(platform.fleet.close(5))
    await platform.clock.settle()
    assert not closing.done()
    with pytest.raises(AwsError):
        await platform.invoke(function("other"))
    await platform.advance(1.1)
    assert (await running).payload == b"1"
    await closing
    assert platform.sandboxes.alive == []


async def test_close_ends_what_outlives_the_grace(platform):
    platform.sandboxes.handle = lambda guest, call: None
    running = platform.begin(function(timeout_s=60))
    await platform.clock.settle()
    closing = asyncio.ensure_future(platform.fleet.close(5))
    await platform.advance(5.1)
    await closing
    with pytest.raises(AwsError) as caught:
        await running
    assert caught.value.status == 500
    assert str(Arn.parse(function().arn)) == function().arn
    assert platform.sandboxes.alive == []


def layers(folder):
    """Two layers: the second replaces one extension of the first by what is not executable."""
    for layer, name, mode in (
        ("1", "agent", 0o755),
        ("1", "shipper", 0o755),
        ("2", "agent", 0o644),
    ):
        place = folder / layer / "extensions" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("#!/bin/sh\n")
        place.chmod(mode)
    (folder / "3").mkdir()
    return tuple(folder / number for number in "123")


async def test_extensions_that_are_not_started_are_named_at_init(platform, tmp_path):
    await platform.invoke(function(layer_dirs=layers(tmp_path)))
    first, second, third, *_ = platform.telemetry.lines()
    assert first.startswith("INIT_START ") and third.startswith("START ")
    assert second == (
        "EXTENSION\tName: shipper\tState: NotStarted\tError Type: Extension.NotSupported\t"
        "boda does not start extensions yet\n"
    )


@pytest.mark.parametrize("level", ["INFO", "WARN"])
async def test_in_json_they_are_a_warning(platform, tmp_path, level):
    log = LogSettings("/aws/lambda/f", "JSON", "INFO", level)
    await platform.invoke(function(layer_dirs=layers(tmp_path), log=log))
    found = [json.loads(line) for line in platform.telemetry.lines()]
    records = [one["record"] for one in found if one["type"] == "platform.extension"]
    assert [(one["name"], one["state"]) for one in records] == [("shipper", "NotStarted")]
