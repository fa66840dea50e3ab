"""Clients that configure provisioned concurrency and move aliases at once, over restarts: in the
end the fleet keeps what the configs say, leases claim it once, and every alias leads to its
version."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from boda.core.errors import AwsError
from boda.fleet.provisioned import ProvisionedStatus
from boda.runtime.function import FunctionVersion
from support.lambda_world import World, world

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
PLACE = ("000000000000", "us-east-1")
ALIASES = ("red", "blue")
VERSIONS = ("1", "2", "3")
EXPECTED = {
    "InvalidParameterValueException",
    "ProvisionedConcurrencyConfigNotFoundException",
    "ResourceConflictException",
    "ResourceNotFoundException",
}


class Fleet:
    """Has nothing at first of what it is asked for; ``ripen`` lets some of it be ready."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}
        self.there: dict[str, int] = {}

    def provision(self, version: FunctionVersion, count: int) -> None:
        self.asked[version.version] = count
        self.there[version.version] = min(count, self.there.get(version.version, 0))

    def provisioned(self, version: FunctionVersion) -> ProvisionedStatus:
        there = self.there.get(version.version, 0)
        return ProvisionedStatus(there, there)

    def ripen(self, version: str) -> None:
        self.there[version] = self.asked.get(version, 0)


def step(chance: random.Random) -> tuple[str, dict[str, Any]]:
    alias, version = chance.choice(ALIASES), chance.choice(VERSIONS)
    qualifier = {"Qualifier": alias if chance.random() < 0.95 else version}
    count = {"ProvisionedConcurrentExecutions": chance.choice((2, 5))}
    to = {"Name": alias, "FunctionVersion": version}
    own: dict[str, float] = chance.choice(({}, {chance.choice(VERSIONS): 0.5}))
    routing = {"RoutingConfig": {"AdditionalVersionWeights": own}}
    steps: list[tuple[int, str, dict[str, Any]]] = [
        (6, "PutProvisionedConcurrencyConfig", {**qualifier, **count}),
        (2, "DeleteProvisionedConcurrencyConfig", qualifier),
        (4, "CreateAlias", to),
        (10, "UpdateAlias", to),
        (1, "UpdateAlias", {**to, **routing}),
        (2, "UpdateAlias", {"Name": alias, "RoutingConfig": {}}),
        (1, "UpdateAlias", {"Name": alias, "Description": "new"}),
        (1, "DeleteAlias", {"Name": alias}),
    ]
    _, operation, params = chance.choices(steps, [each[0] for each in steps])[0]
    return operation, params


async def tried(here: World, operation: str, params: dict[str, Any]) -> None:
    """Done, or refused as it may be."""
    try:
        await here.call(operation, FunctionName="f", **params)
    except AwsError as error:
        if error.code not in EXPECTED:
            raise


async def client(here: World, fleet: Fleet, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(40):
        await here.clock.sleep(chance.random() * 0.3)
        if chance.random() < 0.3:
            fleet.ripen(chance.choice(VERSIONS))
        await tried(here, *step(chance))


async def done(here: World, *work: Coroutine[Any, Any, None]) -> None:
    """Let time pass until it is done."""
    working = asyncio.gather(*work)
    while not working.done():
        await here.clock.advance(0.25)  # type: ignore[attr-defined]
        await asyncio.sleep(0.002)
    await working


async def aliases(here: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await here.call("ListAliases", FunctionName="f"))["Aliases"]
    return found


def weights(alias: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
    return found


def reached(here: World, alias: str) -> set[str]:
    """The versions that calls of the alias reach."""
    found = [here.functions.resolve(ARN, alias) for _ in range(64)]
    return {version.version for version in found if version is not None}


async def check(here: World, fleet: Fleet) -> None:
    """Once all that was asked for is there."""
    listed = await here.call("ListProvisionedConcurrencyConfigs", FunctionName="f")
    leads = {each["Name"]: each["FunctionVersion"] for each in await aliases(here)}
    wanted: Counter[str] = Counter()
    for config in listed["ProvisionedConcurrencyConfigs"]:
        qualifier = config["FunctionArn"].rpartition(":")[2]
        count = config["RequestedProvisionedConcurrentExecutions"]
        wanted[leads.get(qualifier, qualifier)] += count
        assert config["Status"] == "READY", config
    assert {number: count for number, count in fleet.asked.items() if count} == wanted
    left = 1000 - wanted.total()
    assert here.concurrency.unreserved(*PLACE) == left
    settings = await here.call("GetAccountSettings")
    assert settings["AccountLimit"]["UnreservedConcurrentExecutions"] == left
    for alias in await aliases(here):
        assert 1.0 not in weights(alias).values(), "no move is left"
        assert reached(here, alias["Name"]) <= {alias["FunctionVersion"], *weights(alias)}


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_is_asked_for_in_the_end_is_there(tmp_path: Path, seed: int) -> None:
    fleet = Fleet()
    async with world(tmp_path, provisioner=fleet) as here:
        await here.create_three("f")
        await done(here, *[client(here, fleet, seed * 100 + each) for each in range(3)])
        await tried(here, "CreateAlias", {"Name": "red", "FunctionVersion": "1"})
        for other in (*VERSIONS, "blue"):
            await tried(here, "DeleteProvisionedConcurrencyConfig", {"Qualifier": other})
        config = {"Qualifier": "red", "ProvisionedConcurrentExecutions": 2}
        await tried(here, "UpdateAlias", {"Name": "red", "RoutingConfig": {}})
        await tried(here, "PutProvisionedConcurrencyConfig", config)
        for number in VERSIONS:
            fleet.ripen(number)
        await here.settle()
        await check(here, fleet)
        [leads] = [each["FunctionVersion"] for each in await aliases(here) if each["Name"] == "red"]
        for to in VERSIONS:
            if to != leads:  # which would end the move
                await tried(here, "UpdateAlias", {"Name": "red", "FunctionVersion": to})
        moving = [each for each in await aliases(here) if 1.0 in weights(each).values()]
        assert [each["Name"] for each in moving] == ["red"]
        await here.service.stop()
    fleet = Fleet()
    async with world(tmp_path, provisioner=fleet) as here:
        for alias in moving:
            assert reached(here, alias["Name"]) == set(weights(alias))
        for number in VERSIONS:
            fleet.ripen(number)
        await here.settle()
        await check(here, fleet)
