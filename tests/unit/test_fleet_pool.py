"""Scaling, late binding, eviction, retirement."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from boda.core.errors import AwsError
from boda.fleet.memory import available_memory
from boda.fleet.settings import FleetSettings
from support.fake_sandbox import function
from support.fleet_platform import Platform


@pytest.fixture
async def platform():
    made = Platform(FleetSettings(max_environments=4, reserve_mb=100, idle_s=600))
    yield made
    if made.sandboxes.start_gate is not None:
        made.sandboxes.start_gate.set()
    closing = asyncio.ensure_future(made.fleet.close())
    await made.clock.settle()
    await closing
    assert made.sandboxes.alive == []


def hold(platform):
    """Make the guests keep their calls until told."""
    held = []
    platform.sandboxes.handle = lambda guest, call: held.append((guest, call))
    return held


async def test_one_invocation_at_a_time_and_last_used_first(platform):
    held = hold(platform)
    calls = [platform.begin(function()) for _ in range(3)]
    await platform.clock.settle()
    assert len(held) == 3 and len({guest for guest, _ in held}) == 3
    for guest, call in held:
        guest.respond(call)
        await platform.clock.settle()
    assert all(task.done() for task in calls)
    last = held[-1][0]
    held.clear()
    platform.begin(function())
    await platform.clock.settle()
    assert held[0][0] is last
    held[0][0].respond(held[0][1])
    await platform.clock.settle()
    assert len(platform.sandboxes.made) == 3


async def test_a_waiting_call_takes_what_comes_first(platform):
    held = hold(platform)
    first = platform.begin(function())
    await platform.clock.settle()
    platform.sandboxes.start_gate = asyncio.Event()  # new environments take their time
    second = platform.begin(function(), b"2")
    await platform.clock.settle()
    guest, call = held.pop()
    guest.respond(call)
    await platform.clock.settle()
    assert first.done() and held[0][0] is guest and held[0][1].payload == b"2"
    platform.sandboxes.start_gate.set()
    await platform.clock.settle()
    held[0][0].respond(held[0][1])
    await platform.clock.settle()
    assert second.done()
    assert platform.states() == ["idle", "idle"]


async def test_no_more_are_started_than_calls_wait(platform):
    held = hold(platform)
    platform.sandboxes.start_gate = asyncio.Event()
    task = platform.begin(function())
    await platform.clock.settle()
    task.cancel()
    await platform.clock.settle()
    again = platform.begin(function())
    await platform.clock.settle()
    platform.sandboxes.start_gate.set()
    await platform.clock.settle()
    assert len(platform.sandboxes.made) == 1
    held[0][0].respond(held[0][1])
    await platform.clock.settle()
    assert again.done()


async def test_environments_are_not_shared_between_versions_or_tenants(platform):
    for version, tenant in (
        (function(), ""),
        (function(), "blue"),
        (function(version="1"), ""),
        (function(revision="2"), ""),
    ):
        isolated = dataclasses.replace(version, tenant_isolation=bool(tenant))
        await platform.invoke(isolated, tenant=tenant)
    assert len(platform.sandboxes.made) == 4
    await platform.invoke(function(tenant_isolation=True), tenant="blue")
    assert len(platform.sandboxes.made) == 4


@pytest.mark.parametrize("provisioned", [0, 2])
async def test_a_warm_environment_is_used_before_one_that_failed(platform, provisioned):
    version = function(version="1")
    platform.fleet.provision(version, provisioned)
    await platform.clock.settle()
    held = hold(platform)
    calls = [platform.begin(version) for _ in range(2)]
    await platform.clock.settle()
    (first, invoked), (second, _) = held
    first.respond(invoked)
    await platform.clock.settle()
    second.exit(1)
    await platform.clock.settle()
    assert [task.done() for task in calls] == [True, True]
    again = platform.begin(version)
    await platform.clock.settle()
    assert held[2][0] is first
    held[2][0].respond(held[2][1])
    await again


async def test_idle_environments_go(platform):
    await platform.invoke(function())
    await platform.advance(599)
    assert platform.states() == ["idle"]
    await platform.advance(10)
    assert platform.states() == [] and platform.sandboxes.alive == []
    assert platform.fleet._pools == {}


async def test_memory_pressure_evicts_the_longest_idle_first(platform):
    for name in ("a", "b", "c"):
        await platform.invoke(function(name))
        await platform.advance(1)
    await platform.invoke(function("a"))
    platform.available_mb = 98
    await platform.clock.settle()
    # one eviction gives enough back
    original = platform.sandboxes.made[1].destroy

    async def destroy():
        platform.available_mb = 5000
        await original()

    platform.sandboxes.made[1].destroy = destroy
    await platform.advance(5)
    names = sorted(shot.function for shot in platform.fleet.environments())
    assert "b" not in names and "a" in names


async def test_a_full_machine_makes_room_for_another_function(platform):
    for name in ("a", "b", "c", "d"):
        await platform.invoke(function(name))
        await platform.advance(1)
    outcome = await platform.invoke(function("e"), b"5")
    assert outcome.payload == b"5"
    assert sorted(s.function for s in platform.fleet.environments()) == ["b", "c", "d", "e"]


async def test_a_call_waits_for_room_and_takes_it(platform):
    held = hold(platform)
    for name in ("a", "b", "c", "d"):
        platform.begin(function(name, timeout_s=100))
    await platform.clock.settle()
    waiting = platform.begin(function("e"))
    await platform.clock.settle()
    assert len(held) == 4 and not waiting.done()
    held[0][0].respond(held[0][1])
    await platform.clock.settle()
    guest, call = held[4]
    guest.respond(call, b'"e"')
    await platform.clock.settle()
    assert (await waiting).payload == b'"e"'
    for guest, call in held[1:4]:
        guest.respond(call)
    await platform.clock.settle()


async def test_a_call_that_finds_no_room_is_throttled_in_the_end(platform):
    held = hold(platform)
    for name in ("a", "b", "c", "d"):
        platform.begin(function(name, timeout_s=100))
    await platform.clock.settle()
    waiting = platform.begin(function("e"))
    await platform.advance(61)
    with pytest.raises(AwsError) as caught:
        await waiting
    assert (caught.value.code, caught.value.status) == ("TooManyRequestsException", 429)
    assert platform.concurrency.running("000000000000", "us-east-1", "e") == 0
    for guest, call in held:
        guest.respond(call)
    await platform.clock.settle()
    assert platform.states() == ["idle"] * 4


async def test_memory_never_keeps_the_first_environment_from_starting(platform):
    platform.available_mb = 1
    assert (await platform.invoke(function(), b"1")).payload == b"1"


async def test_a_sandbox_that_cannot_start_fails_its_call_only(platform):
    platform.sandboxes.fail_starts = 1
    with pytest.raises(AwsError) as caught:
        await platform.invoke(function())
    assert (caught.value.code, caught.value.status) == ("ServiceException", 500)
    assert platform.concurrency.running("000000000000", "us-east-1", "f") == 0
    assert (await platform.invoke(function(), b"1")).payload == b"1"


async def test_a_role_that_gives_no_keys_is_the_callers_error(platform):
    platform.refusal = AwsError("AccessDeniedException", "The role cannot be assumed.", 403)
    with pytest.raises(AwsError) as caught:
        await platform.invoke(function())
    assert caught.value is platform.refusal
    assert platform.states() == []


async def test_an_update_retires_the_old_revision(platform):
    held = hold(platform)
    old, new = function(revision="1"), function(revision="2")
    platform.functions.put(old.arn, "$LATEST", old)
    running = platform.begin(old)
    await platform.clock.settle()
    idle = platform.begin(old)
    await platform.clock.settle()
    held[1][0].respond(held[1][1])
    await platform.clock.settle()
    assert idle.done() and platform.states() == ["busy", "idle"]
    platform.functions.put(new.arn, "$LATEST", new)
    await platform.clock.settle()
    assert platform.states() == ["busy"]
    waiting = platform.begin(old)  # was resolved before the update
    await platform.clock.settle()
    held[0][0].respond(held[0][1], b'"old"')
    await platform.clock.settle()
    assert (await running).payload == b'"old"'
    guest, call = held[2]
    guest.respond(call, b'"late"')
    await platform.clock.settle()
    assert (await waiting).payload == b'"late"'
    assert platform.states() == []
    assert platform.fleet._pools == {}


async def test_a_call_that_comes_after_its_version_was_retired_leaves_nothing_idle(platform):
    old, new = function(revision="1"), function(revision="2")
    platform.functions.put(old.arn, "$LATEST", old)
    late = platform.begin(old)  # its turn comes when the update is done
    platform.functions.put(new.arn, "$LATEST", new)
    await platform.clock.settle()
    assert (await late).payload == b"{}"
    assert platform.states() == [] and platform.fleet._pools == {}
    platform.functions.put(old.arn, "$LATEST", old)  # it is somebody's again
    await platform.invoke(old)
    assert platform.states() == ["idle"]


async def test_what_was_retired_long_ago_is_forgotten(platform):
    for revision in range(50):
        version = function(revision=str(revision))
        platform.functions.put(version.arn, "$LATEST", version)
        await platform.advance(600)
    assert 1 <= len(platform.fleet._retired) <= 8


async def test_a_version_under_another_name_is_not_retired(platform):
    version = function(version="1")
    platform.functions.put(version.arn, "1", version)
    platform.functions.put(version.arn, "live", version)
    await platform.invoke(version)
    platform.functions.remove(version.arn, "live")
    await platform.clock.settle()
    assert platform.states() == ["idle"]
    platform.functions.remove(version.arn)
    await platform.clock.settle()
    assert platform.states() == []


async def test_environments_are_retired_before_their_keys_lapse(platform):
    platform.expires_at = platform.clock.now() + 3600
    await platform.invoke(function())
    await platform.advance(200)
    await platform.invoke(function())
    assert len(platform.sandboxes.made) == 1
    for _ in range(9):
        await platform.advance(350)
        await platform.invoke(function())
    assert len(platform.sandboxes.made) == 2


async def test_keys_that_lapse_at_once_do_not_keep_a_call_from_running(platform):
    platform.expires_at = platform.clock.now() - 1
    assert (await platform.invoke(function(), b"1")).payload == b"1"
    assert (await platform.invoke(function(), b"2")).payload == b"2"


@pytest.mark.parametrize("leap_s", [-86_400.0, 60.0, 86_400.0])
async def test_a_wall_clock_that_jumps(platform, leap_s):
    """Times are measured as if it had not; keys end when the new time says so."""
    real = platform.clock.now
    platform.expires_at = real() + 43_200
    version = function(timeout_s=10)
    await platform.invoke(version)
    held = hold(platform)
    call = platform.begin(version)
    await platform.advance(1)
    platform.clock.now = lambda: real() + leap_s
    await platform.advance(2)
    held[0][0].respond(held[0][1], b"3")
    await platform.clock.settle()
    outcome = await call
    assert outcome.payload == b"3" and outcome.duration_ms == pytest.approx(3000)
    lapsed = leap_s > 43_200
    assert platform.states() == ([] if lapsed else ["idle"])

    platform.expires_at = platform.clock.now() + 43_200
    hanging = platform.begin(version)
    await platform.advance(9.9)
    assert not hanging.done()
    await platform.advance(0.1)
    assert (await hanging).error_type == "Sandbox.Timedout"
    assert len(platform.sandboxes.made) == 1 + lapsed
    await platform.advance(598)
    assert platform.states() == ["cold"]
    await platform.advance(60)
    assert platform.states() == []


async def test_a_cancelled_waiter_leaks_no_environment(platform):
    platform.sandboxes.start_gate = asyncio.Event()
    task = platform.begin(function())
    await platform.clock.settle()
    (pool,) = platform.fleet._pools.values()
    (waiter,) = pool.waiters
    waiter.future.add_done_callback(lambda _: task.cancel())
    platform.sandboxes.start_gate.set()
    await platform.clock.settle()
    assert task.cancelled()
    assert platform.states() == ["idle"] and len(pool.idle) == 1
    assert platform.concurrency.running("000000000000", "us-east-1", "f") == 0


def test_the_machines_memory_can_be_read():
    assert available_memory()() > 0
