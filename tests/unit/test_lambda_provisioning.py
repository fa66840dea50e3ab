"""An alias that moves: its calls stay where environments are ready until they are ready there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boda.fleet.provisioned import ProvisionedStatus
from boda.runtime.function import FunctionVersion
from support.lambda_world import World, world

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
LIVE = {"FunctionName": "f", "Name": "live"}
CONFIG = {"FunctionName": "f", "Qualifier": "live"}
OF_FIRST = {"AdditionalVersionWeights": {"1": 1.0}}


class Fleet:
    """Has of each version as much as the test says."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}
        self.times = 0
        self.ready: dict[str, ProvisionedStatus] = {}

    def provision(self, version: FunctionVersion, count: int) -> None:
        self.asked[version.version] = count
        self.times += 1

    def provisioned(self, version: FunctionVersion) -> ProvisionedStatus:
        return self.ready.get(version.version, ProvisionedStatus(0, 0))


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
async def here(tmp_path: Path, fleet: Fleet) -> AsyncIterator[World]:
    """f with three versions; live leads to the first, with two environments ready."""
    async with world(tmp_path, provisioner=fleet) as made:
        await made.create_three("f")
        await made.call("CreateAlias", **LIVE, FunctionVersion="1")
        put = {**CONFIG, "ProvisionedConcurrentExecutions": 2}
        await made.call("PutProvisionedConcurrencyConfig", **put)
        fleet.ready["1"] = ProvisionedStatus(2, 2)
        yield made


def reached(here: World) -> str:
    """The version that a call of the alias reaches."""
    found = here.functions.resolve(ARN, "live")
    assert found is not None
    return found.version


async def routing(here: World) -> tuple[str, Any]:
    found = await here.call("GetAlias", **LIVE)
    return found["FunctionVersion"], found.get("RoutingConfig")


async def test_calls_stay_until_as_much_is_ready_of_the_next_version(
    here: World, fleet: Fleet
) -> None:
    # Terraform and CloudFormation send no weights as an empty map.
    moved = await here.call("UpdateAlias", **LIVE, FunctionVersion="2", RoutingConfig={})
    assert (moved["FunctionVersion"], moved["RoutingConfig"]) == ("2", OF_FIRST)
    assert fleet.asked == {"1": 2, "2": 2} and reached(here) == "1"
    # What calls are promised is counted once.
    settings = await here.call("GetAccountSettings")
    assert settings["AccountLimit"]["UnreservedConcurrentExecutions"] == 998
    assert here.concurrency.unreserved("000000000000", "us-east-1") == 998
    put = {**CONFIG, "ProvisionedConcurrentExecutions": 3}
    error = await here.error("PutProvisionedConcurrencyConfig", **put)
    assert error.message == "Alias with weights can not be used with Provisioned Concurrency"
    error = await here.error("DeleteFunction", FunctionName="f", Qualifier="1")
    assert error.code == "ResourceConflictException"
    fleet.ready["2"] = ProvisionedStatus(1, 1)
    await here.settle()
    assert reached(here) == "1"
    described = await here.call("UpdateAlias", **LIVE, Description="still on its way")
    assert described["RoutingConfig"] == OF_FIRST
    fleet.ready["2"] = ProvisionedStatus(2, 2)
    found = await here.call("GetProvisionedConcurrencyConfig", **CONFIG)
    assert found["Status"] == "IN_PROGRESS"  # its calls are not there yet
    await here.settle()
    assert await routing(here) == ("2", None) and reached(here) == "2"
    assert (await here.call("GetAlias", **LIVE))["RevisionId"] != described["RevisionId"]
    assert fleet.asked == {"1": 0, "2": 2}
    found = await here.call("GetProvisionedConcurrencyConfig", **CONFIG)
    assert found["Status"] == "READY"
    await here.call("PutProvisionedConcurrencyConfig", **put)
    await here.call("DeleteFunction", FunctionName="f", Qualifier="1")


async def test_a_move_goes_on_after_a_restart(here: World, fleet: Fleet) -> None:
    await here.call("UpdateAlias", **LIVE, FunctionVersion="2")
    fleet.asked.clear()
    again = await here.again()
    assert fleet.asked == {"1": 2, "2": 2} and reached(here) == "1"
    fleet.ready["2"] = ProvisionedStatus(2, 2)
    await here.settle()
    assert fleet.asked == {"1": 0, "2": 2} and reached(here) == "2"
    await again.stop()


async def test_a_version_that_does_not_initialise_gets_no_calls(here: World, fleet: Fleet) -> None:
    fleet.ready["2"] = ProvisionedStatus(0, 0, "FUNCTION_ERROR_INIT_FAILURE")
    await here.call("UpdateAlias", **LIVE, FunctionVersion="2")
    await here.settle()
    assert await routing(here) == ("2", OF_FIRST) and reached(here) == "1"
    found = await here.call("GetProvisionedConcurrencyConfig", **CONFIG)
    assert found["Status"] == "FAILED"
    await here.call("UpdateAlias", **LIVE, FunctionVersion="3")  # mended
    assert await routing(here) == ("3", OF_FIRST)
    assert fleet.asked == {"1": 2, "2": 0, "3": 2}
    await here.call("UpdateAlias", **LIVE, FunctionVersion="1")  # or taken back
    assert await routing(here) == ("1", None) and fleet.asked == {"1": 2, "2": 0, "3": 0}


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("UpdateAlias", {**LIVE, "RoutingConfig": {}}),
        ("DeleteProvisionedConcurrencyConfig", CONFIG),
    ],
)
async def test_a_move_can_be_ended_by_hand(
    here: World, fleet: Fleet, operation: str, params: dict[str, Any]
) -> None:
    await here.call("UpdateAlias", **LIVE, FunctionVersion="2")
    await here.call(operation, **params)
    assert await routing(here) == ("2", None) and reached(here) == "2"
    assert fleet.asked["1"] == 0


async def test_weights_of_the_callers_own_stay(here: World, fleet: Fleet) -> None:
    fleet.ready["2"] = ProvisionedStatus(2, 2)
    own = {"AdditionalVersionWeights": {"1": 1.0}}
    await here.call("UpdateAlias", **LIVE, FunctionVersion="2")
    await here.call("UpdateAlias", **LIVE, RoutingConfig=own)
    await here.settle()
    assert await routing(here) == ("2", own)
    assert fleet.asked == {"1": 0, "2": 2}


async def test_only_what_was_asked_for_anew_is_tried_again(here: World, fleet: Fleet) -> None:
    before = fleet.times
    await here.call("CreateAlias", FunctionName="f", Name="other", FunctionVersion="3")
    assert fleet.times == before
    put = {**CONFIG, "ProvisionedConcurrentExecutions": 2}
    await here.call("PutProvisionedConcurrencyConfig", **put)
    assert fleet.times == before + 1
