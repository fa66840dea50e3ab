"""Clients that create, change and delete the same functions at once: what is left is whole.

Each round is drawn from a seed. Afterwards memory, rows and the invoke path must tell the same,
and a restart must find it again.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from boda.core.errors import AwsError
from support.lambda_world import ROLE, World, package, world

NAMES = ("a", "b")
EXPECTED = {
    "ResourceConflictException",
    "ResourceNotFoundException",
    "PreconditionFailedException",
    "InvalidParameterValueException",
}


def step(chance: random.Random) -> tuple[str, dict[str, Any]]:
    name = chance.choice(NAMES)
    code = package({"app.py": f"x = {chance.randrange(4)}\n"})
    version = str(chance.randrange(1, 5))
    steps: list[tuple[str, dict[str, Any]]] = [
        (
            "CreateFunction",
            {
                "Role": ROLE,
                "Runtime": "python3.12",
                "Handler": "app.x",
                "Code": {"ZipFile": code},
                "Publish": chance.random() < 0.5,
            },
        ),
        ("UpdateFunctionCode", {"ZipFile": code, "Publish": chance.random() < 0.5}),
        ("UpdateFunctionConfiguration", {"Timeout": chance.randrange(1, 9)}),
        ("PublishVersion", {}),
        ("CreateAlias", {"Name": "live", "FunctionVersion": version}),
        ("UpdateAlias", {"Name": "live", "FunctionVersion": version}),
        ("DeleteAlias", {"Name": "live"}),
        ("DeleteFunction", {"Qualifier": version}),
        ("PutFunctionConcurrency", {"ReservedConcurrentExecutions": 3}),
        (
            "AddPermission",
            {"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "*"},
        ),
        ("Invoke", {"Qualifier": chance.choice(["live", "$LATEST", version])}),
    ]
    weights = [4, 3, 3, 4, 2, 2, 1, 1, 1, 1, 3]
    operation, params = chance.choices(steps, weights)[0]
    if chance.random() < 0.06:
        operation, params = "DeleteFunction", {}
    return operation, {"FunctionName": name, **params}


async def client(here: World, seed: int, count: int) -> list[str]:
    """The operations that were done; the others were refused as they may be."""
    chance = random.Random(seed)
    done = []
    for _ in range(count):
        await here.clock.sleep(chance.random() * 0.3)
        operation, params = step(chance)
        try:
            await here.call(operation, **params)
            done.append(operation)
        except AwsError as error:
            if error.code not in EXPECTED:
                raise
    return done


async def told(here: World) -> dict[str, Any]:
    """Everything the API says of the functions."""
    found: dict[str, Any] = {}
    listed = await here.call("ListFunctions", FunctionVersion="ALL")
    for name in sorted({each["FunctionName"] for each in listed["Functions"]}):
        versions = await here.call("ListVersionsByFunction", FunctionName=name)
        found[name] = {
            "versions": [
                await here.call(
                    "GetFunctionConfiguration", FunctionName=name, Qualifier=each["Version"]
                )
                for each in versions["Versions"]
            ],
            "aliases": (await here.call("ListAliases", FunctionName=name))["Aliases"],
            "concurrency": await here.call("GetFunctionConcurrency", FunctionName=name),
        }
    return found


def check(here: World, found: dict[str, Any]) -> None:
    """What the invoke path sees is what the API says."""
    for name in NAMES:
        arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
        if name not in found:
            assert here.functions.resolve(arn) is None
            assert here.functions.resolve(arn, "live") is None
            continue
        numbers = {each["Version"] for each in found[name]["versions"]}
        for each in found[name]["versions"]:
            assert each["State"] == "Active" and each["LastUpdateStatus"] == "Successful", each
            seen = here.functions.resolve(arn, each["Version"])
            assert seen is not None and seen.timeout_s == each["Timeout"]
            assert (seen.code_dir / "app.py").is_file()
        for alias in found[name]["aliases"]:
            assert alias["FunctionVersion"] in numbers, "no alias leads nowhere"
            seen = here.functions.resolve(arn, alias["Name"])
            assert seen is not None and seen.version == alias["FunctionVersion"]


@pytest.mark.parametrize("seed", range(8))
async def test_clients_at_once_leave_whole_functions(tmp_path: Path, seed: int) -> None:
    async with world(tmp_path) as here:
        clients = [client(here, seed * 100 + number, 40) for number in range(4)]
        working = asyncio.gather(*clients)
        while not working.done():
            await here.clock.advance(0.25)  # type: ignore[attr-defined]
            await asyncio.sleep(0.005)
        done = {operation for each in await working for operation in each}
        assert len(done) >= 8, "most kinds of change happened"
        await here.settle()
        before = await told(here)
        check(here, before)
        await here.service.stop()
    async with world(tmp_path) as again:
        assert await told(again) == before
        check(again, before)


async def test_of_two_that_create_the_same_one_wins(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        params = {"Role": ROLE, "Runtime": "python3.12", "Handler": "app.x"}
        answers = await asyncio.gather(
            *(
                here.call(
                    "CreateFunction",
                    FunctionName="f",
                    Code={"ZipFile": package({"app.py": f"x = {number}\n"})},
                    **params,
                )
                for number in range(5)
            ),
            return_exceptions=True,
        )
        made = [answer for answer in answers if isinstance(answer, dict)]
        errors = [answer for answer in answers if isinstance(answer, AwsError)]
        assert len(made) == 1 and len(errors) == 4
        assert {error.message for error in errors} == {"Function already exist: f"}
        await here.settle()
        found = await here.call("GetFunctionConfiguration", FunctionName="f")
        assert found["CodeSha256"] == made[0]["CodeSha256"]


async def test_of_two_updates_that_know_the_same_revision_one_wins(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.create("f")
        await here.call("PublishVersion", FunctionName="f")
        alias = await here.call("CreateAlias", FunctionName="f", Name="x", FunctionVersion="1")
        answers = await asyncio.gather(
            *(
                here.call(
                    "UpdateAlias",
                    FunctionName="f",
                    Name="x",
                    Description=str(number),
                    RevisionId=alias["RevisionId"],
                )
                for number in range(5)
            ),
            return_exceptions=True,
        )
        made = [answer for answer in answers if isinstance(answer, dict)]
        assert len(made) == 1
        assert await here.call("GetAlias", FunctionName="f", Name="x") == made[0]


async def test_layer_versions_published_at_once_have_each_a_number(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        answers = await asyncio.gather(
            *(
                here.call(
                    "PublishLayerVersion",
                    LayerName="l",
                    Content={"ZipFile": package({"m.py": f"x = {number}\n"})},
                )
                for number in range(6)
            )
        )
        assert sorted(answer["Version"] for answer in answers) == [1, 2, 3, 4, 5, 6]
        listed = await here.call("ListLayerVersions", LayerName="l")
        assert [each["Version"] for each in listed["LayerVersions"]] == [6, 5, 4, 3, 2, 1]
