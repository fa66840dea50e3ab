"""Accounts that callers choose by their key in open mode: each has its own of everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bench.host import TRUST, Boda
from botocore.exceptions import ClientError

ONE, TWO = "111111111111", "222222222222"
SOURCE = """
import boto3
def lambda_handler(event, context):
    return [context.invoked_function_arn, boto3.client("sts").get_caller_identity()["Arn"]]
"""


class InAccount(Boda):
    """The same boda, called with another key."""

    def __init__(self, boda: Boda, account: str) -> None:
        self.__dict__.update(boda.__dict__)
        self._account = account

    def client(self, service: str, **settings: Any) -> Any:
        return super().client(service, **{"key": self._account, "secret": "x", **settings})


def calls(boda: Boda) -> Any:
    answer = boda.client("lambda").invoke(FunctionName="same")
    return json.loads(answer["Payload"].read())


def names(found: list[dict[str, Any]], key: str) -> list[str]:
    return [one[key] for one in found]


def test_a_key_of_12_digits_is_an_account(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with Boda(folder, "--auth", "open") as boda:
        for account in (ONE, TWO):
            its = InAccount(boda, account)
            who = its.client("sts").get_caller_identity()
            assert (who["Account"], who["Arn"]) == (account, f"arn:aws:iam::{account}:root")
            assert its.role() == f"arn:aws:iam::{account}:role/bench"
            its.client("iam").create_user(UserName=f"of-{account}")
            made = its.function("same", SOURCE)
            arn = f"arn:aws:lambda:us-east-1:{account}:function:same"
            assert made["FunctionArn"] == arn
            role = f"arn:aws:sts::{account}:assumed-role/bench/same"
            assert calls(its) == [arn, role]
            its.client("s3").create_bucket(Bucket=f"of-{account}")
        for account in (ONE, TWO):
            its = InAccount(boda, account)
            assert names(its.client("iam").list_users()["Users"], "UserName") == [f"of-{account}"]
            assert names(its.client("s3").list_buckets()["Buckets"], "Name") == [f"of-{account}"]
            assert len(its.client("lambda").list_functions()["Functions"]) == 1
            assert len(its.client("logs").describe_log_groups()["logGroups"]) == 1
        assert boda.client("iam").list_users()["Users"] == []
        assert boda.client("lambda").list_functions()["Functions"] == []
        # A role is assumed, and a user's key known, in its own account.
        one = InAccount(boda, ONE)
        key = one.client("iam").create_access_key(UserName=f"of-{ONE}")["AccessKey"]["AccessKeyId"]
        assert InAccount(boda, key).client("sts").get_caller_identity()["Arn"] == (
            f"arn:aws:iam::{ONE}:user/of-{ONE}"
        )
        one.client("iam").create_role(
            RoleName="open",
            AssumeRolePolicyDocument=TRUST.replace(
                '"Service": "lambda.amazonaws.com"', f'"AWS": "{ONE}"'
            ),
        )
        given = one.client("sts").assume_role(
            RoleArn=f"arn:aws:iam::{ONE}:role/open", RoleSessionName="session"
        )
        session = InAccount(boda, given["Credentials"]["AccessKeyId"])
        arn = f"arn:aws:sts::{ONE}:assumed-role/open/session"
        assert session.client("sts").get_caller_identity()["Arn"] == arn
        # A role that its account changes is another account's no more than before.
        two = InAccount(boda, TWO)
        two.client("iam").update_assume_role_policy(
            RoleName="bench", PolicyDocument=TRUST.replace("lambda.", "ec2.")
        )
        for its in (one, two):
            its.client("lambda").update_function_configuration(
                FunctionName="same", Description="a new environment"
            )
            its.client("lambda").get_waiter("function_updated_v2").wait(
                FunctionName="same", WaiterConfig={"Delay": 0, "MaxAttempts": 500}
            )
        assert calls(one)[1].endswith(f"{ONE}:assumed-role/bench/same")
        with pytest.raises(ClientError, match="cannot be assumed by Lambda"):
            calls(two)
    with Boda(folder, "--auth", "open") as boda:  # all of it is there after a restart
        one = InAccount(boda, ONE)
        assert names(one.client("iam").list_users()["Users"], "UserName") == [f"of-{ONE}"]
        assert calls(one)[1].endswith(f"{ONE}:assumed-role/bench/same")
