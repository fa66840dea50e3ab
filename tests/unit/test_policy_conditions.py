"""Condition operators, set operators and missing keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from boda.core.conditions import Reader, parse_conditions

Keys = dict[str, str | Sequence[str]]


def _holds(operator: str, value: Any, keys: Keys, key: str = "k") -> bool:
    (condition,) = parse_conditions({operator: {key: value}}, variables=True)
    return condition.holds(Reader(keys))


@pytest.mark.parametrize(
    ("operator", "value", "seen", "holds"),
    [
        ("StringEquals", "a*", "a*", True),
        ("StringEquals", "a*", "ab", False),
        ("StringEquals", ["x", "y"], "y", True),
        ("StringEquals", "A", "a", False),
        ("StringNotEquals", ["x", "y"], "y", False),
        ("StringNotEquals", ["x", "y"], "z", True),
        ("StringEqualsIgnoreCase", "ABC", "aBc", True),
        ("StringNotEqualsIgnoreCase", "ABC", "aBc", False),
        ("StringLike", "a*c?", "abcd", True),
        ("stringlike", "A*", "abcd", False),
        ("StringNotLike", "a*", "abcd", False),
        ("NumericEquals", 10, "10.0", True),
        ("NumericNotEquals", "10", "11", True),
        ("NumericLessThan", "10", "9", True),
        ("NumericLessThan", "10", "10", False),
        ("NumericLessThanEquals", "10", "10", True),
        ("NumericGreaterThan", "10", "11", True),
        ("NumericGreaterThanEquals", "10", "9", False),
        ("NumericEquals", "10", "ten", False),
        ("DateEquals", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", True),
        ("DateLessThan", "2026-01-01T00:00:00Z", "2025-12-31T23:59:59Z", True),
        ("DateGreaterThan", "2026-01-01", "1767225601", True),
        ("DateGreaterThan", "2026-01-01T00:00:00Z", "never", False),
        ("Bool", "true", "True", True),
        ("Bool", False, "true", False),
        ("BinaryEquals", "AQID", "AQID", True),
        ("BinaryEquals", "AQID", "!!", False),
        ("IpAddress", "10.0.0.0/8", "10.1.2.3", True),
        ("IpAddress", ["10.0.0.0/8", "2001:db8::/32"], "2001:db8::1", True),
        ("IpAddress", "10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("IpAddress", "10.0.0.0/8", "nowhere", False),
        ("NotIpAddress", "10.0.0.0/8", "10.1.2.3", False),
        ("NotIpAddress", "10.0.0.0/8", "11.1.2.3", True),
        ("ArnLike", "arn:aws:s3:::photo*", "arn:aws:s3:::photos", True),
        ("ArnEquals", "arn:aws:s3:::photo*", "arn:aws:s3:::photos", True),
        ("ArnLike", "arn:aws:*:x", "arn:aws:s3:::x", False),
        ("ArnLike", "arn:aws:sns:*:1:t", "arn:aws:sns:eu-west-1:2:1:t", False),
        ("ArnLike", "*", "arn:aws:s3:::photos", True),
        ("ArnNotLike", "arn:aws:s3:::photo*", "arn:aws:s3:::photos", False),
        ("ArnNotEquals", "arn:aws:s3:::a", "arn:aws:s3:::b", True),
    ],
)
def test_operators(operator: str, value: Any, seen: str, holds: bool) -> None:
    assert _holds(operator, value, {"k": seen}) is holds


@pytest.mark.parametrize(
    ("operator", "holds"),
    [
        ("StringEquals", False),
        ("StringNotEquals", True),
        ("StringEqualsIfExists", True),
        ("NumericLessThan", False),
        ("NumericLessThanIfExists", True),
        ("ForAllValues:StringEquals", True),
        ("ForAnyValue:StringEquals", False),
        ("ForAnyValue:StringNotEquals", False),
        ("ForAnyValue:StringEqualsIfExists", True),
    ],
)
def test_a_missing_key(operator: str, holds: bool) -> None:
    assert _holds(operator, "1", {}) is holds


@pytest.mark.parametrize(
    ("value", "keys", "holds"),
    [
        ("true", {}, True),
        (True, {"k": "x"}, False),
        ("false", {"k": "x"}, True),
        ("false", {}, False),
        ("true", {"k": []}, True),
    ],
)
def test_null_asks_for_absence(value: Any, keys: Keys, holds: bool) -> None:
    assert _holds("Null", value, keys) is holds


@pytest.mark.parametrize(
    ("operator", "seen", "holds"),
    [
        ("ForAllValues:StringEquals", ["a", "b"], True),
        ("ForAllValues:StringEquals", ["a", "c"], False),
        ("ForAnyValue:StringEquals", ["a", "c"], True),
        ("ForAnyValue:StringEquals", ["c", "d"], False),
        ("ForAllValues:StringNotEquals", ["c", "d"], True),
        ("ForAllValues:StringNotEquals", ["a", "d"], False),
        ("ForAnyValue:StringNotEquals", ["a", "d"], True),
        ("ForAnyValue:StringNotEquals", ["a", "b"], False),
        ("StringNotEquals", ["a", "d"], False),
    ],
)
def test_keys_of_many_values(operator: str, seen: list[str], holds: bool) -> None:
    assert _holds(operator, ["a", "b"], {"k": seen}) is holds


def test_keys_differ_by_more_than_case() -> None:
    assert _holds("StringEquals", "x", {"aws:sourcearn": "x"}, key="AWS:SourceArn")


def test_variables_in_values() -> None:
    keys: Keys = {"k": "home/bob", "aws:username": "bob"}
    assert _holds("StringEquals", "home/${aws:username}", keys)
    assert _holds("StringLike", "h*/${AWS:UserName}", keys)
    assert not _holds("StringEquals", "home/${aws:userid}", keys)


def test_reading_is_noted() -> None:
    (condition,) = parse_conditions({"StringEquals": {"K": "${aws:username}"}}, variables=True)
    reader = Reader({"k": "x"})
    condition.holds(reader)
    assert reader.reads == {"k", "aws:username"}
