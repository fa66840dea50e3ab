"""Aliases: where they lead, by which weights, and every way to name one wrongly."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from boda.invoke.function_table import FunctionTable
from boda.runtime.function import FunctionVersion
from support.lambda_world import World, world

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    """With the versions 1 and 2 of a function."""
    async with world(tmp_path) as made:
        await made.create("f")
        for timeout in (7, 8):
            await made.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=timeout)
            await made.settle()
            await made.call("PublishVersion", FunctionName="f")
        yield made


async def alias(here: World, name: str = "live", version: str = "1", **params: Any) -> Any:
    return await here.call(
        "CreateAlias", FunctionName="f", Name=name, FunctionVersion=version, **params
    )


async def test_an_alias_is_what_was_written_and_the_defaults(here: World) -> None:
    made = await alias(here)
    assert made == {
        "AliasArn": f"{ARN}:live",
        "Name": "live",
        "FunctionVersion": "1",
        "Description": "",
        "RevisionId": made["RevisionId"],
    }
    assert await here.call("GetAlias", FunctionName="f", Name="live") == made


@pytest.mark.parametrize(
    "named",
    [
        {"FunctionName": "f", "Qualifier": "live"},
        {"FunctionName": "f:live"},
        {"FunctionName": "000000000000:function:f:live"},
        {"FunctionName": f"{ARN}:live"},
        {"FunctionName": f"{ARN}:live", "Qualifier": "live"},
        {"FunctionName": ARN, "Qualifier": "live"},
    ],
)
async def test_an_alias_stands_in_every_form_of_name(here: World, named: dict[str, str]) -> None:
    await alias(here)
    answer = await here.call("GetFunctionConfiguration", **named)
    assert (answer["FunctionArn"], answer["Version"]) == (f"{ARN}:live", "1")
    code = await here.call("GetFunction", **named)
    assert code["Configuration"]["Timeout"] == 7
    answer = await here.call("Invoke", **named)
    assert answer["ExecutedVersion"] == "1"
    assert here.invoker.calls[-1].invoked_arn == f"{ARN}:live"
    error = await here.error("Invoke", **{**named, "FunctionName": "f:2", "Qualifier": "live"})
    assert error.message.startswith("The derived qualifier from the function name does not match")


async def test_an_alias_moves_at_once_and_over_a_restart(here: World, tmp_path: Path) -> None:
    await alias(here)
    await here.call("UpdateAlias", FunctionName="f", Name="live", FunctionVersion="2")
    assert (await here.call("Invoke", FunctionName="f:live"))["ExecutedVersion"] == "2"
    weights = {"AdditionalVersionWeights": {"1": 1.0}}
    await here.call("UpdateAlias", FunctionName="f", Name="live", RoutingConfig=weights)
    before = await here.call("GetAlias", FunctionName="f", Name="live")
    await here.service.stop()
    async with world(tmp_path) as again:
        assert await again.call("GetAlias", FunctionName="f", Name="live") == before
        assert (await again.call("Invoke", FunctionName="f:live"))["ExecutedVersion"] == "1"


async def test_an_alias_sees_what_changes_on_its_version(here: World) -> None:
    await alias(here, "newest", "$LATEST")
    await here.call("UpdateFunctionConfiguration", FunctionName="f", MemorySize=256)
    seen = here.functions.resolve(ARN, "newest")
    assert seen is not None and (seen.memory_mb, seen.version) == (256, "$LATEST")


async def test_nothing_is_written_that_does_not_hold(here: World) -> None:
    await alias(here)

    async def refused(code: str, words: str, **params: Any) -> None:
        given = {"Name": "new", "FunctionVersion": "1", **params}
        error = await here.error("CreateAlias", FunctionName="f", **given)
        assert error.code == code and error.message == words

    def routed(weights: dict[str, float]) -> dict[str, Any]:
        return {"RoutingConfig": {"AdditionalVersionWeights": weights}}

    missing = "Function not found: "
    await refused("ResourceConflictException", f"Alias already exists: {ARN}:live", Name="live")
    await refused("ResourceNotFoundException", f"{missing}{ARN}:9", FunctionVersion="9")
    await refused("ResourceNotFoundException", f"{missing}{ARN}:9", **routed({"9": 0.5}))
    await refused(
        "InvalidParameterValueException",
        "Number of items in AdditionalVersionWeights cannot be greater than 1",
        **routed({"1": 0.1, "2": 0.1}),
    )
    await refused(
        "InvalidParameterValueException",
        "Invalid function version 1. Function version 1 is already included in routing "
        "configuration.",
        **routed({"1": 0.1}),
    )
    await refused(
        "InvalidParameterValueException",
        "$LATEST is not supported for an alias pointing to more than 1 version",
        FunctionVersion="$LATEST",
        **routed({"1": 0.1}),
    )
    for weights in ({"2": 2.0}, {"2": -1.0}, {"$LATEST": 0.5}, {"2": float("nan")}):
        error = await here.error(
            "CreateAlias", FunctionName="f", Name="n", FunctionVersion="1", **routed(weights)
        )
        assert error.code == "ValidationException"
        assert "'routingConfig.additionalVersionWeights' failed to satisfy" in error.message
    for name in ("123", "a:b", "a" * 129):
        error = await here.error("CreateAlias", FunctionName="f", Name=name, FunctionVersion="1")
        assert error.code == "ValidationException"
    listed = await here.call("ListAliases", FunctionName="f")
    assert [each["Name"] for each in listed["Aliases"]] == ["live"]
    before = await here.call("GetAlias", FunctionName="f", Name="live")
    error = await here.error(
        "UpdateAlias", FunctionName="f", Name="live", FunctionVersion="2", **routed({"2": 0.1})
    )
    assert error.status == 400
    assert await here.call("GetAlias", FunctionName="f", Name="live") == before


async def test_what_is_not_there_is_said(here: World) -> None:
    error = await here.error("GetAlias", FunctionName="f", Name="no")
    assert error.message == f"Cannot find alias arn: {ARN}:no"
    error = await here.error("UpdateAlias", FunctionName="f", Name="no")
    assert error.message == f"Alias not found: {ARN}:no"
    await here.call("DeleteAlias", FunctionName="f", Name="no")
    for operation, params in (
        ("ListAliases", {}),
        ("DeleteAlias", {"Name": "x"}),
        ("CreateAlias", {"Name": "x", "FunctionVersion": "1"}),
    ):
        error = await here.error(operation, FunctionName="g", **params)
        assert error.status == 404 and f"{ARN[:-1]}g" in error.message
    error = await here.error("GetFunction", FunctionName="f", Qualifier="no")
    assert error.message == f"Function not found: {ARN}:no"
    error = await here.error("DeleteFunction", FunctionName="f", Qualifier="no")
    assert error.message == "Deletion of aliases is not currently supported."


async def test_a_deleted_alias_takes_its_policy_along(here: World) -> None:
    await alias(here)
    given = {"Action": "lambda:InvokeFunction", "Principal": "*", "StatementId": "s"}
    before = (await here.call("GetAlias", FunctionName="f", Name="live"))["RevisionId"]
    await here.call("AddPermission", FunctionName="f", Qualifier="live", **given)
    found = await here.call("GetPolicy", FunctionName="f", Qualifier="live")
    after = (await here.call("GetAlias", FunctionName="f", Name="live"))["RevisionId"]
    assert found["RevisionId"] == after != before
    await here.call("DeleteAlias", FunctionName="f", Name="live")
    assert here.functions.resolve(ARN, "live") is None
    assert here.functions.policy(ARN, "live") is None
    await alias(here)
    assert (await here.error("GetPolicy", FunctionName="f", Qualifier="live")).status == 404


async def test_an_update_must_know_the_revision_it_changes(here: World) -> None:
    made = await alias(here)
    error = await here.error("UpdateAlias", FunctionName="f", Name="live", RevisionId="x")
    assert (error.code, error.status) == ("PreconditionFailedException", 412)
    changed = await here.call(
        "UpdateAlias", FunctionName="f", Name="live", RevisionId=made["RevisionId"], Description="d"
    )
    assert changed["RevisionId"] != made["RevisionId"] and changed["Description"] == "d"


async def test_aliases_are_listed_by_name_in_pages_and_by_version(here: World) -> None:
    for name in ("c", "a", "b"):
        await alias(here, name)
    await alias(here, "d", "2")
    found: list[str] = []
    marker: dict[str, Any] = {}
    while True:
        page = await here.call("ListAliases", FunctionName="f", MaxItems=1, **marker)
        found += [each["Name"] for each in page["Aliases"]]
        if "NextMarker" not in page:
            break
        marker = {"Marker": page["NextMarker"]}
    assert found == ["a", "b", "c", "d"]
    only = await here.call("ListAliases", FunctionName="f", FunctionVersion="2")
    assert [each["Name"] for each in only["Aliases"]] == ["d"]
    assert (await here.error("ListAliases", FunctionName="f", Marker="x")).status == 400


def table(chance: Callable[[], float]) -> FunctionTable:
    functions = FunctionTable(chance)
    for number in ("1", "2"):
        version = FunctionVersion(
            "0", "us-east-1", "f", number, number, "role", "python3.12", "a.b", Path("/code")
        )
        functions.put("arn", number, version)
    return functions


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 0), (0.2, 20), (0.75, 75), (1.0, 100)])
def test_weights_are_shares_of_the_calls(weight: float, expected: int) -> None:
    marks = iter(number / 100 for number in range(100))
    functions = table(lambda: next(marks))
    functions.put_alias("arn", "live", "1", {"2": weight})
    reached = Counter(
        version.version
        for _ in range(100)
        if (version := functions.resolve("arn", "live")) is not None
    )
    assert (reached["2"], reached["1"]) == (expected, 100 - expected)


def test_an_alias_without_weights_does_not_ask_chance() -> None:
    def never() -> float:
        raise AssertionError("nothing is to be decided")

    functions = table(never)
    functions.put_alias("arn", "live", "2")
    found = functions.resolve("arn", "live")
    assert found is not None and found.version == "2"
    functions.remove("arn", "live")
    assert functions.resolve("arn", "live") is None


def test_a_version_named_for_later_is_made_once_and_forgotten_when_removed() -> None:
    functions = table(lambda: 0.0)
    made: list[str] = []

    def make() -> FunctionVersion:
        made.append("3")
        return FunctionVersion(
            "0", "us-east-1", "f", "3", "3", "role", "python3.12", "a.b", Path("/code")
        )

    for name in ("arn", "other"):
        functions.put_later(name, "3", make)
    functions.put_alias("arn", "live", "1", {"3": 1.0})
    assert not made
    found = functions.resolve("arn", "live")
    assert found is not None and found is functions.resolve("arn", "3") and made == ["3"]
    retired: list[FunctionVersion] = []
    functions.on_retired(retired.append)
    functions.remove("arn", "3")
    functions.remove("other", "3")
    assert retired == [found], "what was never made has nothing to retire"
    assert functions.resolve("arn", "3") is None and functions.resolve("other", "3") is None
    functions.put_later("other", "3", make)
    functions.remove("other")
    assert functions.resolve("other", "3") is None
