"""The main job: a function is made, called, woken by a bucket, logged and metered."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bench.host import Boda, package

from support import waiting

eventually = partial(waiting.eventually, timeout_s=20)

ECHO = """
import os

def lambda_handler(event, context):
    print("got", event)
    return {"event": event, "name": context.function_name, "region": os.environ["AWS_REGION"]}
"""

COPIER = """
import urllib.parse

import boto3

s3 = boto3.client("s3")

def lambda_handler(event, context):
    record = event["Records"][0]["s3"]
    key = urllib.parse.unquote_plus(record["object"]["key"])
    body = s3.get_object(Bucket=record["bucket"]["name"], Key=key)["Body"].read()
    s3.put_object(Bucket=record["bucket"]["name"], Key="copies/" + key, Body=body.upper())
    print("copied", key)
"""


def invoke(boda: Boda, name: str, event: Any = None, **settings: Any) -> dict[str, Any]:
    answer = boda.client("lambda").invoke(
        FunctionName=name, Payload=json.dumps(event or {}).encode(), **settings
    )
    answer["Payload"] = answer["Payload"].read()
    return dict(answer)


def test_a_function_answers_and_its_log_is_attached(boda: Boda, name: str) -> None:
    boda.function(name, ECHO)
    answer = invoke(boda, name, {"hello": "world"}, LogType="Tail")
    assert json.loads(answer["Payload"]) == {
        "event": {"hello": "world"},
        "name": name,
        "region": "us-east-1",
    }
    assert answer["ExecutedVersion"] == "$LATEST"
    lines = base64.b64decode(answer["LogResult"]).decode().splitlines()
    kinds = [line.split(" ")[0] for line in lines]
    assert kinds.index("START") < kinds.index("got") < kinds.index("END")
    report = next(line for line in lines if line.startswith("REPORT"))
    assert "\tMemory Size: 128 MB\tMax Memory Used: " in report
    assert "\tInit Duration: " in report


def test_the_second_call_is_warm(boda: Boda, name: str) -> None:
    boda.function(name, ECHO)
    invoke(boda, name)
    log = base64.b64decode(invoke(boda, name, LogType="Tail")["LogResult"]).decode()
    assert "Init Duration" not in log
    assert "REPORT" in log


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import nothing_of_that_name\n", "Runtime.ImportModuleError"),
        ("def lambda_handler(event, context:\n", "Runtime.UserCodeSyntaxError"),
        ("def other(event, context): ...\n", "Runtime.HandlerNotFound"),
        ("def lambda_handler(event, context): raise ValueError('no')\n", "ValueError"),
        ("def lambda_handler(event, context): return object()\n", "Runtime.MarshalError"),
        ("import sys\ndef lambda_handler(e, c): sys.exit(3)\n", "Runtime.ExitError"),
        ("def lambda_handler(e, c): return 'x' * 7_000_000\n", "Function.ResponseSizeTooLarge"),
        ("import os\ndef lambda_handler(e, c): os.kill(os.getpid(), 9)\n", "Runtime.ExitError"),
        ("def lambda_handler(e, c):\n  while True: pass\n", "Sandbox.Timedout"),
    ],
)
def test_failures_have_the_error_types_of_aws(
    boda: Boda, name: str, source: str, error: str
) -> None:
    boda.function(name, source, Timeout=1)
    answer = invoke(boda, name)
    assert answer["FunctionError"] == "Unhandled"
    assert answer["StatusCode"] == 200
    assert json.loads(answer["Payload"])["errorType"] == error


def test_after_a_timeout_the_next_call_works(boda: Boda, name: str) -> None:
    source = """
import time
def lambda_handler(event, context):
    if event.get("hang"):
        time.sleep(60)
    return "fine"
"""
    boda.function(name, source, Timeout=1)
    assert json.loads(invoke(boda, name)["Payload"]) == "fine"
    hung = json.loads(invoke(boda, name, {"hang": True})["Payload"])
    assert hung["errorType"] == "Sandbox.Timedout"
    assert hung["errorMessage"].endswith("Error: Task timed out after 1.00 seconds")
    assert json.loads(invoke(boda, name)["Payload"]) == "fine"


def test_out_of_memory_resets_the_environment(boda: Boda, name: str) -> None:
    source = """
def lambda_handler(event, context):
    return len(bytearray(event["size"]) .replace(b"\\0", b"x"))
"""
    boda.function(name, source, MemorySize=128, Timeout=20)
    answer = invoke(boda, name, {"size": 1 << 29})
    assert answer["FunctionError"] == "Unhandled"
    assert json.loads(answer["Payload"])["errorType"] in (
        "Runtime.OutOfMemory",
        "Runtime.ExitError",
    )
    assert json.loads(invoke(boda, name, {"size": 10})["Payload"]) == 10


def test_an_object_wakes_a_function(boda: Boda, name: str) -> None:
    boda.function(name, COPIER, Timeout=10)
    s3, functions = boda.client("s3"), boda.client("lambda")
    bucket = f"bucket-{name}"
    s3.create_bucket(Bucket=bucket)
    arn = functions.get_function_configuration(FunctionName=name)["FunctionArn"]
    functions.add_permission(
        FunctionName=name,
        StatementId="s3",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn=f"arn:aws:s3:::{bucket}",
        SourceAccount="000000000000",
    )
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [
                {
                    "LambdaFunctionArn": arn,
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}},
                }
            ]
        },
    )
    key = "in/ünï code+plus.txt"
    s3.put_object(Bucket=bucket, Key=key, Body=b"quiet")

    def copied() -> bytes | None:
        try:
            body: bytes = s3.get_object(Bucket=bucket, Key=f"copies/{key}")["Body"].read()
            return body
        except s3.exceptions.NoSuchKey:
            return None

    assert eventually(copied) == b"QUIET"
    logs = boda.client("logs")

    def messages() -> list[str]:
        found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
        return [one["message"] for one in found]

    eventually(lambda: any(one.startswith("REPORT") for one in messages()))
    assert any(one.startswith("copied in/") for one in messages())


def test_a_function_may_do_only_what_its_role_allows(boda: Boda, name: str) -> None:
    iam = boda.client("iam")
    from bench.host import TRUST

    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    source = """
