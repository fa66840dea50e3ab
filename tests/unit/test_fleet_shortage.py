"""The kernel kills environments that are below their own limit: the machine's shortage."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from boda.core.errors import AwsError
from boda.fleet.settings import FleetSettings
from boda.fleet.template import SnapshotFailed
from support.delivery_world import Office, office
from support.fake_sandbox import function
from support.fleet_platform import Platform

SETTINGS = FleetSettings(
    max_environments=50, reserve_mb=100, start_mb=16, caution_s=600, room_limit_s=20
)


@pytest.fixture
async def platform():
    made = Platform(SETTINGS)
    yield made
    closing = asyncio.ensure_future(made.fleet.close())
    await made.clock.settle()
    await closing
    assert made.sandboxes.alive == []


def machine_kills(guest, *_) -> None:
    guest.exit(None, 9, machine=True)


def hold(platform):
    held = []
    platform.sandboxes.handle = lambda guest, call: held.append((guest, call))
    return held


async def test_a_call_gets_a_service_error_and_the_function_is_not_blamed(platform):
    platform.sandboxes.handle = machine_kills
    with pytest.raises(AwsError) as caught:
        await platform.invoke(function())
    assert (caught.value.code, caught.value.status) == ("ServiceException", 500)
    assert platform.telemetry.metered == []
    lines = platform.telemetry.lines()
    assert lines[-1].endswith("Status: failure\tError Type: Sandbox.Failure\n")
    assert not any("Runtime." in line for line in lines)
    # What is left of it is used by nobody.
    await platform.advance(1)
    platform.sandboxes.handle = lambda guest, call: guest.respond(call, b"1")
    assert (await platform.invoke(function())).payload == b"1"
    assert len(platform.sandboxes.made) == 2 and platform.sandboxes.made[0].destroyed


async def test_its_own_limit_is_still_the_functions_error(platform):
    platform.sandboxes.handle = lambda guest, call: guest.exit(None, 9, oom=True)
    assert (await platform.invoke(function())).error_type == "Runtime.OutOfMemory"


async def test_an_init_that_the_machine_ends_costs_the_call_nothing(platform):
    ended = []

    def init(guest):
        if len(ended) < 3:
            ended.append(guest)
            machine_kills(guest)
        else:
            guest.ready()

    platform.sandboxes.init = init
    call = platform.begin(function(), b"7")
    await platform.clock.settle()
    assert len(platform.sandboxes.made) == 1, "not again at once"
    for _ in range(8):
        await platform.advance(SETTINGS.killed_pause_s)
    assert (await call).payload == b"7"
    assert len(platform.sandboxes.made) == 4


async def test_a_reset_that_the_machine_ends_is_run_elsewhere(platform):
    version = function()
    platform.sandboxes.handle = lambda guest, call: guest.exit(1)
    assert (await platform.invoke(version)).function_error
    platform.sandboxes.handle = lambda guest, call: guest.respond(call, b"1")
    seen = []

    def init(guest):
        seen.append(guest)
        machine_kills(guest) if len(seen) == 1 else guest.ready()

    platform.sandboxes.init = init
    call = platform.begin(version)
    await platform.advance(1)
    assert (await call).payload == b"1"
    assert [guest.sandbox.restarts for guest in seen] == [1, 0]


async def test_an_idle_one_that_the_machine_ends_is_replaced(platform):
    await platform.invoke(function())
    machine_kills(platform.sandboxes.guests[0])
    await platform.clock.settle()
    assert platform.states() == []
    await platform.advance(1)
    assert (await platform.invoke(function(), b"2")).payload == b"2"


async def test_after_a_kill_each_counts_with_its_whole_memory_for_a_while(platform):
    version = function(memory_mb=1000, timeout_s=900)
    platform.available_mb = 3_500
    held = hold(platform)
    for _ in range(8):
        platform.begin(version)
    await platform.clock.settle()
    assert len(held) == 8, "overcommitted: each is expected to need an eighth"
    machine_kills(held[0][0])
    for guest, call in held[1:]:
        guest.respond(call)
    await platform.clock.settle()
    calls = [platform.begin(version) for _ in range(8)]
    await platform.advance(5)
    assert len(platform.fleet.environments()) == 7, "what is there may go on"
    platform.fleet.retire(version)
    held.clear()
    for task in calls:
        task.cancel()
    other = function("g", memory_mb=1000, timeout_s=900)
    calls = [platform.begin(other) for _ in range(8)]
    await platform.advance(5)
    assert sum(shot.function == "g" for shot in platform.fleet.environments()) <= 3
    await platform.advance(SETTINGS.caution_s)
    refused = [task for task in calls if task.done()]
    assert all(task.exception().status == 429 for task in refused)


async def test_provisioned_ones_come_back(platform):
    version = function(version="1")
    platform.fleet.provision(version, 2)
    await platform.clock.settle()
    machine_kills(platform.sandboxes.guests[0])
    await platform.advance(1)
    assert platform.fleet.provisioned(version).allocated == 2


async def test_provisioned_ones_that_are_killed_at_once_are_not_started_on_and_on(platform):
    version = function(version="1")
    platform.sandboxes.init = machine_kills
    platform.fleet.provision(version, 1)
    await platform.advance(10)
    assert len(platform.sandboxes.made) == 1
    assert platform.fleet.provisioned(version).failing
    platform.sandboxes.init = lambda guest: guest.ready()
    await platform.advance(SETTINGS.provision_again_s)
    assert platform.fleet.provisioned(version).allocated == 1


async def test_a_template_that_the_machine_ends_is_no_fault_of_the_version(platform):
    version = function(version="1", snap_start=True, code_dir=Path("/1"))
    platform.sandboxes.snapshot = machine_kills
    task = asyncio.ensure_future(platform.fleet.snapshot(version))
    await platform.clock.settle()
    with pytest.raises(SnapshotFailed) as failed:
        await task
    assert failed.value.cause == "platform"  # which is tried again
    await platform.advance(1)
    platform.sandboxes.snapshot = lambda guest: guest.snapshotted()
    platform.sandboxes.restore = machine_kills
    call = platform.begin(version)
    await platform.clock.settle()
    platform.sandboxes.restore = lambda guest: guest.ready()
    await platform.advance(1)
    assert (await call).payload == b"{}"


async def test_events_lose_no_attempt_to_it(tmp_path: Path) -> None:
    here: Office = office(tmp_path)
    platform = Platform(SETTINGS, clock=here.clock, functions=here.functions)
    here.invoker = platform.invoker  # type: ignore[assignment]
    here.rebuild()
    await here.delivery.start()
    runs: Counter[bytes] = Counter()

    def handle(guest, call):
        runs[call.payload] += 1
        if runs[call.payload] <= 5:  # more often than a function may fail
            machine_kills(guest)
        else:
            guest.respond(call)

    platform.sandboxes.handle = handle
    version = function()
    here.functions.put(version.arn, "$LATEST", version)
    for number in range(3):
        await here.delivery.queue.enqueue(version, b"%d" % number, request_id=f"r{number}")
    for _ in range(300):
        await here.clock.advance(1)
    assert await here.waiting() == 0
    assert dict(runs) == {b"0": 6, b"1": 6, b"2": 6}
    assert here.telemetry.counts["AsyncEventsDropped"] == 0
    await here.delivery.stop(grace_s=0)
    closing = asyncio.ensure_future(platform.fleet.close())
    await here.clock.settle()
    await closing
    here.rows.close()
