"""Invocations whose answer is read while the function writes it."""

from __future__ import annotations

import asyncio

from boda.core.clock import Clock
from boda.invoke.call import Call, InvokePath, Outcome
from boda.runtime.stream import ResponseStream

BUFFERED_TYPE = "application/json"
"""The content type of an answer that is not streamed."""
_PART = 64 << 10


class StreamedAnswer:
    """The answer of one invocation. Iterate once for its bytes, then await ``outcome``.

    content_type: as the function set it. failed: the function failed before its first byte.
    ``aclose`` if the caller goes away: the function runs to its end, and its outcome is dropped.
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
        """Return the next bytes. Raises AwsError if the environment was lost half-way."""
        data = await self._stream.read()
        if not data:
            raise StopAsyncIteration
        return data

    async def outcome(self) -> Outcome:
        """Return the outcome, after the last byte. Raises AwsError likewise."""
        return await self._invocation

    async def aclose(self) -> None:
        """Drop the rest. Idempotent."""
        self._stream.abandon()
        if self._invocation.done():
            if not self._invocation.cancelled():
                self._invocation.exception()  # it will not be awaited
        else:
            self._invocation.cancel()


async def open_stream(invoker: InvokePath, call: Call, clock: Clock) -> StreamedAnswer:
    """Start an invocation; return when the function has started to answer or has ended.

    Raises AwsError if the call could not be run, as the invoke path does.
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
