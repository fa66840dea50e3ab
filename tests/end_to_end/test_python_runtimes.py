"""Every Python found here, as a runtime, through a real `boda up`."""

from __future__ import annotations

import json

import botocore.session
import pytest
from bench.host import Boda, package

from boda.runtime.catalogue import RuntimeCatalogue

SOURCE = """
import os
import sys

import boto3

def lambda_handler(event, context):
    functions = boto3.client("lambda")
    return {
        "version": "python%d.%d" % sys.version_info[:2],
        "named": os.environ["AWS_EXECUTION_ENV"],
        "arn": context.invoked_function_arn,
        "who": boto3.client("sts").get_caller_identity()["Arn"],
        "buckets": [one["Name"] for one in boto3.client("s3").list_buckets()["Buckets"]],
        "region": functions.meta.region_name,
        "functions": [one["FunctionName"] for one in functions.list_functions()["Functions"]],
        "groups": boto3.client("logs").describe_log_groups()["logGroups"] is not None,
        "trace": os.environ["_X_AMZN_TRACE_ID"],
    }
"""


@pytest.fixture(scope="module")
def pythons() -> list[str]:
    return [name for name in RuntimeCatalogue.discover() if name.startswith("python")]


def test_boto3_works_in_each_without_configuration_and_in_its_own_region(
    boda: Boda, name: str, pythons: list[str]
) -> None:
    region = "eu-central-1"
    key, secret = boda.keys
    client = botocore.session.Session().create_client(
        "lambda", region_name=region, endpoint_url=boda.url,
        aws_access_key_id=key, aws_secret_access_key=secret,
    )  # fmt: skip
    role = boda.role(f"role-{name}")
    boda.client("s3").create_bucket(Bucket=f"mine-{name}")
    assert pythons
    for python in pythons:
        function = f"{name}-{python.replace('.', '-')}"
        client.create_function(
            FunctionName=function, Runtime=python, Role=role, Timeout=20, MemorySize=512,
            Handler="lambda_function.lambda_handler", Code={"ZipFile": package(SOURCE)},
        )  # fmt: skip
        client.get_waiter("function_active_v2").wait(
            FunctionName=function, WaiterConfig={"Delay": 0, "MaxAttempts": 500}
        )
        seen = json.loads(client.invoke(FunctionName=function)["Payload"].read())
        assert seen["version"] == python
        assert seen["named"] == f"AWS_Lambda_{python}"
        assert seen["arn"] == f"arn:aws:lambda:{region}:000000000000:function:{function}"
        assert seen["who"] == f"arn:aws:sts::000000000000:assumed-role/role-{name}/{function}"
        assert f"mine-{name}" in seen["buckets"]
        assert seen["region"] == region
        assert function in seen["functions"]
        assert seen["groups"]
        assert seen["trace"].startswith("Root=1-")


METADATA = """
import json, os, urllib.request

def lambda_handler(event, context):
    address = "http://{}/2026-01-15/metadata/execution-environment".format(
        os.environ["AWS_LAMBDA_METADATA_API"]
    )
    token = os.environ["AWS_LAMBDA_METADATA_TOKEN"]
    request = urllib.request.Request(address, headers={"Authorization": "Bearer " + token})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)
"""


def test_a_function_can_ask_in_which_zone_it_runs(boda: Boda, name: str) -> None:
    boda.function(name, METADATA)
    assert boda.call(name) == {"AvailabilityZoneID": "use1-az1"}
