"""What runs in a fake sandbox, in the two framings of the Runtime API: scripts call its methods.

Both say the same by the same methods. What a framed guest says in one frame, an HTTP guest says in
a request, and asks for the next invocation when that was accepted, as runtime clients do.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httptools

from boda.runtime import frames
from boda.sandbox.contract import Exit

if TYPE_CHECKING:
    from support.fake_sandbox import FakeSandbox


@dataclass
class Invoked:
    """An invocation as the guest sees it. header: with the names of an INVOKE frame's."""

    id: bytes
    header: dict[str, Any]
    payload: bytes

    @property
    def request_id(self) -> str:
        return self.header["id"]


class Wire:
    """A socket of a guest. What it does not take now goes when it does.

    received: called with what came; with nothing at the end. A frozen sandbox reads nothing.
    """

    def __init__(
        self, wire: socket.socket, sandbox: FakeSandbox, received: Callable[[bytes], None]
    ) -> None:
        wire.setblocking(False)
        self.socket = wire
        self._sandbox = sandbox
        self._received = received
        self._unsent = bytearray()
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._listen()

    @property
    def unsent(self) -> int:
        """Bytes that wait for the other end to read."""
        return len(self._unsent)

    def send(self, data: bytes) -> None:
        self._unsent += data
        self._send_on()

    def close(self) -> None:
        """Idempotent."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self.socket.fileno())
            self._loop.remove_writer(self.socket.fileno())
            self.socket.close()

    def _listen(self) -> None:
        if self._open:
            self._loop.add_reader(self.socket.fileno(), self._readable)

    def _readable(self) -> None:
        if self._sandbox.frozen:
            self._loop.remove_reader(self.socket.fileno())
            self._sandbox.on_thaw.append(self._listen)
            return
        try:
            data = self.socket.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self.socket.fileno())
        self._received(data)

    def _send_on(self) -> None:
        if not self._open:
            return
        try:
            sent = self.socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:  # its other end is closed: nobody hears it any more
            sent = len(self._unsent)
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self.socket.fileno(), self._send_on)
        else:
            self._loop.remove_writer(self.socket.fileno())


class Guest:
    """A runtime process. What it says depends on its framing; how it writes and ends does not."""

    framing = ""

    def __init__(self, sandbox: FakeSandbox, channel: socket.socket, console: int, log: int):
        self.sandbox = sandbox
        self.invoked: list[Invoked] = []
        self.alive = True
        self.channel = Wire(channel, sandbox, self._heard)
        self.console = console
        self.log_end = log

    # What it says

    def ready(self) -> None:
        """Init is done, or it asks for the next invocation."""
        raise NotImplementedError

    def respond(self, invoked: Invoked, payload: bytes = b"null") -> None:
        """Answer, and be ready."""
        raise NotImplementedError

    def fail(self, invoked: Invoked, error_type: str, body: bytes = b"{}") -> None:
        """Answer with an error, which breaks off what is streamed, and be ready."""
        raise NotImplementedError

    def init_error(self, error_type: str, body: bytes = b"{}") -> None:
        raise NotImplementedError

    def stream(self, invoked: Invoked, content_type: str = "text/plain") -> None:
        """Begin to answer in parts."""
        raise NotImplementedError

    def part(self, invoked: Invoked, data: bytes) -> None:
        raise NotImplementedError

    def end(self, invoked: Invoked) -> None:
        """All parts have come; be ready."""
        raise NotImplementedError

    def nonsense(self) -> None:
        """What the Runtime API does not know."""
        raise NotImplementedError

    def encoded(self, invoked: Invoked, payload: bytes, length: int | None = None) -> bytes:
        """The bytes of an answer. length: of the payload as they tell it; by default as it is."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Any bytes, where the Runtime API is spoken."""
        raise NotImplementedError

    def reconnect(self) -> None:
        """Lose its connections where it has any, and go on over new ones."""

    @property
    def unsent(self) -> int:
        """Bytes that it has said and the platform has not taken."""
        return self.channel.unsent

    def _heard(self, data: bytes) -> None:
        """What came over the channel."""

    def takes(self, invoked: Invoked) -> None:
        self.invoked.append(invoked)
        self.sandbox.owner.handle(self, invoked)

    # What it writes

    def write(self, text: str | bytes) -> None:
        """To the console."""
        os.write(self.console, text.encode() if isinstance(text, str) else text)

    def log(self, text: str, micros: int | None = None) -> None:
        """A framed record."""
        micros = int(self.sandbox.owner.clock.now() * 1e6) if micros is None else micros
        data = text.encode()
        os.write(self.log_end, struct.pack(">IIQ", 0xA55A0003, len(data), micros) + data)

    # How it ends

    def exit(
        self,
        status: int | None = 0,
        signal: int | None = None,
        oom: bool = False,
        machine: bool = False,
    ) -> None:
        if not self.alive:
            return
        self.alive = False
        self._hang_up()
        os.close(self.console)
        os.close(self.log_end)
        self.sandbox.ended(self, Exit(status, signal, oom, machine))

    def _hang_up(self) -> None:
        self.channel.close()


