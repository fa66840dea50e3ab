"""Length-prefixed frames over the channel socket: the Runtime API without HTTP. No I/O here.

A frame is ``u32 length`` (of what follows), ``u8 type`` and a body; integers are big-endian.

    type            direction   body
    INVOKE      1   to guest    invocation id (8 bytes), u32 header length, header (JSON), payload
    READY       2   to platform empty: init is done
    RESPONSE    3   to platform invocation id (8 bytes), payload
    ERROR       4   to platform invocation id (8 bytes), u16 type length, error type, JSON
    INIT_ERROR  5   to platform u16 type length, error type, JSON
    STREAM      6   to platform invocation id (8 bytes), content type: the answer comes in parts
    PART        7   to platform invocation id (8 bytes), bytes of the answer
    END         8   to platform invocation id (8 bytes): the answer is whole
    SNAPSHOTTED 9   to platform empty: a template's init is done and its image is complete

A RESPONSE, an END or an ERROR also says "next": the guest waits for the next INVOKE. An ERROR
between STREAM and END is an answer that broke off. The invocation id is random for each attempt,
so that an answer that comes late, or before its question, matches no invocation.

Law: whatever the guest sends, no more than one answer of the largest allowed size is ever held.
The bytes of a longer one are skipped and reported as ``OversizedFrame``; bytes that are no frame
raise ``FrameError``, and the environment dies.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import orjson

INVOKE, READY, RESPONSE, ERROR, INIT_ERROR, STREAM, PART, END = 1, 2, 3, 4, 5, 6, 7, 8
SNAPSHOTTED = 9

MAX_PAYLOAD = 6_291_556
"""Bytes of a request's or an answer's payload: 6 MiB and 100 bytes, as AWS enforces it."""

MAX_ERROR_TYPE = 512
MAX_CONTENT_TYPE = 512
MAX_PART = 262_144
"""Bytes of one part of a streamed answer."""

_HEAD = struct.Struct(">IB")
_INVOKE = struct.Struct(">IB8sI")
_ANSWER = struct.Struct(">IB8s")
_LENGTH = struct.Struct(">H")
_ID_BYTES = 8
_LONGEST = {
    STREAM: 1 + _ID_BYTES + MAX_CONTENT_TYPE,
    PART: 1 + _ID_BYTES + MAX_PART,
    END: 1 + _ID_BYTES,
    SNAPSHOTTED: 1,
}


class FrameError(Exception):
    """The guest sent bytes that are no frame."""


@dataclass(slots=True)
class Invocation:
    """One attempt at an invocation, as the runtime receives it.

    invocation_id: 8 bytes, unique per attempt. deadline_ms: epoch milliseconds.
    """

    invocation_id: bytes
    request_id: str
    deadline_ms: int
    invoked_arn: str
    payload: bytes
    trace_id: str = ""
    client_context: str = ""
    cognito_identity: str = ""
    tenant: str = ""


@dataclass(slots=True)
class ReadyFrame:
    """Init is done."""


@dataclass(slots=True)
class ResponseFrame:
    invocation_id: bytes
    payload: bytes


@dataclass(slots=True)
class ErrorFrame:
    """The handler failed; body is the error's JSON."""

    invocation_id: bytes
    error_type: str
    body: bytes


@dataclass(slots=True)
class InitErrorFrame:
    error_type: str
    body: bytes


@dataclass(slots=True)
class OversizedFrame:
    """The answer was larger than allowed; its payload was thrown away."""

    invocation_id: bytes


@dataclass(slots=True)
class StreamFrame:
    """The answer starts, and comes in parts."""

    invocation_id: bytes
    content_type: str


@dataclass(slots=True)
class PartFrame:
    invocation_id: bytes
    data: bytes


@dataclass(slots=True)
class EndFrame:
    """All parts of the answer have come."""

    invocation_id: bytes


@dataclass(slots=True)
class SnapshottedFrame:
    """A template's init is done, and its image is complete."""


GuestFrame = (
    ReadyFrame
    | ResponseFrame
    | ErrorFrame
    | InitErrorFrame
    | OversizedFrame
    | StreamFrame
    | PartFrame
    | EndFrame
    | SnapshottedFrame
)


def encode_invoke(invocation: Invocation) -> bytes:
    """The INVOKE frame of an invocation."""
    fields: dict[str, str | int] = {
        "id": invocation.request_id,
        "deadline": invocation.deadline_ms,
        "arn": invocation.invoked_arn,
        "trace": invocation.trace_id,
    }
    if invocation.client_context:
        fields["client"] = invocation.client_context
    if invocation.cognito_identity:
        fields["cognito"] = invocation.cognito_identity
    if invocation.tenant:
        fields["tenant"] = invocation.tenant
    header = orjson.dumps(fields)
    payload = invocation.payload
    size = len(header)
    head = _INVOKE.pack(13 + size + len(payload), INVOKE, invocation.invocation_id, size)
    return b"".join((head, header, payload))


