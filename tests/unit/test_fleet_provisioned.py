"""Provisioned concurrency: environments that are there before any call needs them."""

from __future__ import annotations

import asyncio
import json

import pytest

from boda.core.errors import AwsError
from boda.fleet.provisioned import ProvisionedStatus
from boda.fleet.settings import FleetSettings
from boda.invoke.concurrency import Concurrency
from boda.runtime.function import LogSettings
from support.fake_sandbox import function
from support.fleet_platform import Platform

PLACE = ("000000000000", "us-east-1")


@pytest.fixture
async def platform():
    made = Platform(FleetSettings(max_environments=4, reserve_mb=100, idle_s=600))
    yield made
    closing = asyncio.ensure_future(made.fleet.close())
    await made.clock.settle()
    await closing
    assert made.sandboxes.alive == []


async def test_they_are_initialised_before_any_call_and_stay(platform):
    version = function(version="1")
    platform.fleet.provision(version, 2)
    assert platform.fleet.provisioned(version) == ProvisionedStatus(0, 0)
    await platform.clock.settle()
    assert platform.fleet.provisioned(version) == ProvisionedStatus(2, 2)
    kinds = {
        guest.spec.environment["AWS_LAMBDA_INITIALIZATION_TYPE"]
        for guest in platform.sandboxes.made
    }
    assert kinds == {"provisioned-concurrency"}
    await platform.advance(3600)
    assert platform.fleet.provisioned(version) == ProvisionedStatus(2, 2)
    await platform.invoke(version)
    assert len(platform.sandboxes.made) == 2


async def test_one_that_dies_is_replaced(platform):
    version = function(version="1")
    platform.fleet.provision(version, 1)
    await platform.clock.settle()
    (environment,) = platform.fleet._live.values()
    environment.destroy()
    await platform.clock.settle()
    assert platform.fleet.provisioned(version) == ProvisionedStatus(1, 1)
    assert len(platform.sandboxes.made) == 2


async def test_they_are_not_evicted_for_others(platform):
    version = function(version="1")
    platform.fleet.provision(version, 3)
    await platform.clock.settle()
    await platform.invoke(function("other"))
    await platform.invoke(function("third"))  # has to make room: only the other's may go
    assert platform.fleet.provisioned(version) == ProvisionedStatus(3, 3)


async def test_fewer_are_let_go_when_idle_for_long(platform):
    version = function(version="1")
    platform.fleet.provision(version, 2)
    await platform.clock.settle()
    platform.fleet.provision(version, 1)
    assert platform.fleet.provisioned(version).allocated == 1
    await platform.advance(700)
    assert platform.states() == ["idle"]
    platform.fleet.provision(version, 0)
    await platform.advance(700)
    assert platform.states() == []


async def test_a_deleted_version_keeps_none(platform):
    version = function(version="1")
    platform.fleet.provision(version, 2)
    await platform.clock.settle()
    platform.fleet.retire(version)
    await platform.clock.settle()
    assert platform.states() == []


async def test_the_init_of_what_is_asked_for_no_longer_is_called_off(platform):
    version = function(version="1")
    platform.sandboxes.init = lambda guest: None
    platform.fleet.provision(version, 3)
    await platform.clock.settle()
    waiting = platform.begin(version)
    await platform.clock.settle()
    platform.fleet.provision(version, 0)
    await platform.clock.settle()
    assert platform.states() == ["init"]  # the one that a call waits for
    platform.sandboxes.alive[0].guest.ready()
    await platform.clock.settle()
    assert (await waiting).function_error == ""


@pytest.mark.parametrize("calls", [0, 1])
async def test_the_init_of_a_deleted_version_is_called_off(platform, calls):
    version = function(version="1")
    platform.sandboxes.init = lambda guest: None
    platform.fleet.provision(version, 2)
    await platform.clock.settle()
    waiting = [platform.begin(version) for _ in range(calls)]
    await platform.clock.settle()
    platform.fleet.retire(version)
    await platform.clock.settle()
    assert platform.states() == ["init"] * calls
    for sandbox in platform.sandboxes.alive:
        sandbox.guest.ready()
    await asyncio.gather(*waiting)
    await platform.clock.settle()
    assert platform.states() == []


