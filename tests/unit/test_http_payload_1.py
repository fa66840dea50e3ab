"""Payload format 1.0: what functions behind REST APIs get, and what becomes of their results."""

from __future__ import annotations

from typing import Any

import pytest

from boda.events.http import payload_1
from boda.events.http.payload_1 import RestRoute, UndecodableBody, binary_types
from support.http_forms import answered, request

ROUTE = RestRoute(
    account_id="000000000000",
    api_id="abc",
    stage="dev",
    resource="/pets/{id}",
    path="/dev/pets/7",
    resource_id="r1",
    deployment_id="d1",
    path_parameters={"id": "7"},
)


def event(route: RestRoute = ROUTE, types: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    return payload_1.event(
        request(**changes),
        route,
        request_id="id",
        extended_request_id="extended=",
        trace_id="Root=1",
        now_s=1_583_348_638.39,
        is_binary=binary_types(types),
    )


def test_the_event_of_a_rest_api() -> None:
    made = event()
    assert "version" not in made
    assert made["headers"] == {
        "Host": "abc.execute-api.localhost",
        "X-List": "two",
        "User-Agent": "test",
        "Content-Type": "application/json",
        "X-Amzn-Trace-Id": "Root=1",
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-Port": "4566",
        "X-Forwarded-Proto": "http",
    }
    assert made["multiValueHeaders"]["X-List"] == ["one", "two"]
    assert made["queryStringParameters"] == {"a": "2", "b": "é x", "c": ""}
    assert made["multiValueQueryStringParameters"] == {"a": ["1", "2"], "b": ["é x"], "c": [""]}
    assert (made["resource"], made["path"], made["httpMethod"]) == ("/pets/{id}", "/pets/7", "POST")
    assert made["pathParameters"] == {"id": "7"} and made["stageVariables"] is None
    assert (made["body"], made["isBase64Encoded"]) == ('{"x": 1}', False)
    context = made["requestContext"]
    assert context["path"] == "/dev/pets/7" and context["resourcePath"] == "/pets/{id}"
    assert context["requestTime"] == "04/Mar/2020:19:03:58 +0000"
    assert context["requestTimeEpoch"] == 1_583_348_638_390
    assert (context["domainName"], context["domainPrefix"]) == ("abc.execute-api.localhost", "abc")
    assert context["identity"]["sourceIp"] == "10.0.0.1" and context["identity"]["user"] is None
    assert "authorizer" not in context and "operationName" not in context


def test_what_is_empty_is_null() -> None:
    made = event(query="", body=b"", lines=[])
    for member in ("queryStringParameters", "multiValueQueryStringParameters", "body"):
        assert made[member] is None


def test_an_http_api_has_a_version_and_lower_case_names() -> None:
    route = RestRoute("0" * 12, "abc", "$default", "GET /pets", "/pets", http_api=True)
    made = event(route)
    assert made["version"] == "1.0"
    assert made["multiValueHeaders"]["x-list"] == ["one", "two"]
    assert made["headers"]["x-forwarded-for"] == "10.0.0.1"
    assert made["requestContext"]["resourceId"] is None


def test_headers_that_a_function_does_not_get() -> None:
    lines = [
        ("Authorization", "AWS4-HMAC-SHA256 Credential=x"),
        ("x-forwarded-for", "1.2.3.4"),
        ("TE", "trailers"),
    ]
    headers = event(lines=lines)["headers"]
    assert headers["X-Forwarded-For"] == "1.2.3.4, 10.0.0.1"
    assert not {"Authorization", "x-forwarded-for", "TE"} & headers.keys()
    assert event(lines=[("Authorization", "Bearer x")])["headers"]["Authorization"] == "Bearer x"


@pytest.mark.parametrize(
    ("types", "content_type", "encoded"),
    [
        ((), "image/png", False),
        (("image/png",), "image/png; q=1", True),
        (("image/*",), "IMAGE/gif", True),
        (("image/*",), "text/plain", False),
        (("*/*",), "", True),
        (("application/json",), "application/json", True),
    ],
)
def test_bodies_of_binary_media_types_are_encoded(
    types: tuple[str, ...], content_type: str, encoded: bool
) -> None:
    made = event(types=types, lines=[("content-type", content_type)], body=b"\xff\x00")
    assert made["isBase64Encoded"] is encoded
    assert made["body"] == ("/wA=" if encoded else "\ufffd\x00")


def test_a_body_in_base64_is_decoded_for_who_accepts_it() -> None:
    result = {"body": "AP8=", "isBase64Encoded": True}
    found = answered(result, accepts_binary=True)
    assert found is not None and found[2] == b"\x00\xff"
    with pytest.raises(UndecodableBody):
        answered({"body": "no base64!", "isBase64Encoded": True}, accepts_binary=True)
    is_binary = binary_types(("image/*",))
    assert payload_1.accepts("image/png;q=0.1, text/html", is_binary)
    assert not payload_1.accepts("text/html, image/png", is_binary), "only the first type counts"


@pytest.mark.parametrize(
    "result",
    [
        {"headers": {"x": 1}},
        {"headers": ["x"]},
        {"headers": {"a b": "x"}},
        {"headers": {"x": "a\r\nset-cookie: y"}},
        {"multiValueHeaders": {"x": [1]}},
        {"body": {"a": 1}},
        {"statusCode": True},
        {"statusCode": 99},
        {"statusCode": 600},
        [],
    ],
)
def test_what_is_no_answer(result: Any) -> None:
    assert answered(result) is None
    assert payload_1.answer(b"{", False) is None


def test_headers_that_are_the_gateways_get_other_names() -> None:
    result = {"headers": {"Content-Length": "1", "Date": "x", "transfer-encoding": "chunked"}}
    found = answered(result)
    assert found is not None
    assert found[1] == {
        "x-amzn-Remapped-Content-Length": "1",
        "x-amzn-Remapped-Date": "x",
        "Content-Type": "application/json",
    }
