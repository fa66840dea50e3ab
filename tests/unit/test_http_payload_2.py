"""Payload format 2.0: events of requests; results mean the same however they are read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from boda.events.http import payload_2
from boda.events.http.payload_2 import EventForm, HttpRoute
from support.http_forms import request

Said = tuple[int, list[tuple[str, str]], Any] | None

_NUMBERS = some.one_of(
    some.integers(-(10**25), 10**25), some.floats(), some.sampled_from([0, -1, 2**53, 2**63, 2**64])
)
_TEXTS = some.text(some.characters(codec=None), max_size=8)
_VALUES = some.recursive(
    some.one_of(some.none(), some.booleans(), _NUMBERS, _TEXTS),
    lambda inner: some.one_of(
        some.lists(inner, max_size=3), some.dictionaries(_TEXTS, inner, max_size=3)
    ),
    max_leaves=8,
)
_NAMES = some.sampled_from(["Content-Type", "content-type", "x-a", "X-A", "Connection", "a b", ""])
_MEMBERS: dict[str, Any] = {
    "statusCode": some.one_of(some.sampled_from([200, 204, 404, 599, 600, 199, "201"]), _VALUES),
    "headers": some.one_of(
        some.dictionaries(_NAMES, some.one_of(some.sampled_from(["1", "é", "a\nb"]), _VALUES)),
        _VALUES,
    ),
    "body": some.one_of(_TEXTS, _VALUES),
    "cookies": some.one_of(some.just([]), some.lists(_TEXTS), _VALUES),
    "isBase64Encoded": some.one_of(some.booleans(), _VALUES),
}
_ANSWERS = some.one_of(
    some.dictionaries(_TEXTS, _VALUES, max_size=4),
    some.fixed_dictionaries({}, optional=_MEMBERS),
)


def said(response: Any) -> Said:
    return None if response is None else (response.status, response.headers, response.body)


@given(_ANSWERS, some.booleans(), some.sampled_from([None, (",", ":"), (" ,\n", "\t: ")]))
def test_the_quick_reader_reads_as_the_thorough_one(
    answer: Any, escaped: bool, separators: tuple[str, str] | None
) -> None:
    text = json.dumps(answer, ensure_ascii=escaped, separators=separators)
    payload = text.encode(errors="surrogatepass")
    assert said(payload_2.answer(payload)) == said(payload_2._unusual(payload))


@pytest.mark.parametrize(
    "text",
    [
        '{"a":-0}',
        '{"a":-0.0}',
        '{"a":1e5}',
        '{"a":1E400}',
        '{"a":1e-7}',
        '{"a":12345678901234567890123}',
        '{"a":9007199254740993}',
        '{"a":NaN,"b":-Infinity}',
        '{"a":01}',
        '{"a":1,"a":2,"b":3,"a":4}',
        '{"statusCode":200,"statusCode":404,"body":"x"}',
        '{"a":"\\ud800","b":"\\ud83d\\ude00","c":"\\u0000\\u001f\\u007f\\u2028/\\/"}',
        '{"a":"\x01"}',
        '{"a":"\x7f\u2028"}',
        '{"a":1}x',
        '{"a":1} \n',
        "{\x0c}",
        "{}",
        "{",
        "{'a':1}",
        '{"a":1,}',
        '{"a":' + "[" * 300 + "]" * 300 + "}",
        '{"statusCode":200,"body":"x","headers":{"a":"b\\r\\nc: d"}}',
        '{"statusCode":200,"body":"x","headers":{"content-length":"9"}}',
        '{"statusCode":200,"body":"\\ud800"}',
        '{"statusCode":true,"body":"x"}',
        '{"statusCode":2e2,"body":"x"}',
    ],
)
def test_so_does_it_what_is_seldom_seen(text: str) -> None:
    for payload in (text.encode(), text.encode("utf-16-le"), text.encode("utf-8-sig")):
        for _ in range(2):  # what is remembered of the first is what the second gets
            response = payload_2.answer(payload)
            assert said(response) == said(payload_2._unusual(payload))
            if response is not None:
                response.headers.append(("a", "b"))


def test_the_usual_is_read_quickly() -> None:
    """Or the tests above would compare the thorough reader with itself."""
    for text in (
        '{"hello": "rider 7", "total": 12}',
        '{"statusCode": 200, "body": "hello"}',
        '{"statusCode": 404, "headers": {"Content-Type": "text/html"}, "body": "é"}',
    ):
        assert payload_2._usual(text.encode()) is not None


ROUTE = HttpRoute(
    "000000000000",
    "abc",
    "abc",
    route_key="GET /pets/{id}",
    stage="dev",
    path_parameters={"id": "7"},
    stage_variables={"v": "1"},
    authorizer={"jwt": {"scopes": None}},
    dropped=frozenset({"authorization"}),
)


LINES = [
    ("Host", "abc.execute-api.localhost"),
    ("X-List", "one"),
    ("x-list", "two"),
    ("Cookie", "a=1; b=2"),
    ("cookie", "c=3"),
    ("Connection", "keep-alive"),
    ("Authorization", "Bearer x"),
    ("X-Forwarded-For", "192.0.2.1"),
    ("X-Forwarded-Proto", "https"),
    ("User-Agent", "test"),
    ("Content-Type", "application/json"),
]


def event(route: HttpRoute = ROUTE, **changes: Any) -> dict[str, Any]:
    given = request(**{"path": "/dev/pets/7", "lines": LINES, **changes})
    return payload_2.event(given, route, request_id="id", trace_id="Root=1", now_s=1_583_348_638.39)


def test_the_event_of_an_http_api() -> None:
    assert event() == {
        "version": "2.0",
        "routeKey": "GET /pets/{id}",
        "rawPath": "/dev/pets/7",
        "rawQueryString": "a=1&a=2&b=%C3%A9+x&c",
        "headers": {
            "host": "abc.execute-api.localhost",
            "x-list": "one,two",
            "user-agent": "test",
            "content-type": "application/json",
            "x-amzn-trace-id": "Root=1",
            "x-forwarded-for": "192.0.2.1, 10.0.0.1",
            "x-forwarded-port": "4566",
            "x-forwarded-proto": "http",
        },
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "abc",
            "domainName": "abc.execute-api.localhost",
            "domainPrefix": "abc",
            "http": {
                "method": "POST",
                "path": "/dev/pets/7",
                "protocol": "HTTP/1.1",
                "sourceIp": "10.0.0.1",
                "userAgent": "test",
            },
            "requestId": "id",
            "routeKey": "GET /pets/{id}",
            "stage": "dev",
            "time": "04/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1583348638390,
            "authorizer": {"jwt": {"scopes": None}},
        },
        "isBase64Encoded": False,
        "cookies": ["a=1", "b=2", "c=3"],
        "queryStringParameters": {"a": "1,2", "b": "é x", "c": ""},
        "pathParameters": {"id": "7"},
        "stageVariables": {"v": "1"},
        "body": '{"x": 1}',
    }


def test_what_is_empty_is_left_out() -> None:
    made = event(HttpRoute("000000000000", "abc", "abc"), query="", lines=[], body=b"")
    assert set(made) == {
        *("version", "routeKey", "rawPath", "rawQueryString", "headers", "requestContext"),
        "isBase64Encoded",
    }
    assert (made["routeKey"], made["requestContext"]["stage"]) == ("$default", "$default")
    assert "authorizer" not in made["requestContext"]
    assert "authentication" not in made["requestContext"]
    certified = HttpRoute("000000000000", "abc", "abc", authentication={"clientCert": {}})
    assert event(certified)["requestContext"]["authentication"] == {"clientCert": {}}


@pytest.mark.parametrize(
    ("content_type", "body", "said", "encoded"),
    [
        ("text/plain; charset=utf-8", "é".encode(), "é", False),
        ("APPLICATION/JSON", b"{}", "{}", False),
        ("application/javascript", b"1", "1", False),
        ("text/plain", b"\xff", "/w==", True),
        ("application/vnd.api+json", b"{}", "e30=", True),
        ("application/x-www-form-urlencoded", b"a=1", "YT0x", True),
        ("", b"a", "YQ==", True),
    ],
)
def test_bodies_are_text_or_base64(
    content_type: str, body: bytes, said: str, encoded: bool
) -> None:
    made = event(lines=[("content-type", content_type)], body=body)
    assert (made["body"], made["isBase64Encoded"]) == (said, encoded)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"a": "100%"}'),
        ("text/plain", "é\n".encode()),
        ("image/png", b"\xff\0"),
        ("", b""),
    ],
)
def test_a_form_makes_the_same_events(content_type: str, body: bytes) -> None:
    lines = [("user-agent", "100% %s"), ("content-type", content_type)]
    if body:
        lines.append(("content-length", str(len(body))))
    form = EventForm(request(lines=lines, body=b""), ROUTE)
    for now_s in (0.0, 1_583_348_638.39):
        made = payload_2.event(
            request(lines=lines, body=body), ROUTE, request_id="id", trace_id="Root=1", now_s=now_s
        )
        filled = form.fill(body, "id", "Root=1", now_s)
        assert filled is not None and json.loads(filled) == made


def test_a_form_refuses_what_deceives_and_what_is_not_text() -> None:
    with pytest.raises(ValueError, match="what varies"):
        EventForm(request(lines=[("x-a", "boda-trace-id")], body=b""), ROUTE)
    lines = [("content-type", "text/plain"), ("content-length", "1")]
    form = EventForm(request(lines=lines, body=b""), ROUTE)
    assert form.fill(b"\xff", "id", "Root=1", 0.0) is None