async def test_what_cannot_start_says_so_and_is_tried_again_later(platform):
    version = function(version="1")
    platform.sandboxes.fail_starts = 1
    platform.fleet.provision(version, 1)
    await platform.clock.settle()
    await platform.advance(30)  # not at once, which would go on for ever
    found = platform.fleet.provisioned(version)
    assert found.allocated == 0 and "could not be started" in found.failing
    await platform.advance(31)
    assert platform.fleet.provisioned(version) == ProvisionedStatus(1, 1)


async def test_code_that_does_not_initialise_says_so(platform):
    version = function(version="1")
    platform.sandboxes.init = lambda guest: guest.init_error("Runtime.ImportModuleError", b"{}")
    platform.fleet.provision(version, 2)
    await platform.clock.settle()
    assert platform.fleet.provisioned(version) == ProvisionedStatus(
        0, 0, "FUNCTION_ERROR_INIT_FAILURE"
    )


async def test_an_init_that_failed_is_tried_again_later(platform):
    version = function(version="1")
    platform.sandboxes.init = lambda guest: guest.init_error("Runtime.ImportModuleError", b"{}")
    platform.fleet.provision(version, 1)
    await platform.clock.settle()
    platform.sandboxes.init = lambda guest: guest.ready()
    await platform.advance(30)
    assert platform.fleet.provisioned(version).failing == "FUNCTION_ERROR_INIT_FAILURE"
    await platform.advance(31)
    assert platform.fleet.provisioned(version) == ProvisionedStatus(1, 1)
    assert len(platform.fleet.environments()) == 1


def begun_as(platform):
    return [
        guest.spec.environment["AWS_LAMBDA_INITIALIZATION_TYPE"]
        for guest in platform.sandboxes.made
    ]


@pytest.mark.parametrize("early", [False, True])
async def test_calls_of_a_version_whose_init_failed_run_on_demand(platform, early):
    """Recorded. early: the call comes while the init still runs."""
    version = function(version="1")
    fails = platform.sandboxes.init = lambda guest: platform.clock.call_later(
        0.5, guest.init_error, "Runtime.ImportModuleError", b"{}"
    )
    platform.fleet.provision(version, 1)
    await platform.advance(0.1)
    call = platform.begin(version) if early else None
    await platform.advance(0.1)
    platform.sandboxes.init = lambda guest: guest.ready()
    await platform.advance(1)
    outcome = await (call or platform.invoke(version))
    assert outcome.function_error == ""
    assert begun_as(platform) == ["provisioned-concurrency", "on-demand"]
    assert platform.fleet.provisioned(version).failing == "FUNCTION_ERROR_INIT_FAILURE"
    await platform.invoke(version)  # the same environment
    platform.sandboxes.init = fails
    await platform.advance(61)
    assert begun_as(platform)[2:] == ["provisioned-concurrency"]
    assert (await platform.invoke(version)).function_error == ""


async def test_what_has_failed_is_tried_again_when_it_is_asked_for_again(platform):
    version = function(version="1")
    platform.sandboxes.init = lambda guest: guest.init_error("Runtime.ImportModuleError", b"{}")
    platform.fleet.provision(version, 1)
    await platform.clock.settle()
    platform.sandboxes.init = lambda guest: guest.ready()
    platform.fleet.provision(version, 1)
    await platform.clock.settle()
    assert platform.fleet.provisioned(version) == ProvisionedStatus(1, 1)
    await platform.advance(70)
    assert len(platform.sandboxes.made) == 2


async def test_one_whose_process_ended_is_replaced_before_a_call_needs_it(platform):
    version = function(version="1")
    platform.fleet.provision(version, 1)
    await platform.clock.settle()
    platform.sandboxes.guests[0].exit(1)
    await platform.clock.settle()
    assert platform.fleet.provisioned(version) == ProvisionedStatus(1, 0)
    await platform.advance(5)
    assert platform.fleet.provisioned(version) == ProvisionedStatus(1, 1)
    assert len(platform.sandboxes.made) == 2


