"""Live subscriptions to log events.

A subscriber that reads too slowly loses the oldest events, never holds up a writer, and gets the
number of lost events.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass

from boda.telemetry.contract import StreamKey


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Events of one stream (epoch milliseconds, message), as they were appended.

    dropped: events of any subscribed stream lost before this batch because the reader was slow.
    """

    key: StreamKey
    events: Sequence[tuple[int, str]]
    ingested_ms: int
    dropped: int = 0


class Subscription:
    """An endless async iterator of batches, until ``close``.

    groups: names of log groups. streams: names; prefixes: beginnings of names; with neither, all
    streams. max_events, max_bytes: the bounds of what waits for the reader.
    """

    def __init__(
        self,
        account: str,
        region: str,
        groups: Collection[str],
        streams: Collection[str] = (),
        prefixes: Collection[str] = (),
        *,
        max_events: int = 10_000,
        max_bytes: int = 8 * 1024 * 1024,
        on_close: Callable[[Subscription], None] = lambda _: None,
    ) -> None:
        self._account = account
        self._region = region
        self._groups = frozenset(groups)
        self._streams = frozenset(streams)
        self._prefixes = tuple(prefixes)
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._on_close = on_close
        self._waiting: deque[tuple[EventBatch, int]] = deque()
        self._events = 0
        self._bytes = 0
        self._dropped = 0
        self._ready = asyncio.Event()
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def wants(self, key: StreamKey) -> bool:
        if key.group not in self._groups or key.account != self._account:
            return False
        if key.region != self._region:
            return False
        if self._streams:
            return key.stream in self._streams
        return not self._prefixes or key.stream.startswith(self._prefixes)

    def offer(self, key: StreamKey, events: Sequence[tuple[int, str]], now_ms: int) -> None:
        size = sum(len(message) for _, message in events)
        self._waiting.append((EventBatch(key, tuple(events), now_ms), size))
        self._events += len(events)
        self._bytes += size
        while self._waiting and (self._events > self._max_events or self._bytes > self._max_bytes):
            oldest, oldest_size = self._waiting.popleft()
            self._events -= len(oldest.events)
            self._bytes -= oldest_size
            self._dropped += len(oldest.events)
        self._ready.set()

    def take(self) -> list[EventBatch]:
        """Return the waiting batches, without waiting for more."""
        batches = [batch for batch, _ in self._waiting]
        self._waiting.clear()
        self._events = self._bytes = 0
        self._ready.clear()
        if batches and self._dropped:
            first = batches[0]
            batches[0] = EventBatch(first.key, first.events, first.ingested_ms, self._dropped)
            self._dropped = 0
        return batches

    def take_dropped(self) -> int:
        """Return and reset the number of lost events that no batch has reported."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    async def _batches(self) -> AsyncIterator[EventBatch]:
        while not self._closed:
            await self._ready.wait()
            for batch in self.take():
                yield batch

    def __aiter__(self) -> AsyncIterator[EventBatch]:
        return self._batches()

    def close(self) -> None:
        """End the subscription. Idempotent."""
        if not self._closed:
            self._closed = True
            self._ready.set()
            self._on_close(self)
