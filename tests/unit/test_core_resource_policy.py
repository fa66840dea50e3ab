"""Resource policies: statements added, replaced, removed and measured."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest

from boda.core import resource_policy
from boda.core.errors import AwsError
from boda.core.policy import MalformedPolicy
from boda.core.resource_policy import StatementRules, grant, named_principal

RULES = StatementRules(
    limit_bytes=400,
    too_large=lambda size, limit: AwsError("TooLarge", f"{size} {limit}"),
    absent=lambda sid: AwsError("Absent", sid),
    exists=lambda sid: AwsError("Exists", sid),
)
ARN = "arn:aws:sqs:us-east-1:000000000000:q"


def statement(sid: str, **more: Any) -> dict[str, Any]:
    return {**grant(sid, "*", "sqs:SendMessage", ARN), **more}


def test_a_statement_is_added_at_the_end_and_removed_by_its_id() -> None:
    first = RULES.add([], statement("a"))
    both = RULES.add(first, statement("b"))
    assert [each["Sid"] for each in both] == ["a", "b"]
    assert RULES.remove(both, "a") == [statement("b")]
    assert first == [statement("a")]  # nothing is changed in place
    with pytest.raises(AwsError, match="Absent: c"):
        RULES.remove(both, "c")
    with pytest.raises(AwsError, match="Exists: a"):
        RULES.add(both, statement("a", Effect="Deny"))
    replacing = dataclasses.replace(RULES, exists=None)
    assert replacing.add(both, statement("a", Effect="Deny")) == [
        statement("b"),
        statement("a", Effect="Deny"),
    ]


def test_statements_without_an_id_stay() -> None:
    nameless = {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}
    assert RULES.remove([nameless, statement("a")], "a") == [nameless]
    assert resource_policy.find([nameless, statement("a")], "a") == statement("a")
    assert resource_policy.find([nameless], "a") is None


def test_the_size_is_that_of_the_whole_policy_in_bytes() -> None:
    present = RULES.add([], statement("a"))
    size = resource_policy.size_of(resource_policy.text([*present, statement("é")]))
    fitting = dataclasses.replace(RULES, limit_bytes=size)
    assert len(fitting.add(present, statement("é"))) == 2
    narrow = dataclasses.replace(RULES, limit_bytes=size - 1)
    with pytest.raises(AwsError, match=f"TooLarge: {size} {size - 1}"):
        narrow.add(present, statement("é"))
    narrow.check_size("x" * (size - 1))
    with pytest.raises(AwsError, match="TooLarge"):
        narrow.check_size("x" * size)
    assert resource_policy.size_of("é\ud800") == 5


def test_a_policy_is_written_as_aws_writes_it() -> None:
    text = resource_policy.text([statement("a")])
    assert text.startswith('{"Version":"2012-10-17","Id":"default","Statement":[{"Sid":"a"')
    own = resource_policy.text([statement("a")], {"Version": "2008-10-17"})
    assert own.startswith('{"Version":"2008-10-17","Statement":[')
    assert list(statement("a")) == ["Sid", "Effect", "Principal", "Action", "Resource"]


def test_conditions_that_are_not_given_are_left_out() -> None:
    conditions = {"ArnLike": {"AWS:SourceArn": None}, "Bool": {"a": "true", "b": None}}
    made = grant("s", "*", "a:B", ARN, conditions)
    assert made["Condition"] == {"Bool": {"a": "true"}}
    assert "Condition" not in grant("s", "*", "a:B", ARN, {"Bool": {"a": None}})


@pytest.mark.parametrize(
    ("name", "principal"),
    [
        ("*", "*"),
        ("111111111111", {"AWS": "arn:aws:iam::111111111111:root"}),
        ("arn:aws:iam::111111111111:role/r", {"AWS": "arn:aws:iam::111111111111:role/r"}),
        ("sns.amazonaws.com", {"Service": "sns.amazonaws.com"}),
        ("arn:aws:s3:::bucket", None),
        ("arn:aws:iam::1:root", None),
        ("arn:", None),
        ("somebody", None),
        ("", None),
    ],
)
def test_principals_by_their_names(name: str, principal: Any) -> None:
    assert named_principal(name) == principal


def test_policies_that_are_put_as_a_whole() -> None:
    for one in (statement("a"), [statement("a")]):
        content = resource_policy.read(orjson.dumps({"Statement": one}).decode())
        assert resource_policy.statements_of(content) == [statement("a")]
    assert resource_policy.statements_of({}) == []
    for text in ("", "{", '"\ud800"', "[" * 5000):
        assert resource_policy.read(text) is None


def test_statements_are_a_policy_only_if_there_are_any() -> None:
    assert resource_policy.parsed([]) is None
    policy = resource_policy.parsed([statement("a")])
    assert policy is not None and len(policy.statements) == 1
    with pytest.raises(MalformedPolicy):
        resource_policy.parsed([statement("a", Effect="Maybe")])
