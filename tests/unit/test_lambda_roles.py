"""Execution roles: whether they trust Lambda still, and what is asked of them beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from boda.core.errors import AwsError
from boda.runtime.function import FunctionVersion
from boda.services.lambda_.settings.roles import ExecutionRoles
from support.identity import Platform, platform
from support.lambda_world import ROLE, World, world
from support.world import ACCOUNT

FUNCTION = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:queue"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:topic"
STREAM = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/s"
TABLE = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/t/stream/2026"
BUS = f"arn:aws:events:us-east-1:{ACCOUNT}:event-bus/b"
G = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:g"
VPC = {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}


@pytest.fixture
async def here(tmp_path: Path):
    async with world(tmp_path) as made:
        await made.create("f")
        await made.create("g")
        yield made


def provided(verb: str, service: str) -> str:
    return f"The provided execution role does not have permissions to call {verb} on {service}"


async def refused(here: World, action: str, operation: str, **params: Any) -> str:
    """The message of a call whose role lacks one action; the call passes with it."""
    here.roles.denied = {action}
    error = await here.error(operation, **params)
    assert (error.code, error.status) == ("InvalidParameterValueException", 400)
    here.roles.denied = set()
    await here.call(operation, **params)
    await here.settle()
    return error.message


@pytest.mark.parametrize(
    ("settings", "action", "message"),
    [
        (
            {"DeadLetterConfig": {"TargetArn": QUEUE}},
            "sqs:SendMessage",
            provided("SendMessage", "SQS"),
        ),
        ({"DeadLetterConfig": {"TargetArn": TOPIC}}, "sns:Publish", provided("Publish", "SNS")),
        (
            {"VpcConfig": VPC},
            "ec2:CreateNetworkInterface",
            provided("CreateNetworkInterface", "EC2"),
        ),
        (
            {"VpcConfig": VPC},
            "ec2:DescribeNetworkInterfaces",
            provided("DescribeNetworkInterfaces", "EC2"),
        ),
        (
            {"VpcConfig": VPC},
            "ec2:DeleteNetworkInterface",
            provided("DeleteNetworkInterface", "EC2"),
        ),
    ],
)
async def test_dead_letters_and_networks(
    here: World, settings: dict[str, Any], action: str, message: str
) -> None:
    update = {"FunctionName": "f", **settings}
    assert await refused(here, action, "UpdateFunctionConfiguration", **update) == message
    # What was granted once is asked again of another role, and of nobody else.
    here.roles.denied = {action}
    await here.call("UpdateFunctionConfiguration", FunctionName="f", Description="other")
    await here.settle()
    params = {"FunctionName": "f", "Role": f"{ROLE}-2"}
    assert (await here.error("UpdateFunctionConfiguration", **params)).message == message
    created = {
        "FunctionName": "new",
        "Role": ROLE,
        "Runtime": "python3.12",
        "Handler": "a.b",
        "Code": {"ZipFile": b"never read"},
        **settings,
    }
    assert (await here.error("CreateFunction", **created)).message == message


async def test_a_network_interface_is_asked_for_with_all_that_it_is_made_of(here: World) -> None:
    here.roles.asked.clear()
    await here.call("UpdateFunctionConfiguration", FunctionName="f", VpcConfig=VPC)
    asked = [
        what for action, what in here.roles.asked if action.endswith(":CreateNetworkInterface")
    ]
    own = f"arn:aws:ec2:us-east-1:{ACCOUNT}:"
    assert asked == [
        f"{own}network-interface/*",
        f"{own}subnet/subnet-1",
        f"{own}security-group/sg-1",
    ]


@pytest.mark.parametrize(
    ("target", "action", "verb", "service"),
    [
        (QUEUE, "sqs:SendMessage", "SendMessage", "SQS"),
        (TOPIC, "sns:Publish", "Publish", "SNS"),
        (G, "lambda:InvokeFunction", "InvokeFunction", "Lambda"),
        (BUS, "events:PutEvents", "PutEvents", "EventBridge"),
        ("arn:aws:s3:::records", "s3:PutObject", "PutObject", "S3"),
    ],
)
@pytest.mark.parametrize("operation", ["Put", "Update"])
async def test_destinations(
    here: World, target: str, action: str, verb: str, service: str, operation: str
) -> None:
    if operation == "Update":
        await here.call("PutFunctionEventInvokeConfig", FunctionName="f", MaximumRetryAttempts=1)
    message = await refused(
        here,
        action,
        f"{operation}FunctionEventInvokeConfig",
        FunctionName="f",
        DestinationConfig={"OnFailure": {"Destination": target}},
    )
    assert message == provided(verb, service)


@pytest.mark.parametrize(
    "action", ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
)
async def test_queues_of_mappings(here: World, action: str) -> None:
    message = await refused(
        here, action, "CreateEventSourceMapping", FunctionName="f", EventSourceArn=QUEUE
    )
    verb = action.partition(":")[2]
    assert message == (
        f"The function execution role does not have permissions to call {verb} on SQS"
    )


@pytest.mark.parametrize(
    ("source", "action"),
    [
        (STREAM, "kinesis:GetRecords"),
        (STREAM, "kinesis:ListShards"),
        (TABLE, "dynamodb:DescribeStream"),
        (TABLE, "dynamodb:GetShardIterator"),
    ],
)
async def test_streams_of_mappings(here: World, source: str, action: str) -> None:
    message = await refused(
        here,
        action,
        "CreateEventSourceMapping",
        FunctionName="f",
        EventSourceArn=source,
        StartingPosition="LATEST",
    )
    assert message == (
        f"Cannot access stream {source}. Please ensure the role can perform the GetRecords, "
        "GetShardIterator, DescribeStream, ListShards, and ListStreams Actions on your stream in "
        "IAM."
    )


async def test_changes_of_mappings(here: World) -> None:
    made = await here.call("CreateEventSourceMapping", FunctionName="f", EventSourceArn=QUEUE)
    await here.settle()
    here.roles.denied = {"sqs:ReceiveMessage"}
    params = {"UUID": made["UUID"], "FunctionName": "g"}
    error = await here.error("UpdateEventSourceMapping", **params)
    assert error.message.endswith("call ReceiveMessage on SQS")
    # To stop reading needs no permission.
    await here.call("UpdateEventSourceMapping", UUID=made["UUID"], Enabled=False)
    await here.settle()
    error = await here.error("UpdateEventSourceMapping", UUID=made["UUID"], Enabled=True)
    assert error.message.endswith("call ReceiveMessage on SQS")
    here.roles.denied = {"sns:Publish"}
    error = await here.error(
        "CreateEventSourceMapping",
        FunctionName="f",
        EventSourceArn=STREAM,
        StartingPosition="LATEST",
        DestinationConfig={"OnFailure": {"Destination": TOPIC}},
    )
    assert error.message == (
        "The function execution role does not have permissions to call Publish on SNS"
    )


# ExecutionRoles itself, over IAM


def trust(service: str, effect: str = "Allow") -> str:
    return document(effect, "sts:AssumeRole", Principal={"Service": service})


def document(effect: str, action: str, **others: Any) -> str:
    statement = {"Effect": effect, "Action": action, **others}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
async def aws(tmp_path: Path):
    async with platform(tmp_path) as made:
        await made.iam(
            "CreateRole", RoleName="worker", AssumeRolePolicyDocument=trust("lambda.amazonaws.com")
        )
        yield made


def roles_of(aws: Platform) -> ExecutionRoles:
    return ExecutionRoles(aws.identity, aws.authorizer, lambda target, principal: None, 900)


def version(tmp_path: Path) -> FunctionVersion:
    return FunctionVersion(
        account=ACCOUNT,
        region="us-east-1",
        name="f",
        version="$LATEST",
        revision_id="r",
        runtime="python3.12",
        handler="a.b",
        code_dir=tmp_path,
        role_arn=ROLE,
    )


@pytest.mark.parametrize(
    "policy",
    [
        trust("ec2.amazonaws.com"),
        trust("lambda.amazonaws.com", "Deny"),
        None,  # the role itself is gone
    ],
)
async def test_a_role_that_trusts_lambda_no_more_is_not_handed_out(
    aws: Platform, tmp_path: Path, policy: str | None
) -> None:
    roles, f = roles_of(aws), version(tmp_path)
    assert roles.credentials(f).principal.arn.endswith(":assumed-role/worker/f")
    assert roles.principal(f) is not None
    if policy is None:
        await aws.iam("DeleteRole", RoleName="worker")
    else:
        await aws.iam("UpdateAssumeRolePolicy", RoleName="worker", PolicyDocument=policy)
    with pytest.raises(AwsError) as refusal:
        roles.credentials(f)
    assert (refusal.value.code, refusal.value.status) == ("AccessDeniedException", 403)
    assert refusal.value.message == "The role defined for the function cannot be assumed by Lambda."
    assert roles.principal(f) is None
    assert not roles.may(ROLE, FUNCTION, "sqs:SendMessage", QUEUE)


async def test_what_a_role_may_is_what_its_policies_say(aws: Platform) -> None:
    roles = roles_of(aws)
    assert not roles.may(ROLE, FUNCTION, "sqs:SendMessage", QUEUE)
    await aws.iam(
        "PutRolePolicy",
        RoleName="worker",
        PolicyName="p",
        PolicyDocument=document("Allow", "sqs:SendMessage", Resource=QUEUE),
    )
    assert roles.may(ROLE, FUNCTION, "sqs:SendMessage", QUEUE)
    assert not roles.may(ROLE, FUNCTION, "sqs:SendMessage", f"{QUEUE}2")
    for name in ("AWSLambdaDynamoDBExecutionRole", "AWSLambdaVPCAccessExecutionRole"):
        arn = f"arn:aws:iam::aws:policy/service-role/{name}"
        await aws.iam("AttachRolePolicy", RoleName="worker", PolicyArn=arn)
    assert roles.may(ROLE, FUNCTION, "dynamodb:GetRecords", TABLE)
    assert roles.may(
        ROLE, FUNCTION, "ec2:CreateNetworkInterface", "arn:aws:ec2:us-east-1:0:subnet/s"
    )
