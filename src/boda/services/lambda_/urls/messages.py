"""HTTP to the event of a function URL, and a function's answer to HTTP. Pure.

Payload format 2.0. Source: Lambda developer guide, "urls-invocation"; the inference of answers is
as recorded.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import orjson

from boda.core import payloads
from boda.core.principal import Principal
from boda.gateway.http.wire import WireRequest, WireResponse

_TEXT = re.compile(r"text/|application/(.*\+)?(json|xml|javascript)\b", re.I)
"""Content types of bodies that come as text; forms come as base64, whatever is in them."""
_UNSENDABLE = re.compile(r"[\0-\x08\n-\x1f\x7f\ud800-\udfff]")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOPS = ("connection", "transfer-encoding", "keep-alive", "upgrade", "te", "trailer", "expect")
_OURS = ("content-length", "date", "x-amzn-requestid")
"""Headers that an answer has in any case; a function's own are sent under other names."""
_SECRETS = ("authorization", "x-amz-security-token")
_ID, _TRACE, _BODY = "boda-request-id", "boda-trace-id", b"boda-body"
_JSON = ("content-type", "application/json")
_ODD = re.compile(rb"[0-9][.eE]|[0-9]{16}|-0")
"""In what may have numbers that not everybody reads and writes alike."""
_SHORT = 16 * 1024
_compact = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def event(
    request: WireRequest,
    body: bytes,
    *,
    url_id: str,
    request_id: str,
    trace_id: str,
    now_s: float,
    caller: Principal | None,
) -> dict[str, Any]:
    """What the function gets. caller: None where the URL asks for no signature."""
    context: dict[str, Any] = {
        "accountId": caller.account if caller is not None else "anonymous",
        "apiId": url_id,
        "domainName": request.host,
        "domainPrefix": url_id,
        "http": {
            "method": request.method,
            "path": request.path,
            "protocol": "HTTP/1.1",
            "sourceIp": request.source_ip,
            "userAgent": request.headers.get("user-agent", ""),
        },
        "requestId": request_id,
        "routeKey": "$default",
        "stage": "$default",
        "time": _time(int(now_s)),
        "timeEpoch": int(now_s * 1000),
    }
    if caller is not None:
        context["authorizer"] = {
            "iam": {
                "accessKey": caller.access_key_id,
                "accountId": caller.account,
                "callerId": caller.unique_id,
                "cognitoIdentity": None,
                "principalOrgId": None,
                "userArn": caller.arn,
                "userId": caller.unique_id,
            }
        }
    left_out = (*_HOPS, "cookie", *(_SECRETS if caller is not None else ()))
    headers = {name: value for name, value in request.headers.items() if name not in left_out}
    headers |= {
        "x-amzn-trace-id": trace_id,
        "x-forwarded-for": request.source_ip,
        "x-forwarded-port": request.host.rpartition(":")[2] if ":" in request.host else "80",
        "x-forwarded-proto": "http",
    }
    made: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": context,
        "isBase64Encoded": False,
    }
    if "cookie" in request.headers:
        made["cookies"] = [each.strip() for each in request.headers["cookie"].split(";")]
    if request.query:
        made["queryStringParameters"] = _parameters(request.query)
    if body:
        made |= _body(body, request.headers.get("content-type", ""))
    return made


@lru_cache(maxsize=4)
def _time(epoch_s: int) -> str:
    return f"{datetime.fromtimestamp(epoch_s, UTC):%d/%b/%Y:%H:%M:%S} +0000"


@lru_cache(maxsize=4)
def _stamp(epoch_s: int) -> bytes:
    """The members of an event that tell when, but for the last number."""
    return f'"time":"{_time(epoch_s)}","timeEpoch":'.encode()