async def test_provisioned_ones_are_used_before_others_and_others_go(platform):
    version = function(version="1")
    held = []
    platform.sandboxes.handle = lambda guest, call: held.append((guest, call))
    platform.fleet.provision(version, 1)
    await platform.clock.settle()
    platform.concurrency.provision(*PLACE, "f", "1", 1)
    for _ in range(2):
        platform.begin(version)
        await platform.clock.settle()
    assert platform.fleet.provisioned(version) == ProvisionedStatus(1, 0)
    for guest, call in held:  # the one on demand last
        guest.respond(call)
        await platform.clock.settle()
    told = {name: value for name, value, _ in platform.telemetry.metrics}
    counted = [name for name in told if name.endswith("Invocations") and name != "Invocations"]
    assert counted == [
        "ProvisionedConcurrencyInvocations",
        "ProvisionedConcurrencySpilloverInvocations",
    ]
    platform.begin(version)
    await platform.clock.settle()
    assert held[2][0] is held[0][0]
    held[2][0].respond(held[2][1])
    await platform.advance(700)
    assert platform.fleet.provisioned(version) == ProvisionedStatus(1, 1)
    assert platform.states() == ["idle"]


def leases(concurrency: Concurrency, *versions: str) -> list[str]:
    """What each lease in turn is answered with."""
    found = []
    for version in versions:
        try:
            lease = concurrency.lease(function("a", version=version))
        except AwsError as error:
            found.append(error.fields["Reason"])
        else:
            found.append("own" if lease.provisioned else "shared")
    return found


def test_a_reservation_that_is_all_provisioned_leaves_nothing_for_other_versions():
    concurrency = Concurrency()
    concurrency.reserve(*PLACE, "a", 2)
    concurrency.provision(*PLACE, "a", "1", 2)
    reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert leases(concurrency, "$LATEST", "1", "1", "1") == [reason, "own", "own", reason]


def test_beyond_what_is_provisioned_a_version_shares_with_all():
    concurrency = Concurrency(limit=3)
    concurrency.provision(*PLACE, "a", "1", 1)
    assert concurrency.unreserved(*PLACE) == 2
    reason = "ConcurrentInvocationLimitExceeded"
    assert leases(concurrency, "1", "1", "$LATEST", "1") == ["own", "shared", "shared", reason]


def test_releasing_gives_back_to_where_it_was_taken():
    concurrency = Concurrency(limit=2)
    concurrency.provision(*PLACE, "a", "1", 1)
    own = concurrency.lease(function("a", version="1"))
    shared = concurrency.lease(function("a", version="1"))
    own.release()
    own.release()
    assert concurrency.lease(function("a", version="1")).provisioned
    shared.release()
    assert leases(concurrency, "$LATEST") == ["shared"]
    concurrency.provision(*PLACE, "a", "1", 0)
    assert concurrency.unreserved(*PLACE) == 2


async def test_their_init_is_reported_and_billed_with_the_first_call(platform):
    platform.sandboxes.init = lambda guest: platform.clock.call_later(0.5, guest.ready)
    version = function(version="1")
    platform.fleet.provision(version, 1)
    await platform.advance(1)
    assert platform.telemetry.lines()[1:] == ["INIT_REPORT Init Duration: 500.00 ms\n"]
    outcome = await platform.invoke(version)
    assert (outcome.init_ms, outcome.billed_ms) == (500.0, 500)
    assert platform.telemetry.lines()[-1].endswith("Init Duration: 500.00 ms\t\n")
    assert (await platform.invoke(version)).billed_ms == 1


@pytest.mark.parametrize(("timeout_s", "limit_s"), [(3, 130), (900, 900)])
async def test_their_init_may_take_longer(platform, timeout_s, limit_s):
    platform.sandboxes.init = lambda guest: None
    platform.fleet.provision(function(version="1", timeout_s=timeout_s), 1)
    await platform.advance(limit_s - 0.5)
    assert len(platform.telemetry.lines()) == 1
    await platform.advance(1)
    assert platform.telemetry.lines()[1] == (
        f"INIT_REPORT Init Duration: {limit_s * 1000:.2f} ms\tPhase: init\tStatus: timeout\n"
    )


@pytest.mark.parametrize("provisioned", [False, True])
async def test_the_report_of_an_init_has_its_level(platform, provisioned):
    version = function(version="1", log=LogSettings("/g", "JSON", "INFO", "INFO"))
    if provisioned:
        platform.fleet.provision(version, 1)
        await platform.clock.settle()
    await platform.invoke(version)
    records = [json.loads(line) for line in platform.telemetry.lines()]
    reports = [each["record"] for each in records if each["type"] == "platform.initReport"]
    assert [each["initializationType"] for each in reports] == (
        ["provisioned-concurrency"] if provisioned else []
    )
