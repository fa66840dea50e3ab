"""The session with one runtime process: what it is asked, and what it answers.

A session lives as long as its process: after a reset there is a new session, and nothing that the
old process sent reaches it. Both framings pass through one ``Conversation``: frames over the
channel are read and written here, the Runtime API's requests come through ``http_session.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import Protocol

import orjson

from boda.runtime import frames
from boda.runtime.frames import Invocation
from boda.runtime.state import Conversation, ProtocolViolation
from boda.runtime.stream import FlowControl, ResponseSink

_CHUNK = 65536

RESPONSE_TOO_LARGE = "Function.ResponseSizeTooLarge"
TRUNCATED = "Runtime.TruncatedResponse"


class RuntimeListener(Protocol):
    """Receives the messages of a runtime. ready: it also waits for the next invocation."""

    def runtime_ready(self) -> None: ...

    def runtime_init_failed(self, error_type: str, body: bytes) -> None: ...

    def runtime_snapshotted(self) -> None:
        """Called when a template's init is done and its image complete, as the last message."""

    def runtime_answered(self, payload: bytes, ready: bool) -> None: ...

    def runtime_failed(self, error_type: str, body: bytes, ready: bool) -> None: ...

    def runtime_streams(self, content_type: str, source: FlowControl) -> ResponseSink | None:
        """Called when it starts to answer in parts; returns the receiver of the parts.

        ``runtime_streamed`` or ``runtime_failed`` is called after the last part.
        """

    def runtime_streamed(self, ready: bool) -> bool:
        """Called after all parts; returns whether the answer was not too large."""

    def runtime_broke(self, reason: str) -> None:
        """Called after a violation of the protocol, which ends the session."""


class InvocationReceiver(Protocol):
    """Passes an invocation on to a runtime over HTTP."""

    def deliver(self, invocation: Invocation) -> None: ...


