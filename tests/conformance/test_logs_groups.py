"""Log groups and streams as AWS answers them, asked by boto3."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boda.core.errors import AwsError
from boda.telemetry.contract import StreamKey
from support.logs import LogsPlatform, logs_platform
from support.recorded import recorded


@pytest.fixture
async def logs(tmp_path: Path) -> AsyncIterator[LogsPlatform]:
    async with logs_platform(tmp_path) as platform:
        yield platform


def normalised(answer: Any, replaced: dict[str, str]) -> Any:
    text = json.dumps(answer)
    for found, token in replaced.items():
        text = text.replace(found, token)
    value = json.loads(text)

    def times(node: Any) -> None:
        if isinstance(node, dict):
            for key, inner in node.items():
                if key == "creationTime":
                    node[key] = "timestamp"
                times(inner)
        elif isinstance(node, list):
            for inner in node:
                times(inner)

    times(value)
    return value


TOKENS = {
    "arn:aws:": "arn:<partition>:",
    ":us-east-1:": ":<region>:",
    ":000000000000:": ":111111111111:",
}


async def test_recorded_tags(logs: LogsPlatform) -> None:
    steps = recorded("logs", "test_logs_groups", "test_tag_resource_api")
    name = "tagged"
    arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{name}"
    await logs.ask("create_log_group", logGroupName=name, tags={"env": "testing1"})

    async def listed(old: str, new: str) -> None:
        assert await logs.ask("list_tags_for_resource", resourceArn=arn) == steps[new]
        if old in steps:
            assert await logs.ask("list_tags_log_group", logGroupName=name) == steps[old]

    await listed("list-tags-log-group-after-create", "list-tags-after-create")
    await logs.ask("tag_resource", resourceArn=arn, tags={"test1": "val1", "test2": "val2"})
    await listed(
        "list-tags-log-group-after-tag-resource", "list-tags-for-resource-after-tag-resource"
    )
    await logs.ask("tag_log_group", logGroupName=name, tags={"test3": "val3"})
    await listed(
        "list-tags-log-group-after-tag-log-group", "list-tags-for-resource-after-tag-log-group"
    )
    await logs.ask("untag_log_group", logGroupName=name, tags=["test3"])
    await logs.ask("untag_resource", resourceArn=arn, tagKeys=["env", "test1"])
    await listed("list-tags-log-group-after-untag", "list-tags-for-resource-after-untag")


async def test_recorded_groups_found_by_a_pattern(logs: LogsPlatform) -> None:
    steps = recorded("logs", "test_logs_groups", "test_list_log_groups_with_pattern")
    await logs.ask("create_log_group", logGroupName="/one/DataLogs")
    await logs.ask("put_retention_policy", logGroupName="/one/DataLogs", retentionInDays=7)
    found = await logs.ask("describe_log_groups", logGroupNamePattern="Data")
    tokens = {"/one/DataLogs": "<log-group-name:1>", **TOKENS}
    assert normalised(found["logGroups"], tokens) == steps["list-log-groups-match"]
    answer = await logs.ask("describe_log_groups", logGroupNamePattern="data")
    assert answer == steps["list-log-groups-no-match"]


async def test_recorded_errors_of_groups(logs: LogsPlatform) -> None:
    steps = recorded(
        "logs", "test_logs_groups", "test_describe_log_groups_prefix_and_pattern_error"
    )
    answer = await logs.ask("describe_log_groups", logGroupNamePrefix="a", logGroupNamePattern="b")
    assert answer == steps["error-prefix-and-pattern"]


async def test_recorded_streams(logs: LogsPlatform) -> None:
    steps = recorded(
        "logs", "test_logs_streams", "test_describe_log_streams_with_log_group_identifier"
    )
    await logs.stream("the-group", "the-stream")
    tokens = {"the-group": "<log-group>", "the-stream": "<log-stream-name:1>", **TOKENS}
    arn = "arn:aws:logs:us-east-1:000000000000:log-group:the-group"
    for identifier, step in (
        ("the-group", "describe-streams-identifier-name"),
        (arn, "describe-streams-identifier-arn"),
    ):
        answer = await logs.ask("describe_log_streams", logGroupIdentifier=identifier)
        assert normalised(answer, tokens) == steps[step]
    answer = await logs.ask(
        "describe_log_streams", logGroupName="the-group", logGroupIdentifier=arn
    )
    assert answer == steps["error-both-name-and-identifier"]
    after = recorded("logs", "test_logs_streams", "test_create_and_delete_log_stream")
    answer = await logs.ask("describe_log_streams", logGroupName="the-group")
    assert normalised(answer, tokens) == after["describe-log-streams-after-create"]


async def test_recorded_absences(logs: LogsPlatform) -> None:
    steps = recorded("logs", "test_logs_events", "test_resource_does_not_exist")
    place = {"logGroupName": "none", "logStreamName": "none"}
    events = [{"timestamp": logs.now_ms, "message": "x"}]
    for operation, params in (
        ("get_log_events", place),
        ("put_log_events", {**place, "logEvents": events}),
        ("filter_log_events", {"logGroupName": "none"}),
        ("describe_log_streams", {"logGroupName": "none"}),
        ("delete_log_group", {"logGroupName": "none"}),
        ("create_log_stream", place),
        ("delete_log_stream", place),
        ("put_retention_policy", {"logGroupName": "none", "retentionInDays": 1}),
        ("delete_retention_policy", {"logGroupName": "none"}),
        ("list_tags_log_group", {"logGroupName": "none"}),
        ("tag_log_group", {"logGroupName": "none", "tags": {"a": "b"}}),
    ):
        assert await logs.ask(operation, **params) == steps["error-log-group-does-not-exist"]
    await logs.ask("create_log_group", logGroupName="none")
    for operation, params in (
        ("get_log_events", place),
        ("put_log_events", {**place, "logEvents": events}),
        ("filter_log_events", {"logGroupName": "none", "logStreamNames": ["none"]}),
        ("delete_log_stream", place),
    ):
        assert await logs.ask(operation, **params) == steps["error-log-stream-does-not-exist"]


async def test_a_group_from_birth_to_death(logs: LogsPlatform) -> None:
    await logs.ask("create_log_group", logGroupName="/a/b")
    assert await logs.refused("create_log_group", logGroupName="/a/b") == (
        "ResourceAlreadyExistsException",
        "The specified log group already exists",
    )
    (group,) = (await logs.ask("describe_log_groups"))["logGroups"]
    arn = "arn:aws:logs:us-east-1:000000000000:log-group:/a/b"
    assert group == {
        "logGroupName": "/a/b",
        "creationTime": logs.now_ms,
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "storedBytes": 0,
        "logGroupClass": "STANDARD",
        "logGroupArn": arn,
    }
    await logs.ask("put_retention_policy", logGroupName="/a/b", retentionInDays=3653)
    (group,) = (await logs.ask("describe_log_groups"))["logGroups"]
    assert group["retentionInDays"] == 3653
    await logs.ask("delete_retention_policy", logGroupName="/a/b")
    (group,) = (await logs.ask("describe_log_groups"))["logGroups"]
    assert "retentionInDays" not in group
    await logs.ask("delete_log_group", logGroupName="/a/b")
    assert (await logs.ask("describe_log_groups"))["logGroups"] == []


@pytest.mark.parametrize("days", [0, 2, 8, -1, 3654])
async def test_retention_has_allowed_values(logs: LogsPlatform, days: int) -> None:
    await logs.ask("create_log_group", logGroupName="g")
    code, message = await logs.refused(
        "put_retention_policy", logGroupName="g", retentionInDays=days
    )
    assert code == "InvalidParameterException"
    assert f"Value '{days}' at 'retentionInDays' failed to satisfy constraint" in message


@pytest.mark.parametrize(
    "name", ["", "a b", "a:b", "x" * 513, "é", "AWS/thing", "aws/thing", "a\n"]
)
async def test_names_of_groups(logs: LogsPlatform, name: str) -> None:
    code, _ = await logs.refused("create_log_group", logGroupName=name)
    assert code == "InvalidParameterException"


@pytest.mark.parametrize("name", ["", "a:b", "a*", "x" * 513])
async def test_names_of_streams(logs: LogsPlatform, name: str) -> None:
    await logs.ask("create_log_group", logGroupName="g")
    code, _ = await logs.refused("create_log_stream", logGroupName="g", logStreamName=name)
    assert code == "InvalidParameterException"


async def test_what_is_not_done_yet_says_so(logs: LogsPlatform) -> None:
    for operation, params in (
        ("create_log_group", {"logGroupName": "g", "kmsKeyId": "arn:aws:kms:x:y:key/z"}),
        ("create_log_group", {"logGroupName": "g", "logGroupClass": "INFREQUENT_ACCESS"}),
        ("describe_subscription_filters", {"logGroupName": "g"}),
        ("start_query", {"startTime": 0, "endTime": 1, "queryString": "fields @message"}),
    ):
        answer = await logs.ask(operation, **params)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 501


async def test_tags_have_bounds(logs: LogsPlatform) -> None:
    await logs.ask("create_log_group", logGroupName="g", tags={f"k{n}": "" for n in range(50)})
    arn = "arn:aws:logs:us-east-1:000000000000:log-group:g"
    assert (await logs.refused("tag_resource", resourceArn=arn, tags={"more": ""}))[
        0
    ] == "TooManyTagsException"
    assert "Error" not in await logs.ask("tag_resource", resourceArn=arn, tags={"k1": "new"})
    code, _ = await logs.refused("tag_resource", resourceArn=arn, tags={"aws:x": ""})
    assert code == "InvalidParameterException"
    tags = (await logs.ask("list_tags_for_resource", resourceArn=arn))["tags"]
    assert len(tags) == 50
    assert tags["k1"] == "new"


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        ("nonsense", "InvalidParameterException"),
        ("arn:aws:logs:us-east-1:000000000000:destination:x", "InvalidParameterException"),
        ("arn:aws:s3:::bucket", "InvalidParameterException"),
        ("arn:aws:logs:us-east-1:999999999999:log-group:g", "ResourceNotFoundException"),
        ("arn:aws:logs:eu-west-1:000000000000:log-group:g", "ResourceNotFoundException"),
    ],
)
async def test_arns_of_others(logs: LogsPlatform, arn: str, code: str) -> None:
    await logs.ask("create_log_group", logGroupName="g")
    assert (await logs.refused("list_tags_for_resource", resourceArn=arn))[0] == code


async def test_groups_page_in_order_of_names(logs: LogsPlatform) -> None:
    names = [*sorted(f"/g/{n:02d}" for n in range(25)), "/h"]
    for name in reversed(names):
        await logs.ask("create_log_group", logGroupName=name)
    seen, token, pages = [], {}, 0
    while True:
        answer = await logs.ask("describe_log_groups", logGroupNamePrefix="/g/", limit=10, **token)
        seen += [group["logGroupName"] for group in answer["logGroups"]]
        pages += 1
        if "nextToken" not in answer:
            break
        token = {"nextToken": answer["nextToken"]}
    assert (seen, pages) == (names[:-1], 3)
    # A token belongs to its question.
    code, message = await logs.refused("describe_log_groups", logGroupNamePrefix="/h", **token)
    assert (code, message) == (
        "InvalidParameterException",
        "The specified nextToken is invalid.",
    )
    for bad in ("x", "é", "e30=", "W10=", "A" * 9000):
        assert (await logs.refused("describe_log_groups", nextToken=bad))[0] == (
            "InvalidParameterException"
        )
    found = await logs.ask(
        "describe_log_groups",
        logGroupIdentifiers=["/h", "arn:aws:logs:us-east-1:000000000000:log-group:/g/03", "/none"],
    )
    assert [group["logGroupName"] for group in found["logGroups"]] == ["/g/03", "/h"]
    found = await logs.ask("list_log_groups", logGroupNamePattern="^/g/0|24", limit=1000)
    assert "Error" in found
    found = await logs.ask("list_log_groups", logGroupNamePattern="^/g/1|/24", limit=1000)
    assert [group["logGroupName"] for group in found["logGroups"]] == [*names[10:20], "/g/24"]


async def test_streams_by_name_and_by_time(logs: LogsPlatform) -> None:
    await logs.ask("create_log_group", logGroupName="g")
    names = [f"2026/01/{n:02d}/[$LATEST]{n}" for n in range(12)]
    for name in names:
        await logs.ask("create_log_stream", logGroupName="g", logStreamName=name)
    for number, name in enumerate(reversed(names)):
        place = {"logGroupName": "g", "logStreamName": name}
        await logs.put(place, "x", at=logs.now_ms - 1000 + number)

    async def pages(**params: Any) -> list[str]:
        seen: list[str] = []
        token: dict[str, str] = {}
        while True:
            answer = await logs.ask(
                "describe_log_streams", logGroupName="g", limit=5, **params, **token
            )
            seen += [stream["logStreamName"] for stream in answer["logStreams"]]
            if "nextToken" not in answer:
                return seen
            token = {"nextToken": answer["nextToken"]}

    assert await pages() == names
    assert await pages(descending=True) == names[::-1]
    assert await pages(orderBy="LastEventTime") == names[::-1]
    assert await pages(orderBy="LastEventTime", descending=True) == names
    assert await pages(logStreamNamePrefix="2026/01/1") == names[10:]
    assert await logs.refused(
        "describe_log_streams",
        logGroupName="g",
        orderBy="LastEventTime",
        logStreamNamePrefix="2026",
    ) == (
        "InvalidParameterException",
        "Cannot order by LastEventTime with a logStreamNamePrefix.",
    )
    answer = await logs.ask("describe_log_streams", logGroupName="g", limit=1)
    (stream,) = answer["logStreams"]
    at = logs.now_ms - 1000 + 11
    assert (stream["firstEventTimestamp"], stream["lastEventTimestamp"]) == (at, at)
    assert stream["lastIngestionTime"] == logs.now_ms
    assert stream["storedBytes"] == 0
    assert (await logs.ask("describe_log_groups"))["logGroups"][0]["storedBytes"] == 12 * 27


async def test_a_functions_output_is_a_group_like_any_other(logs: LogsPlatform) -> None:
    key = StreamKey("000000000000", "us-east-1", "/aws/lambda/f", "2026/01/01/[$LATEST]ab")
    logs.recorder.log(key, [(logs.now_ms, "START RequestId: x Version: $LATEST\n")])
    found = await logs.ask("filter_log_events", logGroupName="/aws/lambda/f")
    assert [event["message"] for event in found["events"]] == [
        "START RequestId: x Version: $LATEST\n"
    ]


async def test_permissions_are_of_groups_and_streams(logs: LogsPlatform) -> None:
    async def user(name: str, action: str, resource: str) -> Any:
        call = logs.gateway.call
        await call("iam", "CreateUser", {"UserName": name}, logs.root)
        document = {"Effect": "Allow", "Action": action, "Resource": resource}
        await call(
            "iam",
            "PutUserPolicy",
            {
                "UserName": name,
                "PolicyName": "p",
                "PolicyDocument": json.dumps({"Version": "2012-10-17", "Statement": [document]}),
            },
            logs.root,
        )
        found = await call("iam", "GetUser", {"UserName": name}, logs.root)
        arn = found["User"]["Arn"]
        return type(logs.root)("user", logs.root.account, arn, found["User"]["UserId"], arn)

    await logs.stream("mine", "s")
    await logs.stream("yours", "s")
    prefix = "arn:aws:logs:us-east-1:000000000000:log-group"
    writer = await user("writer", "logs:*", f"{prefix}:mine:*")
    event = {"timestamp": logs.now_ms, "message": "x"}

    async def allowed(principal: Any, operation: str, **params: Any) -> bool:
        try:
            await logs.gateway.call("logs", operation, params, principal)
        except AwsError as error:
            return error.code != "AccessDeniedException"
        return True

    put = {"logStreamName": "s", "logEvents": [event]}
    assert await allowed(writer, "PutLogEvents", logGroupName="mine", **put)
    assert not await allowed(writer, "PutLogEvents", logGroupName="yours", **put)
    assert await allowed(writer, "FilterLogEvents", logGroupName="mine")
    assert await allowed(writer, "FilterLogEvents", logGroupIdentifier=f"{prefix}:mine")
    assert not await allowed(writer, "FilterLogEvents", logGroupIdentifier=f"{prefix}:yours")
    assert await allowed(writer, "DescribeLogStreams", logGroupName="mine")
    assert not await allowed(writer, "DescribeLogGroups")
    assert not await allowed(writer, "CreateLogGroup", logGroupName="new")
    one = await user("one", "logs:GetLogEvents", f"{prefix}:mine:log-stream:s")
    assert await allowed(one, "GetLogEvents", logGroupName="mine", logStreamName="s")
    assert not await allowed(
        one, "GetLogEvents", logGroupName="mine", logStreamName="s", unmask=True
    )
    assert not await allowed(one, "PutLogEvents", logGroupName="mine", **put)
    tagger = await user("tagger", "logs:TagResource", f"{prefix}:mine")
    assert await allowed(tagger, "TagResource", resourceArn=f"{prefix}:mine", tags={"a": "b"})
    assert not await allowed(tagger, "TagResource", resourceArn=f"{prefix}:yours", tags={"a": "b"})
