"""Filter policies of topics, and the filters of mappings and pipes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from boda.events.patterns import PatternError
from boda.events.patterns.dialects import (
    FILTERED_SOURCES,
    PolicyScopeError,
    Scope,
    attributes_event,
    body_event,
    compile_filter_policy,
    compile_record_filter,
)


def refused(policy: Any, scope: Scope = "MessageBody") -> str:
    text = policy if isinstance(policy, str) else json.dumps(policy)
    with pytest.raises(PatternError) as error:
        compile_filter_policy(text, scope)
    return str(error.value)


def test_a_policy_that_is_no_json_is_refused_without_its_text() -> None:
    assert refused("invalid") == (
        "failed to parse JSON. Unrecognized token 'invalid': was expecting (JSON String, Number, "
        "Array, Object or token 'null', 'true' or 'false')\n at [Source: REDACTED "
        "(`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: 8]"
    )


def test_a_policy_has_few_keys_and_combinations() -> None:
    assert refused({str(n): ["x"] for n in range(6)}) == (
        "Filter policy can not have more than 5 keys"
    )
    values = [str(n) for n in range(13)]
    assert refused({"a": values, "b": values[:12]}) == "Filter policy is too complex"
    compile_filter_policy(json.dumps({"a": values[:12], "b": values[:12]}), "MessageAttributes")
    # Levels multiply: 3 × 4 · 2 × 3 = 72, and so on.
    nested = {"a": {"b": {"c": values[:4]}}, "d": {"e": values[:3]}}
    compile_filter_policy(json.dumps(nested), "MessageBody")
    nested["d"]["e"] = values[:7]  # type: ignore[assignment]
    assert refused(nested) == "Filter policy is too complex"
    forks = {"$or": [{"a": values}, {"b": values}], "c": values[:5]}
    compile_filter_policy(json.dumps(forks), "MessageBody")
    assert refused({**forks, "c": values[:6]}) == "Filter policy is too complex"


def test_attributes_are_not_nested() -> None:
    with pytest.raises(PolicyScopeError, match=r"^Filter policy scope MessageAttributes does not"):
        compile_filter_policy('{"a": {"b": ["x"]}}', "MessageAttributes")


def test_a_policy_on_attributes() -> None:
    event = attributes_event(
        {
            "store": ("String", "web"),
            "label": ("String.custom", "x"),
            "price": ("Number", "99.5"),
            "tags": ("String.Array", '["a", 1, null]'),
            "broken": ("String.Array", "a, b"),
            "raw": ("Binary", "AAAA"),
        }
    )
    assert event == {"store": "web", "label": "x", "price": 99.5, "tags": ["a", 1, None]}
    for policy, passes in (
        ({"store": ["web", "app"]}, True),
        ({"price": [{"numeric": [">", 0, "<=", 100]}]}, True),
        ({"price": ["99.5"]}, False),
        ({"tags": [{"anything-but": ["a"]}]}, True),
        ({"tags": [None], "raw": [{"exists": False}]}, True),
        ({"missing": [{"anything-but": "x"}]}, False),
    ):
        compiled = compile_filter_policy(json.dumps(policy), "MessageAttributes")
        assert compiled.matches(event) is passes, policy


def test_a_policy_on_the_body() -> None:
    compiled = compile_filter_policy('{"a": {"b": ["x"]}}', "MessageBody")
    assert compiled.matches(body_event('{"a.b": "x"}'))
    for body in ("text", '["x"]', '"x"', "null", b"\xff"):
        assert body_event(body) is None
        assert not compiled.matches(body_event(body))


def passes(source: str, pattern: Any, record: dict[str, Any]) -> bool:
    made = compile_record_filter([json.dumps(pattern)], FILTERED_SOURCES[source])
    return made.passes(record)


def test_the_format_of_a_queue_filter_must_be_that_of_the_body() -> None:
    parsed, plain, other = {"body": {"a": ["x"]}}, {"body": ["text"]}, {"messageId": ["1"]}
    for body, wanted in (
        ('{"a": "x"}', (True, False, True)),
        ('{"a": "y"}', (False, False, True)),
        ("text", (False, True, True)),
        ("more", (False, False, True)),
        ('"text"', (False, False, True)),
    ):
        record = {"messageId": "1", "body": body}
        assert tuple(passes("sqs", each, record) for each in (parsed, plain, other)) == wanted


def test_the_data_of_streams_is_decoded() -> None:
    pattern = {"data": {"a": [{"numeric": [">", 1]}]}, "partitionKey": ["p"]}
    record = {"partitionKey": "p", "data": base64.b64encode(b'{"a": 2}').decode()}
    assert passes("kinesis", pattern, record)
    assert not passes("kinesis", pattern, {**record, "data": base64.b64encode(b"text").decode()})
    assert not passes("kinesis", pattern, {**record, "data": base64.b64encode(b"\xff").decode()})
    assert not passes("kinesis", pattern, {**record, "data": "no base64"})
    change = {"eventName": ["INSERT"], "dynamodb": {"NewImage": {"id": {"S": ["1"]}}}}
    inserted = {"eventName": "INSERT", "dynamodb": {"NewImage": {"id": {"S": "1"}}}}
    assert passes("dynamodb", change, inserted)


def test_one_of_several_filters_suffices_and_none_lets_all_pass() -> None:
    source = FILTERED_SOURCES["sqs"]
    several = compile_record_filter(['{"body": ["a"]}', '{"body": ["b"]}'], source)
    assert several.passes({"body": "b"}) and not several.passes({"body": "c"})
    assert compile_record_filter([], source).passes({"body": "c"})


@pytest.mark.parametrize(
    ("source", "pattern"),
    [
        ("sqs", "text"),
        ("sqs", '["body"]'),
        ("sqs", '{"body": "x"}'),
        ("sqs", '{"body": [{"wildcard": "x*"}]}'),
        ("sqs", '{"body": {"ip": [{"cidr": "10.0.0.0/8"}]}}'),
        ("kinesis", '{"data": ["plain"]}'),
    ],
)
def test_what_is_no_filter(source: str, pattern: str) -> None:
    with pytest.raises(PatternError):
        compile_record_filter([pattern], FILTERED_SOURCES[source])
