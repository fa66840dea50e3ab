"""Streamed answers of function URLs: a function's stream as HTTP.

A function that declares ``application/vnd.awslambda.http-integration-response`` begins with an
object of status, headers and cookies and eight zero bytes, followed by the body. The answer of any
other function is the body as it is. Source: Lambda developer guide, "response-streaming-tutorial"
and "configuration-response-streaming".
"""

from __future__ import annotations

from boda.core.errors import AwsError
from boda.events.http import payload_2
from boda.events.http.messages import HttpAnswer
from boda.gateway.http.wire import Stream, TruncatedStream, WireResponse
from boda.invoke.streaming import StreamedAnswer

MAX_PRELUDE = 16_384
"""Bytes of the object before the body."""

_HTTP = "application/vnd.awslambda.http-integration-response"
_SEPARATOR = bytes(8)
_BODILESS = (204, 304)


class AnswerChunks:
    """The chunks of a streamed answer. first: the bytes that were read along with its head."""

    def __init__(self, answer: StreamedAnswer, first: bytes) -> None:
        self._answer = answer
        self._first = first

    def __aiter__(self) -> AnswerChunks:
        return self

    async def __anext__(self) -> bytes:
        """Raises TruncatedStream if the function failed half-way: the status was sent already."""
        if self._first:
            first, self._first = self._first, b""
            return first
        try:
            async for data in self._answer:
                return data
            outcome = await self._answer.outcome()
        except AwsError:
            raise TruncatedStream from None
        if outcome.function_error:
            raise TruncatedStream
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await self._answer.aclose()


async def response(answer: StreamedAnswer) -> WireResponse | None:
    """Return the caller's response; None if the function failed before it, or its head is
    malformed."""
    taken = False
    try:
        head, first = await _head(answer)
        if head is None:
            return None
        if head.status in _BODILESS:
            return WireResponse(*head)
        taken = True
        return WireResponse(head.status, head.headers, Stream(AnswerChunks(answer, first)))
    finally:
        if not taken:
            await answer.aclose()


async def _head(answer: StreamedAnswer) -> tuple[HttpAnswer | None, bytes]:
    """Return the head, and the part of the body that came with it."""
    if answer.failed:
        return None, b""
    if answer.content_type.partition(";")[0].strip().lower() != _HTTP:
        return payload_2.typed_head(answer.content_type), b""
    begin = bytearray()
    async for data in answer:
        begin += data
        end = begin.find(_SEPARATOR, 0, MAX_PRELUDE + len(_SEPARATOR))
        if end >= 0:
            rest = bytes(begin[end + len(_SEPARATOR) :])
            return payload_2.streamed_head(bytes(begin[:end])), rest
        if len(begin) > MAX_PRELUDE:
            break
    return None, b""
