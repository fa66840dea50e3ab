"""The conversation with one runtime process, over frames or HTTP, as the fleet sees it.

A session lives as long as its process: after a reset there is a new one, and nothing that the old
process sent is ever heard again. Both framings pass through one ``Conversation``.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import Protocol

import orjson

from boda.runtime import frames
from boda.runtime.frames import Invocation
from boda.runtime.state import Conversation, Refused
from boda.runtime.stream import Source

_CHUNK = 65536

RESPONSE_TOO_LARGE = "Function.ResponseSizeTooLarge"
TRUNCATED = "Runtime.TruncatedResponse"


class Listener(Protocol):
    """Who hears what the runtime says. ready: it also waits for the next invocation."""

    def runtime_ready(self) -> None: ...

    def runtime_init_failed(self, error_type: str, body: bytes) -> None: ...

    def runtime_snapshotted(self) -> None:
        """A template's init is done and its image complete; the session has no more to say."""

    def runtime_answered(self, payload: bytes, ready: bool) -> None: ...

    def runtime_failed(self, error_type: str, body: bytes, ready: bool) -> None: ...

    def runtime_streams(self, content_type: str, source: Source) -> None:
        """It begins to answer in parts; then come parts, and ``runtime_streamed`` or
        ``runtime_failed`` at the end."""

    def runtime_part(self, data: bytes) -> None: ...

    def runtime_streamed(self, ready: bool) -> bool:
        """All parts came; whether they were not too much."""

    def runtime_broke(self, reason: str) -> None:
        """It did what no honest runtime does; the session is over."""


class Poller(Protocol):
    """An HTTP connection on which a runtime waits for its next invocation."""

    def deliver(self, invocation: Invocation) -> None: ...


class Uploader(Protocol):
    """An HTTP connection on which a runtime sends an answer in parts."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class NotNow(Exception):
    """An HTTP request of the runtime that is refused: status and error type of the answer."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type


