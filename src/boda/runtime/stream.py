"""A streamed answer on its way from a function to its caller.

Law: of a stream no more is held than ``HIGH_WATER`` and the bytes on their way when the source was
paused. A caller that is slow slows the function down; a caller that has gone does not stop it: the
rest is received and thrown away.

Sizes and bandwidth: Lambda developer guide, "configuration-response-streaming" and
"gettingstarted-limits".
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from boda.core.clock import Clock
from boda.runtime.frames import MAX_PAYLOAD

MAX_STREAM = 200 << 20
"""Bytes of a streamed answer."""
BURST = 6 << 20
"""Bytes that are sent as fast as they come, before the bandwidth is limited."""
BYTES_PER_S = 2 << 20

HIGH_WATER = 256 << 10
_LOW_WATER = 64 << 10
_AT_ONCE = 64 << 10
"""Bytes of small parts that are given to the caller as one."""


class FlowControl(Protocol):
    """The source of a streamed answer, as the receiver of its parts controls it."""

    def pause(self) -> None:
        """Read no more from the function until ``resume``. Idempotent."""

    def resume(self) -> None:
        """Idempotent."""


class ResponseSink(Protocol):
    """Receives the parts of a streamed answer.

    limit: bytes; bytes beyond them are thrown away, and set overflowed. payload: the whole answer,
    for a caller that waits for all of it.
    """

    limit: int
    overflowed: bool

    @property
    def payload(self) -> bytes: ...

    def open(self, content_type: str, source: FlowControl) -> None: ...

    def feed(self, data: bytes) -> None: ...

    def detach(self) -> None:
        """Release the source; nothing is fed any more."""


class JoinedResponse:
    """A streamed answer to a caller that waits for all of it."""

    def __init__(self, limit: int = MAX_PAYLOAD) -> None:
        self.limit = limit
        self.overflowed = False
        self._data = bytearray()

    @property
    def payload(self) -> bytes:
        return bytes(self._data)

    def open(self, content_type: str, source: FlowControl) -> None:
        """Ignore both: the caller gets no content type, and is never slow."""

    def feed(self, data: bytes) -> None:
        if self.overflowed:
            return
        if len(self._data) + len(data) > self.limit:
            self.overflowed = True
            self._data.clear()
        else:
            self._data += data

    def detach(self) -> None:
        """Do nothing, as no source is held."""


class Allowance:
    """A token bucket of bytes, full at first and refilled at a steady rate. Pure.

    burst: bytes it holds. rate: bytes a second.
    """

    __slots__ = ("_at_s", "_burst", "_left", "_rate")

    def __init__(self, burst: float, rate: float, now_s: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = burst
        self._at_s = now_s

    def take(self, count: int, now_s: float) -> float:
        """Take count bytes and return the seconds to wait before they may be sent."""
        since_s = max(0.0, now_s - self._at_s)
        self._at_s = max(self._at_s, now_s)
        self._left = min(self._burst, self._left + since_s * self._rate) - count
        return max(0.0, -self._left / self._rate)


class ResponseStream:
    """One streamed answer between an environment, which feeds it, and one caller, who reads it.

    begun: the function has started to answer in parts, of the type content_type.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        limit: int = MAX_STREAM,
        burst: int = BURST,
        bytes_per_s: int = BYTES_PER_S,
    ) -> None:
        self.limit = limit
        self.overflowed = False
        self.begun = False
        self.content_type = ""
        self._clock = clock
        self._allowance: Allowance | None = None
        self._burst, self._rate = burst, bytes_per_s
        self._source: FlowControl | None = None
        self._parts: deque[bytes] = deque()
        self._held = 0
        self._total = 0
        self._paused = False
        self._finished = False
        self._abandoned = False
        self._news = asyncio.Event()

    # The environment's side

    @property
    def payload(self) -> bytes:
        """Empty: the caller has read the answer in parts."""
        return b""

    def open(self, content_type: str, source: FlowControl) -> None:
        self.begun = True
        self.content_type = content_type
        self._source = source
        self._allowance = Allowance(self._burst, self._rate, self._clock.monotonic())
        self._news.set()

    def feed(self, data: bytes) -> None:
        left = self.limit - self._total
        self._total += len(data)
        if self._total > self.limit:
            self.overflowed = True
            data = data[: max(0, left)]
        if not data or self._abandoned:
            return
        self._parts.append(data)
        self._held += len(data)
        if self._held >= HIGH_WATER and not self._paused and self._source is not None:
            self._paused = True
            self._source.pause()
        self._news.set()

    def detach(self) -> None:
        self._source = None

    # The caller's side

    async def opened(self) -> None:
        """Return when the function has started to stream, or the invocation has ended."""
        while not (self.begun or self._finished):
            self._news.clear()
            await self._news.wait()

    async def read(self) -> bytes:
        """Return the next bytes once they may be sent; b"" at the end."""
        while not self._parts:
            if self._finished:
                return b""
            self._news.clear()
            await self._news.wait()
        data = self._take()
        if self._allowance is not None:
            wait_s = self._allowance.take(len(data), self._clock.monotonic())
            if wait_s > 0:
                await self._clock.sleep(wait_s)
        return data

    def _take(self) -> bytes:
        parts = self._parts
        data = parts.popleft()
        if parts and len(data) + len(parts[0]) <= _AT_ONCE:
            joined = bytearray(data)
            while parts and len(joined) + len(parts[0]) <= _AT_ONCE:
                joined += parts.popleft()
            data = bytes(joined)
        self._held -= len(data)
        if self._held <= _LOW_WATER:
            self._go_on()
        return data

    def finish(self) -> None:
        """End the stream; bytes that were fed before can still be read. Idempotent."""
        self._finished = True
        self._news.set()

    def abandon(self) -> None:
        """Throw away the rest, since the caller has gone. Idempotent."""
        self._abandoned = True
        self._parts.clear()
        self._held = 0
        self._go_on()

    def _go_on(self) -> None:
        if self._paused and self._source is not None:
            self._paused = False
            self._source.resume()
