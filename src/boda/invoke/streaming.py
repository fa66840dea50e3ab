"""An invocation whose answer is read while it is made."""

from __future__ import annotations

import asyncio
from typing import Protocol

from boda.core.clock import Clock
from boda.runtime.call import Call, Outcome
from boda.runtime.stream import ResponseStream

BUFFERED_TYPE = "application/json"
"""The content type of an answer that a function gave as a whole."""
_PART = 64 << 10


class Invokes(Protocol):
    async def invoke(self, call: Call) -> Outcome: ...


class StreamedAnswer:
    """Iterate once for the answer's bytes, then ask for the ``outcome``.

    content_type: as the function says. failed: it failed before it answered anything.
    ``aclose`` when the caller goes away: the function runs to its end, and nobody hears of it.
    """

    def __init__(
        self, stream: ResponseStream, invocation: asyncio.Future[Outcome], whole: bytes
    ) -> None:
        self._stream = stream
        self._invocation = invocation
        self.content_type = stream.content_type if stream.begun else BUFFERED_TYPE
        self.failed = not stream.begun and bool(invocation.result().function_error)
        if not self.failed:
            for at in range(0, len(whole), _PART):
                stream.feed(whole[at : at + _PART])

    def __aiter__(self) -> StreamedAnswer:
        return self

    async def __anext__(self) -> bytes:
        """AwsError where the platform lost the environment half-way."""
        data = await self._stream.read()
        if not data:
            raise StopAsyncIteration
        return data

    async def outcome(self) -> Outcome:
        """After the last byte. AwsError as before."""
        return await self._invocation

    async def aclose(self) -> None:
        """Idempotent."""
        self._stream.abandon()
        if self._invocation.done():
            if not self._invocation.cancelled():
                self._invocation.exception()  # nobody else will look at it
        else:
            self._invocation.cancel()


async def open_stream(invoker: Invokes, call: Call, clock: Clock) -> StreamedAnswer:
    """Begin; return when the function has begun to answer or has ended.

    AwsError where the call could not be run, as the invoke path raises it.
    """
    stream = call.stream = ResponseStream(clock)
    invocation = asyncio.ensure_future(invoker.invoke(call))
    invocation.add_done_callback(lambda _: stream.finish())
    try:
        await stream.opened()
    except BaseException:
        stream.abandon()
        invocation.cancel()
        raise
    whole = b"" if stream.begun else invocation.result().payload
    return StreamedAnswer(stream, invocation, whole)
