"""One page of log events in the order of their ids, from blocks that may overlap in time.

Laws of this file:
- Memory is bounded by a page and one block, whatever the filter and however blocks overlap.
- Work is bounded too: past SCAN_BYTES, SCAN_BLOCKS or some time a page ends early, with the
  position to go on from.
- A page goes on exactly after the last one; no event is shown twice and none is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from boda.storage.rows import Tx
from boda.telemetry.block import EVENT_OVERHEAD_BYTES, SPAN_MS, position, time_of, unpack
from boda.telemetry.tables import log_blocks, log_streams

PAGE_BYTES = 1024 * 1024
PAGE_EVENTS = 10_000
SCAN_BYTES = 24 * 1024 * 1024
SCAN_BLOCKS = 20_000

Match = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A log event. position: its id as a number (``block.event_id`` converts it to AWS's form)."""

    position: int
    timestamp_ms: int
    ingested_ms: int
    message: str
    stream: str


@dataclass(frozen=True, slots=True)
class LogPage:
    """A page of events. resume: the next search's ``beyond``; None at the end."""

    events: list[LogEvent]
    resume: int | None


@dataclass(frozen=True, slots=True)
class LogSearch:
    """The events to read: from start_ms, before end_ms (None: no bound).

    beyond: only events after this position in the direction of reading. stream_ids: of these
    streams, or None for all. prefix: of the streams' names. match: of messages. late: returns
    whether the page has taken long enough.
    """

    group_id: int
    start_ms: int = 0
    end_ms: int | None = None
    beyond: int | None = None
    forward: bool = True
    stream_ids: Collection[int] | None = None
    prefix: str = ""
    limit: int = PAGE_EVENTS
    match: Match | None = None
    late: Callable[[], bool] = lambda: False


def read_page(tx: Tx, search: LogSearch) -> LogPage:
    """Read the first page of a search."""
    low = position(max(search.start_ms, 0))
    high = position(search.end_ms) if search.end_ms is not None else position(1 << 62)
    if search.beyond is not None:
        if search.forward:
            low = max(low, search.beyond + 1)
        else:
            high = min(high, search.beyond)
    chosen = _PageBuilder(search.limit, search.forward)
    if low >= high:
        return LogPage([], None)
    scanned_bytes = scanned_blocks = 0
    for row in _blocks(tx, search, low, high):
        first = position(row.first_ms, row.id)
        last = position(row.last_ms, row.id, row.events - 1)
        if last < low or first >= high:
            continue
        # All events that have not been read yet are at or beyond the edge.
        edge = first if search.forward else last
        if chosen.settled_before(edge):
            return chosen.page(more=True)
        moved_on = edge > low if search.forward else edge < high - 1
        enough = scanned_bytes > SCAN_BYTES or scanned_blocks > SCAN_BLOCKS or search.late()
        if enough and scanned_blocks and moved_on:
            return chosen.partial_page(edge)
        scanned_bytes += row.size
        scanned_blocks += 1
        chosen.extend(_events(row, low, high, search.match))
    return chosen.page(more=False)


