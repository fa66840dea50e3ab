"""Answers in which AWS's service departs from its own habits: members, sentences, their order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from boda.invoke.function_table import FunctionTable
from support.lambda_world import World, package, world

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function"
NO_CONFIG = "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.create("f")
        yield made


async def test_refusals_of_concurrency_have_no_type(here: World) -> None:
    for reserved in (901, 5000):
        error = await here.error(
            "PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=reserved
        )
        assert error.code == "InvalidParameterValueException" and error.status == 400
        assert error.message == (
            "Specified ReservedConcurrentExecutions for function decreases account's "
            "UnreservedConcurrentExecution below its minimum value of [100]."
        )
        assert error.fields.get("Type") is None


async def test_the_fault_of_a_code_signing_config_is_told_before_the_functions(
    here: World,
) -> None:
    for name in ("f", "none"):
        error = await here.error(
            "PutFunctionCodeSigningConfig", FunctionName=name, CodeSigningConfigArn=NO_CONFIG
        )
        assert (error.code, error.status) == ("CodeSigningConfigNotFoundException", 404)
        assert NO_CONFIG in error.message
    publishers = {
        "SigningProfileVersionArns": ["arn:aws:signer:us-east-1:000000000000:/signing-profiles/a/b"]
    }
    made = await here.call("CreateCodeSigningConfig", AllowedPublishers=publishers)
    arn = made["CodeSigningConfig"]["CodeSigningConfigArn"]
    error = await here.error(
        "PutFunctionCodeSigningConfig", FunctionName="none", CodeSigningConfigArn=arn
    )
    assert error.message == f"Function not found: {FUNCTION}:none"


async def test_an_invocation_mode_that_was_given_once_is_always_answered(here: World) -> None:
    await here.call("CreateFunctionUrlConfig", FunctionName="f", AuthType="NONE")
    changed = await here.call("UpdateFunctionUrlConfig", FunctionName="f", AuthType="AWS_IAM")
    assert "InvokeMode" not in changed  # recorded
    changed = await here.call(
        "UpdateFunctionUrlConfig", FunctionName="f", InvokeMode="RESPONSE_STREAM"
    )
    assert changed["InvokeMode"] == "RESPONSE_STREAM"
    changed = await here.call("UpdateFunctionUrlConfig", FunctionName="f", AuthType="NONE")
    assert (changed["AuthType"], changed["InvokeMode"]) == ("NONE", "RESPONSE_STREAM")


@pytest.mark.parametrize("operation", ["CreateFunctionUrlConfig", "UpdateFunctionUrlConfig"])
@pytest.mark.parametrize("named", [{"FunctionName": "none"}, {"FunctionName": "f:nobody"}])
async def test_a_url_of_what_is_not_there(
    here: World, operation: str, named: dict[str, str]
) -> None:
    error = await here.error(operation, AuthType="NONE", **named)
    assert (error.code, error.status) == ("ResourceNotFoundException", 404)
    assert error.message == "Function does not exist"


async def test_every_version_counts_its_package(here: World) -> None:
    async def used() -> int:
        usage = (await here.call("GetAccountSettings"))["AccountUsage"]
        return int(usage["TotalCodeSize"])

    content = package({"app.py": "def handler(event, context): return 7\n"})
    before = await used()
    await here.create("g", Code={"ZipFile": content})
    assert await used() == before + len(content)
    await here.call("PublishVersion", FunctionName="g")
    assert await used() == before + 2 * len(content)
    for published in (3, 4):  # a layer's versions too
        await here.call("PublishLayerVersion", LayerName="l", Content={"ZipFile": content})
        assert await used() == before + published * len(content)
    await here.call("DeleteLayerVersion", LayerName="l", VersionNumber=1)
    await here.call("DeleteFunction", FunctionName="g")
    assert await used() == before + len(content)


@pytest.fixture
def marks() -> Iterator[float]:
    """What chance says, again and again: the alias's own version, then the other one."""

    def endless() -> Iterator[float]:
        while True:
            yield from (0.9, 0.1)

    return endless()


async def test_a_refusal_names_the_state_of_the_version_that_was_chosen(
    tmp_path: Path, marks: Iterator[float]
) -> None:
    functions = FunctionTable(chance=lambda: next(marks))
    async with world(tmp_path, functions=functions) as here:
        await here.create("f")
        await here.call("PublishVersion", FunctionName="f")
        code = {"FunctionName": "f", "ZipFile": package({"app.py": "x = 2\n"}), "Publish": True}
        assert (await here.call("UpdateFunctionCode", **code))["State"] == "Pending"
        await here.call(
            "CreateAlias", FunctionName="f", Name="live", FunctionVersion="1",
            RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}},
        )  # fmt: skip
        answer = await here.call("Invoke", FunctionName="f:live")
        assert answer["ExecutedVersion"] == "1"
        error = await here.error("Invoke", FunctionName="f:live")
        assert (error.code, error.status) == ("ResourceConflictException", 409)
        assert error.message.endswith("The function is currently in the following state: Pending")
        answer = await here.call("Invoke", FunctionName="f:live")
        assert answer["ExecutedVersion"] == "1"
