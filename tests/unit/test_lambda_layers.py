"""Layers: their versions, who may use them, and what functions keep of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boda.core.principal import root_of
from boda.services.lambda_ import Options, Quotas
from support.lambda_world import World, package, world

BASE = "arn:aws:lambda:us-east-1:000000000000:layer"
OTHER = root_of("111111111111")


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def layer(here: World, name: str = "l", text: str = "x = 1\n", **params: Any) -> Any:
    content = {"ZipFile": package({"python/mod.py": text})}
    return await here.call("PublishLayerVersion", LayerName=name, Content=content, **params)


async def test_what_was_published_is_read_back(here: World) -> None:
    made = await layer(
        here,
        Description="d",
        LicenseInfo="MIT",
        CompatibleRuntimes=["python3.12"],
        CompatibleArchitectures=["arm64"],
    )
    assert made["LayerVersionArn"] == f"{BASE}:l:1" and made["LayerArn"] == f"{BASE}:l"
    assert made["Content"]["CodeSize"] > 0 and "/_boda/code/" in made["Content"]["Location"]
    for read in (
        await here.call("GetLayerVersion", LayerName="l", VersionNumber=1),
        await here.call("GetLayerVersion", LayerName=f"{BASE}:l", VersionNumber=1),
        await here.call("GetLayerVersionByArn", Arn=f"{BASE}:l:1"),
    ):
        assert {**read, "Content": None} == {**made, "Content": None}
    plain = await layer(here, "plain")
    assert plain["Description"] == ""
    assert not {"LicenseInfo", "CompatibleRuntimes", "CompatibleArchitectures"} & plain.keys()


async def test_layers_survive_a_restart_and_numbers_are_not_given_twice(
    here: World, tmp_path: Path
) -> None:
    await layer(here)
    await layer(here)
    await here.call("DeleteLayerVersion", LayerName="l", VersionNumber=2)
    given = {"Action": "lambda:GetLayerVersion", "Principal": "*", "StatementId": "s"}
    await here.call("AddLayerVersionPermission", LayerName="l", VersionNumber=1, **given)
    before = await here.call("GetLayerVersionPolicy", LayerName="l", VersionNumber=1)
    await here.service.stop()
    async with world(tmp_path) as again:
        assert await again.call("GetLayerVersionPolicy", LayerName="l", VersionNumber=1) == before
        assert (await layer(again))["Version"] == 3
        listed = await again.call("ListLayerVersions", LayerName="l")
        assert [each["Version"] for each in listed["LayerVersions"]] == [3, 1]


async def test_lists_hold_what_fits_in_pages(here: World) -> None:
    for name, runtimes in (("b", ["python3.12"]), ("a", ["nodejs22.x"]), ("c", ["python3.12"])):
        await layer(here, name, CompatibleRuntimes=runtimes, CompatibleArchitectures=["x86_64"])
    await layer(here, "b", CompatibleRuntimes=["python3.13"])
    every = await here.call("ListLayers")
    assert [each["LayerName"] for each in every["Layers"]] == ["a", "b", "c"]
    assert every["Layers"][1]["LatestMatchingVersion"]["Version"] == 2
    fitting = await here.call("ListLayers", CompatibleRuntime="python3.12")
    found = [
        (each["LayerName"], each["LatestMatchingVersion"]["Version"]) for each in fitting["Layers"]
    ]
    assert found == [("b", 1), ("c", 1)]
    assert (await here.call("ListLayers", CompatibleArchitecture="arm64"))["Layers"] == []
    page = await here.call("ListLayers", MaxItems=2)
    rest = await here.call("ListLayers", Marker=page["NextMarker"])
    assert [each["LayerName"] for each in (*page["Layers"], *rest["Layers"])] == ["a", "b", "c"]
    page = await here.call("ListLayerVersions", LayerName="b", MaxItems=1)
    rest = await here.call("ListLayerVersions", LayerName="b", Marker=page["NextMarker"])
    assert [each["Version"] for each in (*page["LayerVersions"], *rest["LayerVersions"])] == [2, 1]
    assert (await here.call("ListLayerVersions", LayerName="none"))["LayerVersions"] == []
    error = await here.error("ListLayers", CompatibleRuntime="none")
    assert error.code == "ValidationException" and "'compatibleRuntime' failed" in error.message
    error = await here.error("ListLayers", Marker="nonsense")
    assert error.code == "InvalidParameterValueException"


async def test_what_is_not_there_is_said(here: World) -> None:
    await layer(here)
    for params in ({"LayerName": "l", "VersionNumber": 2}, {"LayerName": "m", "VersionNumber": 1}):
        error = await here.error("GetLayerVersion", **params)
        assert (error.status, error.message) == (404, "The resource you requested does not exist.")
        await here.call("DeleteLayerVersion", **params)
    for operation in ("GetLayerVersion", "DeleteLayerVersion"):
        for number in (0, -1):
            error = await here.error(operation, LayerName="l", VersionNumber=number)
            assert error.message == "Layer Version Cannot be less than 1."
    error = await here.error("GetLayerVersionByArn", Arn=f"{BASE}:l")
    assert error.code == "ValidationException" and "at 'arn' failed" in error.message
    error = await here.error("GetLayerVersionByArn", Arn=f"{BASE}:l:9")
    assert error.status == 404
    content = {"ZipFile": b"no zip"}
    error = await here.error("PublishLayerVersion", LayerName="l", Content=content)
    assert error.message.startswith("Could not unzip uploaded file.")
    error = await here.error("PublishLayerVersion", LayerName="l", Content={})
    assert error.code == "InvalidParameterValueException"
    error = await layer_error(here, CompatibleRuntimes=["python3.12", "cobol"])
    assert error.code == "ValidationException" and "'compatibleRuntimes' failed" in error.message


async def layer_error(here: World, **params: Any) -> Any:
    content = {"ZipFile": package()}
    return await here.error("PublishLayerVersion", LayerName="l", Content=content, **params)


async def test_a_layer_comes_from_a_bucket_too(here: World) -> None:
    here.objects.held["bucket", "key"] = package({"python/mod.py": "x = 2\n"})
    made = await here.call(
        "PublishLayerVersion", LayerName="l", Content={"S3Bucket": "bucket", "S3Key": "key"}
    )
    assert made["Version"] == 1


# Functions that have layers


async def test_functions_see_their_layers_in_order(here: World) -> None:
    arns = [(await layer(here, name, f"x = '{name}'\n"))["LayerVersionArn"] for name in "ab"]
    made = await here.create("f", Layers=arns)
    assert [each["Arn"] for each in made["Layers"]] == arns
    assert all(each["CodeSize"] > 0 for each in made["Layers"])
    seen = here.functions.find("000000000000", "us-east-1", "f")
    assert seen is not None
    texts = [(folder / "python" / "mod.py").read_text() for folder in seen.layer_dirs]
    assert texts == ["x = 'a'\n", "x = 'b'\n"]
    answer = await here.call("UpdateFunctionConfiguration", FunctionName="f", Layers=arns[1:])
    assert [each["Arn"] for each in answer["Layers"]] == arns[1:]
    await here.settle()
    answer = await here.call("UpdateFunctionConfiguration", FunctionName="f", Layers=[])
    assert "Layers" not in answer


async def test_a_deleted_layer_goes_on_working_where_it_is_used(
    here: World, tmp_path: Path
) -> None:
    used, unused = await layer(here, "used", "x = 1\n"), await layer(here, "unused", "y = 1\n")
    await here.create("f", Layers=[used["LayerVersionArn"]])
    await here.call("PublishVersion", FunctionName="f")
    await here.call("UpdateFunctionConfiguration", FunctionName="f", Layers=[])
    for made in (used, unused):
        name, number = made["LayerVersionArn"].split(":")[6:]
        await here.call("DeleteLayerVersion", LayerName=name, VersionNumber=int(number))
    await here.clock.advance(3000)  # type: ignore[attr-defined]
    await here.settle()
    folders = [path for path in (tmp_path / "code").iterdir() if len(path.name) == 64]
    texts = [path.read_text() for path in (tmp_path / "code").rglob("mod.py")]
    assert texts == ["x = 1\n"] and len(folders) == 2, "the function's own and its layer's"
    await here.service.stop()
    async with world(tmp_path) as again:  # and when the platform starts again
        seen = again.functions.find("000000000000", "us-east-1", "f", "1")
        assert seen is not None
        assert (seen.layer_dirs[0] / "python" / "mod.py").read_text() == "x = 1\n"
        await again.call("DeleteFunction", FunctionName="f")
        await again.clock.advance(3000)  # type: ignore[attr-defined]
        await again.settle()
        assert not list((tmp_path / "code").rglob("mod.py"))


async def test_what_functions_may_not_have_as_layers(here: World) -> None:
    arns = [(await layer(here, f"l{number}"))["LayerVersionArn"] for number in range(6)]
    again = (await layer(here, "l0"))["LayerVersionArn"]

    async def refused(layers: list[str]) -> str:
        params = {"Handler": "a.b", "Runtime": "python3.12", "Code": {"ZipFile": package()}}
        error = await here.error(
            "CreateFunction",
            FunctionName="f",
            Role="arn:aws:iam::000000000000:role/worker",
            Layers=layers,
            **params,
        )
        assert error.code == "InvalidParameterValueException"
        return error.message

    assert await refused(arns) == "Cannot reference more than 5 layers."
    assert await refused([f"{BASE}:none:1"]) == f"Layer version {BASE}:none:1 does not exist."
    assert await refused([f"{BASE}:l0:7"]) == f"Layer version {BASE}:l0:7 does not exist."
    assert await refused([arns[0], arns[1], again]) == (
        "Two different versions of the same layer are not allowed to be referenced in the same "
        f"function. {arns[0]} and {again} are versions of the same layer."
    )
    elsewhere = f"{BASE}:l0:1".replace("us-east-1", "eu-west-1")
    assert await refused([elsewhere]) == (
        "Layers are not in the same region as the function. Layers are expected to be in region "
        "us-east-1."
    )
    await here.create("f", Layers=arns[:5])
    error = await here.error("UpdateFunctionConfiguration", FunctionName="f", Layers=arns)
    assert error.message == "Cannot reference more than 5 layers."
    error = await here.error("UpdateFunctionConfiguration", FunctionName="f", Layers=[f"{BASE}:l0"])
    assert error.code == "ValidationException" and "at 'layers' failed" in error.message


async def test_code_and_layers_are_measured_together(tmp_path: Path) -> None:
    async with world(tmp_path, options=Options(quotas=Quotas(unzipped_bytes=1000))) as here:
        big = (await layer(here, text="#" * 800))["LayerVersionArn"]
        await here.create("f", Code={"ZipFile": package({"app.py": "#" * 100})}, Layers=[big])
        error = await here.error(
            "UpdateFunctionCode", FunctionName="f", ZipFile=package({"app.py": "#" * 300})
        )
        assert error.message == (
            "Function code combined with layers exceeds the maximum allowed size of 1000 bytes. "
            "The actual size is 1100 bytes."
        )
        await here.create("g", Code={"ZipFile": package({"app.py": "#" * 300})})
        error = await here.error("UpdateFunctionConfiguration", FunctionName="g", Layers=[big])
        assert error.message.endswith("The actual size is 1100 bytes.")


# Who may use a layer


async def test_another_account_needs_the_layers_permission(here: World) -> None:
    made = await layer(here)
    arn = made["LayerVersionArn"]
    params = {
        "FunctionName": "f",
        "Role": "arn:aws:iam::111111111111:role/worker",
        "Runtime": "python3.12",
        "Handler": "a.b",
        "Code": {"ZipFile": package()},
        "Layers": [arn],
    }
    error = await here.error("CreateFunction", OTHER, **params)
    assert error.status == 403
    assert (await here.error("GetLayerVersionByArn", OTHER, Arn=arn)).status == 403
    answer = await here.call(
        "AddLayerVersionPermission",
        LayerName="l",
        VersionNumber=1,
        StatementId="s",
        Action="lambda:GetLayerVersion",
        Principal="111111111111",
    )
    assert '"AWS":"arn:aws:iam::111111111111:root"' in answer["Statement"]
    assert (await here.call("GetLayerVersionByArn", OTHER, Arn=arn))["Version"] == 1
    made = await here.call("CreateFunction", OTHER, **params)
    assert made["Layers"][0]["Arn"] == arn
    error = await here.error(
        "CreateFunction",
        root_of("222222222222"),
        **{**params, "Role": "arn:aws:iam::222222222222:role/worker"},
    )
    assert error.status == 403
    await here.call("RemoveLayerVersionPermission", LayerName="l", VersionNumber=1, StatementId="s")
    assert (await here.error("GetLayerVersionByArn", OTHER, Arn=arn)).status == 403
    error = await here.error("GetLayerVersionPolicy", LayerName="l", VersionNumber=1)
    assert error.message == "No policy is associated with the given resource."


async def test_a_layers_policy_has_a_limit_and_a_revision(tmp_path: Path) -> None:
    async with world(tmp_path, options=Options(quotas=Quotas(policy_bytes=400))) as here:
        await layer(here)
        given = {
            "LayerName": "l",
            "VersionNumber": 1,
            "Action": "lambda:GetLayerVersion",
            "Principal": "*",
        }
        first = await here.call("AddLayerVersionPermission", StatementId="a", **given)
        policy = await here.call("GetLayerVersionPolicy", LayerName="l", VersionNumber=1)
        assert policy["RevisionId"] == first["RevisionId"]
        error = await here.error(
            "AddLayerVersionPermission", StatementId="b", RevisionId="x", **given
        )
        assert error.status == 412 and "GetLayerPolicy" in error.message
        error = await here.error(
            "AddLayerVersionPermission",
            StatementId="c" * 100,
            OrganizationId="o-" + "a" * 30,
            **given,
        )
        assert error.code == "PolicyLengthExceededException"
        assert await here.call("GetLayerVersionPolicy", LayerName="l", VersionNumber=1) == policy
