"""A call through the invoker by callback: once, in its own environment, with its lease back."""

from __future__ import annotations

import asyncio

import pytest

from boda.core.errors import AwsError
from boda.invoke.call import Call
from boda.runtime.session import RuntimeSession
from support.fake_sandbox import function
from support.fleet_platform import Platform

PLACE = ("000000000000", "us-east-1", "f")


@pytest.fixture
async def platform():
    platform = Platform()
    yield platform
    await platform.fleet.close()


class Ends:
    """Collects what callbacks hear."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, BaseException | None]] = []

    def __call__(self, outcome, error) -> None:
        self.heard.append((outcome, error))


def call(number: int = 0, **fields) -> Call:
    version = function(**fields)
    return Call(version, b"%d" % number, f"call-{number}", version.arn)


def echo(guest, invoked) -> None:
    guest.respond(invoked, invoked.payload)


async def test_a_warm_call_makes_no_task(platform):
    platform.sandboxes.handle = echo
    await platform.invoke(function())
    before = asyncio.all_tasks()
    ends = Ends()
    platform.invoker.dispatch(call(7), ends)
    assert asyncio.all_tasks() == before
    await platform.clock.settle()
    ((outcome, error),) = ends.heard
    assert outcome.payload == b"7" and error is None
    assert platform.concurrency.running(*PLACE) == 0


async def test_a_refusal_is_heard_at_once(platform):
    platform.concurrency.reserve(*PLACE, 0)
    ends = Ends()
    platform.invoker.dispatch(call(), ends)
    ((outcome, error),) = ends.heard
    assert outcome is None and isinstance(error, AwsError) and error.status == 429


async def test_the_next_call_may_begin_in_the_callback_and_finds_the_environment(platform):
    platform.sandboxes.handle = echo
    heard: list[bytes] = []

    def done(outcome, error) -> None:
        heard.append(outcome.payload)
        if len(heard) < 5:
            platform.invoker.dispatch(call(len(heard)), done)

    platform.invoker.dispatch(call(0), done)
    await platform.clock.settle()
    assert heard == [b"0", b"1", b"2", b"3", b"4"]
    assert len(platform.sandboxes.made) == 1
    lines = [line.split()[0] for line in platform.telemetry.lines()]
    assert lines == ["INIT_START", *("START", "END", "REPORT") * 5], "one after the other"
    assert platform.concurrency.running(*PLACE) == 0


async def test_a_callback_that_fails_harms_nobody_else(platform, caplog):
    platform.sandboxes.handle = echo

    def done(outcome, error) -> None:
        raise RuntimeError("a defect elsewhere")

    platform.invoker.dispatch(call(), done)
    await platform.clock.settle()
    assert "a defect elsewhere" in caplog.text
    assert platform.states() == ["idle"] and platform.concurrency.running(*PLACE) == 0
    assert (await platform.invoke(function(), b"1")).payload == b"1"


@pytest.mark.parametrize("settled", [False, True])
async def test_a_caller_that_goes_while_it_waits_gives_its_lease_back(platform, settled):
    platform.sandboxes.init = lambda guest: None
    task = platform.begin(function())
    await asyncio.sleep(0)
    if settled:
        await platform.clock.settle()
    assert platform.concurrency.running(*PLACE) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled() and platform.concurrency.running(*PLACE) == 0
    await platform.clock.settle()
    assert not any(pool.waiters for pool in platform.fleet._pools.values())


async def test_a_caller_that_goes_leaves_its_invocation_running(platform):
    begun = []
    platform.sandboxes.handle = lambda guest, invoked: begun.append((guest, invoked))
    task = platform.begin(function())
    await platform.clock.settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert platform.concurrency.running(*PLACE) == 1 and platform.states() == ["busy"]
    ((guest, invoked),) = begun
    guest.respond(invoked, b"1")
    await platform.clock.settle()
    assert platform.concurrency.running(*PLACE) == 0 and platform.states() == ["idle"]
    assert len(platform.telemetry.metered) == 1


async def test_an_environment_that_is_destroyed_tells_its_caller_once(platform):
    platform.sandboxes.handle = lambda guest, invoked: None
    ends = Ends()
    platform.invoker.dispatch(call(), ends)
    await platform.clock.settle()
    for environment in list(platform.fleet._live.values()):
        environment.destroy()
    await platform.clock.settle()
    ((outcome, error),) = ends.heard
    assert outcome is None and isinstance(error, AwsError) and error.status == 500
    assert platform.concurrency.running(*PLACE) == 0


async def test_no_call_reaches_a_function_without_the_tenant_it_asks_for(platform):
    """Whichever way it came: it neither runs nor makes an environment."""
    for tenant, isolated in (("", True), ("blue", False)):
        ends = Ends()
        version = function(tenant_isolation=isolated)
        call = Call(version, b"{}", "id", version.arn, tenant=tenant)
        platform.invoker.dispatch(call, ends)
        ((outcome, error),) = ends.heard
        assert outcome is None and isinstance(error, AwsError)
        assert (error.code, error.status) == ("InvalidParameterValueException", 400)
    await platform.clock.settle()
    assert platform.sandboxes.made == [] and platform.concurrency.running(*PLACE) == 0


@pytest.mark.parametrize("warm", [False, True])
async def test_an_invocation_that_cannot_begin_ends_once_and_takes_its_environment_along(
    platform, monkeypatch, warm
):
    platform.sandboxes.handle = echo
    if warm:
        await platform.invoke(function())

    def broken(session, invocation) -> None:
        raise RuntimeError("a defect")

    ends = Ends()
    with monkeypatch.context() as patch:
        patch.setattr(RuntimeSession, "invoke", broken)
        platform.invoker.dispatch(call(), ends)
        await platform.clock.settle()
    ((outcome, error),) = ends.heard
    assert outcome is None and isinstance(error, AwsError) and error.status == 500
    assert platform.states() == [] and platform.sandboxes.alive == []
    assert platform.concurrency.running(*PLACE) == 0
    assert (await platform.invoke(function(), b"1")).payload == b"1"