class FramedGuest(Guest):
    """Speaks the private frames over its channel, as the Python bootstrap does."""

    framing = "frames"

    def __init__(self, sandbox: FakeSandbox, channel: socket.socket, console: int, log: int):
        self._buffer = b""
        super().__init__(sandbox, channel, console, log)

    def _heard(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 4:
            (length,) = struct.unpack_from(">I", self._buffer)
            if len(self._buffer) < length + 4:
                return
            body, self._buffer = self._buffer[5 : length + 4], self._buffer[length + 4 :]
            (head,) = struct.unpack_from(">I", body, 8)
            self.takes(Invoked(body[:8], json.loads(body[12 : 12 + head]), body[12 + head :]))

    def send(self, data: bytes) -> None:
        self.channel.send(data)

    def frame(self, kind: int, body: bytes) -> None:
        self.send(_frame(kind, body))

    def nonsense(self) -> None:
        self.frame(77, b"what")

    def encoded(self, invoked: Invoked, payload: bytes, length: int | None = None) -> bytes:
        return _frame(frames.RESPONSE, invoked.id + payload, length and len(invoked.id) + length)

    def ready(self) -> None:
        self.frame(frames.READY, b"")

    def snapshotted(self) -> None:
        """Init and the before-snapshot hooks are done; the image is complete."""
        self.frame(frames.SNAPSHOTTED, b"")
        self.sandbox.snapshotted = True
        self.exit(0)

    def respond(self, invoked: Invoked, payload: bytes = b"null") -> None:
        self.frame(frames.RESPONSE, invoked.id + payload)

    def fail(self, invoked: Invoked, error_type: str, body: bytes = b"{}") -> None:
        name = error_type.encode()
        self.frame(frames.ERROR, invoked.id + struct.pack(">H", len(name)) + name + body)

    def init_error(self, error_type: str, body: bytes = b"{}") -> None:
        name = error_type.encode()
        self.frame(frames.INIT_ERROR, struct.pack(">H", len(name)) + name + body)

    def stream(self, invoked: Invoked, content_type: str = "text/plain") -> None:
        self.frame(frames.STREAM, invoked.id + content_type.encode())

    def part(self, invoked: Invoked, data: bytes) -> None:
        self.frame(frames.PART, invoked.id + data)

    def end(self, invoked: Invoked) -> None:
        self.frame(frames.END, invoked.id)


def _frame(kind: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">IB", (length or len(body)) + 1, kind) + body


RUNTIME = "/2018-06-01/runtime"
STREAMING = {
    "Lambda-Runtime-Function-Response-Mode": "streaming",
    "Trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
}


class HttpGuest(Guest):
    """Speaks HTTP to the Runtime API's listener, as official clients and custom runtimes do.

    Each request goes over a connection of its own where no other one rests. A guest that is refused
    an invocation ends, as official clients do; one whose connection is lost asks again.

    lasting: connections serve for more than one request; a shell script makes one for each.
    eager: it asks for the next invocation behind its answer, without waiting for what becomes of
    that. exact: its answers name the attempt, as the newer clients' do. statuses: of the answers
    that it got, in order. streams: by attempt, the connections on which it answers in parts.
    """

    framing = "http"
    lasting = True
    eager = False
    exact = True

    def __init__(self, sandbox: FakeSandbox, channel: socket.socket, console: int, log: int):
        self.statuses: list[int] = []
        self._connections: set[_Connection] = set()
        self.streams: dict[bytes, _Connection] = {}
        super().__init__(sandbox, channel, console, log)

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        then: Callable[[int], None] = lambda status: None,
    ) -> _Connection | None:
        """Send a request. then: called with the status of its answer; 0: it got none."""
        return self._ask(_request(method, path, body, headers or {}), then)

    def _ask(self, data: bytes, then: Callable[[int], None]) -> _Connection | None:
        """None: it has ended."""
        if not self.alive:
            return None
        found = next((each for each in self._connections if each.rests), None)
        connection = found or _Connection(self, self._connect())
        self._connections.add(connection)
        connection.ask(data, then)
        return connection

    def _connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.setblocking(False)
        made.connect(self.sandbox.runtime_api.getsockname())
        return made

    @property
    def unsent(self) -> int:
        return sum(each.wire.unsent for each in self._connections)

    def lost(self, connection: _Connection) -> None:
        self._connections.discard(connection)

    def _hang_up(self) -> None:
        super()._hang_up()
        for connection in self._connections:
            connection.wire.close()
        self._connections.clear()

    def send(self, data: bytes) -> None:
        self._ask(data, lambda status: None)

    def ready(self) -> None:
        self.request("GET", f"{RUNTIME}/invocation/next", then=self._given)

    def _given(self, status: int) -> None:
        if not status:
            self.ready()
        elif status != 200:
            self.exit(1)

    def _told(self, status: int) -> None:
        """An answer was accepted or refused; in either case it goes on."""
        self.ready()

    def _answer(self, data: bytes) -> None:
        if not self.eager:
            self._ask(data, self._told)
        elif (connection := self._ask(data, lambda status: None)) is not None:
            connection.ask(_request("GET", f"{RUNTIME}/invocation/next"), self._given)

    def respond(self, invoked: Invoked, payload: bytes = b"null") -> None:
        self._answer(self.encoded(invoked, payload))

    def nonsense(self) -> None:
        self.request("POST", f"{RUNTIME}/nothing")

    def encoded(self, invoked: Invoked, payload: bytes, length: int | None = None) -> bytes:
        path = _path(invoked, "response")
        return _request("POST", path, payload, self._attempt(invoked), length)

    def _attempt(self, invoked: Invoked) -> dict[str, str]:
        return {"Lambda-Runtime-Invocation-Id": invoked.id.hex()} if self.exact else {}

    def reconnect(self) -> None:
        for connection in list(self._connections):
            connection.end()

    def fail(self, invoked: Invoked, error_type: str, body: bytes = b"{}") -> None:
        kind = {"Lambda-Runtime-Function-Error-Type": error_type}
        stream = self.streams.pop(invoked.id, None)
        if stream is None:
            path = _path(invoked, "error")
            self._answer(_request("POST", path, body, {**self._attempt(invoked), **kind}))
            return
        kind["Lambda-Runtime-Function-Error-Body"] = base64.b64encode(body).decode()
        stream.wire.send(b"0\r\n" + _lines(kind) + b"\r\n")

    def init_error(self, error_type: str, body: bytes = b"{}") -> None:
        kind = {"Lambda-Runtime-Function-Error-Type": error_type}
        self.request("POST", f"{RUNTIME}/init/error", body, kind)

    def stream(
        self,
        invoked: Invoked,
        content_type: str = "text/plain",
        headers: Mapping[str, str] = STREAMING,
    ) -> None:
        """headers: by which a client says, or does not say, that it streams."""
        head = {**self._attempt(invoked), **headers, "Content-Type": content_type}
        head["Transfer-Encoding"] = "chunked"
        data = _head("POST", _path(invoked, "response"), head)
        connection = self._ask(data, self._told)
        if connection is not None:
            self.streams[invoked.id] = connection

    def part(self, invoked: Invoked, data: bytes) -> None:
        """Of a stream that was not begun: begins one."""
        if invoked.id not in self.streams:
            self.stream(invoked)
        if self.alive:
            self.streams[invoked.id].wire.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self, invoked: Invoked) -> None:
        if self.alive:
            self.streams.pop(invoked.id).wire.send(b"0\r\n\r\n")


