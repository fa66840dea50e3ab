"""What stands beside functions, with real environments: URLs, provisioned concurrency,
destinations."""

from __future__ import annotations

import json
import urllib.request
from functools import partial
from typing import Any

import pytest
from bench.host import Boda

from support import waiting

eventually = partial(waiting.eventually, timeout_s=30)

KIND = """
import os

def lambda_handler(event, context):
    return os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
"""
PAGE = """
def lambda_handler(event, context):
    http = event["requestContext"]["http"]
    return {"statusCode": 201, "headers": {"x-a": "b"}, "body": http["method"] + http["path"]}
"""
WORK = """
def lambda_handler(event, context):
    if event.get("fail"):
        raise ValueError("broken")
    return "done"
"""
TELL = """
import json

def lambda_handler(event, context):
    print("told", json.dumps(event["requestContext"]["condition"]), event["responsePayload"])
"""


def test_provisioned_environments_are_there_before_the_first_call(boda: Boda, name: str) -> None:
    boda.function(name, KIND)
    aws = boda.client("lambda")
    aws.publish_version(FunctionName=name)
    aws.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="1")
    named = {"FunctionName": name, "Qualifier": "1"}
    put = aws.put_provisioned_concurrency_config(**named, ProvisionedConcurrentExecutions=2)
    assert (put["Status"], put["AllocatedProvisionedConcurrentExecutions"]) == ("IN_PROGRESS", 0)

    def status() -> Any:
        return aws.get_provisioned_concurrency_config(**named)

    ready = eventually(lambda: (found := status())["Status"] == "READY" and found)
    assert ready["AvailableProvisionedConcurrentExecutions"] == 2
    answer = aws.invoke(FunctionName=f"{name}:1", LogType="Tail")
    assert json.loads(answer["Payload"].read()) == "provisioned-concurrency"
    assert json.loads(aws.invoke(FunctionName=name)["Payload"].read()) == "on-demand"
    aws.delete_provisioned_concurrency_config(**named)


def test_a_function_url_answers(boda: Boda, name: str) -> None:
    boda.function(name, PAGE)
    host = boda.open_url(name)
    port = host.rpartition(":")[2]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/path", headers={"Host": host})
    with urllib.request.urlopen(request) as answer:
        assert (answer.status, answer.headers["x-a"]) == (201, "b")
        assert answer.read() == b"GET/path"


@pytest.mark.parametrize(
    ("event", "condition"), [({}, "Success"), ({"fail": 1}, "RetriesExhausted")]
)
def test_what_came_of_an_event_is_told(
    boda: Boda, name: str, event: dict[str, Any], condition: str
) -> None:
    boda.function(name, WORK)
    boda.function(f"{name}-told", TELL)
    aws = boda.client("lambda")
    teller = aws.get_function(FunctionName=f"{name}-told")["Configuration"]["FunctionArn"]
    s3 = boda.client("s3")
    bucket = f"records-{name}"
    s3.create_bucket(Bucket=bucket)
    aws.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={
            "OnSuccess": {"Destination": teller},
            "OnFailure": {"Destination": f"arn:aws:s3:::{bucket}"},
        },
    )
    aws.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event).encode())
    if condition == "Success":
        logs = boda.client("logs")

        def told() -> Any:
            try:
                found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}-told")
            except logs.exceptions.ResourceNotFoundException:
                return []
            return [each for each in found["events"] if each["message"].startswith("told")]

        assert '"Success" done' in eventually(told)[0]["message"]
        return
    (kept,) = eventually(lambda: s3.list_objects_v2(Bucket=bucket).get("Contents"))
    assert kept["Key"].startswith(f"aws/lambda/async/{name}/")
    record = json.loads(s3.get_object(Bucket=bucket, Key=kept["Key"])["Body"].read())
    assert record["requestContext"]["condition"] == condition
    assert record["responsePayload"]["errorMessage"] == "broken"
