"""SnapStart in the fleet: a template runs init once, environments are forked from it."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path

import pytest

from boda.core.errors import AwsError
from boda.fleet.settings import FleetSettings
from boda.fleet.template import SnapshotFailed
from boda.runtime.function import LogSettings
from support.fake_sandbox import function
from support.fleet_platform import Platform

SETTINGS = FleetSettings(
    max_environments=4, reserve_mb=100, idle_s=600, template_idle_s=3600, start_limit_s=60
)
HOOK = "Runtime.AfterRestoreError"


def snapped(name: str = "f", revision: str = "1", **fields):
    return function(
        name, revision, version="1", snap_start=True, code_dir=Path(f"/{revision}"), **fields
    )


@pytest.fixture
async def platform():
    made = Platform(SETTINGS)
    yield made
    closing = asyncio.ensure_future(made.fleet.close())
    await made.clock.settle()
    await closing
    assert made.sandboxes.alive == []
    assert not any(made.endpoints.values())


def templates(platform: Platform) -> list:
    return [sandbox for sandbox in platform.sandboxes.made if sandbox.spec.template]


def forks(platform: Platform) -> list:
    return [sandbox for sandbox in platform.sandboxes.made if sandbox.template is not None]


async def publish(platform: Platform, version) -> None:
    task = asyncio.ensure_future(platform.fleet.snapshot(version))
    await platform.clock.settle()
    await task


async def failing(platform: Platform, version) -> SnapshotFailed:
    task = asyncio.ensure_future(platform.fleet.snapshot(version))
    await platform.advance(200)
    with pytest.raises(SnapshotFailed) as failed:
        await task
    return failed.value


async def refused(platform: Platform, version, seconds: float = 0) -> AwsError:
    call = platform.begin(version)
    await platform.advance(seconds)
    with pytest.raises(AwsError) as error:
        await call
    return error.value


async def test_environments_are_forked_from_one_template(platform):
    version = snapped()
    await publish(platform, version)
    assert platform.states() == ["template"]
    for _ in range(2):
        assert (await platform.invoke(version, b"1")).payload == b"1"
    first, second = (platform.begin(version) for _ in range(2))
    await platform.clock.settle()
    await asyncio.gather(first, second)
    assert len(templates(platform)) == 1
    assert [sandbox.template for sandbox in forks(platform)] == templates(platform) * 2
    assert len(platform.sandboxes.made) == 3
    assert platform.states() == ["idle", "idle", "template"]


async def test_what_is_in_their_environment(platform):
    version = snapped()
    await publish(platform, version)
    await platform.invoke(version)
    for sandbox in platform.sandboxes.made:
        assert sandbox.spec.environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start"
        assert "AWS_LAMBDA_LOG_STREAM_NAME" not in sandbox.spec.environment
        assert "AWS_LAMBDA_LOG_GROUP_NAME" not in sandbox.spec.environment


async def test_keys_are_fetched_and_not_in_the_variables(platform):
    """What init left in a client must not outlive its keys; each environment has its token."""
    platform.expires_at = platform.clock.now() + 43_200
    version = snapped()
    fetched: list[bytes] = []
    loop = asyncio.get_running_loop()

    async def fetch(guest) -> None:
        variables = guest.sandbox.spec.environment
        assert "AWS_ACCESS_KEY_ID" not in variables and "AWS_SESSION_TOKEN" not in variables
        uri = variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        assert uri == "http://127.0.0.1:9001/2021-04-23/credentials"
        token = variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
        where = guest.sandbox.runtime_api.getsockname()
        reader, writer = await asyncio.open_unix_connection(where)
        writer.write(
            f"GET {uri[21:]} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n".encode()
        )
        fetched.append(await reader.read(4096))
        writer.close()
        guest.snapshotted() if guest.sandbox.spec.template else guest.ready()

    tasks = []
    script = platform.sandboxes
    script.snapshot = script.restore = lambda guest: tasks.append(loop.create_task(fetch(guest)))
    publishing = asyncio.ensure_future(platform.fleet.snapshot(version))
    while not publishing.done():
        await asyncio.sleep(0)
    call = platform.begin(version)
    while not call.done():
        await asyncio.sleep(0)
    documents = [json.loads(answer.partition(b"\r\n\r\n")[2]) for answer in fetched]
    assert [each["AccessKeyId"] for each in documents] == ["ASIAEXAMPLE"] * 2
    ends = [datetime.fromisoformat(each["Expiration"]).timestamp() for each in documents]
    assert ends[0] == pytest.approx(platform.clock.now() + 300, abs=1)
    assert ends[1] == pytest.approx(platform.expires_at, abs=1)
    tokens = {
        made.spec.environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
        for made in platform.sandboxes.made
    }
    assert len(tokens) == 2
    (environment,) = platform.fleet._live.values()
    assert not environment.lapsed(platform.clock.now() + 1e6)


async def test_latest_and_functions_without_it_are_not_snapshotted(platform):
    await platform.invoke(function())
    assert platform.states() == ["idle"]


async def test_where_nothing_can_be_forked_they_are_initialised(platform):
    platform.sandboxes.can_fork = False
    outcome = await platform.invoke(snapped())
    assert outcome.init_ms is not None and platform.states() == ["idle"]
    (made,) = platform.sandboxes.made
    assert made.spec.environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    assert not platform.fleet.offers_snapshots()


async def test_the_lines_of_init_restore_and_report(platform):
    version = snapped(memory_mb=256)
    clock = platform.clock
    platform.sandboxes.snapshot = lambda guest: clock.call_later(2.5, guest.snapshotted)
    platform.sandboxes.restore = lambda guest: clock.call_later(0.04, guest.ready)
    platform.sandboxes.handle = lambda guest, call: clock.call_later(0.01, guest.respond, call)
    publishing = asyncio.ensure_future(platform.fleet.snapshot(version))
    await platform.advance(2.5)
    await publishing
    call = platform.begin(version)
    await platform.advance(0.04)
    await platform.advance(0.01)
    outcome = await call
    assert (outcome.init_ms, outcome.billed_ms) == (None, 50)
    (init, lines) = ([line for _, line in events] for events in platform.telemetry.logs.values())
    assert init[0].startswith("INIT_START Runtime Version: python:3.12.v1\tRuntime Version ARN: ")
    assert init[1:] == ["INIT_REPORT Init Duration: 2500.00 ms\n"]
    assert lines[0].startswith("RESTORE_START Runtime Version: python:3.12.v1\tRuntime Version ")
    assert lines[1] == "RESTORE_REPORT Restore Duration: 40.00 ms\n"
    assert lines[-1] == (
        "REPORT RequestId: id-1\tDuration: 10.00 ms\tBilled Duration: 50 ms\t"
        "Memory Size: 256 MB\tMax Memory Used: 50 MB\t"  # with the 20 MB of the image
        "Restore Duration: 40.00 ms\tBilled Restore Duration: 40 ms\t\n"
    )
    metered = platform.telemetry.metered
    assert [(one.invoked_arn, one.billed_ms) for one in metered] == [
        ("", 2500), (version.arn, 50),
    ]  # fmt: skip
    again = platform.begin(version)
    await platform.advance(0.01)
    await again
    assert "Restore" not in platform.telemetry.lines()[-1]


async def test_the_records_of_the_json_format(platform):
    version = snapped(log=LogSettings("/aws/lambda/f", "JSON", "INFO", "DEBUG"))
    await publish(platform, version)
    await platform.invoke(version)
    records = [json.loads(line) for line in platform.telemetry.lines()]
    assert [item["type"] for item in records] == [
        "platform.initStart", "platform.initRuntimeDone", "platform.initReport",
        "platform.restoreStart", "platform.restoreRuntimeDone", "platform.restoreReport",
        "platform.start", "platform.runtimeDone", "platform.report",
    ]  # fmt: skip
    by_type = {item["type"].removeprefix("platform."): item["record"] for item in records}
    assert by_type["initStart"]["initializationType"] == "snap-start"
    assert by_type["restoreStart"]["functionVersion"] == "1"
    assert by_type["restoreRuntimeDone"] == {"status": "success"}
    assert by_type["restoreReport"] == {"status": "success", "metrics": {"durationMs": 0.0}}
    assert by_type["report"]["metrics"]["restoreDurationMs"] == 0.0
    assert "initDurationMs" not in by_type["report"]["metrics"]


@pytest.mark.parametrize(
    ("script", "cause", "error_type"),
    [
        (lambda guest: guest.init_error("Runtime.ImportModuleError"), "init",
         "Runtime.ImportModuleError"),
        (lambda guest: guest.init_error("Runtime.BeforeSnapshotError"), "init",
         "Runtime.BeforeSnapshotError"),
        (lambda guest: guest.init_error("Runtime.InvalidEntrypoint", b"no such file"),
         "entrypoint", "Runtime.InvalidEntrypoint"),
        (lambda guest: guest.exit(1), "init", "Runtime.ExitError"),
        (lambda guest: guest.exit(None, 9, True), "memory", "Runtime.OutOfMemory"),
        (lambda guest: None, "timeout", ""),
        (lambda guest: guest.ready(), "init", "Runtime.Unknown"),
        (lambda guest: guest.send(b"\xff" * 40), "init", "Runtime.Unknown"),
    ],
)  # fmt: skip
async def test_an_init_that_fails_leaves_no_template(platform, script, cause, error_type):
    platform.sandboxes.snapshot = script
    failed = await failing(platform, snapped())
    assert (failed.cause, failed.error_type) == (cause, error_type)
    assert platform.states() == [] == platform.sandboxes.alive
    (line,) = [line for line in platform.telemetry.lines() if line.startswith("INIT_REPORT")]
    status = "timeout" if cause == "timeout" else "error"
    assert f"\tPhase: init\tStatus: {status}" in line


async def test_init_may_take_130_seconds_or_the_timeout(platform):
    for timeout_s, name in ((3, "short"), (200, "long")):
        script = platform.sandboxes
        wait = max(130, timeout_s) - 0.5
        script.snapshot = lambda guest, wait=wait: platform.clock.call_later(
            wait, guest.snapshotted
        )
        task = asyncio.ensure_future(platform.fleet.snapshot(snapped(name, timeout_s=timeout_s)))
        await platform.advance(wait)
        await task


async def test_without_sandbox_or_keys_the_cause_is_told(platform):
    platform.sandboxes.fail_starts = 1
    assert (await failing(platform, snapped())).cause == "platform"
    platform.refusal = AwsError("AccessDeniedException", "no", 403)
    assert (await failing(platform, snapped())).cause == "role"


async def test_a_hook_that_fails_is_the_callers_error(platform):
    version = snapped()
    await publish(platform, version)
    platform.sandboxes.restore = lambda guest: guest.init_error(HOOK)
    error = await refused(platform, version)
    assert (error.code, error.status) == ("SnapStartException", 400)
    assert f"Status: error\tError Type: {HOOK}\n" in platform.telemetry.lines()[-1]
    platform.sandboxes.restore = lambda guest: guest.exit(1)
    assert (await refused(platform, version)).code == "SnapStartException"
    platform.sandboxes.restore = lambda guest: None
    error = await refused(platform, version, 10.1)
    assert (error.code, error.status) == ("SnapStartTimeoutException", 408)
    assert platform.telemetry.lines()[-1] == (
        "RESTORE_REPORT Restore Duration: 10000.00 ms\tStatus: timeout\n"
    )
    platform.sandboxes.restore = lambda guest: guest.ready()
    await platform.invoke(version)
    assert len(templates(platform)) == 1
    assert platform.concurrency.running("000000000000", "us-east-1", "f") == 0


async def test_after_a_failure_the_next_call_gets_a_new_fork(platform):
    version = snapped()
    await publish(platform, version)
    platform.sandboxes.handle = lambda guest, call: guest.exit(1)
    assert (await platform.invoke(version)).error_type == "Runtime.ExitError"
    assert platform.states() == ["template"]
    platform.sandboxes.handle = lambda guest, call: guest.respond(call)
    await platform.invoke(version)
    assert len(forks(platform)) == 2 and sum(one.restarts for one in forks(platform)) == 0


async def test_a_template_nobody_used_for_long_goes_and_is_made_again(platform):
    version = snapped()
    await publish(platform, version)
    await platform.invoke(version)
    await platform.advance(3700)  # the environment went after ten minutes
    assert platform.states() == ["template"]
    await platform.advance(1000)
    assert platform.states() == []
    await platform.invoke(version)
    assert platform.states() == ["idle", "template"]
    assert len(templates(platform)) == 2
    await platform.advance(5000)
    assert platform.states() == []


async def test_a_call_waits_for_a_template_that_is_made_again(platform):
    version = snapped()
    platform.sandboxes.snapshot = lambda guest: platform.clock.call_later(100, guest.snapshotted)
    call = platform.begin(version)
    await platform.advance(99)
    assert not call.done() and platform.states() == ["starting", "template-init"]
    await platform.advance(2)
    outcome = await call
    assert outcome.billed_ms == 1
    assert any("Restore Duration: 0.00 ms" in line for line in platform.telemetry.lines())


async def test_what_cannot_be_made_again_is_told(platform):
    version = snapped()
    platform.sandboxes.snapshot = lambda guest: guest.init_error("Runtime.ImportModuleError")
    error = await refused(platform, version)
    assert (error.code, error.status) == ("SnapStartRegenerationFailureException", 409)
    assert "Runtime.ImportModuleError" in error.message
    platform.sandboxes.snapshot = lambda guest: guest.snapshotted()
    await platform.invoke(version)


async def test_a_fork_that_fails_is_tried_once_more_from_a_new_template(platform):
    version = snapped()
    await publish(platform, version)
    platform.sandboxes.fail_forks = 1
    await platform.invoke(version)
    assert len(templates(platform)) == 2
    assert [one.destroyed for one in templates(platform)] == [True, False]
    platform.sandboxes.fail_forks = 2
    held = platform.fleet.take(version)
    assert held is not None
    assert (await refused(platform, version)).code == "ServiceException"
    platform.fleet.environment_available(held)


async def test_a_deleted_version_takes_its_template_along(platform):
    version = snapped()
    await publish(platform, version)
    await platform.invoke(version)
    platform.fleet.retire(version)
    await platform.clock.settle()
    assert platform.states() == [] == platform.sandboxes.alive


async def test_a_version_deleted_while_it_is_snapshotted(platform):
    version = snapped()
    platform.sandboxes.snapshot = lambda guest: None
    task = asyncio.ensure_future(platform.fleet.snapshot(version))
    await platform.clock.settle()
    platform.fleet.retire(version)
    await platform.clock.settle()
    with pytest.raises(SnapshotFailed) as failed:
        await task
    assert failed.value.cause == "dropped"
    assert platform.sandboxes.alive == []


async def test_calls_on_their_way_are_served_after_a_deletion_and_nothing_stays(platform):
    version = snapped()
    platform.functions.put(version.arn, "1", version)
    await publish(platform, version)
    gate = platform.sandboxes.fork_gate = asyncio.Event()
    call = platform.begin(version)
    await platform.clock.settle()
    platform.functions.remove(version.arn)
    late = platform.begin(version)
    await platform.clock.settle()
    gate.set()
    await platform.clock.settle()
    await asyncio.gather(call, late)
    await platform.clock.settle()
    assert platform.states() == [] == platform.sandboxes.alive


async def test_a_new_revision_never_runs_the_old_ones_memory(platform):
    old, new = snapped(revision="1"), snapped(revision="2")
    await publish(platform, old)
    await publish(platform, new)
    await platform.invoke(old)
    await platform.invoke(new)
    for sandbox in forks(platform):
        assert sandbox.template.spec.code_dir == sandbox.spec.code_dir


async def test_idle_templates_make_room(platform):
    versions = [snapped(name) for name in ("a", "b", "c", "d")]
    for version in versions:
        await publish(platform, version)
        await platform.advance(1)
    assert platform.states() == ["template"] * 4
    await platform.invoke(function("plain"))  # a's, which was not used for longest, has gone
    assert {shot.function for shot in platform.fleet.environments()} == {"b", "c", "d", "plain"}
    await platform.invoke(versions[3])  # plain's environment is younger than b's template
    assert {shot.function for shot in platform.fleet.environments()} == {"c", "d", "plain"}
    await platform.invoke(versions[0])  # needs two places
    there = [(shot.function, shot.state) for shot in platform.fleet.environments()]
    assert ("a", "idle") in there and ("a", "template") in there
    assert len(platform.sandboxes.alive) <= 4


async def test_a_publish_waits_while_there_is_no_room(platform):
    platform.sandboxes.handle = lambda guest, call: platform.clock.call_later(
        2, guest.respond, call
    )
    calls = [platform.begin(function(timeout_s=5)) for _ in range(4)]
    await platform.clock.settle()
    task = asyncio.ensure_future(platform.fleet.snapshot(snapped()))
    await platform.advance(1)
    assert not task.done()
    await platform.advance(3)
    await asyncio.gather(task, *calls)
    assert "template" in platform.states()


async def test_templates_go_under_memory_pressure(platform):
    await publish(platform, snapped())
    platform.available_mb = 50
    await platform.advance(6)
    assert platform.states() == []
    platform.available_mb = 10_000
    await platform.invoke(snapped())


async def test_a_version_deleted_while_there_is_no_room_is_not_snapshotted(platform):
    platform.sandboxes.handle = lambda guest, call: None
    calls = [platform.begin(function(timeout_s=5)) for _ in range(4)]
    await platform.clock.settle()
    task = asyncio.ensure_future(platform.fleet.snapshot(snapped()))
    await platform.advance(1)
    platform.fleet.retire(snapped())
    await platform.advance(2)
    with pytest.raises(SnapshotFailed):
        await task
    await platform.advance(10)
    await asyncio.gather(*calls)
    assert templates(platform) == []


async def test_a_snapshot_that_nobody_asked_for_ends_the_environment(platform):
    platform.sandboxes.init = lambda guest: guest.frame(9, b"")
    call = platform.begin(function())
    await platform.clock.settle()
    assert (await call).error_type == "Runtime.Unknown"


async def test_http_next_in_a_template_is_no_way_to_calls(platform):
    """What init code may try: the Runtime API's /next ends the template."""
    platform.sandboxes.snapshot = lambda guest: None
    task = asyncio.ensure_future(platform.fleet.snapshot(snapped()))
    await platform.clock.settle()
    (template,) = templates(platform)
    _, writer = await asyncio.open_unix_connection(template.runtime_api.getsockname())
    writer.write(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n")
    await writer.drain()
    await platform.clock.settle()
    writer.close()
    assert task.done()
    with pytest.raises(SnapshotFailed):
        await task


async def test_closing_ends_what_is_snapshotted(platform):
    platform.sandboxes.snapshot = lambda guest: None
    task = asyncio.ensure_future(platform.fleet.snapshot(snapped()))
    await platform.clock.settle()
    closing = asyncio.ensure_future(platform.fleet.close())
    await platform.clock.settle()
    await closing
    with pytest.raises(SnapshotFailed):
        await task


async def test_a_template_without_an_image_is_none(platform):
    """What it says of itself is not enough."""
    platform.sandboxes.fail_ripening = True
    failed = await failing(platform, snapped())
    assert (failed.cause, str(failed)) == ("init", "there is no image")
    assert platform.sandboxes.alive == []
    platform.sandboxes.fail_ripening = False
    await publish(platform, snapped())
    assert len(templates(platform)) == 2
