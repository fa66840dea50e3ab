"""Application Load Balancers whose target is a function.

Source: Application Load Balancer guide, "lambda-functions". A target group has single values or
several ("lambda.multi_value_headers.enabled"); events and results use one pair of members or the
other, never both.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import orjson

from boda.events.http.messages import (
    HOP_HEADERS,
    HttpAnswer,
    HttpRequest,
    Lines,
    grouped,
    last_values,
    query_pairs,
    sendable,
    status_of,
)

_TEXT = re.compile(r"text/|application/(json|javascript|xml)\b", re.IGNORECASE)


class NonTextBody(ValueError):
    """A request's body is not text, although its type says so. The client gets 400."""


def event(
    request: HttpRequest, *, target_group_arn: str, multiple: bool, trace_id: str
) -> dict[str, Any]:
    """Return the event that a function is called with.

    multiple: whether the target group has several values. The query is not decoded.
    Raises NonTextBody.
    """
    added = request.forwarded(trace_id)
    lines = [(name.lower(), value) for name, value in request.lines]
    headers = grouped(
        [(name, value) for name, value in lines if name not in added and name not in HOP_HEADERS]
        + list(added.items())
    )
    body, encoded = _body(request)
    return _event(
        target_group_arn,
        request.method,
        request.path,
        grouped(query_pairs(request.query, decoded=False)),
        headers,
        body,
        encoded,
        multiple,
    )


def health_check(path: str, *, target_group_arn: str, multiple: bool) -> dict[str, Any]:
    """Return the event of a health check."""
    headers = {"user-agent": ["ELB-HealthChecker/2.0"]}
    return _event(target_group_arn, "GET", path, {}, headers, "", False, multiple)


def _event(
    target_group_arn: str,
    method: str,
    path: str,
    query: dict[str, list[str]],
    headers: dict[str, list[str]],
    body: str,
    encoded: bool,
    multiple: bool,
) -> dict[str, Any]:
    members: dict[str, Any] = (
        {"multiValueQueryStringParameters": query, "multiValueHeaders": headers}
        if multiple
        else {"queryStringParameters": last_values(query), "headers": last_values(headers)}
    )
    return {
        "requestContext": {"elb": {"targetGroupArn": target_group_arn}},
        "httpMethod": method,
        "path": path,
        **members,
        "body": body,
        "isBase64Encoded": encoded,
    }


def _body(request: HttpRequest) -> tuple[str, bool]:
    if not request.body:
        return "", False
    if request.header("content-encoding") or not _TEXT.match(request.header("content-type")):
        return base64.b64encode(request.body).decode("ascii"), True
    try:
        return request.body.decode(), False
    except UnicodeDecodeError:
        raise NonTextBody from None


def answer(payload: bytes, *, multiple: bool) -> HttpAnswer | None:
    """Return the answer that a result becomes. None if it is malformed: the client gets 502."""
    try:
        result = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(result, dict):
        return None
    status = status_of(result.get("statusCode"))
    lines = _lines(result.get("multiValueHeaders" if multiple else "headers"), multiple)
    body = result.get("body")
    if status is None or lines is None or not (body is None or isinstance(body, str)):
        return None
    data = (body or "").encode()
    if result.get("isBase64Encoded") is True:
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error:
            return None
    return HttpAnswer(status, lines, data)


def _lines(headers: Any, multiple: bool) -> Lines | None:
    if not isinstance(headers or {}, dict):
        return None
    lines: Lines = []
    for name, given in (headers or {}).items():
        values = given if multiple else [given]
        if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
            return None
        if name.lower() not in HOP_HEADERS and name.lower() != "content-length":
            lines += [(name, value) for value in values]
    return sendable(lines)
