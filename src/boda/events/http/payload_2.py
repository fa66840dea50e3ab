"""Payload format 2.0: HTTP APIs and function URLs.

Sources: API Gateway developer guide, "http-api-develop-integrations-lambda"; Lambda developer
guide, "urls-invocation"; the inference of answers is as recorded.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from boda.core import payloads
from boda.events.http.messages import (
    HOP_HEADERS,
    HttpAnswer,
    HttpRequest,
    Lines,
    grouped,
    header_text,
    query_pairs,
    request_time,
    sendable,
)

_TEXT = re.compile(r"text/|application/(json|javascript|xml)\b", re.IGNORECASE)
_LEFT_OUT = HOP_HEADERS | {"cookie"}
_OURS = ("content-length", "date", "x-amzn-requestid")
"""Headers that every answer has; a function's own are sent under other names."""
_ID, _TRACE, _BODY = "boda-request-id", "boda-trace-id", b"boda-body"
_JSON = ("content-type", "application/json")
_ODD = re.compile(rb"[0-9][.eE]|[0-9]{16}|-0")
"""Matches JSON with numbers that not all readers and writers treat alike."""
_SHORT = 16 * 1024
_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """The facts that an API, or a function URL, and the request's way through it add to an event.

    authorizer: None if the request was not authorised. authentication: of a client's certificate.
    dropped: lower-case names of headers that the function does not get. text: matches the content
    types of bodies that come as text; all others come in base64, whatever their bytes.
    """

    account_id: str
    api_id: str
    domain_prefix: str
    route_key: str = "$default"
    stage: str = "$default"
    path_parameters: Mapping[str, str] = field(default_factory=dict)
    stage_variables: Mapping[str, str] = field(default_factory=dict)
    authorizer: Mapping[str, Any] | None = None
    authentication: Mapping[str, Any] | None = None
    dropped: frozenset[str] = frozenset()
    text: re.Pattern[str] = _TEXT


def event(
    request: HttpRequest, route: HttpRoute, *, request_id: str, trace_id: str, now_s: float
) -> dict[str, Any]:
    """Return the event that a function is called with.

    Its path is the request's. Empty members are left out, but for the query string.
    """
    given = _joined(request.lines)
    headers = {
        name: value
        for name, value in given.items()
        if name not in _LEFT_OUT and name not in route.dropped
    }
    headers |= request.forwarded(trace_id)
    made: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route.route_key,
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": _context(request, route, given.get("user-agent", ""), request_id, now_s),
        "isBase64Encoded": False,
    }
    if "cookie" in given:
        cookies = [value for name, value in request.lines if name.lower() == "cookie"]
        made["cookies"] = [each.strip() for line in cookies for each in line.split(";")]
    if request.query:
        made["queryStringParameters"] = _parameters(request.query)
    if route.path_parameters:
        made["pathParameters"] = dict(route.path_parameters)
    if route.stage_variables:
        made["stageVariables"] = dict(route.stage_variables)
    if request.body:
        made |= _body(request.body, given.get("content-type", ""), route)
    return made