class _Connection:
    """One connection of an HTTP guest, and who waits for answers on it."""

    def __init__(self, guest: HttpGuest, connected: socket.socket) -> None:
        self._guest = guest
        self._waiting: deque[Callable[[int], None]] = deque()
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body = b""
        self.wire = Wire(connected, guest.sandbox, self._received)

    @property
    def rests(self) -> bool:
        return self._guest.lasting and not self._waiting

    def ask(self, data: bytes, then: Callable[[int], None]) -> None:
        self._waiting.append(then)
        self.wire.send(data)

    def _received(self, data: bytes) -> None:
        if data:
            self._parser.feed_data(data)
        else:
            self.end()

    def end(self) -> None:
        self.wire.close()
        self._guest.lost(self)
        unanswered = list(self._waiting)
        self._waiting.clear()
        for then in unanswered:
            if self._guest.alive:
                then(0)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        headers, body, status = self._headers, self._body, self._parser.get_status_code()
        self._headers, self._body = {}, b""
        then = self._waiting.popleft()
        self._guest.statuses.append(status)
        if "lambda-runtime-invocation-id" in headers:
            self._guest.takes(_invoked(headers, body))
        if self._guest.alive:
            then(status)
        if headers.get("connection") == "close" or not (self._guest.lasting or self._waiting):
            self.end()


_HEADER = {
    "id": "aws-request-id",
    "deadline": "deadline-ms",
    "arn": "invoked-function-arn",
    "trace": "trace-id",
    "client": "client-context",
    "cognito": "cognito-identity",
    "tenant": "aws-tenant-id",
}


def _invoked(headers: dict[str, str], payload: bytes) -> Invoked:
    found = {name: headers.get(f"lambda-runtime-{header}") for name, header in _HEADER.items()}
    header: dict[str, Any] = {name: value for name, value in found.items() if value is not None}
    header["deadline"] = int(header["deadline"])
    return Invoked(bytes.fromhex(headers["lambda-runtime-invocation-id"]), header, payload)


def _path(invoked: Invoked, end: str) -> str:
    return f"{RUNTIME}/invocation/{invoked.request_id}/{end}"


def _request(
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    length: int | None = None,
) -> bytes:
    size = str(len(body) if length is None else length)
    return _head(method, path, {"Content-Length": size, **(headers or {})}) + body


def _head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode() + _lines(headers) + b"\r\n"


def _lines(headers: Mapping[str, str]) -> bytes:
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