class EventForm:
    """The events of requests that have the same head, for a URL that asks for no signature.

    request: its body left out; its headers tell whether there is one.
    """

    def __init__(self, request: WireRequest, url_id: str) -> None:
        """ValueError where a header reads as if it were made to deceive."""
        content_type = request.headers.get("content-type", "")
        self._text = _TEXT.match(content_type) is not None
        self._bodied = request.headers.get("content-length", "").strip("0") != ""
        made = orjson.dumps(
            event(
                request,
                _BODY if self._bodied else b"",
                url_id=url_id,
                request_id=_ID,
                trace_id=_TRACE,
                now_s=0.0,
                caller=None,
            )
        )
        # In the order in which an event names them.
        varying = [
            (b'"%b"' % _TRACE.encode(), b'"%b"'),
            (b'"%b"' % _ID.encode(), b'"%b"'),
            (_stamp(0) + b"0", b"%b%d"),
        ]
        if self._bodied:
            varying.append((b'"%b"' % _body(_BODY, content_type)["body"].encode(), b"%b"))
        form, rest = b"", made
        for mark, gap in varying:
            before, _, rest = rest.partition(mark)
            if made.count(mark) != 1 or not rest:
                raise ValueError("what varies in an event cannot be told from what does not")
            form += before.replace(b"%", b"%%") + gap
        self._form = form + rest.replace(b"%", b"%%")

    def fill(self, body: bytes, request_id: str, trace_id: str, now_s: float) -> bytes | None:
        """The event as JSON, as ``event`` makes it; None for a body that is not the text it is
        said to be. request_id, trace_id: of letters that JSON writes as they are."""
        varying = (trace_id.encode(), request_id.encode(), _stamp(int(now_s)), int(now_s * 1000))
        if not self._bodied:
            return self._form % varying
        if not self._text:
            return self._form % (*varying, b'"%b"' % base64.b64encode(body))
        try:
            return self._form % (*varying, orjson.dumps(body.decode()))
        except UnicodeDecodeError:
            return None


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def _body(body: bytes, content_type: str) -> dict[str, Any]:
    if _TEXT.match(content_type):
        try:
            return {"body": body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {"body": base64.b64encode(body).decode("ascii"), "isBase64Encoded": True}


def response(payload: bytes) -> WireResponse | None:
    """What the caller gets; None where the function's answer cannot be made into any."""
    return _usual(payload) or _unusual(payload)


def _usual(payload: bytes) -> WireResponse | None:
    """The same, sooner, for what most functions answer: an object that both readers of JSON read
    alike. None for everything else."""
    if payload[:1] != b"{" or len(payload) > _SHORT or _ODD.search(payload):
        return None
    try:
        answer = orjson.loads(payload)
        if "statusCode" not in answer:
            return WireResponse(200, [_JSON], orjson.dumps(answer))
    except (ValueError, TypeError):  # not UTF-8, half a surrogate, no JSON; or too deep
        return None
    status, headers, body = answer["statusCode"], answer.get("headers"), answer.get("body")
    if type(status) is not int or not 200 <= status <= 599 or type(body) is not str:
        return None
    if answer.get("isBase64Encoded") or answer.get("cookies"):
        return None
    if not headers:
        return WireResponse(status, [_JSON], body.encode())
    if type(headers) is not dict:
        return None
    lines = _usual_lines(tuple(headers.items())) if _texts(headers) else None
    return WireResponse(status, [*lines], body.encode()) if lines else None


def _texts(headers: Mapping[str, Any]) -> bool:
    """Whether they are worth to be remembered."""
    return len(headers) <= 16 and all(
        type(value) is str and len(value) <= 128 and len(name) <= 128
        for name, value in headers.items()
    )


@lru_cache(maxsize=256)
def _usual_lines(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]] | None:
    """As functions answer the same headers again and again. Not to be changed."""
    named = {name.lower(): value for name, value in headers}
    named.setdefault(*_JSON)
    return _lines(named, [])


def _unusual(payload: bytes) -> WireResponse | None:
    try:
        answer = payloads.loads(payload)
    except (ValueError, RecursionError):
        return None
    dense = payloads.is_dense(payload)  # written again, it would hold everybody up
    if not isinstance(answer, dict) or "statusCode" not in answer:
        return WireResponse(200, [_JSON], payload) if dense else _plain(200, answer, {}, [])
    head = _head(answer)
    if head is None:
        return None
    status, headers, cookies = head
    body = answer.get("body")
    if dense and isinstance(body, dict | list):
        return None
    if answer.get("isBase64Encoded") is True:
        try:
            body = base64.b64decode(body or "", validate=True)
        except (TypeError, ValueError, binascii.Error):
            return None
    return _plain(status, "" if body is None else body, headers, cookies)


