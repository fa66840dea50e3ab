"""One connection to the Runtime API of an environment: its requests in order, its routes.

The Extensions and Telemetry APIs are answered 501.

Law: what a sandbox sends is hostile. Heads are bounded, bodies are bounded, connections are
counted, requests take turns (``turns.py``), an error ends its connection, and nothing a sandbox
sends can reach another sandbox's session.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import re
from typing import Any

import httptools
import orjson

from boda.core.errors import AwsError
from boda.runtime import credentials, metadata
from boda.runtime.credentials import ContainerCredentials
from boda.runtime.frames import MAX_CONTENT_TYPE, MAX_PAYLOAD, Invocation
from boda.runtime.metadata import Metadata
from boda.runtime.session import (
    RESPONSE_TOO_LARGE,
    TRUNCATED,
    NotNow,
    Session,
    too_large_body,
)
from boda.runtime.turns import Turns

MAX_HEAD = 65536
"""Bytes of target and headers together; of whatever else a parser waits for the end of; and of
answers that are not read."""

_STEP = 8192
"""Bytes that are parsed in one turn; of a body whose length is known, all that is there."""
_END = b"\r\n\r\n"
"""Every head ends so, and every chunked body with its trailers."""

MAX_BODIES = 2 * MAX_PAYLOAD
"""Bytes of bodies that all connections of a sandbox hold together: one answer is due at a time."""

_ANSWER = re.compile(r"/2018-06-01/runtime/invocation/([^/]{1,128})/(response|error)")
_ERROR_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.:<>-]{0,255}")
_TYPE_WITHIN = re.compile(rb'"errorType"\s{0,9}:\s{0,9}"([A-Za-z][A-Za-z0-9_.:<>-]{0,255})"')
_LARGE_ERROR = 64 * 1024
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


class Bodies:
    """What the connections of one sandbox hold of bodies. held: in bytes."""

    def __init__(self) -> None:
        self.held = 0


class Connection(asyncio.Protocol):
    """One connection: requests in order, each answered before the next is read."""

    def __init__(
        self,
        session: Session,
        keys: ContainerCredentials | None,
        bodies: Bodies,
        turns: Turns,
        metadata: Metadata | None = None,
    ) -> None:
        self.session = session
        self._keys = keys
        self._bodies = bodies
        self._turns = turns
        self._metadata = metadata
        self.on_lost: Any = None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._unparsed = 0  # bytes of something that the parser has not seen the end of
        self._part = bytearray()
        self._body = bytearray()
        self._too_large = False
        self._input = b""  # received and not parsed
        self._tail = b""  # the last bytes that were parsed, where an end may have begun
        self._body_left = 0
        self._asking = False  # for a turn
        self._waiting = False  # for an invocation
        self._held = False  # by whoever reads the streamed answer
        self._ended = False  # the request that is parsed is whole
        self._streaming = False
        self._refusal: NotNow | None = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._input = b""
        self._turns.leave(self)
        self.session.http_gone(self)
        self._drop_body()
        if self._streaming:
            self._break_off()
        if self.on_lost is not None:
            self.on_lost(self)

    def data_received(self, data: bytes) -> None:
        self._input = self._input + data if self._input else data
        if self._waiting and len(self._input) > MAX_HEAD:
            self.abort()  # it is read on only to learn when its client goes
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
        """turns.Reader"""
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
        """Parse a piece that ends where the request may; how many of its bytes count."""
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
            self._pass_on()
        return 0 if body else len(piece)

    # httptools

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers = {}
        self._head_bytes = 0
        self._drop_body()
        self._too_large = False
        self._body_left = 0
        self._streaming = False
        self._refusal = None
        if self._ended:  # of a sender whose requests do not end as they should
            raise httptools.HttpParserError("two requests in one turn")

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers arrive here as well, after the body.
        self._count(len(name) + len(value))
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if "transfer-encoding" not in self._headers:
            self._body_left = int(self._headers.get("content-length", 0))
        if self._headers.get("expect", "").lower() == "100-continue" and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._streams():
            try:
                self._begin_stream()
            except NotNow as refusal:
                self._refusal = refusal  # told when the request has come whole

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        self._body_left -= len(body)
        self._turns.charge_piece()
        if self._streaming:
            self._part += body  # a chunk may be of one byte
            return
        if self._too_large or self._refusal is not None:
            return
        if len(self._body) + len(body) > MAX_PAYLOAD:
            self._too_large = True
            self._drop_body()
        elif self._bodies.held + len(body) > MAX_BODIES:
            self.abort()
            raise httptools.HttpParserError("too many bodies at once")
        else:
            self._body += body
            self._bodies.held += len(body)

    def _drop_body(self) -> None:
        self._bodies.held -= len(self._body)
        self._body = bytearray()

    def _pass_on(self) -> None:
        """What came of a streamed answer."""
        if self._part:
            part, self._part = bytes(self._part), bytearray()
            self.session.http_part(self, part)

    def on_message_complete(self) -> None:
        self._unparsed = self._body_left = 0
        self._tail = b""
        self._ended = True
        self._pass_on()
        try:
            if self._refusal is not None:
                raise self._refusal
            if self._streaming:
                self._end_stream()
            else:
                self._route(self._parser.get_method().decode("latin-1"))
        except NotNow as refusal:
            self._refuse(refusal.status, refusal.error_type, str(refusal))
        finally:
            self._drop_body()

    def _count(self, size: int) -> None:
        self._unparsed = 0
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD:
            self._refuse(431, "InvalidRequest", "Request head too large")
            raise httptools.HttpParserError("too large")

    # Routes

    def _route(self, method: str) -> None:
        path = self._target.decode("latin-1").partition("?")[0]
        if path == "/2018-06-01/runtime/invocation/next":
            self._only("GET", method)
            again = self.session.state == "ready"
            self._waiting = True
            try:
                self.session.http_next(self)
            except NotNow:
                self._waiting = False
                raise
            if again:
                self._turns.charge()
            else:
                self._turns.reward()
            return
        answer = _ANSWER.fullmatch(path)
        if answer is not None:
            self._only("POST", method)
            self._answer(answer[1], answer[2] == "error")
        elif path == "/2018-06-01/runtime/init/error":
            self._only("POST", method)
            self._fit()
            self.session.http_init_error(self._error_type(), bytes(self._body))
            self._accepted()
        elif path.startswith("/2018-06-01/runtime/restore/"):
            raise NotNow(501, "NotImplemented", "SnapStart is for Python runtimes, over frames")
        elif path == credentials.PATH and self._keys is not None:
            self._only("GET", method)
            self._give(self._keys)
        elif path == metadata.PATH and self._metadata is not None:
            self._only("GET", method)
            self._tell_metadata(self._metadata)
        elif path.startswith("/2020-01-01/extension/"):
            raise NotNow(501, "NotImplemented", "boda does not implement the Extensions API yet")
        elif path.startswith(("/2022-07-01/telemetry", "/2020-08-15/logs")):
            raise NotNow(501, "NotImplemented", "boda does not implement the Telemetry API yet")
        else:
            raise NotNow(404, "NotFound", "No such resource in the Runtime API")

    def _give(self, keys: ContainerCredentials) -> None:
        if not keys.fits(self._headers.get("authorization", "")):
            raise NotNow(401, "InvalidToken", "This is not the token of this environment")
        try:
            document = keys.document()
        except AwsError as error:  # the role does not give its keys
            raise NotNow(500, "CredentialsError", str(error)) from None
        self._turns.charge()
        self._write(200, document)

    def _tell_metadata(self, known: Metadata) -> None:
        if not known.fits(self._headers.get("authorization", "")):
            raise NotNow(401, "Unauthorized", "The token is missing or is not this environment's")
        self._turns.charge()
        lasts = f"private, max-age={metadata.LASTS_S}, immutable"
        self._write(200, known.document(), {"Cache-Control": lasts})

    def _only(self, wanted: str, method: str) -> None:
        if method != wanted:
            raise NotNow(405, "MethodNotAllowed", f"Use {wanted}")

    def _answer(self, request_id: str, failed: bool) -> None:
        attempt = self._headers.get("lambda-runtime-invocation-id")
        self.session.http_check(request_id, attempt)
        if self._too_large:
            # The caller hears why there is no answer; the runtime hears it as a status.
            self.session.http_error(request_id, attempt, RESPONSE_TOO_LARGE, too_large_body())
            self._fit()
        mode = self._headers.get("lambda-runtime-function-response-mode", "")
        if mode and mode.lower() not in ("streaming", "buffered"):
            self.session.http_error(
                request_id,
                attempt,
                "Runtime.InvalidResponseModeHeader",
                orjson.dumps(
                    {
                        "errorMessage": f"Invalid response mode: {mode}",
                        "errorType": "Runtime.InvalidResponseModeHeader",
                    }
                ),
            )
            raise NotNow(400, "InvalidResponseModeHeader", f"Invalid response mode: {mode}")
        body = bytes(self._body)
        if failed or "lambda-runtime-function-error-type" in self._headers:
            told = self._error_body() or body  # half-way, in the trailers
            self.session.http_error(request_id, attempt, self._error_type(), told)
        else:
            self.session.http_response(request_id, attempt, body)
        self._accepted()

    def _fit(self) -> None:
        if self._too_large:
            raise NotNow(
                413,
                "RequestEntityTooLarge",
                f"Exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes).",
            )

    def _error_type(self) -> str:
        given = self._headers.get("lambda-runtime-function-error-type", "")
        if _ERROR_TYPE.fullmatch(given):
            return given
        body = bytes(self._body)
        if len(body) > _LARGE_ERROR:  # read whole, it could hold everybody up
            found = _TYPE_WITHIN.search(body)
            return found[1].decode() if found else "Runtime.Unknown"
        try:
            given = orjson.loads(body)["errorType"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return "Runtime.Unknown"
        if isinstance(given, str) and _ERROR_TYPE.fullmatch(given):
            return given
        return "Runtime.Unknown"

    # Answers in parts

    def _streams(self) -> bool:
        """Whether what comes is an answer in parts: it says so, or it is made like one.

        Go's client names no mode. It sends every answer in chunks and announces the trailers for an
        error half-way; what is not JSON then is read from the handler as it goes (``lambdaurl``,
        handlers that return a reader).
        """
        headers = self._headers
        mode = headers.get("lambda-runtime-function-response-mode", "")
        if mode:
            return mode.lower() == "streaming"
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        announced = "lambda-runtime-function-error-type" in headers.get("trailer", "").lower()
        return announced and content_type not in ("", "application/json")

    def _begin_stream(self) -> None:
        """The head of an answer that comes in parts; other requests take no notice of the mode."""
        answer = _ANSWER.fullmatch(self._target.decode("latin-1").partition("?")[0])
        method = self._parser.get_method()
        if answer is None or answer[2] == "error" or method != b"POST":
            return
        self.session.http_stream(
            answer[1],
            self._headers.get("lambda-runtime-invocation-id"),
            self._headers.get("content-type", "")[:MAX_CONTENT_TYPE],
            self,
        )
        self._streaming = True

    def _end_stream(self) -> None:
        self._streaming = False
        if "lambda-runtime-function-error-type" in self._headers:
            self.session.http_stream_error(self, self._error_type(), self._error_body())
        elif not self.session.http_stream_end(self):
            raise NotNow(413, "RequestEntityTooLarge", "Exceeded maximum allowed payload size.")
        self._accepted()

    def _error_body(self) -> bytes:
        """What the trailers tell of the error: JSON in base64, or nothing."""
        given = self._headers.get("lambda-runtime-function-error-body", "")
        try:
            body = base64.b64decode(given, validate=True)
            orjson.loads(body)
        except (binascii.Error, ValueError):
            return b""
        return body

    def _break_off(self) -> None:
        """The connection is lost within an answer."""
        self._streaming = False
        words = "The response ended before it was whole"
        body = orjson.dumps({"errorMessage": words, "errorType": TRUNCATED})
        with contextlib.suppress(NotNow):  # the runtime was stopped, as its caller has heard
            self.session.http_stream_error(self, TRUNCATED, body)

    def pause_reading(self) -> None:
        """session.Uploader"""
        self._held = True
        self._read_or_wait()

    def resume_reading(self) -> None:
        """session.Uploader"""
        self._held = False
        self._read_or_wait()

    # Answers

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
        self._write(200, invocation.payload, {k: v for k, v in headers.items() if v})
        self._waiting = False
        if self._input:
            asyncio.get_running_loop().call_soon(self._read_or_wait)

    def _accepted(self) -> None:
        self._turns.reward()
        self._write(202, b'{"status":"OK"}\n')

    def _refuse(self, status: int, error_type: str, message: str) -> None:
        """Answer with an error and end the connection: whoever errs on and on pays for a new one
        each time."""
        self._turns.charge()
        body = orjson.dumps({"errorMessage": message, "errorType": error_type})
        self._write(status, body, {"Connection": "close"})
        if self._transport is not None:
            self._transport.close()

    def _write(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > MAX_HEAD:
            self.abort()  # it asks on and on, and reads nothing
            return
        lines = [
            f"HTTP/1.1 {status} {_REASONS[status]}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        for name, value in (headers or {}).items():
            lines.append(f"{name}: {_one_line(value)}")
        head = "\r\n".join(lines) + "\r\n\r\n"
        self._transport.write(head.encode("utf-8") + body)


def _one_line(value: str) -> str:
    """A caller's client context may hold line ends; a header may not."""
    return re.sub(r"[\x00-\x08\x0a-\x1f\x7f]+", " ", value).strip()
