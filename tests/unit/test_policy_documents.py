"""What is a policy document, and AWS's words for what is not."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boda.core.policy import MalformedPolicy, Policy
from boda.core.policy_document import PolicyKind

GOOD: dict[str, Any] = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
TRUST: dict[str, Any] = {
    "Effect": "Allow",
    "Action": "sts:AssumeRole",
    "Principal": {"Service": "lambda.amazonaws.com"},
}


def _document(statement: Any, **top: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statement, **top})


def _refused(text: str, kind: PolicyKind | None = "identity") -> str:
    with pytest.raises(MalformedPolicy) as caught:
        Policy.parse(text, kind)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Effect": "allow"}, "Syntax errors in policy."),
        ({"Effect": None}, "Syntax errors in policy."),
        ({"Extra": 1}, "Syntax errors in policy."),
        ({"NotAction": "s3:*"}, "Syntax errors in policy."),
        ({"Action": {"a": 1}}, "Syntax errors in policy."),
        ({"Action": []}, "Policy statement must contain actions."),
        ({"Resource": []}, "Policy statement must contain resources."),
        (
            {"Action": "GetObject"},
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
        ),
        ({"Action": "s3:Get:Object"}, "Actions/Condition can contain only one colon."),
        ({"Action": "a a:Get"}, "Vendor a a is not valid"),
        ({"Resource": "bucket"}, 'Resource bucket must be in ARN format or "*".'),
        (
            {"Resource": "arn:else:s3:::b"},
            'Partition "else" is not valid for resource "arn:else:s3:::b".',
        ),
        ({"Resource": "arn:aws:s3"}, "The policy failed legacy parsing"),
        (
            {"Resource": "arn:aws:iam:us-east-1::user/x"},
            "IAM resource arn:aws:iam:us-east-1::user/x cannot contain region information.",
        ),
        ({"Principal": "*"}, "Policy document should not specify a principal."),
        (
            {"Sid": "with space"},
            "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the "
            "regular expression [0-9A-Za-z]*",
        ),
        ({"Condition": {"StringEqualss": {"aws:username": "x"}}}, "Syntax errors in policy."),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "1.2.3"}}}, "Syntax errors in policy."),
        ({"Condition": {"Bool": {"aws:SecureTransport": "maybe"}}}, "Syntax errors in policy."),
        ({"Condition": {"NumericEquals": {"s3:max-keys": "ten"}}}, "Syntax errors in policy."),
        ({"Condition": {"NotBool": {"aws:SecureTransport": "true"}}}, "Syntax errors in policy."),
        ({"Condition": ["x"]}, "Syntax errors in policy."),
    ],
)
def test_a_statement_is_refused_in_aws_words(changes: dict[str, Any], message: str) -> None:
    assert _refused(_document({**GOOD, **changes})) == message


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", "[" * 100_000, '{"a":1}', "1" * 9999])
def test_not_a_document(text: str) -> None:
    assert _refused(text) == "Syntax errors in policy."
    assert _refused(text, "trust") in (
        "This policy contains invalid Json",
        "Syntax errors in policy.",
    )


def test_invalid_json_of_a_trust_policy() -> None:
    assert _refused("{bad", "trust") == "This policy contains invalid Json"


@pytest.mark.parametrize("statement", [[], "x", [1], None])
def test_no_statements(statement: Any) -> None:
    assert _refused(_document(statement)) == "Syntax errors in policy."


def test_statement_ids_are_unique() -> None:
    twice = [{**GOOD, "Sid": "One"}, {**GOOD, "Sid": "One"}]
    assert _refused(_document(twice)) == "Statement IDs (SID) in a single policy must be unique."


def test_versions() -> None:
    old = json.dumps({"Version": "2008-10-17", "Statement": GOOD})
    Policy.parse(old, "identity")
    assert _refused(old, "managed") == "Policy document must be version 2012-10-17 or greater."
    assert _refused(json.dumps({"Version": "2020-01-01", "Statement": GOOD}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Resource": "*"}, "Has prohibited field Resource"),
        ({"Action": "s3:GetObject"}, "AssumeRole policy may only specify STS AssumeRole actions."),
        (
            {"Principal": {"AWS": "bob"}},
            'Invalid principal in policy: "AWS":"bob"',
        ),
        ({"Principal": {"Aws": "*"}}, "Syntax errors in policy."),
        ({"Principal": {}}, "Syntax errors in policy."),
        ({"Principal": {"AWS": [1]}}, "Syntax errors in policy."),
    ],
)
def test_trust_policies(changes: dict[str, Any], message: str) -> None:
    assert _refused(_document({**TRUST, **changes}), "trust") == message


def test_a_trust_policy_names_somebody() -> None:
    nobody = {key: value for key, value in TRUST.items() if key != "Principal"}
    assert _refused(_document(nobody), "trust") == "Missing required field Principal"


@pytest.mark.parametrize("field", ["Action", "Resource", "Principal", "Effect"])
def test_resource_policies_name_what_is_missing(field: str) -> None:
    whole = {**GOOD, "Principal": "*"}
    Policy.parse(_document(whole), "resource")
    del whole[field]
    assert _refused(_document(whole), "resource") == f"Missing required field {field}"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "Effect",
                    "Action",
                    "Resource",
                    "Principal",
                    "Condition",
                    "AWS",
                    "StringLike",
                    "Sid",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON, st.sampled_from([None, "identity", "managed", "resource", "trust"]))
def test_no_input_raises_anything_else(statement: Any, kind: PolicyKind | None) -> None:
    with contextlib.suppress(MalformedPolicy):
        Policy.parse(_document(statement), kind)


@given(_JSON)
def test_no_condition_raises_anything_else(block: Any) -> None:
    with contextlib.suppress(MalformedPolicy):
        Policy.parse(_document({**GOOD, "Condition": block}), "identity")


def test_messages_can_be_sent_in_any_protocol() -> None:
    text = _document({**TRUST, "Principal": {"AWS": "\ud800\x00<x>"}})
    assert _refused(text, "trust") == 'Invalid principal in policy: "AWS":"??<x>"'


def test_a_stored_policy_that_is_not_understood_denies_everything() -> None:
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    known = {"Version": "2012-10-17", "Statement": [allow]}
    assert Policy.stored(json.dumps(known)).statements[0].allow
    for later in (
        {**known, "Statement": [{**allow, "Until": "2030"}]},
        {**known, "Reach": "wide"},
        {**known, "Version": "2031-01-01"},
    ):
        policy = Policy.stored(json.dumps(later))
        (statement,) = policy.statements
        assert not statement.allow and statement.names("s3:getobject")
        assert policy.document == later
    for damaged in ("{", "[]", '"text"'):
        with pytest.raises(MalformedPolicy):
            Policy.stored(damaged)