def streamed_head(prelude: bytes) -> WireResponse | None:
    """The head of a streamed answer, from the object before its eight zero bytes; no body yet."""
    try:
        answer = json.loads(prelude)
    except (ValueError, RecursionError):
        return None
    head = _head({"statusCode": 200, **answer}) if isinstance(answer, dict) else None
    if head is None:
        return None
    status, headers, cookies = head
    lines = _lines({"content-type": "application/octet-stream", **headers}, cookies)
    return WireResponse(status, lines) if lines is not None else None


def typed_head(content_type: str) -> WireResponse:
    """The head of a streamed answer that says only of what type it is."""
    lines = _lines({"content-type": content_type}, []) if content_type else None
    return WireResponse(200, lines or [("content-type", "application/octet-stream")])


def _head(answer: Mapping[str, Any]) -> tuple[int, dict[str, str], list[str]] | None:
    """Status, headers by lower-case names, and cookies; None where they are none.

    One that is null is left out.
    """
    status, headers = answer["statusCode"], answer.get("headers") or {}
    cookies = answer.get("cookies") or []
    if isinstance(status, str) and status.isascii() and status.isdigit():
        status = int(status)
    whole = isinstance(status, int) and not isinstance(status, bool) and 200 <= status <= 599
    if not whole or not isinstance(headers, dict) or not isinstance(cookies, list):
        return None
    try:
        named = {name.lower(): _text(value) for name, value in headers.items() if value is not None}
        return status, named, [_text(cookie) for cookie in cookies if cookie is not None]
    except TypeError:
        return None


def _text(value: Any) -> str:
    """A string, a number or a truth value as it is sent. TypeError for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return json.dumps(value)
    raise TypeError("what has parts is no value of a header")


def _lines(named: Mapping[str, str], cookies: list[str]) -> list[tuple[str, str]] | None:
    """The answer's headers; None where one is not fit to be sent."""
    lines = [
        (f"x-amzn-remapped-{name}" if name in _OURS else name, value)
        for name, value in named.items()
        if name not in _HOPS
    ]
    lines += [("set-cookie", cookie) for cookie in cookies]
    if any(_NAME.fullmatch(name) is None or _UNSENDABLE.search(value) for name, value in lines):
        return None
    return lines


def _plain(
    status: int, body: Any, headers: dict[str, str], cookies: list[str]
) -> WireResponse | None:
    lines: list[tuple[str, str]] | None = [_JSON]
    if headers or cookies:
        headers.setdefault(*_JSON)
        lines = _lines(headers, cookies)
    if lines is None:
        return None
    if isinstance(body, str):
        body = body.encode(errors="replace")
    elif not isinstance(body, bytes):
        body = _compact(body).encode(errors="replace")
    return WireResponse(status, lines, body)


def cross_origin(
    request: WireRequest, config: Mapping[str, Any], *, preflight: bool
) -> list[tuple[str, str]]:
    """The CORS headers for a browser at the request's origin."""
    origin = request.headers.get("origin", "")
    allowed = config.get("AllowOrigins") or []
    if not origin or not ("*" in allowed or origin in allowed):
        return []
    found = [("access-control-allow-origin", origin), ("vary", "Origin")]
    if config.get("AllowCredentials"):
        found.append(("access-control-allow-credentials", "true"))
    if config.get("ExposeHeaders"):
        found.append(("access-control-expose-headers", ",".join(config["ExposeHeaders"])))
    if preflight:
        for member, name in (
            ("AllowMethods", "access-control-allow-methods"),
            ("AllowHeaders", "access-control-allow-headers"),
        ):
            if config.get(member):
                found.append((name, ",".join(config[member])))
        if config.get("MaxAge") is not None:
            found.append(("access-control-max-age", str(config["MaxAge"])))
    return found
