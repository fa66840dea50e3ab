"""SnapStart as a version's state: Pending while its init runs once, then Active or Failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boda.fleet.template import Cause, SnapshotFailed
from support.lambda_world import Snapshotter, World, package, world
from support.world import ACCOUNT

WANTED = {"ApplyOn": "PublishedVersions"}
ARN = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.create("f", SnapStart=WANTED)
        yield made


async def standing(here: World, qualifier: str = "1") -> tuple[Any, ...]:
    found = await here.call("GetFunctionConfiguration", FunctionName="f", Qualifier=qualifier)
    names = ("State", "StateReasonCode", "StateReason")
    return (*(found.get(name) for name in names), found["SnapStart"]["OptimizationStatus"])


PENDING = ("Pending", "Creating", "The function is being created.", "On")
ACTIVE = ("Active", None, None, "On")


async def test_a_version_is_pending_until_its_init_is_done(here: World) -> None:
    here.snapshotter.gate.clear()
    made = await here.call("PublishVersion", FunctionName="f")
    assert (made["State"], made["StateReasonCode"]) == ("Pending", "Creating")
    assert made["SnapStart"] == {**WANTED, "OptimizationStatus": "On"}
    await here.settle()
    assert await standing(here) == PENDING
    for operation in ("Invoke", "InvokeWithResponseStream"):
        error = await here.error(operation, FunctionName="f", Qualifier="1")
        assert (error.code, error.status) == ("SnapStartNotReadyException", 409)
    error = await here.error("Invoke", FunctionName="f:1", InvocationType="Event")
    assert error.code == "SnapStartNotReadyException"
    here.snapshotter.gate.set()
    await here.settle()
    assert await standing(here) == ACTIVE
    await here.call("Invoke", FunctionName="f", Qualifier="1")
    found = await here.call("GetFunctionConfiguration", FunctionName="f", Qualifier="1")
    assert found["LastUpdateStatus"] == "Successful"
    (seen,) = here.snapshotter.taken
    assert seen is not here.functions.resolve(ARN, "1")
    assert seen == here.functions.resolve(ARN, "1") and seen.snap_start


async def test_latest_is_never_snapshotted(here: World) -> None:
    assert here.snapshotter.taken == []
    assert (await standing(here, "$LATEST"))[3] == "Off"
    latest = here.functions.resolve(ARN)
    assert latest is not None and not latest.snap_start


async def test_publishing_with_the_code_is_the_same(here: World) -> None:
    here.snapshotter.gate.clear()
    made = await here.call(
        "CreateFunction", FunctionName="g", SnapStart=WANTED, Publish=True,
        Role=f"arn:aws:iam::{ACCOUNT}:role/worker", Runtime="python3.12", Handler="app.handler",
        Code={"ZipFile": package()},
    )  # fmt: skip
    assert (made["Version"], made["State"]) == ("1", "Pending")
    made = await here.call(
        "UpdateFunctionCode", FunctionName="f", ZipFile=package({"app.py": "a = 1\n"}), Publish=True
    )
    assert (made["Version"], made["State"]) == ("1", "Pending")
    await here.settle()
    assert sorted(each.name for each in here.snapshotter.taken) == ["f", "g"]
    assert await standing(here) == PENDING
    assert (await standing(here, "$LATEST"))[0] == "Active"
    here.snapshotter.gate.set()
    await here.settle()
    assert await standing(here) == ACTIVE


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        ("timeout", "FunctionError.InitTimeout"),
        ("init", "FunctionError.RuntimeInitError"),
        ("entrypoint", "FunctionError.InvalidEntryPoint"),
        ("memory", "FunctionError.InitResourceExhausted"),
        ("role", "InsufficientRolePermissions"),
    ],
)
async def test_an_init_that_fails_is_the_state(here: World, cause: Cause, code: str) -> None:
    here.snapshotter.failures = [SnapshotFailed(cause, "Runtime.ImportModuleError")]
    await here.call("PublishVersion", FunctionName="f")
    await here.settle()
    state, told, reason, optimized = await standing(here)
    assert (state, told, optimized) == ("Failed", code, "Off")
    assert "Runtime.ImportModuleError" in reason
    error = await here.error("Invoke", FunctionName="f", Qualifier="1")
    assert (error.code, error.status) == ("ResourceConflictException", 409)
    assert error.message.endswith("The function is currently in the following state: Failed")


async def test_a_failed_one_can_be_published_again(here: World) -> None:
    here.snapshotter.failures = [SnapshotFailed("init")]
    await here.call("PublishVersion", FunctionName="f")
    await here.settle()
    assert (await here.call("PublishVersion", FunctionName="f"))["Version"] == "2"
    await here.settle()
    assert await standing(here, "2") == ACTIVE
    assert (await here.call("PublishVersion", FunctionName="f"))["Version"] == "2"


async def test_the_platforms_own_failure_is_tried_again(here: World) -> None:
    here.snapshotter.failures = [SnapshotFailed("platform") for _ in range(2)]
    await here.call("PublishVersion", FunctionName="f")
    await here.settle()
    await here.settle()
    assert await standing(here) == ACTIVE
    here.snapshotter.failures = [SnapshotFailed("platform") for _ in range(3)]
    await here.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=4)
    await here.settle()
    await here.call("PublishVersion", FunctionName="f")
    await here.settle()
    await here.settle()
    assert (await standing(here, "2"))[:2] == ("Failed", "InternalError")


@pytest.mark.parametrize("named", [{"FunctionName": "f", "Qualifier": "1"}, {"FunctionName": "f"}])
async def test_deletion_ends_it(here: World, named: dict[str, str]) -> None:
    here.snapshotter.gate.clear()
    await here.call("PublishVersion", FunctionName="f")
    await here.settle()
    await here.call("DeleteFunction", **named)
    assert here.snapshotter.retired == here.snapshotter.taken
    here.snapshotter.gate.set()
    await here.settle()
    error = await here.error("GetFunction", FunctionName="f", Qualifier="1")
    assert error.code == "ResourceNotFoundException"
    assert here.functions.resolve(ARN, "1") is None


async def test_a_name_given_again_is_not_confused_with_the_one_before(here: World) -> None:
    here.snapshotter.gate.clear()
    await here.call("PublishVersion", FunctionName="f")
    await here.settle()
    await here.call("DeleteFunction", FunctionName="f")
    await here.create("f", SnapStart=WANTED, Publish=True)
    await here.settle()
    assert await standing(here, "2") == PENDING
    here.snapshotter.gate.set()
    await here.settle()
    assert await standing(here, "2") == ACTIVE
    assert here.functions.resolve(ARN, "2") == here.snapshotter.taken[1]


async def test_a_restart_amid_pending_resumes_it(tmp_path: Path) -> None:
    held = Snapshotter()
    held.gate.clear()
    async with world(tmp_path, snapshotter=held) as here:
        await here.create("f", SnapStart=WANTED)
        await here.call("PublishVersion", FunctionName="f")
        await here.settle()
        assert len(held.taken) == 1
    async with world(tmp_path) as here:
        assert await standing(here) == PENDING
        await here.settle()
        assert await standing(here) == ACTIVE
        assert len(here.snapshotter.taken) == 1
    async with world(tmp_path) as here:  # once Active, a call makes the template again
        await here.settle()
        assert await standing(here) == ACTIVE
        assert here.snapshotter.taken == []


async def test_what_an_alias_leads_to_is_waited_for_and_not_taken_for_missing(here: World) -> None:
    """By events in the queue, whose function is looked up anew at each attempt."""
    here.snapshotter.gate.clear()
    await here.call("PublishVersion", FunctionName="f")
    await here.call("CreateAlias", FunctionName="f", Name="a", FunctionVersion="1")
    await here.settle()
    for qualifier in ("1", "a"):
        assert here.functions.resolve(ARN, qualifier) is None
        assert here.functions.is_coming(ARN, qualifier)
    assert not here.functions.is_coming(ARN, "2")
    here.snapshotter.failures = [SnapshotFailed("init")]
    here.snapshotter.gate.set()
    await here.settle()
    assert not here.functions.is_coming(ARN, "a")
    here.snapshotter.gate.clear()
    await here.call("PublishVersion", FunctionName="f")
    await here.call("UpdateAlias", FunctionName="f", Name="a", FunctionVersion="2")
    assert here.functions.is_coming(ARN, "a")
    here.snapshotter.gate.set()
    await here.settle()
    assert here.functions.resolve(ARN, "a") and not here.functions.is_coming(ARN, "a")
    here.snapshotter.gate.clear()
    await here.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=9)
    await here.settle()
    await here.call("PublishVersion", FunctionName="f")
    await here.call("DeleteFunction", FunctionName="f")
    assert not here.functions.is_coming(ARN, "3")


async def test_where_nothing_can_be_forked_versions_are_active_at_once(tmp_path: Path) -> None:
    nothing = Snapshotter()
    nothing.offered = False
    async with world(tmp_path) as here:
        await here.create("f", SnapStart=WANTED, Publish=True)
        assert await standing(here) == ACTIVE
    async with world(tmp_path, snapshotter=nothing) as here:
        assert await standing(here) == ("Active", None, None, "Off")
        await here.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=4)
        await here.settle()
        made = await here.call("PublishVersion", FunctionName="f")
        assert (made["Version"], made["State"]) == ("2", "Active")
        assert made["SnapStart"] == {**WANTED, "OptimizationStatus": "Off"}
        await here.call("Invoke", FunctionName="f", Qualifier="2")
        assert nothing.taken == []


async def test_a_runtime_this_machine_lacks_is_not_snapshotted(tmp_path: Path) -> None:
    async with world(tmp_path, runnable=lambda runtime: False) as here:
        for runtime in ("java21", "python3.14"):
            made = await here.create(
                runtime.replace(".", "-"), Runtime=runtime, SnapStart=WANTED, Publish=True
            )
            assert made["SnapStart"]["OptimizationStatus"] == "Off"
        assert here.snapshotter.taken == []


async def test_only_some_inits_run_at_a_time(here: World) -> None:
    here.snapshotter.gate.clear()
    for number in range(6):
        await here.create(f"g{number}", SnapStart=WANTED, Publish=True)
    assert len(here.snapshotter.taken) == 4
    here.snapshotter.gate.set()
    await here.settle()
    assert len(here.snapshotter.taken) == 6


async def test_provisioned_concurrency_does_not_go_with_it(here: World) -> None:
    words = "Provisioned Concurrency is not supported for SnapStart enabled function versions."
    await here.call("PublishVersion", FunctionName="f")
    await here.settle()
    config = {"FunctionName": "f", "ProvisionedConcurrentExecutions": 1}
    error = await here.error("PutProvisionedConcurrencyConfig", Qualifier="1", **config)
    assert (error.code, error.message) == ("InvalidParameterValueException", words)
    await here.call("CreateAlias", FunctionName="f", Name="a", FunctionVersion="1")
    error = await here.error("PutProvisionedConcurrencyConfig", Qualifier="a", **config)
    assert error.message == words
    await here.call("UpdateFunctionConfiguration", FunctionName="f", SnapStart={"ApplyOn": "None"})
    await here.settle()
    await here.call("PublishVersion", FunctionName="f")
    await here.call("UpdateAlias", FunctionName="f", Name="a", FunctionVersion="2")
    await here.call("PutProvisionedConcurrencyConfig", Qualifier="a", **config)
    error = await here.error("UpdateAlias", FunctionName="f", Name="a", FunctionVersion="1")
    assert error.message == words
    error = await here.error(
        "UpdateAlias", FunctionName="f", Name="a",
        RoutingConfig={"AdditionalVersionWeights": {"1": 0.5}},
    )  # fmt: skip
    assert error.message == words


async def test_clients_at_once_leave_a_whole_state(here: World) -> None:
    """Publishes and deletions crossing each other."""
    here.snapshotter.gate.clear()
    for number in range(3):
        await here.call("UpdateFunctionConfiguration", FunctionName="f", Description=f"{number}")
        await here.settle()
        await here.call("PublishVersion", FunctionName="f")
    here.snapshotter.gate.set()
    await asyncio.gather(
        here.call("DeleteFunction", FunctionName="f", Qualifier="2"), here.settle()
    )
    assert await standing(here, "1") == ACTIVE == await standing(here, "3")
    assert here.functions.resolve(ARN, "2") is None
