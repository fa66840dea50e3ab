"""One request and its answer on a connection: uvicorn's cycle, made faster in two places.

The head of an answer waits for the first part of its body, so that a small answer is one write: a
second system call per answer costs as much as checking its signature. And a request whose body is
there already can be read without waiting (``ready``), so that the usual request needs no timer for
a client that might stall.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

READY = "boda.ready"
"""The key of ``Cycle.ready`` in an ASGI scope, if the server supports it."""
BROKEN_OFF = "boda.response.broken_off"
"""The type of an ASGI message: the answer is cut off, and its client must notice."""

_BAD_NAME = re.compile(rb'[\x00-\x20\x7f()<>@,;:\\\[\]={}"]')
COPIED = 65_536
"""A body of up to so many bytes is copied behind the head instead of written apart."""


@lru_cache(maxsize=512)
def _field(name: bytes) -> bytes:
    """Return ``name: ``. Raises ValueError if that is no header's name."""
    if not name or _BAD_NAME.search(name):
        raise ValueError(f"{name!r} is no name of a header")
    return name.lower() + b": "


def status_line(status: int) -> bytes:
    line: bytes = STATUS_LINE[status]
    return line


def fields_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as their lines. Raises ValueError if one would be more than a line."""
    lines = [_field(name) + value + b"\r\n" for name, value in headers]
    fields = b"".join(lines)
    if fields.count(b"\n") != len(lines) or fields.count(b"\r") != len(lines) or b"\0" in fields:
        raise ValueError("a header's value would be a header of its own")
    return fields


class Cycle(RequestResponseCycle):
    """Made by ``HttpConnection``."""

    _head = b""
    _until_closed = False
    """The end of the connection is the end of the answer: HTTP/1.0 has no chunks."""

    def ready(self) -> bytes | None:
        """Return the whole body if it is there and unread; else None."""
        if self.more_body or self.disconnected:
            return None
        body = bytes(self.body)
        self.body = bytearray()
        return body

    async def send(self, message: Any) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == BROKEN_OFF:
            self.disconnected = True
            if self._until_closed:
                self._reset()
            else:
                self.transport.close()
            return
        if message["type"] == "http.response.start":
            if self.response_started:
                raise RuntimeError("the answer has begun already")
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._encode(message["status"], message["headers"])
            return
        if not self.response_started or self.response_complete:
            raise RuntimeError("a body without an answer")
        self._write(message.get("body", b""), message.get("more_body", False))

    def _reset(self) -> None:
        """Close in such a way that the client does not take the end for that of the answer."""
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _encode(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the head. Raises ValueError if a header would be more than a line."""
        lines = [STATUS_LINE[status]]
        closes = False
        for name, value in (*self.default_headers, *headers):
            field = _field(name)
            if field == b"content-length: ":
                if self.chunked_encoding is None:
                    self.expected_content_length = int(value)
                    self.chunked_encoding = False
            elif field == b"connection: " and b"close" in value.lower():
                self.keep_alive = False
                closes = True
            lines.append(field + value + b"\r\n")
        if not self.keep_alive and not closes:
            lines.append(b"connection: close\r\n")
        if (
            self.chunked_encoding is None
            and self.scope["method"] != "HEAD"
            and status not in (204, 304)
        ):
            self._until_closed = self.scope["http_version"] == "1.0"
            self.chunked_encoding = not self._until_closed
            if self.chunked_encoding:
                lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
            raise ValueError("a header's value would be a header of its own")
        return head

    def _write(self, body: bytes, more: bool) -> None:
        head, self._head = self._head, b""
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            body = b""
        elif self.chunked_encoding:
            body = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        elif not self._until_closed:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("the answer is longer than it was said to be")
        if head and len(body) > COPIED:
            self.transport.write(head)
            self.transport.write(body)
        elif head or body:
            self.transport.write(head + body if head else body)
        if more:
            return
        if self.expected_content_length:
            raise RuntimeError("the answer is shorter than it was said to be")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
