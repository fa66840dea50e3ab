"""Functions' settings beyond the first ones: networks, images, keys, snapshots, tenants.

And what tools that compare rely on: what is read back is what was written with AWS's defaults,
and what was not written is not there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.lambda_world import ROLE, World, package, world

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
SUBNET, GROUP = "subnet-0123456789abcdef0", "sg-0123456789abcdef0"
VPC = {"SubnetIds": [SUBNET], "SecurityGroupIds": [GROUP]}
ACCESS_POINT = (
    "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0"
)
KEY = "arn:aws:kms:us-east-1:000000000000:key/x"
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/repo:latest"
DIGEST = "ab" * 32


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def image(here: World, **params: Any) -> Any:
    given = {"Role": ROLE, "PackageType": "Image", "Code": {"ImageUri": IMAGE}, **params}
    answer = await here.call("CreateFunction", FunctionName="f", **given)
    await here.settle()
    return answer


async def refused(here: World, **params: Any) -> str:
    given = {
        "Role": ROLE,
        "Runtime": "python3.12",
        "Handler": "a.b",
        "Code": {"ZipFile": package()},
    }
    wanted = {name: value for name, value in {**given, **params}.items() if value is not None}
    error = await here.error("CreateFunction", FunctionName="f", **wanted)
    assert error.code == "InvalidParameterValueException", error
    assert here.functions.resolve(ARN) is None
    return error.message


# What was written is read back


WRITTEN: dict[str, Any] = {
    "Description": "d",
    "Timeout": 9,
    "MemorySize": 256,
    "Environment": {"Variables": {"AB": "1"}},
    "VpcConfig": {**VPC, "Ipv6AllowedForDualStack": True},
    "FileSystemConfigs": [{"Arn": ACCESS_POINT, "LocalMountPath": "/mnt/data"}],
    "KMSKeyArn": KEY,
    "TracingConfig": {"Mode": "Active"},
    "DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:q"},
    "EphemeralStorage": {"Size": 600},
    "LoggingConfig": {
        "LogFormat": "JSON",
        "LogGroup": "/own",
        "ApplicationLogLevel": "WARN",
        "SystemLogLevel": "INFO",
    },
}


async def test_everything_written_is_read_back_and_over_a_restart(
    here: World, tmp_path: Path
) -> None:
    await here.create(
        "f", **WRITTEN, Architectures=["arm64"], TenancyConfig={"TenantIsolationMode": "PER_TENANT"}
    )
    read = await here.call("GetFunctionConfiguration", FunctionName="f")
    vpc = read["VpcConfig"]
    assert vpc.pop("VpcId").startswith("vpc-")
    assert {name: read[name] for name in WRITTEN} == WRITTEN
    assert read["Architectures"] == ["arm64"]
    assert read["TenancyConfig"] == {"TenantIsolationMode": "PER_TENANT"}
    await here.service.stop()
    async with world(tmp_path) as again:
        found = await again.call("GetFunctionConfiguration", FunctionName="f")
        found["VpcConfig"].pop("VpcId")
        assert found == read


async def test_nothing_unwritten_is_invented(here: World) -> None:
    await here.create("f")
    read = await here.call("GetFunctionConfiguration", FunctionName="f")
    volatile = {"RevisionId", "LastModified", "CodeSha256", "CodeSize", "RuntimeVersionConfig"}
    assert {name: value for name, value in read.items() if name not in volatile} == {
        "FunctionName": "f",
        "FunctionArn": ARN,
        "Runtime": "python3.12",
        "Role": ROLE,
        "Handler": "app.handler",
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "Version": "$LATEST",
        "TracingConfig": {"Mode": "PassThrough"},
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
        "State": "Active",
        "LastUpdateStatus": "Successful",
    }


async def test_the_same_update_again_changes_nothing_but_the_revision(here: World) -> None:
    """As recorded: every update gives a new revision, also one that changes nothing."""
    await here.create("f", **WRITTEN)
    one = await here.call("GetFunctionConfiguration", FunctionName="f")
    await here.call("UpdateFunctionConfiguration", FunctionName="f", **WRITTEN)
    await here.settle()
    two = await here.call("GetFunctionConfiguration", FunctionName="f")
    assert two.pop("RevisionId") != one.pop("RevisionId")
    assert two.pop("LastModified") != one.pop("LastModified")
    assert two == one
    first = await here.call("PublishVersion", FunctionName="f")
    await here.call("UpdateFunctionConfiguration", FunctionName="f", **WRITTEN)
    await here.settle()
    assert (await here.call("PublishVersion", FunctionName="f")) == first


async def test_reading_changes_nothing(here: World) -> None:
    await here.create("f")
    await here.call("PublishVersion", FunctionName="f")
    await here.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
    reads: list[tuple[str, dict[str, Any]]] = [
        ("GetFunctionConfiguration", {"FunctionName": "f"}),
        ("GetFunctionConfiguration", {"FunctionName": "f:1"}),
        ("GetAlias", {"FunctionName": "f", "Name": "live"}),
        ("ListVersionsByFunction", {"FunctionName": "f"}),
    ]
    before = [await here.call(operation, **params) for operation, params in reads]
    assert [await here.call(operation, **params) for operation, params in reads] == before


async def test_deleting_what_was_configured_leaves_no_trace(here: World) -> None:
    await here.create("f", **WRITTEN)
    await here.call(
        "UpdateFunctionConfiguration",
        FunctionName="f",
        FileSystemConfigs=[],
        VpcConfig={"SubnetIds": [], "SecurityGroupIds": []},
        KMSKeyArn="",
        DeadLetterConfig={"TargetArn": ""},
    )
    await here.settle()
    read = await here.call("GetFunctionConfiguration", FunctionName="f")
    assert not {"FileSystemConfigs", "KMSKeyArn", "DeadLetterConfig"} & read.keys()
    assert read["VpcConfig"] == {
        "SubnetIds": [],
        "SecurityGroupIds": [],
        "VpcId": "",
        "Ipv6AllowedForDualStack": False,
    }


# Networks and file systems


async def test_networks_are_taken_by_their_form(here: World) -> None:
    words = "SubnetIds and SecurityIds must coexist or be both empty list."
    assert await refused(here, VpcConfig={"SubnetIds": [SUBNET]}) == words
    assert await refused(here, VpcConfig={"SecurityGroupIds": [GROUP]}) == words
    system = {"Arn": ACCESS_POINT, "LocalMountPath": "/mnt/data"}
    assert await refused(here, FileSystemConfigs=[system]) == (
        f"Function must be configured to execute in a VPC to reference access point {ACCESS_POINT}."
    )
    await here.create("f", VpcConfig=VPC)
    error = await here.error(
        "UpdateFunctionConfiguration", FunctionName="f", VpcConfig={"SubnetIds": [SUBNET]}
    )
    assert error.message == words


async def test_a_function_with_a_file_system_says_that_there_is_none(here: World) -> None:
    system = {"Arn": ACCESS_POINT, "LocalMountPath": "/mnt/data"}
    await here.create("f", VpcConfig=VPC, FileSystemConfigs=[system])
    error = await here.error("Invoke", FunctionName="f")
    assert (error.code, error.status) == ("EFSMountFailureException", 403)
    assert "/mnt/data" in error.message and not here.invoker.calls


# Images


async def test_an_image_is_kept_and_described_without_invented_runtime(here: World) -> None:
    made = await image(here, ImageConfig={"Command": ["a"], "EntryPoint": ["b"]})
    assert not {"Runtime", "Handler", "RuntimeVersionConfig"} & made.keys()
    assert made["PackageType"] == "Image"
    assert made["ImageConfigResponse"] == {"ImageConfig": {"Command": ["a"], "EntryPoint": ["b"]}}
    found = await here.call("GetFunction", FunctionName="f")
    digest = found["Configuration"]["CodeSha256"]
    assert found["Code"] == {
        "RepositoryType": "ECR",
        "ImageUri": IMAGE,
        "ResolvedImageUri": f"{IMAGE.removesuffix(':latest')}@sha256:{digest}",
    }
    error = await here.error("Invoke", FunctionName="f")
    assert (error.code, error.status) == ("InvalidRuntimeException", 502)
    config = {"Command": ["c"]}
    answer = await here.call("UpdateFunctionConfiguration", FunctionName="f", ImageConfig=config)
    assert answer["ImageConfigResponse"] == {"ImageConfig": config}, "replaced, not merged"
    await here.settle()
    answer = await here.call("UpdateFunctionConfiguration", FunctionName="f", ImageConfig={})
    assert "ImageConfigResponse" not in answer
    await here.settle()
    uri = f"{IMAGE.removesuffix(':latest')}@sha256:{DIGEST}"
    answer = await here.call("UpdateFunctionCode", FunctionName="f", ImageUri=uri)
    assert answer["CodeSha256"] == DIGEST


async def test_images_survive_a_restart(here: World, tmp_path: Path) -> None:
    await image(here)
    await here.call("PublishVersion", FunctionName="f")
    before = await here.call("GetFunction", FunctionName="f:1")
    await here.service.stop()
    async with world(tmp_path) as again:
        assert await again.call("GetFunction", FunctionName="f:1") == before


async def test_images_and_packages_are_not_mixed(here: World) -> None:
    assert (await refused(here, Code={"ImageUri": IMAGE})).startswith("Please don't provide Image")
    assert (await refused(here, PackageType="Image")).startswith("Please provide ImageUri when")
    both = {"ImageUri": IMAGE, "ZipFile": package()}
    assert "other FunctionCode parameters" in await refused(here, PackageType="Image", Code=both)
    assert "PackageType is Image" in await refused(
        here, PackageType="Image", Code={"ImageUri": IMAGE}
    )
    assert "PackageType is Zip" in await refused(here, ImageConfig={"Command": ["a"]})
    await here.create("zip")
    error = await here.error("UpdateFunctionCode", FunctionName="zip", ImageUri=IMAGE)
    assert error.message == (
        "Please don't provide ImageUri when updating a function with packageType Zip."
    )
    await image(here)
    error = await here.error("UpdateFunctionCode", FunctionName="f", ZipFile=package())
    assert error.message == (
        "Please provide ImageUri when updating a function with packageType Image."
    )
    error = await here.error("UpdateFunctionConfiguration", FunctionName="f", Handler="a.b")
    assert "PackageType is Image" in error.message


# Snapshots, tenants, keys


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"Runtime": "nodejs22.x"}, "nodejs22.x"),
        ({"Runtime": "provided.al2023"}, "provided.al2023"),
        ({"EphemeralStorage": {"Size": 513}}, "EphemeralStorage larger than 512 MB"),
        ({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, "TenancyConfig"),
        (
            {
                "PackageType": "Image",
                "Code": {"ImageUri": IMAGE},
                "Runtime": None,
                "Handler": None,
            },
            "ContainerImage",
        ),
    ],
)
async def test_what_snap_start_does_not_go_with(
    here: World, params: dict[str, Any], words: str
) -> None:
    wanted = {"ApplyOn": "PublishedVersions"}
    assert await refused(here, SnapStart=wanted, **params) == (
        f"{words} is not supported for SnapStart enabled functions."
    )


@pytest.mark.parametrize(
    "runtime", ["java11", "java17", "java21", "java25", "python3.9", "python3.11", "python3.14",
                "dotnet8", "dotnet10"]
)  # fmt: skip
async def test_snap_start_is_for_the_runtimes_that_have_it(here: World, runtime: str) -> None:
    wanted = {"ApplyOn": "PublishedVersions"}
    made = await here.create("f", Runtime=runtime, SnapStart=wanted)
    assert made["SnapStart"]["ApplyOn"] == "PublishedVersions"


async def test_the_key_of_a_package_is_told_with_it(here: World) -> None:
    await here.create("f", Code={"ZipFile": package(), "SourceKMSKeyArn": KEY})
    found = await here.call("GetFunction", FunctionName="f")
    assert found["Code"]["SourceKMSKeyArn"] == KEY
    assert "KMSKeyArn" not in found["Configuration"]


async def test_a_stale_revision_is_refused_by_every_change(here: World) -> None:
    await here.create("f")
    for operation, params in (
        ("UpdateFunctionConfiguration", {"Timeout": 4}),
        ("UpdateFunctionCode", {"ZipFile": package()}),
        ("PublishVersion", {}),
    ):
        error = await here.error(operation, FunctionName="f", RevisionId="stale", **params)
        assert (error.code, error.status) == ("PreconditionFailedException", 412)
