"""Log events: put, get, filter."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from boda.core.clock import Clock
from boda.core.errors import AwsError, BodaError
from boda.gateway.calling.operation import Context, operation
from boda.gateway.calling.paging import Key, Listing, Page, Paged
from boda.services.logs.access import on_group, on_stream
from boda.services.logs.event_tokens import place_token, read_place
from boda.services.logs.names import (
    AcceptedEvents,
    group_of,
    invalid,
    no_group,
    no_stream,
)
from boda.services.logs.patterns.pattern import BadPattern, compile_pattern
from boda.services.logs.streams import sequence_token as token_of
from boda.telemetry.block import event_id, position
from boda.telemetry.contract import StreamKey
from boda.telemetry.log_reader import PAGE_EVENTS, LogEvent, LogSearch, Match
from boda.telemetry.log_rows import LogGroup
from boda.telemetry.recorder import Recorder

_BACKWARD_SINCE_MS = 1_704_067_200_000  # FilterLogEvents reads backward from 1 January 2024 on
_MAX_PATTERN = 1024
_FILTERED = Paged(size=PAGE_EVENTS, free=frozenset({"startFromHead", "interleaved", "unmask"}))


class LogEventOperations:
    def __init__(self, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self.store = recorder.logs
        self._clock = clock

    @operation("PutLogEvents", authorize=on_stream("logs:PutLogEvents"))
    async def put_log_events(
        self,
        ctx: Context,
        *,
        log_group_name: str,
        log_stream_name: str,
        log_events: Sequence[Mapping[str, Any]],
        sequence_token: str | None = None,
    ) -> dict[str, Any]:
        """sequence_token: whatever it is, AWS accepts it and leaves it out of account."""
        if len(log_events) > PAGE_EVENTS:
            raise invalid(
                f"1 validation error detected: Value '{len(log_events)}' at 'logEvents' failed to "
                "satisfy constraint: Member must have length less than or equal to 10000"
            )
        group = await self._group(ctx, log_group_name)
        stream_id = await self._stream_id(group, log_stream_name)
        now_ms = int(self._clock.now() * 1000)
        oldest_ms = self.store.oldest_shown_ms(group)
        accepted = await asyncio.to_thread(AcceptedEvents, log_events, now_ms, oldest_ms)
        if accepted.events:
            key = StreamKey(ctx.account, ctx.region, log_group_name, log_stream_name)
            try:
                stored = await self._recorder.put_events(key, accepted.events)
            except (BodaError, OSError):
                raise AwsError(
                    "ServiceUnavailableException", "The log events could not be stored.", 503
                ) from None
            if not stored:
                raise no_stream()
        answer: dict[str, Any] = {"nextSequenceToken": token_of(stream_id)}
        if accepted.rejected:
            answer["rejectedLogEventsInfo"] = accepted.rejected
        return answer

    @operation("GetLogEvents", authorize=on_stream("logs:GetLogEvents"))
    async def get_log_events(
        self,
        ctx: Context,
        *,
        log_stream_name: str,
        log_group_name: str | None = None,
        log_group_identifier: str | None = None,
        start_time: int | None = None,
        end_time: int | None = None,
        next_token: str | None = None,
        limit: int | None = None,
        start_from_head: bool = False,
        unmask: bool = False,
    ) -> dict[str, Any]:
        """A page is always in order of time; the token decides on which side of it to read.

        unmask: nothing is masked here; asking for it still needs logs:Unmask.
        """
        name = group_of(ctx.account, ctx.region, log_group_name, log_group_identifier)
        forward, beyond = start_from_head, None
        if next_token is not None:
            direction, beyond = read_place(next_token)
            forward = direction == "f"
        group = await self._group(ctx, name)
        stream_id = await self._stream_id(group, log_stream_name)
        page = await self.store.read(
            LogSearch(
                group.id,
                start_ms=max(start_time or 0, self.store.oldest_shown_ms(group)),
                end_ms=end_time,
                beyond=beyond,
                forward=forward,
                stream_ids=[stream_id],
                limit=limit or PAGE_EVENTS,
            )
        )
        events = page.events if forward else page.events[::-1]
        if events:
            before, behind = events[0].position, events[-1].position
        elif beyond is not None:
            # Nothing further: this direction's token comes back as it was, and the other one
            # leads back over all that was read.
            before, behind = (beyond + 1, beyond) if forward else (beyond, beyond - 1)
        else:
            before = behind = position(start_time or 0)
        if page.resume is not None and forward:
            behind = page.resume
        elif page.resume is not None:
            before = page.resume
        return {
            "events": [
                {
                    "timestamp": one.timestamp_ms,
                    "message": one.message,
                    "ingestionTime": one.ingested_ms,
                }
                for one in events
            ],
            "nextForwardToken": place_token("f", behind),
            "nextBackwardToken": place_token("b", before),
        }

    @operation("FilterLogEvents", authorize=on_group("logs:FilterLogEvents"), paged=_FILTERED)
    async def filter_log_events(
        self,
        ctx: Context,
        *,
        log_group_name: str | None = None,
        log_group_identifier: str | None = None,
        log_stream_names: Sequence[str] | None = None,
        log_stream_name_prefix: str | None = None,
        start_time: int | None = None,
        end_time: int | None = None,
        filter_pattern: str = "",
        start_from_head: bool = True,
        interleaved: bool = True,
        unmask: bool = False,
    ) -> Listing:
        """interleaved: AWS takes it for true whatever it is. A page may be empty and go on."""
        name = group_of(ctx.account, ctx.region, log_group_name, log_group_identifier)
        if log_stream_names is not None and log_stream_name_prefix is not None:
            raise invalid(
                "logStreamNames and logStreamNamePrefix are mutually exclusive parameters."
            )
        if start_time is not None and end_time is not None and start_time > end_time:
            raise invalid("startTime must be less than or equal to endTime.")
        if not start_from_head and (start_time or 0) < _BACKWARD_SINCE_MS:
            raise invalid(
                "startFromHead can be false only with a startTime on or after "
                "Jan 1, 2024 00:00:00 UTC."
            )
        match = pattern_test(filter_pattern)
        group = await self._group(ctx, name)
        stream_ids = None
        if log_stream_names is not None:
            stream_ids = [await self._stream_id(group, one) for one in set(log_stream_names)]

        async def read(key: Key, limit: int) -> Page:
            # The direction is the token's, whatever startFromHead says.
            forward, beyond = (start_from_head, None) if key is None else key
            page = await self.store.read(
                LogSearch(
                    group.id,
                    start_ms=max(start_time or 0, self.store.oldest_shown_ms(group)),
                    end_ms=end_time + 1 if end_time is not None else None,
                    beyond=beyond,
                    forward=forward,
                    stream_ids=stream_ids,
                    prefix=log_stream_name_prefix or "",
                    limit=limit,
                    match=match,
                )
            )
            # No row is one of searchedLogStreams: AWS answers an empty list since 2020.
            rows = [("events", _filtered(event)) for event in page.events]
            return Page(rows, None if page.resume is None else [forward, page.resume])

        return read

    async def _group(self, ctx: Context, name: str) -> LogGroup:
        group = await self.store.group(ctx.account, ctx.region, name)
        if group is None:
            raise no_group()
        return group

    async def _stream_id(self, group: LogGroup, name: str) -> int:
        stream = await self.store.stream(group.id, name)
        if stream is None:
            raise no_stream()
        return stream.id


def pattern_test(pattern: str) -> Match | None:
    """The test of a filter pattern, None for all; AwsError when it is none."""
    if len(pattern) > _MAX_PATTERN:
        raise invalid(
            f"1 validation error detected: Value '{pattern}' at 'filterPattern' failed to satisfy "
            "constraint: Member must have length less than or equal to 1024"
        )
    try:
        return compile_pattern(pattern)
    except BadPattern as error:
        raise invalid(str(error)) from None


def _filtered(event: LogEvent) -> dict[str, Any]:
    return {
        "logStreamName": event.stream,
        "timestamp": event.timestamp_ms,
        "message": event.message,
        "ingestionTime": event.ingested_ms,
        "eventId": event_id(event.position),
    }