class ResponseUpload(Protocol):
    """An HTTP connection on which a runtime sends an answer in parts."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class RuntimeSession:
    """One runtime process. ``open`` starts to receive; ``close`` is final.

    conversation: the state of both framings. current: the invocation that is to be answered.
    sink: the receiver of a streamed answer. http: set once the runtime has asked over HTTP.
    upload: the connection of an answer that comes over HTTP in parts.
    """

    def __init__(self, channel: socket.socket, listener: RuntimeListener) -> None:
        self.listener = listener
        self.conversation = Conversation()
        self.current: Invocation | None = None
        self.sink: ResponseSink | None = None
        self.http: InvocationReceiver | None = None
        self.upload: ResponseUpload | None = None
        self.is_open = False
        self._channel = channel
        self._receive = channel.recv
        self._fd = channel.fileno()
        self._loop = asyncio.get_running_loop()
        self._reader = frames.FrameReader()
        self._paused = False
        self._unsent: memoryview | None = None

    def open(self) -> None:
        self.is_open = True
        self._loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """Receive nothing more. Idempotent; the socket stays the sandbox's."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._fd)
        if self._unsent is not None:
            self._loop.remove_writer(self._fd)
            self._unsent = None
        self.http = self.upload = self.sink = None

    def invoke(self, invocation: Invocation) -> None:
        """Hand an invocation to the runtime. Raises ProtocolViolation unless it is ready."""
        self.conversation.move("invoke")
        self.current = invocation
        if self.http is None:
            self._send(frames.encode_invoke(invocation))
        else:
            self.http.deliver(invocation)

    def drain(self) -> None:
        """Receive what the process wrote into the channel before it ended."""
        while self.is_open and self._readable():
            pass

    # FlowControl of a streamed answer

    def pause(self) -> None:
        if self._paused or not self.is_open:
            return
        self._paused = True
        if self.upload is not None:
            self.upload.pause_reading()
        else:
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        if not self._paused or not self.is_open:
            return
        self._paused = False
        if self.upload is not None:
            self.upload.resume_reading()
        else:
            self._loop.add_reader(self._fd, self._readable)

    # Frames

    def _readable(self) -> bool:
        """Read once; return False if there was nothing to read."""
        try:
            data = self._receive(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            # The process has ended or soon will; how it ended shows in its exit.
            if self.is_open:
                self._loop.remove_reader(self._fd)
            return False
        current = self.current
        if current is not None and self.conversation.state == "invoking":
            payload = self._reader.answer(data, current.invocation_id)
            if payload is not None:
                self.conversation.move("response")
                self.current = None
                self.conversation.move("next")
                self.listener.runtime_answered(payload, True)
                return self.is_open
        try:
            for event in _join_parts(self._reader.feed(data)):
                self._receive_event(event)
                if not self.is_open:
                    return False
        except frames.FrameError as error:
            self._break(f"the runtime sent {error}")
            return False
        except ProtocolViolation as error:
            self._break(f"the runtime spoke out of turn: {error}")
            return False
        return True

    def _receive_event(self, event: frames.GuestFrame) -> None:
        if isinstance(event, frames.ResponseFrame):
            self._check(event.invocation_id)
            self.conversation.move("response")
            self.current = None
            self.conversation.move("next")
            self.listener.runtime_answered(event.payload, True)
        elif isinstance(event, frames.PartFrame):
            self._check_framed(event.invocation_id)
            self.conversation.move("part")
            if self.sink is not None:
                self.sink.feed(event.data)
        elif isinstance(event, frames.ErrorFrame):
            self._conclude(event.invocation_id, "error")
            self.listener.runtime_failed(event.error_type, event.body, True)
        elif isinstance(event, frames.ReadyFrame):
            if self.conversation.state != "initializing":
                raise ProtocolViolation(self.conversation.state, "READY")
            self.conversation.move("next")
            self.listener.runtime_ready()
        elif isinstance(event, frames.SnapshottedFrame):
            self.conversation.move("snapshotted")
            self.listener.runtime_snapshotted()
        elif isinstance(event, frames.StreamFrame):
            self._check_framed(event.invocation_id)
            self.conversation.move("stream")
            self.sink = self.listener.runtime_streams(event.content_type, self)
        elif isinstance(event, frames.EndFrame):
            self._conclude(event.invocation_id, "end")
            self.listener.runtime_streamed(True)
        elif isinstance(event, frames.OversizedFrame):
            self._conclude(event.invocation_id, "error")
            self.listener.runtime_failed(RESPONSE_TOO_LARGE, too_large_body(), True)
        else:
            self.conversation.move("init_error")
            self.listener.runtime_init_failed(event.error_type, event.body)

    def _conclude(self, invocation_id: bytes, event: str) -> None:
        self._check_framed(invocation_id)
        self.conversation.move(event)
        self.current = self.sink = None
        self.conversation.move("next")
        self.resume()  # the next answer must be received, also while this one is still read

    def _check_framed(self, invocation_id: bytes) -> None:
        self._check(invocation_id)
        if self.upload is not None:
            raise frames.FrameError("an answer beside another one")

    def _check(self, invocation_id: bytes) -> None:
        current = self.current
        if current is None or current.invocation_id != invocation_id:
            raise frames.FrameError("an answer to what was not asked")

    def _break(self, reason: str) -> None:
        self.close()
        self.listener.runtime_broke(reason)

    def _send(self, data: bytes) -> None:
        try:
            sent = self._channel.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return  # the process has ended, as its exit will show
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        assert self._unsent is not None
        try:
            sent = self._channel.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            sent = len(self._unsent)
        self._unsent = self._unsent[sent:]
        if not len(self._unsent):
            self._unsent = None
            self._loop.remove_writer(self._fd)


def _join_parts(received: list[frames.GuestFrame]) -> list[frames.GuestFrame]:
    """Join parts of one stream that were received at once.

    Each may be of one byte; passing on each by itself would keep all other callers waiting.
    """
    if len(received) < 2:
        return received
    joined: list[frames.GuestFrame] = []
    for stream, found in itertools.groupby(received, _stream_of):
        if stream is None:
            joined += found
        else:
            parts = [one.data for one in found if isinstance(one, frames.PartFrame)]
            joined.append(frames.PartFrame(stream, b"".join(parts)))
    return joined


def _stream_of(frame: frames.GuestFrame) -> bytes | None:
    return frame.invocation_id if isinstance(frame, frames.PartFrame) else None


def too_large_body(limit: int = frames.MAX_PAYLOAD) -> bytes:
    """Return the error that replaces an answer larger than limit, in bytes."""
    return orjson.dumps(
        {
            "errorMessage": "Response payload size exceeded maximum allowed payload size "
            f"({limit} bytes).",
            "errorType": RESPONSE_TOO_LARGE,
        }
    )
