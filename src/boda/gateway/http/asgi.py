"""Convert between ASGI and the wire types: requests in, responses out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from boda.gateway.http.body import Inbound, Receive
from boda.gateway.http.cycle import BROKEN_OFF, READY
from boda.gateway.http.intake import Intake
from boda.gateway.http.wire import Stream, TruncatedStream, WireRequest, WireResponse

log = logging.getLogger("boda.gateway")

_CONTROLS = dict.fromkeys([*range(32), 127], " ")


def read_request(scope: Any, receive: Receive, intake: Intake) -> tuple[WireRequest, Inbound]:
    """Return the request of an ASGI scope, and its body, unread.

    Header values are UTF-8 if valid, Latin-1 otherwise.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name = str(raw_name, "latin-1")
        try:
            value = str(raw_value, "utf-8").strip()
        except UnicodeDecodeError:
            value = str(raw_value, "latin-1").strip()
        if name in headers:
            # The one header whose values are not joined by commas. Source: RFC 9113, 8.2.3.
            value = f"{headers[name]}{'; ' if name == 'cookie' else ','}{value}"
        headers[name] = value
    client = scope["client"]
    state = scope.get("state")
    request = WireRequest(
        scope["method"],
        str(scope["raw_path"], "latin-1"),
        str(scope["query_string"], "latin-1"),
        headers,
        b"",
        headers.get("host", ""),
        client[0] if client else "",
        state.get("environment_id", "") if state else "",
    )
    length = headers.get("content-length")
    announced = int(length) if length is not None and length.isdecimal() else None
    empty = announced == 0 or (announced is None and "transfer-encoding" not in headers)
    inbound = Inbound(receive, announced, empty=empty, intake=intake, ready=scope.pop(READY, None))
    return request, inbound


async def send_response(
    request: WireRequest, inbound: Inbound, response: WireResponse, receive: Receive, send: Any
) -> None:
    """Send a response with back-pressure; its stream is closed in any case."""
    body = response.body
    headers = _encoded(response.headers)
    if not inbound.begun and "expect" in request.headers:
        # The client still holds its body back and may or may not send it after this answer, so the
        # next bytes on this connection are ambiguous. Nor does botocore before 1.44 read the next
        # answer correctly on a connection that gave a final one in place of 100, even to an empty
        # body.
        headers.append((b"connection", b"close"))
    if isinstance(body, Stream):
        await _send_stream(request, response.status, headers, body, receive, send)
        return
    if request.method != "HEAD":
        headers = [one for one in headers if one[0] != b"content-length"]
        if response.status in (204, 304):
            body = b""
        else:
            headers.append((b"content-length", b"%d" % len(body)))
    elif not any(name == b"content-length" for name, _ in headers):
        headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_stream(
    request: WireRequest,
    status: int,
    headers: list[tuple[bytes, bytes]],
    stream: Stream,
    receive: Receive,
    send: Any,
) -> None:
    named = any(name == b"content-length" for name, _ in headers)
    if stream.length is not None and not named:
        headers.append((b"content-length", b"%d" % stream.length))
    watch: asyncio.Task[None] | None = None
    try:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if request.method == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        sender = asyncio.current_task()
        assert sender is not None
        watch = asyncio.create_task(_watch(receive, sender))
        async for chunk in stream.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if watch.done():
                return
        # From here on the client's leaving interrupts nothing.
        watch.cancel()
        await send({"type": "http.response.body", "body": b""})
    except TruncatedStream:
        await send({"type": BROKEN_OFF})
    except asyncio.CancelledError:
        if watch is None or not watch.done() or watch.cancelled():
            raise
        # The watch has ended: the client is gone, and there is no one to answer.
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
    finally:
        if watch is not None:
            watch.cancel()
        close = getattr(stream.chunks, "aclose", None)
        if close is not None:
            await close()


async def _watch(receive: Receive, sender: asyncio.Task[Any]) -> None:
    """Wake the sender when the client leaves, even while its stream is silent."""
    while (await receive())["type"] != "http.disconnect":
        pass
    sender.cancel()


def plain_headers(response: WireResponse) -> list[tuple[bytes, bytes]]:
    """Return the headers as they are sent, without the length of a whole body."""
    return [one for one in _encoded(response.headers) if one[0] != b"content-length"]


@lru_cache(maxsize=1024)
def _name(name: str) -> bytes:
    return name.lower().encode("latin-1")


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    encoded = []
    for name, value in headers:
        if not (value.isascii() and value.isprintable()):
            # A value may be a caller's text; a line break in it would be a new header.
            value = value.translate(_CONTROLS)
        try:
            encoded.append((_name(name), value.encode("utf-8")))
        except UnicodeEncodeError:
            log.warning("a header that cannot be sent was left out of an answer")
    return encoded
