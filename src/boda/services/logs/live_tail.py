"""Live tail: log events as they come, an update per second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.gateway.calling.operation import Context, operation
from boda.services.logs.access import on_tailed
from boda.services.logs.log_events import pattern_test
from boda.services.logs.names import group_in_arn, invalid, no_group
from boda.telemetry.log_reader import Match
from boda.telemetry.recorder import Recorder
from boda.telemetry.subscription import EventBatch

_UPDATE_S = 1.0
_UPDATE_EVENTS = 500
_SESSION_S = 3 * 3600
_MAX_GROUPS = 10
_MAX_SESSIONS = 15  # AWS's quota per account and region


class LiveTail:
    def __init__(self, recorder: Recorder, clock: Clock, ids: Ids) -> None:
        self._recorder = recorder
        self.store = recorder.logs
        self._clock = clock
        self._ids = ids
        self._sessions: dict[tuple[str, str], int] = {}

    @operation("StartLiveTail", authorize=on_tailed)
    async def start_live_tail(
        self,
        ctx: Context,
        *,
        log_group_identifiers: Sequence[str],
        log_stream_names: Sequence[str] | None = None,
        log_stream_name_prefixes: Sequence[str] | None = None,
        log_event_filter_pattern: str = "",
    ) -> dict[str, Any]:
        """Start a live tail of at most three hours.

        responseStream: ``sessionStart``, then a ``sessionUpdate`` per second, at most 500 events in
        each (``sampled`` is true if there were more).
        """
        groups = await self._groups(ctx, log_group_identifiers)
        if log_stream_names and log_stream_name_prefixes:
            raise invalid(
                "logStreamNames and logStreamNamePrefixes are mutually exclusive parameters."
            )
        if (log_stream_names or log_stream_name_prefixes) and len(groups) > 1:
            raise invalid("Log streams can be specified only with one log group.")
        match = pattern_test(log_event_filter_pattern)
        place = (ctx.account, ctx.region)
        if self._sessions.get(place, 0) >= _MAX_SESSIONS:
            raise AwsError(
                "LimitExceededException", "The number of Live Tail sessions has reached its limit."
            )
        start = {
            "requestId": ctx.request_id,
            "sessionId": self._ids.uuid(),
            "logGroupIdentifiers": list(log_group_identifiers),
            "logStreamNames": list(log_stream_names or ()),
            "logStreamNamePrefixes": list(log_stream_name_prefixes or ()),
            "logEventFilterPattern": log_event_filter_pattern,
        }
        return {"responseStream": self._session(ctx, groups, start, match)}

    async def _groups(self, ctx: Context, identifiers: Sequence[str]) -> list[str]:
        if not 1 <= len(identifiers) <= _MAX_GROUPS:
            raise invalid("Between 1 and 10 log groups can be specified.")
        names = []
        for identifier in identifiers:
            name = group_in_arn(ctx.account, ctx.region, identifier)
            if await self._recorder.logs.group(ctx.account, ctx.region, name) is None:
                raise no_group()
            names.append(name)
        return names

    async def _session(
        self,
        ctx: Context,
        groups: Sequence[str],
        start: dict[str, Any],
        match: Match | None,
    ) -> AsyncIterator[dict[str, Any]]:
        # Started here, so that a session that is not read leaves nothing behind.
        place = (ctx.account, ctx.region)
        subscription = self._recorder.subscribe(
            *place, groups, start["logStreamNames"], start["logStreamNamePrefixes"]
        )
        self._sessions[place] = self._sessions.get(place, 0) + 1
        try:
            end = self._clock.monotonic() + _SESSION_S
            yield {"sessionStart": start}
            while self._clock.monotonic() < end:
                await self._clock.sleep(_UPDATE_S)
                if subscription.closed:
                    return
                lost = subscription.take_dropped()
                batches = subscription.take()
                # Matching may take many milliseconds, which would block the event loop.
                results = await asyncio.to_thread(_results, batches, match) if batches else []
                yield {
                    "sessionUpdate": {
                        "sessionMetadata": {"sampled": bool(lost) or len(results) > _UPDATE_EVENTS},
                        "sessionResults": [
                            {
                                "logGroupIdentifier": f"{ctx.account}:{batch.key.group}",
                                "logStreamName": batch.key.stream,
                                "timestamp": time_ms,
                                "ingestionTime": batch.ingested_ms,
                                "message": message,
                            }
                            for batch, time_ms, message in _sample(results)
                        ],
                    }
                }
            yield {
                "SessionTimeoutException": {
                    "message": "The Live Tail session has been open for three hours."
                }
            }
        finally:
            subscription.close()
            self._sessions[place] -= 1


Found = tuple[EventBatch, int, str]


def _results(batches: Sequence[EventBatch], match: Match | None) -> list[Found]:
    found = []
    for batch in batches:
        for time_ms, message in batch.events:
            # Lone surrogates could not be sent.
            text = message.encode("utf-8", "replace").decode()
            if match is None or match(text):
                found.append((batch, time_ms, text))
    return found


def _sample(results: Sequence[Found]) -> Sequence[Found]:
    """Return at most 500 results, evenly spaced, in order."""
    if len(results) <= _UPDATE_EVENTS:
        return results
    return [results[place * len(results) // _UPDATE_EVENTS] for place in range(_UPDATE_EVENTS)]