def _blocks(tx: Tx, search: LogSearch, low: int, high: int) -> Iterator[Any]:
    low_ms, high_ms = time_of(low), time_of(high - 1)
    blocks, streams = log_blocks.c, log_streams.c
    query = (
        sa.select(
            blocks.id,
            blocks.first_ms,
            blocks.last_ms,
            blocks.ingested_ms,
            blocks.events,
            blocks.size,
            blocks.data,
            streams.name,
        )
        .join_from(log_blocks, log_streams, streams.id == blocks.stream_id)
        .where(
            blocks.group_id == search.group_id,
            blocks.first_ms <= high_ms,
            blocks.last_ms >= low_ms,
        )
    )
    one_stream = search.stream_ids is not None and len(search.stream_ids) == 1
    if one_stream:
        (stream_id,) = search.stream_ids or ()
        query = query.where(blocks.stream_id == stream_id)
    elif search.stream_ids is not None:
        query = query.where(blocks.stream_id.in_(search.stream_ids))
    if search.prefix:
        query = query.where(sa.func.substr(streams.name, 1, len(search.prefix)) == search.prefix)
    # No block spans more than SPAN_MS: so far from the bound the first block can be.
    side = "first" if search.forward else "last"
    if search.forward:
        query = query.where(blocks.first_ms >= low_ms - SPAN_MS)
        query = query.order_by(blocks.first_ms, blocks.id)
    else:
        query = query.where(blocks.last_ms <= high_ms + SPAN_MS)
        query = query.order_by(blocks.last_ms.desc(), blocks.id.desc())
    index = f"log_blocks_{'stream' if one_stream else 'group'}_{side}"
    query = query.with_hint(log_blocks, f"INDEXED BY {index}", "sqlite")
    yield from tx.stream(query)


def _events(row: Any, low: int, high: int, match: Match | None) -> Iterator[LogEvent]:
    try:
        times, messages = unpack(row.data)
    except ValueError:
        return  # a damaged block hides its own events, not the group's
    base = row.id
    for place, (time_ms, message) in enumerate(zip(times, messages, strict=True)):
        where = position(time_ms, base, place)
        if low <= where < high and (match is None or match(message)):
            yield LogEvent(where, time_ms, row.ingested_ms, message, row.name)


class _PageBuilder:
    """Collects the first events of all that were read, as many as a page holds."""

    def __init__(self, limit: int, forward: bool) -> None:
        self._limit = max(1, min(limit, PAGE_EVENTS))
        self._forward = forward
        self._events: list[LogEvent] = []
        self._bytes = 0
        self._threshold: int | None = None  # the last place of a full page
        self._unsorted = 0
        self._cut = False

    def extend(self, events: Iterator[LogEvent]) -> None:
        for event in events:
            if self._threshold is not None and self._is_beyond(event.position, self._threshold):
                self._cut = True
                continue
            self._events.append(event)
            self._bytes += len(event.message) + EVENT_OVERHEAD_BYTES
            self._unsorted += 1
        full = len(self._events) >= self._limit or self._bytes >= PAGE_BYTES
        # Sorting costs a pass over the page; many small blocks share one.
        if full and (self._threshold is None or self._unsorted * 4 > len(self._events)):
            self._trim()

    def settled_before(self, edge: int) -> bool:
        """Whether the page is full of events before this position."""
        return self._threshold is not None and self._is_beyond(edge, self._threshold)

    def page(self, *, more: bool) -> LogPage:
        self._trim()
        more = more or self._cut
        return LogPage(self._events, self._events[-1].position if more and self._events else None)

    def partial_page(self, edge: int) -> LogPage:
        """Return the events before the edge, which are complete, to be continued from there."""
        self._trim()
        if self._threshold is not None and self._is_beyond(edge, self._threshold):
            return self.page(more=True)
        sure = [event for event in self._events if self._is_beyond(edge, event.position)]
        return LogPage(sure, edge - 1 if self._forward else edge + 1)

    def _is_beyond(self, one: int, other: int) -> bool:
        return one > other if self._forward else one < other

    def _trim(self) -> None:
        self._events.sort(key=lambda event: event.position, reverse=not self._forward)
        size = kept = 0
        for event in self._events:
            size += len(event.message.encode("utf-8", "replace")) + EVENT_OVERHEAD_BYTES
            if kept and (kept >= self._limit or size > PAGE_BYTES):
                break
            kept += 1
        if kept < len(self._events):
            self._cut = True
            del self._events[kept:]
            self._threshold = self._events[-1].position
        elif kept >= self._limit:
            self._threshold = self._events[-1].position
        self._unsorted = 0
        self._bytes = sum(len(event.message) + EVENT_OVERHEAD_BYTES for event in self._events)