import boto3
def lambda_handler(event, context):
    who = boto3.client("sts").get_caller_identity()["Arn"]
    try:
        boto3.client("s3").list_buckets()
    except Exception as error:
        return [who, error.response["Error"]["Code"]]
    return [who, "allowed"]
"""
    boda.function(name, source, Role=role, Timeout=10)
    who, result = json.loads(invoke(boda, name)["Payload"])
    assert who == f"arn:aws:sts::000000000000:assumed-role/{name}/{name}"
    assert result == "AccessDenied"
    iam.put_role_policy(
        RoleName=name,
        PolicyName="list",
        PolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}
                ],
            }
        ),
    )
    assert json.loads(invoke(boda, name)["Payload"])[1] == "allowed"


def test_the_unmodified_aws_cli(boda: Boda, name: str, tmp_path: Path) -> None:
    key, secret = boda.keys
    boda.role("cli-role")
    (tmp_path / "function.zip").write_bytes(package(ECHO))

    def aws(*words: str) -> Any:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "aws"), "--endpoint-url", boda.url, *words],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "AWS_ACCESS_KEY_ID": key,
                "AWS_SECRET_ACCESS_KEY": secret,
                "AWS_DEFAULT_REGION": "us-east-1",
            },
            capture_output=True,
            cwd=tmp_path,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout

    made = aws(
        *("lambda", "create-function", "--function-name", name),
        *("--runtime", boda.runtime(), "--zip-file", "fileb://function.zip"),
        *("--handler", "lambda_function.lambda_handler"),
        *("--role", "arn:aws:iam::000000000000:role/cli-role"),
    )
    assert made["State"] == "Pending"
    aws("lambda", "wait", "function-active-v2", "--function-name", name)
    answer = aws("lambda", "invoke", "--function-name", name, "--payload", '{"a": 1}', "out.json")
    assert answer["StatusCode"] == 200
    assert json.loads((tmp_path / "out.json").read_text())["event"] == {"a": 1}
    aws("s3", "mb", f"s3://cli-{name}")
    (tmp_path / "big.bin").write_bytes(os.urandom(20 << 20))
    aws("s3", "cp", "big.bin", f"s3://cli-{name}/a/big.bin")
    aws("s3", "cp", f"s3://cli-{name}/a/big.bin", "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == (tmp_path / "big.bin").read_bytes()
    assert "big.bin" in aws("s3", "ls", f"s3://cli-{name}", "--recursive")
    aws("s3", "rb", f"s3://cli-{name}", "--force")
    aws("lambda", "delete-function", "--function-name", name)


def test_an_asynchronous_invoke_runs_once_acknowledged(boda: Boda, name: str) -> None:
    boda.client("s3").create_bucket(Bucket=f"async-{name}")
    source = f"""
import boto3
s3 = boto3.client("s3")
def lambda_handler(event, context):
    s3.put_object(Bucket="async-{name}", Key=event["id"], Body=context.aws_request_id.encode())
"""
    boda.function(name, source, Timeout=10)
    answer = invoke(boda, name, {"id": "one"}, InvocationType="Event")
    assert answer["StatusCode"] == 202
    assert answer["Payload"] == b""
    s3 = boda.client("s3")
    eventually(lambda: s3.list_objects_v2(Bucket=f"async-{name}").get("KeyCount"))
    body = s3.get_object(Bucket=f"async-{name}", Key="one")["Body"].read().decode()
    assert body == answer["ResponseMetadata"]["RequestId"]


def test_a_function_that_wakes_itself_is_stopped(boda: Boda, name: str) -> None:
    """The image resizer without a prefix filter: AWS stops it after 16 hops."""
    source = """
import boto3
s3 = boto3.client("s3")
def lambda_handler(event, context):
    record = event["Records"][0]["s3"]
    s3.put_object(Bucket=record["bucket"]["name"], Key=record["object"]["key"] + "x", Body=b"1")
"""
    boda.function(name, source, Timeout=10)
    s3, functions = boda.client("s3"), boda.client("lambda")
    bucket = f"loop-{name}"
    s3.create_bucket(Bucket=bucket)
    functions.add_permission(
        FunctionName=name, StatementId="s3", Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com", SourceArn=f"arn:aws:s3:::{bucket}",
    )  # fmt: skip
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [
                {
                    "LambdaFunctionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}",
                    "Events": ["s3:ObjectCreated:*"],
                }
            ]
        },
    )
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    logs = boda.client("logs")

    def stopped() -> bool:
        try:
            found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
        except logs.exceptions.ResourceNotFoundException:
            return False
        return any("recursi" in one["message"].lower() for one in found)

    eventually(stopped, timeout_s=60)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 17
