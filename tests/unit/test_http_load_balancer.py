"""Load balancers: what functions get, and what becomes of their results."""

from __future__ import annotations

import json
from typing import Any

import pytest

from boda.events.http import load_balancer
from boda.events.http.messages import HttpRequest

GROUP = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/lambda/1"


def event(multiple: bool = False, **changes: Any) -> dict[str, Any]:
    members: dict[str, Any] = {
        "method": "GET",
        "path": "/a%20b",
        "query": "k=1&k=%20&n",
        "lines": [("Host", "lb"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("Connection", "close")],
        "body": b"",
        "host": "lb",
        "source_ip": "10.0.0.1",
    }
    return load_balancer.event(
        HttpRequest(**{**members, **changes}),
        target_group_arn=GROUP,
        multiple=multiple,
        trace_id="Root=1",
    )


def test_an_event_has_single_values_or_several() -> None:
    single, several = event(), event(multiple=True)
    assert single["requestContext"] == {"elb": {"targetGroupArn": GROUP}}
    assert single["queryStringParameters"] == {"k": "%20", "n": ""}, "not decoded, the last value"
    assert single["headers"]["cookie"] == "b=2" and "connection" not in single["headers"]
    assert several["multiValueQueryStringParameters"] == {"k": ["1", "%20"], "n": [""]}
    assert several["multiValueHeaders"]["cookie"] == ["a=1", "b=2"]
    assert several["multiValueHeaders"]["x-forwarded-for"] == ["10.0.0.1"]
    assert not {"headers", "queryStringParameters"} & several.keys()
    assert (single["body"], single["isBase64Encoded"], single["path"]) == ("", False, "/a%20b")
    assert event(query="")["queryStringParameters"] == {}


@pytest.mark.parametrize(
    ("lines", "encoded"),
    [
        ([("content-type", "text/plain")], False),
        ([("content-type", "application/json; charset=utf-8")], False),
        ([("content-type", "application/xml")], False),
        ([("content-type", "application/x-www-form-urlencoded")], True),
        ([("content-type", "text/plain"), ("content-encoding", "gzip")], True),
        ([], True),
    ],
)
def test_what_is_no_text_is_encoded(lines: list[tuple[str, str]], encoded: bool) -> None:
    made = event(lines=lines, body=b"abc")
    assert made["isBase64Encoded"] is encoded
    assert made["body"] == ("YWJj" if encoded else "abc")


def test_a_text_must_be_one() -> None:
    with pytest.raises(load_balancer.NonTextBody):
        event(lines=[("content-type", "text/plain")], body=b"\xff")


def test_a_health_check() -> None:
    made = load_balancer.health_check("/up", target_group_arn=GROUP, multiple=False)
    assert made["headers"] == {"user-agent": "ELB-HealthChecker/2.0"}
    assert (made["httpMethod"], made["path"], made["queryStringParameters"]) == ("GET", "/up", {})


def answered(result: Any, multiple: bool = False) -> Any:
    found = load_balancer.answer(json.dumps(result).encode(), multiple=multiple)
    return found and tuple(found)


def test_results() -> None:
    result = {
        "statusCode": 201,
        "statusDescription": "201 Created",
        "headers": {"X-A": "1", "Connection": "close", "Content-Length": "99"},
        "multiValueHeaders": {"Set-Cookie": ["a=1", "b=2"]},
        "body": "AP8=",
        "isBase64Encoded": True,
    }
    assert answered(result) == (201, [("X-A", "1")], b"\x00\xff")
    assert answered(result, multiple=True) == (
        201,
        [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")],
        b"\x00\xff",
    )
    assert answered({"statusCode": 204}) == (204, [], b"")


@pytest.mark.parametrize(
    "result",
    [
        {"body": "x"},
        {"statusCode": "x"},
        {"statusCode": 200, "headers": {"x": 1}},
        {"statusCode": 200, "headers": {"x": "a\nb"}},
        {"statusCode": 200, "body": 5},
        {"statusCode": 200, "body": "!", "isBase64Encoded": True},
        "text",
        None,
    ],
)
def test_what_is_no_answer(result: Any) -> None:
    assert answered(result) is None
    assert load_balancer.answer(b"", multiple=False) is None
