"""Another account than the usual one, through every service: no answer names the usual one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.host import Boda

ACCOUNT = "123456789012"
USUAL = "000000000000"
SOURCE = """
import boto3
def lambda_handler(event, context):
    return [context.invoked_function_arn, boto3.client("sts").get_caller_identity()["Arn"]]
"""


@pytest.mark.parametrize("auth", ["sigv4", "open"])
def test_no_answer_names_another_account(tmp_path: Path, auth: str) -> None:
    told: list[Any] = []

    with Boda(tmp_path / "data", "--account", ACCOUNT, "--auth", auth) as boda:

        def ask(service: str, operation: str, **params: Any) -> Any:
            answer = getattr(boda.client(service), operation)(**params)
            told.append(answer)
            return answer

        who = ask("sts", "get_caller_identity")
        assert (who["Account"], who["Arn"]) == (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root")
        assert boda.role() == f"arn:aws:iam::{ACCOUNT}:role/bench"
        user = ask("iam", "create_user", UserName="ann")["User"]["Arn"]
        assert user == f"arn:aws:iam::{ACCOUNT}:user/ann"
        ask("iam", "list_roles")
        ask("sts", "get_session_token")
        made = boda.function("named", SOURCE)
        told.append(made)
        arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:named"
        assert made["FunctionArn"] == arn
        answer = boda.client("lambda").invoke(FunctionName="named")
        seen = json.loads(answer["Payload"].read())
        assert seen == [arn, f"arn:aws:sts::{ACCOUNT}:assumed-role/bench/named"]
        ask("lambda", "publish_version", FunctionName="named")
        ask(
            "lambda",
            "add_permission",
            FunctionName="named",
            StatementId="s3",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
            SourceAccount=ACCOUNT,
        )
        ask("lambda", "get_policy", FunctionName="named")
        ask("lambda", "list_functions")
        ask("lambda", "create_event_source_mapping", FunctionName="named",
            EventSourceArn=f"arn:aws:sqs:us-east-1:{ACCOUNT}:q")  # fmt: skip
        groups = ask("logs", "describe_log_groups")["logGroups"]
        assert groups[0]["arn"].startswith(f"arn:aws:logs:us-east-1:{ACCOUNT}:")
        s3 = boda.client("s3")
        s3.create_bucket(Bucket="owned")
        notify = {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}
        s3.put_bucket_notification_configuration(
            Bucket="owned",
            NotificationConfiguration={"LambdaFunctionConfigurations": [notify]},
        )
        s3.put_object(Bucket="owned", Key="k", Body=b"1", ExpectedBucketOwner=ACCOUNT)
        assert s3.get_object(Bucket="owned", Key="k", ExpectedBucketOwner=ACCOUNT)
        ask("s3", "get_bucket_acl", Bucket="owned")
        ask("s3", "list_buckets")
        environ = {"BODA_DATA_DIR": str(boda.folder)}
        for words in (("ps", "--json"), ("logs", "named")):
            done = subprocess.run(
                [sys.executable, "-m", "boda", *words], capture_output=True, text=True, env=environ
            )
            assert done.returncode == 0, done.stderr
            told.append(done.stdout)
        with pytest.raises(s3.exceptions.ClientError, match="AccessDenied"):
            s3.get_object(Bucket="owned", Key="k", ExpectedBucketOwner=USUAL)
    assert USUAL not in json.dumps(told, default=str)


def test_an_account_is_a_number_of_12_digits(tmp_path: Path) -> None:
    for wrong in ("12345", "1234567890123", "12345678901x", "١٢٣٤٥٦٧٨٩٠١٢"):
        done = subprocess.run(
            [sys.executable, "-m", "boda", "up", "--data-dir", str(tmp_path), "--account", wrong],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert "12 digits" in done.stderr
