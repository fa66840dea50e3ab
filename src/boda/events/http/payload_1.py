"""Payload format 1.0: REST APIs, and HTTP APIs whose integration asks for it.

Sources: API Gateway developer guide, "set-up-lambda-proxy-integrations" and "known-issues"; the
answers to results are as recorded.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from boda.events.http.messages import (
    HttpAnswer,
    HttpRequest,
    Lines,
    grouped,
    last_values,
    query_pairs,
    request_time,
    sendable,
    status_of,
)

_DROPPED = frozenset(
    (
        *("connection", "content-length", "content-md5", "expect", "max-forwards"),
        *("proxy-authenticate", "server", "te", "transfer-encoding", "trailer", "upgrade"),
        "www-authenticate",
    )
)
_REMAPPED = frozenset(("connection", "content-length", "date", "server", "x-amzn-requestid"))
_MEMBERS = frozenset(("statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"))
_FORWARDED = {
    "x-amzn-trace-id": "X-Amzn-Trace-Id",
    "x-forwarded-for": "X-Forwarded-For",
    "x-forwarded-port": "X-Forwarded-Port",
    "x-forwarded-proto": "X-Forwarded-Proto",
}
# Members of an identity that are always there, null if they are unknown.
_IDENTITY = (
    *("accessKey", "accountId", "caller", "cognitoAuthenticationProvider"),
    *("cognitoAuthenticationType", "cognitoIdentityId", "cognitoIdentityPoolId"),
    *("principalOrgId", "sourceIp", "user", "userAgent", "userArn"),
)


@dataclass(frozen=True, slots=True)
class RestRoute:
    """The facts that the deployed API and the request's way through it add to an event.

    path: with the stage, for the event's context. identity: members beyond the address and the user
    agent. authorizer: None if the request was not authorised. http_api: whether an HTTP API uses
    this format: then it has a version and lower-case names.
    """

    account_id: str
    api_id: str
    stage: str
    resource: str
    path: str
    resource_id: str | None = None
    deployment_id: str = ""
    path_parameters: Mapping[str, str] = field(default_factory=dict)
    stage_variables: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)
    authorizer: Mapping[str, Any] | None = None
    operation_name: str | None = None
    http_api: bool = False


def event(
    request: HttpRequest,
    route: RestRoute,
    *,
    request_id: str,
    extended_request_id: str,
    trace_id: str,
    now_s: float,
    is_binary: Callable[[str], bool],
) -> dict[str, Any]:
    """Return the event that a function is called with.

    is_binary: whether a content type, as it is sent, is one of the API's binary media types.
    """
    headers = _headers(request, route, trace_id)
    query = grouped(query_pairs(request.query, decoded=True))
    body, encoded = _body(request, is_binary)
    made = {
        "resource": route.resource,
        "path": request.path,
        "httpMethod": request.method,
        "headers": last_values(headers) or None,
        "multiValueHeaders": headers or None,
        "queryStringParameters": last_values(query) or None,
        "multiValueQueryStringParameters": query or None,
        "requestContext": _context(request, route, request_id, extended_request_id, now_s),
        "pathParameters": dict(route.path_parameters) or None,
        "stageVariables": dict(route.stage_variables) or None,
        "body": body,
        "isBase64Encoded": encoded,
    }
    return {"version": "1.0", **made} if route.http_api else made


def _headers(request: HttpRequest, route: RestRoute, trace_id: str) -> dict[str, list[str]]:
    added = request.forwarded(trace_id)
    lines = [
        (name.lower() if route.http_api else name, value)
        for name, value in request.lines
        if (lower := name.lower()) not in _DROPPED
        and lower not in added
        and not (lower == "authorization" and value.startswith("AWS4-"))
    ]
    lines += [(name if route.http_api else _FORWARDED[name], each) for name, each in added.items()]
    return grouped(lines)


def _body(request: HttpRequest, is_binary: Callable[[str], bool]) -> tuple[str | None, bool]:
    if not request.body:
        return None, False
    if is_binary(request.header("content-type")):
        return base64.b64encode(request.body).decode("ascii"), True
    return request.body.decode(errors="replace"), False


def _context(
    request: HttpRequest,
    route: RestRoute,
    request_id: str,
    extended_request_id: str,
    now_s: float,
) -> dict[str, Any]:
    context: dict[str, Any] = {
        "accountId": route.account_id,
        "apiId": route.api_id,
        "deploymentId": route.deployment_id,
        "domainName": request.host,
        "domainPrefix": request.host.partition(".")[0],
        "extendedRequestId": extended_request_id,
        "httpMethod": request.method,
        "identity": {
            **dict.fromkeys(_IDENTITY),
            "sourceIp": request.source_ip,
            "userAgent": request.header("user-agent") or None,
            **route.identity,
        },
        "path": route.path,
        "protocol": request.protocol,
        "requestId": request_id,
        "requestTime": request_time(int(now_s)),
        "requestTimeEpoch": int(now_s * 1000),
        "resourceId": route.resource_id,
        "resourcePath": route.resource,
        "stage": route.stage,
    }
    if route.authorizer is not None:
        context["authorizer"] = dict(route.authorizer)
    if route.operation_name is not None:
        context["operationName"] = route.operation_name
    return context


class UndecodableBody(ValueError):
    """A result declares a body in base64 that is not. The client gets 500."""


def answer(payload: bytes, accepts_binary: bool) -> HttpAnswer | None:
    """Return the answer that a result becomes. None if it is malformed: the client gets 502.

    accepts_binary: whether the first type that the request accepts is a binary media type; a body
    in base64 is sent as it is otherwise. Raises UndecodableBody.
    """
    try:
        result = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(result, dict) or not result.keys() <= _MEMBERS:
        return None
    status = status_of(result.get("statusCode", 200), least=100)
    lines = _answered_lines(result.get("headers"), result.get("multiValueHeaders"))
    body = result.get("body")
    if status is None or lines is None or not (body is None or isinstance(body, str)):
        return None
    data = (body or "").encode()
    if result.get("isBase64Encoded") is True and accepts_binary:
        try:
            data = base64.b64decode(data, validate=True)
        except binascii.Error:
            raise UndecodableBody from None
    return HttpAnswer(status, lines, data)


def _answered_lines(single: Any, multiple: Any) -> Lines | None:
    """Return the lines of both maps: the values of a name in both come together."""
    if not isinstance(single or {}, dict) or not isinstance(multiple or {}, dict):
        return None
    by_name: dict[str, tuple[str, list[str]]] = {}
    for name, values in (multiple or {}).items():
        if not isinstance(values, list) or not all(map(_is_text, values)):
            return None
        by_name.setdefault(name.lower(), (name, []))[1].extend(map(_text, values))
    for name, value in (single or {}).items():
        if not _is_text(value):
            return None
        by_name.setdefault(name.lower(), (name, []))[1].append(_text(value))
    lines: Lines = []
    for lower, (name, values) in by_name.items():
        if lower != "transfer-encoding":
            sent = f"x-amzn-Remapped-{name}" if lower in _REMAPPED else name
            lines += [(sent, value) for value in values]
    if "content-type" not in by_name:
        lines.append(("Content-Type", "application/json"))
    return sendable(lines)


def _is_text(value: Any) -> bool:
    return isinstance(value, str | bool)


def _text(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()


def accepts(accept: str, is_binary: Callable[[str], bool]) -> bool:
    """Return whether the first type of an ``Accept`` header is binary; the others do not count."""
    return is_binary(accept.partition(",")[0].partition(";")[0].strip())


def binary_types(media_types: Sequence[str]) -> Callable[[str], bool]:
    """Return whether a type is among an API's binary media types: exact, ``type/*`` or ``*/*``."""
    wanted = frozenset(each.lower() for each in media_types)

    def is_binary(content_type: str) -> bool:
        kind = content_type.partition(";")[0].strip().lower()
        family = kind.partition("/")[0]
        return "*/*" in wanted or (bool(kind) and (kind in wanted or f"{family}/*" in wanted))

    return is_binary
