"""A streamed answer as the events of InvokeWithResponseStream."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from typing import Any

from boda.invoke.call import Outcome
from boda.invoke.streaming import StreamedAnswer


async def streamed_events(answer: StreamedAnswer, tail: bool) -> AsyncIterator[Mapping[str, Any]]:
    """Yield ``PayloadChunk``s as they come, then ``InvokeComplete``.

    tail: with the end of the log. Raises AwsError if the environment is lost half-way.
    """
    try:
        async for data in answer:
            yield {"PayloadChunk": {"Payload": data}}
        outcome = await answer.outcome()
        yield {"InvokeComplete": _complete(outcome, tail)}
    finally:
        await answer.aclose()


def _complete(outcome: Outcome, tail: bool) -> dict[str, str]:
    """Return the last event, which reports a failure whether or not chunks came before it."""
    members: dict[str, str] = {}
    if outcome.function_error:
        members["ErrorCode"] = outcome.function_error
        members["ErrorDetails"] = outcome.payload.decode("utf-8", "replace") or outcome.error_type
    if tail:
        members["LogResult"] = base64.b64encode(outcome.tail[-4096:]).decode("ascii")
    return members
