"""Create, read, plan again: what tools like Terraform need to come to rest.

What is read back is what was written, plus AWS's defaults; the same update once more changes
nothing that a plan would show.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.lambda_world import World, world

PLACE = "us-east-1:000000000000"
F = f"arn:aws:lambda:{PLACE}:function:f"
QUEUE = f"arn:aws:sqs:{PLACE}:queue"
STREAM = f"arn:aws:kinesis:{PLACE}:stream/s"
PROFILE = f"arn:aws:signer:{PLACE}:/signing-profiles/p"
POLICY = {
    "Version": "2012-10-17",
    "Id": "default",
    "Statement": [
        {
            "Sid": "s3",
            "Effect": "Allow",
            "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "lambda:InvokeFunction",
            "Resource": F,
        }
    ],
}
MOVING = {
    "LastModified",
    "LastModifiedTime",
    "CreationTime",
    "State",
    "FunctionUrl",
    "UUID",
    "EventSourceMappingArn",
    "CodeSigningConfigId",
    "CodeSigningConfigArn",
}
"""What AWS decides, and what a change is allowed to move."""


@dataclass(frozen=True)
class Resource:
    """create, update, read: operations. written: their parameters. defaults: what is read beside
    them. ids: members of the create's answer that the others need; inside: where that answer is.
    """

    create: str
    update: str
    read: str
    written: dict[str, Any]
    defaults: dict[str, Any]
    key: dict[str, Any] = field(default_factory=dict)
    ids: tuple[str, ...] = ()
    inside: str = ""


RESOURCES = {
    "queue mapping": Resource(
        "CreateEventSourceMapping",
        "UpdateEventSourceMapping",
        "GetEventSourceMapping",
        {
            "FunctionName": "f",
            "EventSourceArn": QUEUE,
            "BatchSize": 5,
            "FilterCriteria": {"Filters": [{"Pattern": '{"body":{"a":["b"]}}'}]},
            "ScalingConfig": {"MaximumConcurrency": 3},
        },
        {
            "FunctionArn": F,
            "MaximumBatchingWindowInSeconds": 0,
            "FunctionResponseTypes": [],
            "StateTransitionReason": "USER_INITIATED",
        },
        ids=("UUID",),
    ),
    "stream mapping": Resource(
        "CreateEventSourceMapping",
        "UpdateEventSourceMapping",
        "GetEventSourceMapping",
        {
            "FunctionName": "f:live",
            "EventSourceArn": STREAM,
            "StartingPosition": "LATEST",
            "MaximumRetryAttempts": 3,
            "DestinationConfig": {"OnFailure": {"Destination": QUEUE}},
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
        },
        {
            "FunctionArn": f"{F}:live",
            "BatchSize": 100,
            "MaximumBatchingWindowInSeconds": 0,
            "ParallelizationFactor": 1,
            "MaximumRecordAgeInSeconds": -1,
            "BisectBatchOnFunctionError": False,
            "TumblingWindowInSeconds": 0,
            "LastProcessingResult": "No records processed",
            "StateTransitionReason": "User action",
        },
        ids=("UUID",),
    ),
    "event invoke config": Resource(
        "PutFunctionEventInvokeConfig",
        "UpdateFunctionEventInvokeConfig",
        "GetFunctionEventInvokeConfig",
        {"MaximumRetryAttempts": 1, "DestinationConfig": {"OnSuccess": {"Destination": QUEUE}}},
        {
            "FunctionArn": f"{F}:live",
            "DestinationConfig": {"OnSuccess": {"Destination": QUEUE}, "OnFailure": {}},
        },
        key={"FunctionName": "f", "Qualifier": "live"},
    ),
    "function url": Resource(
        "CreateFunctionUrlConfig",
        "UpdateFunctionUrlConfig",
        "GetFunctionUrlConfig",
        {"AuthType": "NONE", "Cors": {"AllowOrigins": ["*"], "MaxAge": 5}},
        {"FunctionArn": f"{F}:live", "InvokeMode": "BUFFERED"},
        key={"FunctionName": "f", "Qualifier": "live"},
    ),
    "code signing config": Resource(
        "CreateCodeSigningConfig",
        "UpdateCodeSigningConfig",
        "GetCodeSigningConfig",
        {"AllowedPublishers": {"SigningProfileVersionArns": [PROFILE]}, "Description": "d"},
        {"CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Warn"}},
        ids=("CodeSigningConfigArn",),
        inside="CodeSigningConfig",
    ),
    "provisioned concurrency": Resource(
        "PutProvisionedConcurrencyConfig",
        "PutProvisionedConcurrencyConfig",
        "GetProvisionedConcurrencyConfig",
        {"ProvisionedConcurrentExecutions": 2},
        {
            "RequestedProvisionedConcurrentExecutions": 2,
            "AllocatedProvisionedConcurrentExecutions": 0,
            "AvailableProvisionedConcurrentExecutions": 0,
            "Status": "IN_PROGRESS",
        },
        key={"FunctionName": "f", "Qualifier": "1"},
    ),
    "resource policy": Resource(
        "PutResourcePolicy",
        "PutResourcePolicy",
        "GetResourcePolicy",
        {"Policy": json.dumps(POLICY, separators=(",", ":"))},
        {},
        key={"ResourceArn": F},
    ),
    "runtime management": Resource(
        "PutRuntimeManagementConfig",
        "PutRuntimeManagementConfig",
        "GetRuntimeManagementConfig",
        {"UpdateRuntimeOn": "FunctionUpdate"},
        {"FunctionArn": f"{F}:$LATEST"},
        key={"FunctionName": "f"},
    ),
    "recursion": Resource(
        "PutFunctionRecursionConfig",
        "PutFunctionRecursionConfig",
        "GetFunctionRecursionConfig",
        {"RecursiveLoop": "Allow"},
        {},
        key={"FunctionName": "f"},
    ),
    "reserved concurrency": Resource(
        "PutFunctionConcurrency",
        "PutFunctionConcurrency",
        "GetFunctionConcurrency",
        {"ReservedConcurrentExecutions": 0},
        {},
        key={"FunctionName": "f"},
    ),
}
CREATE_ONLY = {"EventSourceArn", "StartingPosition"}
NOT_READ = {"FunctionName", "ProvisionedConcurrentExecutions"}


async def read(here: World, resource: Resource, key: dict[str, Any]) -> dict[str, Any]:
    found = await here.call(resource.read, **key)
    return found[resource.inside] if resource.inside else found


@pytest.mark.parametrize("name", RESOURCES)
async def test_a_plan_comes_to_rest(name: str, tmp_path: Path) -> None:
    resource = RESOURCES[name]
    async with world(tmp_path) as here:
        await here.create("f", Publish=True)
        await here.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        made = await here.call(resource.create, **resource.key, **resource.written)
        made = made[resource.inside] if resource.inside else made
        key = {**resource.key, **{member: made[member] for member in resource.ids}}
        await here.settle()
        first = await read(here, resource, key)
        written = {n: value for n, value in resource.written.items() if n not in NOT_READ}
        shown = {n: value for n, value in first.items() if n not in MOVING | {"RevisionId"}}
        assert shown == {**written, **resource.defaults}

        revision = await here.call("GetFunctionConfiguration", FunctionName="f")
        again = {n: value for n, value in resource.written.items() if n not in CREATE_ONLY}
        await here.call(resource.update, **key, **again)
        await here.settle()
        second = await read(here, resource, key)
        for member in ("LastModified", "LastModifiedTime"):
            first.pop(member, None)
            second.pop(member, None)
        assert second == first
        after = await here.call("GetFunctionConfiguration", FunctionName="f")
        assert after["RevisionId"] == revision["RevisionId"]
