"""Which condition keys are known, and which policies are refused for a key that is not."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from boda.core.condition_keys import GLOBAL_KEYS, PER_REQUEST, Vocabulary
from boda.core.policy import Policy
from boda.gateway.calling.exchange import RequestKeys
from boda.gateway.http.wire import WireRequest
from boda.gateway.signing.claim import Claim, Signatory
from boda.services.iam.access import CONDITION_KEYS as IAM
from boda.services.lambda_.condition_keys import CONDITION_KEYS as LAMBDA
from boda.services.logs.access import CONDITION_KEYS as LOGS
from boda.services.s3.condition_keys import CONDITION_KEYS as S3
from boda.services.s3.condition_keys import of_request
from boda.services.sts.condition_keys import CONDITION_KEYS as STS

KNOWN = Vocabulary({"iam": IAM, "lambda": LAMBDA, "logs": LOGS, "s3": S3, "sts": STS})
LISTED = json.loads(files("support").joinpath("condition_keys.json").read_text())
LISTED.pop("source")


def unknown(effect: str = "Deny", version: str = "2012-10-17", **statement: Any) -> str:
    whole = {"Effect": effect, "Action": "*", "Resource": "*", **statement}
    if "NotAction" in statement:
        del whole["Action"]
    return KNOWN.unknown_in_deny(Policy.parse({"Version": version, "Statement": [whole]}))


@pytest.mark.parametrize("service", LISTED)
def test_every_key_that_aws_lists_for_a_service_is_known(service: str) -> None:
    """Each is supplied, or its circumstance does not occur here (and a service says so)."""
    named = [key + "x" if key.endswith("/") else key for key in LISTED[service]]
    assert [key for key in named if not KNOWN.knows(key)] == []
    assert named


@pytest.mark.parametrize(
    "key",
    [
        "aws:CurrentTime", "aws:EpochTime", "aws:MultiFactorAuthPresent", "aws:PrincipalAccount",
        "aws:PrincipalArn", "aws:PrincipalIsAWSService", "aws:PrincipalOrgID",
        "aws:PrincipalOrgPaths", "aws:PrincipalTag/k", "aws:PrincipalType", "aws:RequestTag/k",
        "aws:RequestedRegion", "aws:ResourceAccount", "aws:ResourceOrgID", "aws:ResourceTag/k",
        "aws:SecureTransport", "aws:SourceAccount", "aws:SourceArn", "aws:SourceIp",
        "aws:SourceOrgID", "aws:SourceVpc", "aws:SourceVpce", "aws:TagKeys",
        "aws:TokenIssueTime", "aws:UserAgent", "aws:ViaAWSService", "aws:VpcSourceIp",
        "aws:CalledVia", "aws:CalledViaFirst", "aws:CalledViaLast", "aws:FederatedProvider",
        "aws:MultiFactorAuthAge", "aws:SourceIdentity", "aws:referer", "aws:userid",
        "aws:username", "ec2:SourceInstanceARN", "AWS:SOURCEIP",
    ],
)  # fmt: skip
def test_global_keys_are_known_in_any_case(key: str) -> None:
    assert KNOWN.knows(key)


@pytest.mark.parametrize("key", ["aws:Nothing", "s3:prefixes", "aws:ResourceTag/", "lambda:", ""])
def test_other_keys_are_not(key: str) -> None:
    assert not KNOWN.knows(key)


def test_a_deny_on_a_key_that_nothing_supplies_is_named() -> None:
    odd = {"StringEquals": {"s3:Odd": "x"}}
    for action in ("*", "s3:*", "s3:PutObject", "S3:Get*", "l*:Invoke*", ["ec2:*", "logs:*"]):
        assert unknown(Action=action, Condition=odd) == "s3:Odd"
    assert unknown(NotAction="iam:*", Condition=odd) == "s3:Odd"
    for operator in ("Null", "StringNotEqualsIfExists", "ForAllValues:StringLike"):
        value = "true" if operator == "Null" else "x"
        assert unknown(Condition={operator: {"aws:Odd": value}}) == "aws:Odd"


def test_an_allow_and_other_services_denies_are_no_concern() -> None:
    odd = {"StringEquals": {"ec2:Odd": "x"}}
    assert unknown("Allow", Condition=odd) == ""
    assert unknown(Action=["ec2:*", "kms:Decrypt"], Condition=odd) == ""


def test_a_variable_without_a_source_is_named_as_well() -> None:
    resource = "arn:aws:s3:::b/${aws:Odd}/*"
    assert unknown(Resource=resource) == "aws:odd"
    assert unknown(Resource="arn:aws:s3:::b/${aws:username}/${*}") == ""
    assert unknown(Condition={"StringLike": {"s3:prefix": ["a", "${odd:Key}"]}}) == "odd:key"
    assert unknown(version="2008-10-17", Resource=resource) == ""  # plain text there


def test_what_a_request_gives_is_told_to_be_of_requests() -> None:
    """Decisions that look at one of these are not kept."""
    headers = {"user-agent": "a", "referer": "b", "x-amz-content-sha256": "c"}
    request = WireRequest("GET", "/b/k", "", headers)
    claim = Claim(Signatory("k", "d", "r", "s3"), "", "", 0, "")
    given = {**RequestKeys(request, "r", lambda: of_request(request, claim, 1.0))}
    assert {key.lower() for key in given} <= PER_REQUEST
    assert {key.lower() for key in GLOBAL_KEYS} | {key.lower() for key in S3} >= PER_REQUEST
