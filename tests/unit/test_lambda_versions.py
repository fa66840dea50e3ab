"""Versions: what publishing makes, what it refuses, and what is left when one is deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boda.services.lambda_ import Options, Quotas
from support.lambda_world import World, package, world

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.create("f")
        yield made


async def update(here: World, **params: Any) -> None:
    await here.call("UpdateFunctionConfiguration", FunctionName="f", **params)
    await here.settle()


async def test_publishing_twice_without_a_change_answers_the_same_version(here: World) -> None:
    first = await here.call("PublishVersion", FunctionName="f", Description="one")
    again = await here.call("PublishVersion", FunctionName="f", Description="other words")
    assert again == first and first["Version"] == "1" and first["FunctionArn"] == f"{ARN}:1"
    await update(here, Timeout=3)  # what it is already
    assert (await here.call("PublishVersion", FunctionName="f"))["Version"] == "1"
    await update(here, Timeout=4)
    second = await here.call("PublishVersion", FunctionName="f")
    assert (second["Version"], second["Description"]) == ("2", "")


async def test_a_version_keeps_what_the_function_was(here: World) -> None:
    await here.call("PublishVersion", FunctionName="f")
    before = await here.call("GetFunctionConfiguration", FunctionName="f:1")
    await update(here, MemorySize=512, Environment={"Variables": {"AB": "1"}})
    assert await here.call("GetFunctionConfiguration", FunctionName="f", Qualifier="1") == before
    seen = here.functions.resolve(ARN, "1")
    assert seen is not None and (seen.memory_mb, seen.version) == (128, "1")
    latest = here.functions.resolve(ARN)
    assert latest is not None and latest.key != seen.key


async def test_publishing_gives_latest_a_new_revision_and_no_new_environment(here: World) -> None:
    before = here.functions.resolve(ARN)
    revision = (await here.call("GetFunctionConfiguration", FunctionName="f"))["RevisionId"]
    await here.call("PublishVersion", FunctionName="f", RevisionId=revision)
    after = await here.call("GetFunctionConfiguration", FunctionName="f")
    assert after["RevisionId"] != revision
    assert here.functions.resolve(ARN) is before


async def test_numbers_are_not_given_twice(here: World, tmp_path: Path) -> None:
    await here.call("PublishVersion", FunctionName="f")
    await here.call("DeleteFunction", FunctionName="f", Qualifier="1")
    assert here.functions.resolve(ARN, "1") is None
    assert (await here.call("PublishVersion", FunctionName="f"))["Version"] == "2"
    await here.call("DeleteFunction", FunctionName="f:2")
    await here.service.stop()
    async with world(tmp_path) as again:  # the same rows
        assert (await again.call("PublishVersion", FunctionName="f"))["Version"] == "3"
        await again.call("DeleteFunction", FunctionName="f")
        await again.create("f")
        assert (await again.call("PublishVersion", FunctionName="f"))["Version"] == "4"
        await again.call("DeleteFunction", FunctionName="f")
    async with world(tmp_path) as later:
        made = await later.create("f", Publish=True)
        assert made["Version"] == "5"
        assert (await later.create("other", Publish=True))["Version"] == "1"


async def test_publishing_refuses_what_is_not_as_the_caller_thinks(here: World) -> None:
    error = await here.error("PublishVersion", FunctionName="f", RevisionId="other")
    assert (error.code, error.status) == ("PreconditionFailedException", 412)
    error = await here.error("PublishVersion", FunctionName="f", CodeSha256="other")
    assert error.message.startswith("CodeSHA256 (other) is different from current CodeSHA256 in")
    await here.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=9)
    error = await here.error("PublishVersion", FunctionName="f")
    assert (error.status, error.message[-len(ARN) :]) == (409, ARN)
    error = await here.error("PublishVersion", FunctionName="g")
    assert error.message == f"Function not found: {ARN[:-1]}g"
    error = await here.error("PublishVersion", FunctionName="f:1")
    assert error.message.startswith("This operation is permitted on Lambda functions only.")
    assert "Versions" in await here.call("ListVersionsByFunction", FunctionName="f:$LATEST")


async def test_a_pending_function_is_not_published(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = here.rows.write, []

    async def once(work: Any) -> Any:
        calls.append(work)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return await write(work)

    with monkeypatch.context() as patched:
        patched.setattr(here.rows, "write", once)  # it cannot become Active meanwhile
        await here.create("new")
        error = await here.error("PublishVersion", FunctionName="new")
    assert error.message.endswith("The function is currently in the following state: Pending")
    await here.settle()
    assert (await here.call("PublishVersion", FunctionName="new"))["Version"] == "1"


async def test_creating_and_updating_publish_when_told(here: World) -> None:
    made = await here.create("g", Publish=True, Description="first")
    assert (made["Version"], made["State"]) == ("1", "Pending")
    assert made["FunctionArn"].endswith(":function:g")  # recorded: without the number
    active = await here.call("GetFunctionConfiguration", FunctionName="g", Qualifier="1")
    assert (active["State"], active["LastUpdateStatus"]) == ("Active", "Successful")
    content = package({"app.py": "def handler(event, context): return 2\n"})
    answer = await here.call("UpdateFunctionCode", FunctionName="g", ZipFile=content, Publish=True)
    assert (answer["Version"], answer["State"]) == ("2", "Pending")
    assert "LastUpdateStatus" not in answer
    error = await here.error("Invoke", FunctionName="g", Qualifier="2")
    assert error.status == 409
    await here.settle()
    answer = await here.call("Invoke", FunctionName="g", Qualifier="2")
    assert answer["ExecutedVersion"] == "2"
    same = await here.call("UpdateFunctionCode", FunctionName="g", ZipFile=content, Publish=True)
    assert same["Version"] == "2", "nothing changed, so there is nothing to publish"


async def test_a_dry_run_publishes_nothing(here: World) -> None:
    content = package({"app.py": "x = 1\n"})
    answer = await here.call(
        "UpdateFunctionCode", FunctionName="f", ZipFile=content, DryRun=True, Publish=True
    )
    assert answer["CodeSha256"] != ""
    found = await here.call("ListVersionsByFunction", FunctionName="f")
    assert [each["Version"] for each in found["Versions"]] == ["$LATEST"]


async def test_versions_are_listed_by_number_in_pages(here: World) -> None:
    for timeout in range(1, 13):
        await update(here, Timeout=timeout)
        await here.call("PublishVersion", FunctionName="f")
    found: list[str] = []
    marker: dict[str, Any] = {}
    while True:
        page = await here.call("ListVersionsByFunction", FunctionName="f", MaxItems=5, **marker)
        found += [each["FunctionArn"].rpartition(":")[2] for each in page["Versions"]]
        if "NextMarker" not in page:
            break
        marker = {"Marker": page["NextMarker"]}
    assert found == ["$LATEST", *map(str, range(1, 13))]
    every: list[str] = []
    marker = {}
    while True:
        page = await here.call("ListFunctions", FunctionVersion="ALL", MaxItems=4, **marker)
        every += [each["Version"] for each in page["Functions"]]
        if "NextMarker" not in page:
            break
        marker = {"Marker": page["NextMarker"]}
    assert every == found


async def test_a_version_an_alias_leads_to_is_not_deleted(here: World) -> None:
    await here.call("PublishVersion", FunctionName="f")
    await update(here, Timeout=9)
    await here.call("PublishVersion", FunctionName="f")
    await here.call(
        "CreateAlias",
        FunctionName="f",
        Name="live",
        FunctionVersion="1",
        RoutingConfig={"AdditionalVersionWeights": {"2": 0.1}},
    )
    for version in ("1", "2"):
        error = await here.error("DeleteFunction", FunctionName="f", Qualifier=version)
        assert (error.code, error.status) == ("ResourceConflictException", 409)
        assert error.message == (
            "Unable to delete version because the following aliases reference it: [live]"
        )
    await here.call("DeleteAlias", FunctionName="f", Name="live")
    await here.call("DeleteFunction", FunctionName="f", Qualifier="1")
    error = await here.error("GetFunction", FunctionName="f", Qualifier="1")
    assert error.message == f"Function not found: {ARN}:1"


async def test_a_versions_policy_goes_with_it(here: World) -> None:
    await here.call("PublishVersion", FunctionName="f")
    given = {"Action": "lambda:InvokeFunction", "Principal": "*", "StatementId": "s"}
    await here.call("AddPermission", FunctionName="f", Qualifier="1", **given)
    assert here.functions.policy(ARN, "1") is not None
    await here.call("DeleteFunction", FunctionName="f", Qualifier="1")
    assert here.functions.policy(ARN, "1") is None


async def test_snap_start_is_on_for_versions_and_off_for_latest(here: World) -> None:
    wanted = {"ApplyOn": "PublishedVersions"}
    made = await here.create("s", SnapStart=wanted)
    assert made["SnapStart"] == {**wanted, "OptimizationStatus": "Off"}
    version = await here.call("PublishVersion", FunctionName="s")
    assert version["SnapStart"] == {**wanted, "OptimizationStatus": "On"}
    assert (version["State"], version["StateReasonCode"]) == ("Pending", "Creating")
    error = await here.error("Invoke", FunctionName="s", Qualifier="1")
    assert (error.code, error.status) == ("SnapStartNotReadyException", 409)
    await here.settle()
    seen = here.functions.resolve(ARN[:-1] + "s", "1")
    latest = here.functions.resolve(ARN[:-1] + "s")
    assert seen is not None and seen.snap_start
    assert latest is not None and not latest.snap_start


async def test_versions_count_against_the_code_storage(tmp_path: Path) -> None:
    quotas = Quotas(code_storage_bytes=100)
    async with world(tmp_path, options=Options(quotas=quotas)) as here:
        await here.create("f", Code={"ZipFile": package({"app.py": "#" * 60})})
        error = await here.error("PublishVersion", FunctionName="f")
        assert error.code == "CodeStorageExceededException"
        found = await here.call("ListVersionsByFunction", FunctionName="f")
        assert len(found["Versions"]) == 1
