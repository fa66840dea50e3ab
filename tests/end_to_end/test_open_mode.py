"""`--auth open` as tools and projects that were written for other local endpoints expect it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.host import TRUST, Boda, package
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::000000000000:role/service-role/never-made"
SOURCE = """
import boto3

def lambda_handler(event, context):
    return boto3.client("sts").get_caller_identity()["Arn"]
"""


@pytest.fixture(scope="module")
def open_boda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boda]:
    folder = tmp_path_factory.mktemp("open") / "data"
    with Boda(folder, "--auth", "open") as boda:
        yield boda


def _client(boda: Boda, service: str) -> Any:
    return boda.client(service, key="test", secret="test")


def _create(boda: Boda, name: str, role: str) -> Any:
    client = _client(boda, "lambda")
    client.create_function(
        FunctionName=name, Runtime=boda.runtime(), Role=role,
        Handler="lambda_function.lambda_handler", Code={"ZipFile": package(SOURCE)},
    )  # fmt: skip
    client.get_waiter("function_active_v2").wait(
        FunctionName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 500}
    )
    return json.loads(client.invoke(FunctionName=name)["Payload"].read())


def test_a_role_is_made_when_a_function_first_names_it(open_boda: Boda) -> None:
    assumed = _create(open_boda, "first", ROLE)
    assert assumed == "arn:aws:sts::000000000000:assumed-role/never-made/first"
    iam = _client(open_boda, "iam")
    made = iam.get_role(RoleName="never-made")["Role"]
    assert made["Arn"] == ROLE
    assert iam.list_role_policies(RoleName="never-made")["PolicyNames"] == []
    assert iam.list_attached_role_policies(RoleName="never-made")["AttachedPolicies"] == []
    _create(open_boda, "second", ROLE)
    client = _client(open_boda, "lambda")
    client.update_function_configuration(FunctionName="second", Role=f"{ROLE}-either")
    assert iam.get_role(RoleName="never-made-either")


def test_a_role_that_trusts_somebody_else_is_left_alone(open_boda: Boda) -> None:
    iam = _client(open_boda, "iam")
    other = TRUST.replace("lambda.amazonaws.com", "ec2.amazonaws.com")
    arn = iam.create_role(RoleName="other", AssumeRolePolicyDocument=other)["Role"]["Arn"]
    with pytest.raises(ClientError, match="cannot be assumed"):
        _create(open_boda, "third", arn)


def test_a_checked_platform_makes_none(boda: Boda, name: str) -> None:
    client = boda.client("lambda")
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="cannot be assumed"):
        client.create_function(
            FunctionName=name, Runtime=boda.runtime(), Role=ROLE,
            Handler="lambda_function.lambda_handler", Code={"ZipFile": package(SOURCE)},
        )  # fmt: skip


def test_the_health_that_other_tools_wait_for(open_boda: Boda, tmp_path: Path) -> None:
    with urllib.request.urlopen(f"{open_boda.url}/_localstack/health", timeout=20) as answer:
        found = json.loads(answer.read())
    assert found["services"]["lambda"] == found["services"]["s3"] == "running"
    assert found["status"] == "ok"