class Session:
    """One runtime process. ``open`` begins to listen; ``close`` is final."""

    def __init__(self, channel: socket.socket, listener: Listener) -> None:
        self._channel = channel
        self._receive = channel.recv
        self._fd = channel.fileno()
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._reader = frames.FrameReader()
        self._conversation = Conversation()
        self._current: Invocation | None = None
        self._framed = True
        self._poller: Poller | None = None
        self._undelivered = False
        self._uploader: Uploader | None = None
        self._paused = False
        self._unsent: memoryview | None = None
        self._open = False

    def open(self) -> None:
        self._open = True
        self._loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """Hear nothing more. Idempotent; the socket stays the sandbox's."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._fd)
        if self._unsent is not None:
            self._loop.remove_writer(self._fd)
            self._unsent = None
        self._poller = None
        self._uploader = None

    @property
    def state(self) -> str:
        return self._conversation.state

    def invoke(self, invocation: Invocation) -> None:
        """Hand an invocation to the runtime. Refused unless it is ready."""
        self._conversation.move("invoke")
        self._current = invocation
        if self._framed:
            self._send(frames.encode_invoke(invocation))
        elif self._poller is not None:
            poller, self._poller = self._poller, None
            poller.deliver(invocation)
        else:
            self._undelivered = True

    def drain(self) -> None:
        """Hear what already lies in the channel; called when the process has ended."""
        while self._open and self._readable():
            pass

    # The source of a streamed answer

    def pause(self) -> None:
        if self._paused or not self._open:
            return
        self._paused = True
        if self._uploader is not None:
            self._uploader.pause_reading()
        else:
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        if not self._paused or not self._open:
            return
        self._paused = False
        if self._uploader is not None:
            self._uploader.resume_reading()
        else:
            self._loop.add_reader(self._fd, self._readable)

    # Frames

    def _readable(self) -> bool:
        """Read once. False where nothing was there."""
        try:
            data = self._receive(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            # The process is gone or going; whoever waits for its end knows how it ended.
            if self._open:
                self._loop.remove_reader(self._fd)
            return False
        current = self._current
        if current is not None and self._conversation.state == "invoking":
            payload = self._reader.answer(data, current.invocation_id)
            if payload is not None:
                self._conversation.move("response")
                self._current = None
                self._conversation.move("next")
                self._listener.runtime_answered(payload, True)
                return self._open
        try:
            for event in _joined(self._reader.feed(data)):
                self._hear(event)
                if not self._open:
                    return False
        except frames.FrameError as error:
            self._break(f"the runtime sent {error}")
            return False
        except Refused as error:
            self._break(f"the runtime spoke out of turn: {error}")
            return False
        return True

    def _hear(self, event: frames.Event) -> None:
        if isinstance(event, frames.Response):
            self._check(event.invocation_id)
            self._conversation.move("response")
            self._current = None
            self._conversation.move("next")
            self._listener.runtime_answered(event.payload, True)
        elif isinstance(event, frames.Part):
            self._check_framed(event.invocation_id)
            self._conversation.move("part")
            self._listener.runtime_part(event.data)
        elif isinstance(event, frames.Failure):
            self._conclude(event.invocation_id, "error")
            self._listener.runtime_failed(event.error_type, event.body, True)
        elif isinstance(event, frames.Ready):
            if self._conversation.state != "initializing":
                raise Refused(self._conversation.state, "READY")
            self._conversation.move("next")
            self._framed = True
            self._listener.runtime_ready()
        elif isinstance(event, frames.Snapshotted):
            self._conversation.move("snapshotted")
            self._listener.runtime_snapshotted()
        elif isinstance(event, frames.Begin):
            self._check_framed(event.invocation_id)
            self._conversation.move("stream")
            self._listener.runtime_streams(event.content_type, self)
        elif isinstance(event, frames.End):
            self._conclude(event.invocation_id, "end")
            self._listener.runtime_streamed(True)
        elif isinstance(event, frames.TooLarge):
            self._conclude(event.invocation_id, "error")
            self._listener.runtime_failed(RESPONSE_TOO_LARGE, too_large_body(), True)
        else:
            self._conversation.move("init_error")
            self._listener.runtime_init_failed(event.error_type, event.body)

    def _conclude(self, invocation_id: bytes, event: str) -> None:
        self._check_framed(invocation_id)
        self._conversation.move(event)
        self._current = None
        self._conversation.move("next")
        self.resume()  # the next invocation's answer must be heard, whoever still reads this one

    def _check_framed(self, invocation_id: bytes) -> None:
        self._check(invocation_id)
        if self._uploader is not None:
            raise frames.FrameError("an answer beside another one")

    def _check(self, invocation_id: bytes) -> None:
        current = self._current
        if current is None or current.invocation_id != invocation_id:
            raise frames.FrameError("an answer to what was not asked")

    def _break(self, reason: str) -> None:
        self.close()
        self._listener.runtime_broke(reason)

    def _send(self, data: bytes) -> None:
        try:
            sent = self._channel.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return  # it has ended, as whoever waits for its end will hear
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

    # HTTP; called by the Runtime API with what a runtime asked. Each raises NotNow.

    def http_next(self, poller: Poller) -> None:
        if self._undelivered and self._current is not None:
            self._undelivered = False
            poller.deliver(self._current)
            return
        self._http_move("next")
        self._framed = False
        self._poller = poller
        self._listener.runtime_ready()

    def http_gone(self, poller: Poller) -> None:
        """The connection on which the runtime waited has been lost."""
        if self._poller is poller:
            self._poller = None

    def http_response(self, request_id: str, invocation_id: str | None, payload: bytes) -> None:
        self.http_check(request_id, invocation_id)
        self._http_move("response")
        self._current = None
        self._listener.runtime_answered(payload, False)

    def http_stream(
        self,
        request_id: str,
        invocation_id: str | None,
        content_type: str,
        uploader: Uploader,
    ) -> None:
        """The head of an answer that comes in parts is here."""
        self.http_check(request_id, invocation_id)
        self._http_move("stream")
        self._uploader = uploader
        self._listener.runtime_streams(content_type, self)

    def http_part(self, uploader: Uploader, data: bytes) -> None:
        if self._uploader is uploader:
            self._http_move("part")
            self._listener.runtime_part(data)

    def http_stream_end(self, uploader: Uploader) -> bool:
        """Whether the answer was not too large."""
        self._http_leave(uploader, "end")
        return self._listener.runtime_streamed(False)

    def http_stream_error(self, uploader: Uploader, error_type: str, body: bytes) -> None:
        """It broke off, as its trailers tell or the end of its connection shows."""
        self._http_leave(uploader, "error")
        self._listener.runtime_failed(error_type, body, False)

    def _http_leave(self, uploader: Uploader, event: str) -> None:
        if self._uploader is not uploader:
            raise NotNow(403, "InvalidStateTransition", "The runtime is being stopped")
        self._http_move(event)
        self._uploader = None
        self._current = None
        if self._paused:
            self._paused = False
            uploader.resume_reading()

    def http_error(
        self, request_id: str, invocation_id: str | None, error_type: str, body: bytes
    ) -> None:
        self.http_check(request_id, invocation_id)
        if self._conversation.state == "streaming":
            # An answer that has begun says in its trailers that it broke off.
            raise NotNow(
                403, "InvalidStateTransition", "Transition from streaming to error is not allowed."
            )
        self._http_move("error")
        self._current = None
        self._listener.runtime_failed(error_type, body, False)

    def http_init_error(self, error_type: str, body: bytes) -> None:
        self._http_move("init_error")
        self._listener.runtime_init_failed(error_type, body)

    def http_check(self, request_id: str, invocation_id: str | None) -> None:
        """Whether this is the invocation the runtime has in hand."""
        current = self._current
        if current is None or current.request_id != request_id:
            raise NotNow(400, "InvalidRequestID", "Invalid request ID")
        if invocation_id is not None and invocation_id != current.invocation_id.hex():
            raise NotNow(400, "InvalidInvocationId", "Invalid invocation ID")

    def _http_move(self, event: str) -> None:
        if not self._open:
            raise NotNow(403, "InvalidStateTransition", "The runtime is being stopped")
        try:
            self._conversation.move(event)
        except Refused as error:
            raise NotNow(
                403,
                "InvalidStateTransition",
                f"Transition from {error.state} to {error.event} is not allowed.",
            ) from None


def _joined(events: list[frames.Event]) -> list[frames.Event]:
    """With the parts that came at once as one: they may be of one byte each, and to pass on each
    by itself would keep everybody waiting."""
    if len(events) < 2:
        return events
    joined: list[frames.Event] = []
    for stream, found in itertools.groupby(events, _stream_of):
        if stream is None:
            joined += found
        else:
            parts = [one.data for one in found if isinstance(one, frames.Part)]
            joined.append(frames.Part(stream, b"".join(parts)))
    return joined


def _stream_of(event: frames.Event) -> bytes | None:
    return event.invocation_id if isinstance(event, frames.Part) else None


def too_large_body(limit: int = frames.MAX_PAYLOAD) -> bytes:
    """The error a caller gets instead of an answer that is too large. limit: in bytes."""
    return orjson.dumps(
        {
            "errorMessage": "Response payload size exceeded maximum allowed payload size "
            f"({limit} bytes).",
            "errorType": RESPONSE_TOO_LARGE,
        }
    )
