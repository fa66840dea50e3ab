"""What a function's role gives, in a real `boda up`: to whom, from where, and for how long."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from bench.host import TRUST, Boda
from botocore.exceptions import ClientError

from boda.gateway.http.wire import ENVIRONMENTS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="full isolation is tried as root")

WHO = """
import boto3, os
def lambda_handler(event, context):
    s3 = boto3.client("s3")
    found = {}
    for name in event["buckets"]:
        try:
            s3.list_objects_v2(Bucket=name)
            found[name] = "allowed"
        except Exception as error:
            found[name] = error.response["Error"]["Code"]
    return found
"""


@pytest.fixture(scope="module")
def boda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boda]:
    with Boda(tmp_path_factory.mktemp("roles") / "data") as running:
        yield running
    said = running.log.read_text()
    assert "Traceback" not in said, said


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def role(boda: Boda, name: str, *statements: dict[str, Any]) -> str:
    iam = boda.client("iam")
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    if statements:
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(*statements))
    return str(made)


def invoke(boda: Boda, name: str, event: Any = None) -> Any:
    answer = boda.client("lambda").invoke(
        FunctionName=name, Payload=json.dumps(event or {}).encode()
    )
    return json.loads(answer["Payload"].read())


@pytest.mark.parametrize("ending", ["deny", "other", "gone"])
def test_a_cold_start_needs_a_role_that_trusts_lambda(boda: Boda, ending: str) -> None:
    iam, client, name = boda.client("iam"), boda.client("lambda"), f"ends-{ending}"
    boda.function(name, "def lambda_handler(event, context): return 1", Role=role(boda, name))
    assert invoke(boda, name) == 1
    if ending == "gone":
        iam.delete_role(RoleName=name)
    else:
        statement = json.loads(TRUST)["Statement"][0]
        if ending == "deny":
            statement["Effect"] = "Deny"
        else:
            statement["Principal"] = {"Service": "ec2.amazonaws.com"}
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=policy(statement))
    client.update_function_configuration(FunctionName=name, Description="a new environment")
    client.get_waiter("function_updated_v2").wait(
        FunctionName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 500}
    )
    with pytest.raises(ClientError) as refusal:
        invoke(boda, name)
    assert refusal.value.response["Error"] == {
        "Code": "AccessDeniedException",
        "Message": "The role defined for the function cannot be assumed by Lambda.",
    }
    if ending != "gone":
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=TRUST)
        assert invoke(boda, name) == 1


def test_a_policy_that_lets_the_machine_in_lets_no_function_in(boda: Boda) -> None:
    """Calls of functions come from an address of their own, which no machine has."""
    s3 = boda.client("s3")
    from_there = {
        "machine": ["127.0.0.0/8", "::1/128"],
        "private": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"],
        "every-v4": ["0.0.0.0/1", "128.0.0.0/1"],
        "functions": [str(ENVIRONMENTS)],
    }
    statements = []
    for name, addresses in from_there.items():
        s3.create_bucket(Bucket=f"from-{name}")
        statements.append(
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": f"arn:aws:s3:::from-{name}",
                "Condition": {"IpAddress": {"aws:SourceIp": addresses}},
            }
        )
    boda.function("calls", WHO, Role=role(boda, "calls", *statements))
    found = invoke(boda, "calls", {"buckets": [f"from-{name}" for name in from_there]})
    assert found == {
        "from-machine": "AccessDenied",
        "from-private": "AccessDenied",
        "from-every-v4": "AccessDenied",
        "from-functions": "allowed",
    }


def test_two_environments_call_from_two_addresses(boda: Boda) -> None:
    """Also by way of a function's URL, which shows its caller's address."""
    shows = (
        "def lambda_handler(event, context):\n"
        "    http = event['requestContext']['http']\n"
        "    return [http['sourceIp'], event['headers'].get('x-forwarded-for')]\n"
    )
    boda.function("shows", shows)
    host = boda.open_url("shows")
    calls = (
        "import http.client, json, os\n"
        "def lambda_handler(event, context):\n"
        "    found = []\n"
        "    for _ in range(3):\n"  # the third may go by the fast path
        "        there = http.client.HTTPConnection(\n"
        "            os.environ['AWS_ENDPOINT_URL'][7:], timeout=10)\n"
        "        there.request('GET', '/', headers={'Host': event['host']})\n"
        "        found.append(json.loads(there.getresponse().read()))\n"
        "        there.close()\n"
        "    return found\n"
    )
    seen = []
    for name in ("first", "second"):
        boda.function(name, calls, Timeout=30)
        found = invoke(boda, name, {"host": host.partition(":")[0]})
        addresses = {address for pair in found for address in pair}
        assert len(addresses) == 1
        seen.append(ipaddress.ip_address(addresses.pop()))
    assert seen[0] != seen[1]
    assert all(address in ENVIRONMENTS for address in seen)


def test_configuring_asks_what_the_role_may(boda: Boda) -> None:
    client = boda.client("lambda")
    queue = "arn:aws:sqs:us-east-1:000000000000:queue"
    sends = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queue}
    arn = role(boda, "sends")
    boda.function("sends", "def lambda_handler(event, context): return 1", Role=arn)
    writes = {"FunctionName": "sends", "DeadLetterConfig": {"TargetArn": queue}}
    with pytest.raises(ClientError) as refusal:
        client.update_function_configuration(**writes)
    assert refusal.value.response["Error"]["Message"] == (
        "The provided execution role does not have permissions to call SendMessage on SQS"
    )
    with pytest.raises(ClientError, match="to call ReceiveMessage on SQS"):
        client.create_event_source_mapping(FunctionName="sends", EventSourceArn=queue)
    boda.client("iam").put_role_policy(
        RoleName="sends", PolicyName="p", PolicyDocument=policy(sends)
    )
    client.update_function_configuration(**writes)