def _joined(lines: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return headers by their lower-case names, the values of each in one."""
    found: dict[str, str] = {}
    for name, value in lines:
        lower = name.lower()
        found[lower] = f"{found[lower]},{value}" if lower in found else value
    return found


def _parameters(query: str) -> dict[str, str]:
    return {
        name: ",".join(values) for name, values in grouped(query_pairs(query, decoded=True)).items()
    }


def _context(
    request: HttpRequest, route: HttpRoute, user_agent: str, request_id: str, now_s: float
) -> dict[str, Any]:
    context: dict[str, Any] = {
        "accountId": route.account_id,
        "apiId": route.api_id,
        "domainName": request.host,
        "domainPrefix": route.domain_prefix,
        "http": {
            "method": request.method,
            "path": request.path,
            "protocol": request.protocol,
            "sourceIp": request.source_ip,
            "userAgent": user_agent,
        },
        "requestId": request_id,
        "routeKey": route.route_key,
        "stage": route.stage,
        "time": request_time(int(now_s)),
        "timeEpoch": int(now_s * 1000),
    }
    if route.authentication is not None:
        context["authentication"] = dict(route.authentication)
    if route.authorizer is not None:
        context["authorizer"] = dict(route.authorizer)
    return context


def _body(body: bytes, content_type: str, route: HttpRoute) -> dict[str, Any]:
    if route.text.match(content_type):
        try:
            return {"body": body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {"body": base64.b64encode(body).decode("ascii"), "isBase64Encoded": True}


@lru_cache(maxsize=4)
def _stamp(epoch_s: int) -> bytes:
    """Return the time members of an event, but for the last number."""
    return f'"time":"{request_time(epoch_s)}","timeEpoch":'.encode()


class EventForm:
    """The events of requests that have the same head and the same route.

    request: without its body; its headers show whether there is one.
    """

    def __init__(self, request: HttpRequest, route: HttpRoute) -> None:
        """Raises ValueError if a header's value equals a placeholder of the form."""
        content_type = request.header("content-type")
        self._text = route.text.match(content_type) is not None
        self._bodied = request.header("content-length").strip("0") != ""
        request = request.with_body(_BODY if self._bodied else b"")
        made = orjson.dumps(event(request, route, request_id=_ID, trace_id=_TRACE, now_s=0.0))
        # In the order in which an event has them.
        varying = [
            (b'"%b"' % _TRACE.encode(), b'"%b"'),
            (b'"%b"' % _ID.encode(), b'"%b"'),
            (_stamp(0) + b"0", b"%b%d"),
        ]
        if self._bodied:
            said = _body(_BODY, content_type, route)["body"]
            varying.append((b'"%b"' % said.encode(), b"%b"))
        form, rest = b"", made
        for mark, gap in varying:
            before, _, rest = rest.partition(mark)
            if made.count(mark) != 1 or not rest:
                raise ValueError("what varies in an event cannot be told from what does not")
            form += before.replace(b"%", b"%%") + gap
        self._form = form + rest.replace(b"%", b"%%")

    def fill(self, body: bytes, request_id: str, trace_id: str, now_s: float) -> bytes | None:
        """Return the event as JSON, as ``event`` makes it. None if the body is not text although
        its type says so.

        request_id, trace_id: of characters that JSON does not escape.
        """
        varying = (trace_id.encode(), request_id.encode(), _stamp(int(now_s)), int(now_s * 1000))
        if not self._bodied:
            return self._form % varying
        if not self._text:
            return self._form % (*varying, b'"%b"' % base64.b64encode(body))
        try:
            return self._form % (*varying, orjson.dumps(body.decode()))
        except UnicodeDecodeError:
            return None


def answer(payload: bytes) -> HttpAnswer | None:
    """Return the answer that a result becomes. None if none can be made of it.

    For a payload of more than ``payloads.READ_AT_ONCE_BYTES``, to be called in a thread.
    """
    return _usual(payload) or _unusual(payload)


def _usual(payload: bytes) -> HttpAnswer | None:
    """Return the answer faster, for the most frequent results: an object that both readers of JSON
    read alike. None for everything else."""
    if payload[:1] != b"{" or len(payload) > _SHORT or _ODD.search(payload):
        return None
    try:
        result = orjson.loads(payload)
        if "statusCode" not in result:
            return HttpAnswer(200, [_JSON], orjson.dumps(result))
    except (ValueError, TypeError):  # not UTF-8, half a surrogate, no JSON; or too deep
        return None
    status, headers, body = result["statusCode"], result.get("headers"), result.get("body")
    if type(status) is not int or not 200 <= status <= 599 or type(body) is not str:
        return None
    if result.get("isBase64Encoded") or result.get("cookies"):
        return None
    if not headers:
        return HttpAnswer(status, [_JSON], body.encode())
    if type(headers) is not dict:
        return None
    lines = _usual_lines(tuple(headers.items())) if _texts(headers) else None
    return HttpAnswer(status, [*lines], body.encode()) if lines else None


def _texts(headers: Mapping[str, Any]) -> bool:
    """Return whether headers are strings and short enough to be cached."""
    return len(headers) <= 16 and all(
        type(value) is str and len(value) <= 128 and len(name) <= 128
        for name, value in headers.items()
    )


@lru_cache(maxsize=256)
def _usual_lines(headers: tuple[tuple[str, str], ...]) -> Lines | None:
    """Return the header lines, cached, since functions answer the same headers repeatedly.
    Read-only."""
    named = {name.lower(): value for name, value in headers}
    named.setdefault(*_JSON)
    return _lines(named, [])


def _unusual(payload: bytes) -> HttpAnswer | None:
    try:
        result = payloads.loads(payload)
    except (ValueError, RecursionError):
        return None
    dense = payloads.is_dense(payload)  # writing it again would block the event loop
    if not isinstance(result, dict) or "statusCode" not in result:
        return HttpAnswer(200, [_JSON], payload) if dense else _plain(200, result, {}, [])
    head = _head(result)
    if head is None:
        return None
    status, headers, cookies = head
    body = result.get("body")
    if dense and isinstance(body, dict | list):
        return None
    if result.get("isBase64Encoded") is True:
        try:
            body = base64.b64decode(body or "", validate=True)
        except (TypeError, ValueError, binascii.Error):
            return None
    return _plain(status, "" if body is None else body, headers, cookies)


def streamed_head(prelude: bytes) -> HttpAnswer | None:
    """Return the head of a streamed answer, from the object before its eight zero bytes.

    None if none can be made of it.
    """
    try:
        result = json.loads(prelude)
    except (ValueError, RecursionError):
        return None
    head = _head({"statusCode": 200, **result}) if isinstance(result, dict) else None
    if head is None:
        return None
    status, headers, cookies = head
    lines = _lines({"content-type": "application/octet-stream", **headers}, cookies)
    return HttpAnswer(status, lines) if lines is not None else None


def typed_head(content_type: str) -> HttpAnswer:
    """Return the head of a streamed answer that has only a content type."""
    lines = _lines({"content-type": content_type}, []) if content_type else None
    return HttpAnswer(200, lines or [("content-type", "application/octet-stream")])


def _head(result: Mapping[str, Any]) -> tuple[int, dict[str, str], list[str]] | None:
    """Return status, headers by lower-case names, and cookies; None if they are malformed.

    A header that is null is left out.
    """
    status, headers = result["statusCode"], result.get("headers") or {}
    cookies = result.get("cookies") or []
    if isinstance(status, str) and status.isascii() and status.isdigit():
        status = int(status)
    whole = isinstance(status, int) and not isinstance(status, bool) and 200 <= status <= 599
    if not whole or not isinstance(headers, dict) or not isinstance(cookies, list):
        return None
    try:
        named = {
            name.lower(): header_text(value) for name, value in headers.items() if value is not None
        }
        return status, named, [header_text(cookie) for cookie in cookies if cookie is not None]
    except TypeError:
        return None


def _lines(named: Mapping[str, str], cookies: list[str]) -> Lines | None:
    """Return the answer's headers; None if one cannot be sent."""
    lines = [
        (f"x-amzn-remapped-{name}" if name in _OURS else name, value)
        for name, value in named.items()
        if name not in HOP_HEADERS
    ]
    return sendable(lines + [("set-cookie", cookie) for cookie in cookies])


def _plain(
    status: int, body: Any, headers: dict[str, str], cookies: list[str]
) -> HttpAnswer | None:
    lines: Lines | None = [_JSON]
    if headers or cookies:
        headers.setdefault(*_JSON)
        lines = _lines(headers, cookies)
    if lines is None:
        return None
    if isinstance(body, str):
        body = body.encode(errors="replace")
    elif not isinstance(body, bytes):
        body = _compact(body).encode(errors="replace")
    return HttpAnswer(status, lines, body)
