"""One connection to the Runtime API of an environment: its requests in order.

Law: what a sandbox sends is hostile. Heads are bounded, bodies are bounded, connections are
counted, requests take turns (``turns.py``), an error ends its connection, and nothing a sandbox
sends can reach another sandbox's session.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import httptools
import orjson

from boda.runtime.api_request import ApiAnswer, ApiRequest
from boda.runtime.api_routes import RuntimeApiRoutes
from boda.runtime.frames import MAX_PAYLOAD, Invocation
from boda.runtime.http_session import HttpSession, RuntimeApiError
from boda.runtime.turns import RequestTurns

MAX_HEAD = 65536
"""Bytes of target and headers together; of input that the parser waits for the end of; and of
answers that the sandbox does not read."""

_STEP = 8192
"""Bytes that are parsed in one turn; of a body whose length is known, all that is there."""
_END = b"\r\n\r\n"
"""The end of every head, and of every chunked body with its trailers."""

MAX_BODIES = 2 * MAX_PAYLOAD
"""Bytes of bodies that all connections of a sandbox hold together: one answer is due at a time."""

_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Request Entity Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
}


class HeldBodies:
    """The bodies that the connections of one sandbox hold together. size: in bytes."""

    def __init__(self) -> None:
        self.size = 0


class ApiConnection(asyncio.Protocol):
    """One connection: requests in order, each answered before the next is read.

    on_lost: called with the connection once it is lost.
    """

    def __init__(
        self,
        session: HttpSession,
        routes: RuntimeApiRoutes,
        bodies: HeldBodies,
        turns: RequestTurns,
        on_lost: Callable[[ApiConnection], None],
    ) -> None:
        self._session = session
        self._routes = routes
        self._bodies = bodies
        self._turns = turns
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._request = ApiRequest()
        self._head_bytes = 0
        self._unparsed = 0  # bytes of something that the parser has not seen the end of
        self._part = bytearray()
        self._input = b""  # received and not parsed
        self._tail = b""  # the last bytes that were parsed, where an end may have begun
        self._body_left = 0
        self._asking = False  # for a turn
        self._waiting = False  # for an invocation
        self._held = False  # by the reader of the streamed answer
        self._ended = False  # the request that is parsed is whole
        self._streaming = False
        self._refusal: RuntimeApiError | None = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._input = b""
        self._turns.leave(self)
        self._session.lost(self)
        self._drop_body()
        if self._streaming:
            self._streaming = False
            self._routes.break_stream(self)
        self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        self._input = self._input + data if self._input else data
        if self._waiting and len(self._input) > MAX_HEAD:
            self.abort()  # it is read only to notice when its client goes
        else:
            self._read_or_wait()

    def _read_or_wait(self) -> None:
        """Ask for a turn when there is something to parse; receive more when there is not."""
        transport = self._transport
        if transport is None or transport.is_closing():
            self._input = b""
            return
        if self._input and not (self._waiting or self._held or self._asking):
            self._asking = True
            self._turns.ask(self)  # which reads at once where nobody else does
        if self._held or (self._input and not self._waiting):
            transport.pause_reading()
        else:
            transport.resume_reading()

    def read_on(self) -> None:
        """Parse up to the end of one request (turns.RequestReader)."""
        self._asking = False
        room = _STEP
        self._ended = False
        try:
            while room > 0 and self._input and not (self._ended or self._held):
                room -= self._parse()
        except httptools.HttpParserUpgrade:
            self._refuse(400, "InvalidRequest", "Upgrades are not supported")
        except httptools.HttpParserError:
            self._refuse(400, "InvalidRequest", "Malformed HTTP request")
        else:
            if self._unparsed > MAX_HEAD:
                self._refuse(431, "InvalidRequest", "Request head too large")
        self._read_or_wait()

    def _parse(self) -> int:
        """Parse a piece that ends where the request may; return how many bytes of it count."""
        data = self._input
        body = self._body_left > 0
        if body:
            size = self._body_left
        else:
            end = (self._tail + data[:_STEP]).find(_END)
            size = _STEP if end < 0 else end + len(_END) - len(self._tail)
        piece, self._input = data[:size], data[size:]
        self._tail = (self._tail + piece)[-len(_END) + 1 :]
        self._unparsed += len(piece)
        try:
            self._parser.feed_data(piece)
        finally:
            self._pass_on_part()
        return 0 if body else len(piece)

    # httptools

    def on_message_begin(self) -> None:
        self._drop_body()
        self._request = ApiRequest()
        self._head_bytes = 0
        self._body_left = 0
        self._streaming = False
        self._refusal = None
        if self._ended:  # of a sender whose requests do not end as they should
            raise httptools.HttpParserError("two requests in one turn")

    def on_url(self, url: bytes) -> None:
        self._request.target += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers arrive here as well, after the body.
        self._count(len(name) + len(value))
        self._request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        request = self._request
        request.method = self._parser.get_method().decode("latin-1")
        headers = request.headers
        if "transfer-encoding" not in headers:
            self._body_left = int(headers.get("content-length", 0))
        if headers.get("expect", "").lower() == "100-continue" and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            self._streaming = self._routes.open_stream(request, self)
        except RuntimeApiError as refusal:
            self._refusal = refusal  # sent when the request has come whole

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        self._body_left -= len(body)
        self._turns.charge_piece()
        if self._streaming:
            self._part += body  # a chunk may be of one byte
            return
        request = self._request
        if request.oversized or self._refusal is not None:
            return
        if len(request.body) + len(body) > MAX_PAYLOAD:
            request.oversized = True
            self._drop_body()
        elif self._bodies.size + len(body) > MAX_BODIES:
            self.abort()
            raise httptools.HttpParserError("too many bodies at once")
        else:
            request.body += body
            self._bodies.size += len(body)

    def _drop_body(self) -> None:
        self._bodies.size -= len(self._request.body)
        self._request.body = bytearray()

    def _pass_on_part(self) -> None:
        """Pass on what was received of a streamed answer."""
        if self._part:
            part, self._part = bytes(self._part), bytearray()
            self._routes.feed(self, part)

    def on_message_complete(self) -> None:
        self._unparsed = self._body_left = 0
        self._tail = b""
        self._ended = True
        self._pass_on_part()
        try:
            self._answer()
        except RuntimeApiError as refusal:
            self._refuse(refusal.status, refusal.error_type, str(refusal))
        finally:
            self._drop_body()

    def _count(self, size: int) -> None:
        self._unparsed = 0
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD:
            self._refuse(431, "InvalidRequest", "Request head too large")
            raise httptools.HttpParserError("too large")

    # Upload

    def pause_reading(self) -> None:
        self._held = True
        self._read_or_wait()

    def resume_reading(self) -> None:
        self._held = False
        self._read_or_wait()

    # Answers

    def _answer(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        turns = self._turns
        if self._streaming:
            self._streaming = False
            answer = self._routes.end_stream(self._request, self)
        else:
            again = self._session.is_ready
            self._waiting = True  # the invocation may be delivered before the call returns
            try:
                found = self._routes.answer(self._request, self)
            except RuntimeApiError:
                self._waiting = False
                raise
            if found is None:
                if again:
                    turns.charge()
                else:
                    turns.reward()
                return
            self._waiting = False
            answer = found
        if answer.forward:
            turns.reward()
        else:
            turns.charge()
        self._write(answer)

    def deliver(self, invocation: Invocation) -> None:
        """Answer the waiting GET with an invocation."""
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Invocation-Id": invocation.invocation_id.hex(),
            "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.invoked_arn,
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
            "Lambda-Runtime-Client-Context": invocation.client_context,
            "Lambda-Runtime-Cognito-Identity": invocation.cognito_identity,
            "Lambda-Runtime-Aws-Tenant-Id": invocation.tenant,
        }
        present = {name: value for name, value in headers.items() if value}
        self._write(ApiAnswer(200, invocation.payload, present))
        self._waiting = False
        if self._input:
            asyncio.get_running_loop().call_soon(self._read_or_wait)

    def _refuse(self, status: int, error_type: str, message: str) -> None:
        """Answer with an error and close the connection.

        A client that keeps sending errors pays for a new connection each time.
        """
        self._turns.charge()
        body = orjson.dumps({"errorMessage": message, "errorType": error_type})
        self._write(ApiAnswer(status, body, {"Connection": "close"}))
        if self._transport is not None:
            self._transport.close()

    def _write(self, answer: ApiAnswer) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > MAX_HEAD:
            self.abort()  # the client sends requests and reads no answers
            return
        lines = [
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}",
            "Content-Type: application/json",
            f"Content-Length: {len(answer.body)}",
        ]
        for name, value in (answer.headers or {}).items():
            lines.append(f"{name}: {_one_line(value)}")
        head = "\r\n".join(lines) + "\r\n\r\n"
        self._transport.write(head.encode("utf-8") + answer.body)


def _one_line(value: str) -> str:
    """Replace line ends, which a caller's client context may hold, and a header may not."""
    return re.sub(r"[\x00-\x08\x0a-\x1f\x7f]+", " ", value).strip()