class FrameReader:
    """Parses the guest's bytes into frames."""

    __slots__ = ("_buffer", "_skip", "_skipped_id", "_wanted")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._wanted = 0
        self._skip = 0
        self._skipped_id = b""

    def answer(self, data: bytes, invocation_id: bytes) -> bytes | None:
        """Return the payload if data is exactly one RESPONSE to the invocation, else None.

        This is the usual case, without the objects that ``feed`` makes. After None, pass data to
        ``feed``.
        """
        if self._buffer or self._skip or len(data) < _ANSWER.size:
            return None
        length, kind, found = _ANSWER.unpack_from(data)
        if kind != RESPONSE or found != invocation_id or len(data) != length + 4:
            return None
        return data[_ANSWER.size :]

    def feed(self, data: bytes) -> list[GuestFrame]:
        """Return the frames that are complete with this data. Raises FrameError."""
        if not self._buffer and not self._skip and len(data) >= 5:
            # The usual case, one small frame in one piece, is parsed in place.
            length, kind = _HEAD.unpack_from(data)
            if len(data) == length + 4 and length <= MAX_PAYLOAD:
                return [_parse(kind, data[5:])]
        return self._feed_slowly(data)

    def _feed_slowly(self, data: bytes) -> list[GuestFrame]:
        events: list[GuestFrame] = []
        view = memoryview(data)
        while len(view):
            if self._skip:
                taken = min(self._skip, len(view))
                view = view[taken:]
                self._skip -= taken
                if not self._skip:
                    events.append(OversizedFrame(self._skipped_id))
                continue
            buffer = self._buffer
            wanted = self._wanted or 5 + _ID_BYTES
            taken = min(wanted - len(buffer), len(view))
            buffer += view[:taken]
            view = view[taken:]
            self._advance(events)
        return events

    def _advance(self, events: list[GuestFrame]) -> None:
        """Parse the buffer, which never holds more than one frame and a head."""
        buffer = self._buffer
        while len(buffer) >= 5:
            length, kind = _HEAD.unpack_from(buffer)
            if length < 1:
                raise FrameError("a frame without a type")
            if not READY <= kind <= SNAPSHOTTED:
                raise FrameError(f"a frame of unknown type {kind}")
            if length > _LONGEST.get(kind, length):
                raise FrameError("a frame of a stream that is too long")
            end = 4 + length
            if len(buffer) >= end:
                body = bytes(memoryview(buffer)[5:end])
                del buffer[:end]
                self._wanted = 0
                events.append(_parse(kind, body))
                continue
            if kind == READY:
                raise FrameError("a READY frame with a body")
            if length > MAX_PAYLOAD + 1 + _ID_BYTES:
                if kind not in (RESPONSE, ERROR):
                    raise FrameError("an INIT_ERROR frame that is too long")
                if len(buffer) < 5 + _ID_BYTES:
                    return
                self._skipped_id = bytes(buffer[5 : 5 + _ID_BYTES])
                self._skip = end - len(buffer)
                buffer.clear()
                self._wanted = 0
                return
            self._wanted = end
            return


def _parse(kind: int, body: bytes) -> GuestFrame:
    if kind == RESPONSE:
        if len(body) < _ID_BYTES:
            raise FrameError("a RESPONSE frame without an invocation id")
        return ResponseFrame(body[:_ID_BYTES], body[_ID_BYTES:])
    if kind == READY:
        if body:
            raise FrameError("a READY frame with a body")
        return ReadyFrame()
    if kind == SNAPSHOTTED:
        if body:
            raise FrameError("a SNAPSHOTTED frame with a body")
        return SnapshottedFrame()
    if kind in _LONGEST:
        return _part(kind, body)
    if kind == ERROR:
        error_type, rest = _error_type(body, _ID_BYTES)
        return ErrorFrame(body[:_ID_BYTES], error_type, rest)
    if kind == INIT_ERROR:
        error_type, rest = _error_type(body, 0)
        return InitErrorFrame(error_type, rest)
    raise FrameError(f"a frame of unknown type {kind}")


def _part(kind: int, body: bytes) -> GuestFrame:
    """Parse a frame of a streamed answer."""
    if not _ID_BYTES <= len(body) < _LONGEST[kind]:
        raise FrameError("a frame of a stream of a wrong length")
    invocation_id, rest = body[:_ID_BYTES], body[_ID_BYTES:]
    if kind == PART:
        return PartFrame(invocation_id, rest)
    if kind == END:
        return EndFrame(invocation_id)
    return StreamFrame(invocation_id, rest.decode("utf-8", "replace"))


def _error_type(body: bytes, start: int) -> tuple[str, bytes]:
    if len(body) < start + 2:
        raise FrameError("an error frame without an error type")
    (length,) = _LENGTH.unpack_from(body, start)
    end = start + 2 + length
    if length > MAX_ERROR_TYPE or len(body) < end:
        raise FrameError("an error frame with a wrong error type")
    return body[start + 2 : end].decode("utf-8", "replace"), body[end:]
