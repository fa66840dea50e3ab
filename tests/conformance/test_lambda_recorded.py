"""Recorded cases of Lambda whose calls are told by their names and echoes, held over HTTP.

The conversations whose calls are recorded too are in ``test_lambda_transcripts.py``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from boda.core.clock import SystemClock
from support.lambda_world import ROLE, package, world
from support.recorded import Held, recorded
from support.world import ACCOUNT, client, served

ZIP = package()
IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/pictures:latest"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue"
STREAM = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/t/stream/2026-01-01T00:00:00.000"
ARN = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f"
VARIABLES = {"Variables": {"CUSTOM_ENV": "test"}}
# What follows from the package, not from the rules.
PACKAGE = {"CodeSize": "<code-size>", "CodeSha256": "code-sha256"}

Step = tuple[str, str, dict[str, Any]]


@dataclass
class Caller:
    """Calls operations; answers and errors shaped as the recordings are."""

    aws: Any
    held: Held = field(default_factory=Held)

    async def call(self, operation: str, **params: Any) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            try:
                answer = dict(getattr(self.aws, operation)(**params))
            except ClientError as error:
                answer = dict(error.response)
            status = answer["ResponseMetadata"]["HTTPStatusCode"]
            answer["ResponseMetadata"] = {"HTTPHeaders": {}, "HTTPStatusCode": status}
            for member in ("Policy", "Statement"):
                if isinstance(answer.get(member), str):
                    answer[member] = json.loads(answer[member])
            return answer

        return await asyncio.to_thread(ask)

    async def create(self, name: str = "f", **params: Any) -> dict[str, Any]:
        given = {"Role": ROLE, "Runtime": "python3.12", "Handler": "handler.handler"}
        given |= {"Timeout": 30, "Environment": {"Variables": {}}, "Code": {"ZipFile": ZIP}}
        if params.get("PackageType") == "Image":
            given = {"Role": ROLE, "Code": {"ImageUri": IMAGE}, "Environment": VARIABLES}
        answer = await self.call("create_function", FunctionName=name, **given | params)
        await self.settle(name)
        return answer

    async def settle(self, name: str = "f") -> None:
        """Wait until what was begun with a function has taken effect."""
        for _ in range(500):
            now = await self.call("get_function_configuration", FunctionName=name)
            if (now["State"], now.get("LastUpdateStatus")) == ("Active", "Successful"):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the function does not become active")

    def differences(self, wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
        wanted = wanted.get("CreateFunctionResponse", wanted)
        found = dict(found)
        for one in (found, found.get("Configuration", {})):
            model = wanted.get("Configuration", {}) if one is not found else wanted
            one |= {key: word for key, word in PACKAGE.items() if model.get(key) == word}
        return self.held.differences(wanted, found)


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    async with world(tmp_path, clock=SystemClock()) as here, served(here.gateway) as endpoint:
        yield Caller(client("lambda", endpoint, here.key, parameter_validation=False))


async def hold(caller: Caller, file: str, case: str, steps: list[Step], name: str = "f") -> None:
    """Make the calls in turn and hold each answer against its recorded step."""
    content = recorded("lambda_", file, case)
    found = []
    for step, operation, params in steps:
        answer = await caller.call(operation, **{"FunctionName": name} | params)
        found += [f"{step}{line}" for line in caller.differences(content[step], answer)]
        if operation.startswith("update_function_co"):
            await caller.settle(name)
    assert not found, "\n".join(found)


NEW = "get-function-c{}-response"
CONFIGURED = "get-function-c{}-with-config-response"


@pytest.mark.parametrize(
    ("case", "created", "settings", "steps"),
    [
        pytest.param(
            "TestLambdaImages::test_lambda_image_crud",
            "create-image-response",
            {},
            [
                (NEW.format("ode"), "get_function", {}),
                (NEW.format("onfig"), "get_function_configuration", {}),
                ("image-to-zipfile-error", "update_function_code", {"ZipFile": ZIP}),
                (
                    "update-function-code-response",
                    "update_function_code",
                    {"ImageUri": IMAGE.replace("pictures", "others")},
                ),
                (NEW.format("ode") + "-after-update", "get_function", {}),
                (NEW.format("onfig") + "-after-update", "get_function_configuration", {}),
            ],
            id="the image",
        ),
        pytest.param(
            "TestLambdaImages::test_lambda_image_and_image_config_crud",
            "create-image-with-config-response",
            {"EntryPoint": ["sh"], "Command": ["-c", "echo test"], "WorkingDirectory": "/app1"},
            [
                (CONFIGURED.format("ode"), "get_function", {}),
                (CONFIGURED.format("onfig"), "get_function_configuration", {}),
                (
                    "update-function-code-response",
                    "update_function_configuration",
                    {"ImageConfig": {"Command": ["-c", "echo test1"], "WorkingDirectory": "/app1"}},
                ),
                (NEW.format("ode") + "-after-update", "get_function", {}),
                (
                    "update-function-code-delete-imageconfig-response",
                    "update_function_configuration",
                    {"ImageConfig": {}},
                ),
                (NEW.format("ode") + "-after-delete-imageconfig", "get_function", {}),
            ],
            id="its configuration",
        ),
    ],
)
async def test_images(
    caller: Caller, case: str, created: str, settings: dict[str, Any], steps: list[Step]
) -> None:
    wanted = recorded("lambda_", "test_lambda_api", case)[created]
    config = {"ImageConfig": settings} if settings else {}
    answer = await caller.create(PackageType="Image", **config)
    assert not caller.differences(wanted, answer)
    await hold(caller, "test_lambda_api", case, steps)


async def test_a_statement_is_of_its_version_alone(caller: Caller) -> None:
    await caller.create()
    case = "TestLambdaPermissions::test_lambda_permission_versioning"
    s3 = {
        "Action": "lambda:InvokeFunction",
        "StatementId": "s3",
        "Principal": "s3.amazonaws.com",
        "SourceArn": "arn:aws:s3:::photos",
    }
    begin: list[Step] = [("add_permission", "add_permission", s3), ("get_policy", "get_policy", {})]
    await hold(caller, "test_lambda_api", case, begin)
    await caller.call("publish_version", FunctionName="f")
    # Publishing gives the function a new revision, and with it its policy.
    after: list[Step] = [
        ("get_policy_after_publishing_new_version", "get_policy", {"Qualifier": "1"}),
        ("get_policy_after_publishing_latest", "get_policy", {}),
    ]
    await hold(caller, "test_lambda_api", case, after)
    added = await caller.call("add_permission", FunctionName="f", Qualifier="1", **s3)
    assert added["Statement"]["Resource"] == f"{ARN}:1"
    await hold(
        caller,
        "test_lambda_api",
        case,
        [("get_policy_after_adding_to_new_version", "get_policy", {})],
    )
    await caller.call("add_permission", FunctionName="f", **s3 | {"StatementId": "s3_2"})
    await hold(caller, "test_lambda_api", case, [("get_policy_after_adding_2", "get_policy", {})])


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ("name_only", "f"),
        ("partial_arn_latest", f"{ACCOUNT}:function:f:$LATEST"),
        ("partial_arn_version", f"{ACCOUNT}:function:f:1"),
        ("partial_arn_alias", f"{ACCOUNT}:function:f:myalias"),
        ("full_arn_latest", ARN),
        ("full_arn_version", f"{ARN}:1"),
        ("full_arn_alias", f"{ARN}:myalias"),
    ],
)
async def test_a_mapping_names_its_function_as_it_was_given(
    caller: Caller, step: str, name: str
) -> None:
    await caller.create(Publish=True)
    await caller.call("create_alias", FunctionName="f", Name="myalias", FunctionVersion="1")
    case = "TestLambdaEventSourceMappings::test_function_name_variations"
    steps = [(f"{step}_create_esm", "create_event_source_mapping", {"EventSourceArn": QUEUE})]
    await hold(caller, "test_lambda_api", case, steps, name)


@pytest.mark.parametrize(
    ("case", "step", "params"),
    [
        ("source_validation", "no_starting_position", {}),
        ("source_validation", "invalid_starting_position", {"StartingPosition": "invalid"}),
        (
            "source_validation",
            "incompatible_starting_position",
            {"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": 1741010802},
        ),
        (
            "filter_criteria_validation",
            "response-with-empty-filters",
            {"StartingPosition": "LATEST", "FilterCriteria": {"Filters": []}},
        ),
    ],
)
async def test_mappings_of_streams(
    caller: Caller, case: str, step: str, params: dict[str, Any]
) -> None:
    await caller.create()
    full = f"TestLambdaEventSourceMappings::test_create_event_{case}"
    steps = [(step, "create_event_source_mapping", {"EventSourceArn": STREAM} | params)]
    await hold(caller, "test_lambda_api", full, steps)


async def test_reserved_concurrency(caller: Caller) -> None:
    await caller.create()
    case = "TestLambdaConcurrency::test_lambda_concurrency_update"
    steps: list[Step] = [
        (
            "put_function_concurrency",
            "put_function_concurrency",
            {"ReservedConcurrentExecutions": 3},
        ),
        ("get_function_concurrency_updated", "get_function_concurrency", {}),
        ("get_function_concurrency_info", "get_function", {}),
    ]
    await hold(caller, "test_lambda", case, steps)
    await caller.call("delete_function_concurrency", FunctionName="f")
    await hold(
        caller,
        "test_lambda",
        case,
        [("get_function_concurrency_deleted", "get_function_concurrency", {})],
    )


async def test_a_function_set_to_nothing_reserved(caller: Caller) -> None:
    await caller.create(Timeout=20)
    steps: list[Step] = [
        ("fn", "get_function_configuration", {"Qualifier": "$LATEST"}),
        (
            "put_event_invoke_conf",
            "put_function_event_invoke_config",
            {
                "MaximumRetryAttempts": 0,
                "DestinationConfig": {"OnFailure": {"Destination": QUEUE}},
            },
        ),
        ("put_reserved", "put_function_concurrency", {"ReservedConcurrentExecutions": 0}),
    ]
    await hold(caller, "test_lambda", "TestLambdaConcurrency::test_reserved_concurrency", steps)


@pytest.mark.parametrize(
    ("file", "case", "settings", "created", "step", "operation", "update"),
    [
        (
            "test_lambda",
            "TestLambdaBehavior::test_mixed_architecture",
            {},
            "create_function_response",
            "update_function_code_response",
            "update_function_code",
            {"ZipFile": ZIP, "Architectures": ["arm64"]},
        ),
        (
            "test_lambda",
            "TestLambdaVersions::test_lambda_handler_update",
            {},
            None,
            "update_function_configuration_result",
            "update_function_configuration",
            {"Handler": "handler.handler_two"},
        ),
        (
            "test_lambda_destinations",
            "TestLambdaDLQ::test_dead_letter_queue",
            {"DeadLetterConfig": {"TargetArn": QUEUE}},
            "create_lambda_with_dlq",
            "delete_dlq",
            "update_function_configuration",
            {"DeadLetterConfig": {}},
        ),
    ],
    ids=["architecture", "handler", "dead letters"],
)
async def test_updates(
    caller: Caller,
    file: str,
    case: str,
    settings: dict[str, Any],
    created: str | None,
    step: str,
    operation: str,
    update: dict[str, Any],
) -> None:
    answer = await caller.create(**settings)
    if created is not None:
        wanted = recorded("lambda_", file, case)[created]
        assert not caller.differences(wanted, answer)
    content = recorded("lambda_", file, case)[step]
    found = await caller.call(operation, FunctionName="f", **update)
    caller.held = Held()  # a new architecture has another runtime version
    assert not caller.differences(content, found)


@pytest.mark.parametrize("mode", [None, "BUFFERED", "RESPONSE_STREAM"])
async def test_function_urls(caller: Caller, mode: str | None) -> None:
    await caller.create()
    chosen = {"InvokeMode": mode} if mode else {}
    steps: list[Step] = [
        (
            "create_lambda_url_config",
            "create_function_url_config",
            {"AuthType": "NONE"} | chosen,
        ),
        (
            "add_permission",
            "add_permission",
            {
                "Action": "lambda:InvokeFunctionUrl",
                "StatementId": "urlPermission",
                "Principal": "*",
                "FunctionUrlAuthType": "NONE",
            },
        ),
    ]
    case = f"TestLambdaURL::test_lambda_url_echo_invoke[{mode}]"
    await hold(caller, "test_lambda", case, steps)
    steps = [
        (
            "invoke_function_invalid_invoke_type",
            "create_function_url_config",
            {"AuthType": "NONE", "InvokeMode": "UNKNOWN"},
        )
    ]
    case = "TestLambdaURL::test_lambda_url_invalid_invoke_mode"
    await hold(caller, "test_lambda", case, steps)


@pytest.mark.parametrize("operation", ["get_function", "delete_function", "invoke"])
async def test_a_name_and_qualifier_may_be_long_together(caller: Caller, operation: str) -> None:
    case = (
        "TestLambdaFunction::test_function_name_and_qualifier_validation"
        f"[function_name_and_qualifier_too_long-{operation}]"
    )
    wanted = recorded("lambda_", "test_lambda_api", case)[f"{operation}_exception"]
    answer = await caller.call(operation, FunctionName="my-function", Qualifier="a" * 65)
    wanted["Message"] = wanted["Message"].replace("<a:len(65)>", "a" * 65)
    assert not caller.differences(wanted, answer["Error"])
