"""Log events that wait for the writer, in memory and bounded.

Sizes are what Python's objects take, so that the bound is one of real memory. Past HARD bytes
(storage has failed for long, or a caller does not heed the back-pressure) new events are dropped
and counted; the count is told in the stream as soon as there is room.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from sys import getsizeof

from boda.telemetry.block import split_long
from boda.telemetry.contract import StreamKey

MIB = 1024 * 1024
EVENT_LIMIT_BYTES = 1 * MIB - 26  # AWS's largest event
_OBJECT_BYTES = 96  # a tuple, an int and a place in a list
_MAX_DROP_COUNTS = 10_000
SLOW = "storage did not take them in time"
SHORT = "the disk is nearly full"


@dataclass(slots=True)
class Waiting:
    """Events of one stream in the order they came. ingested_ms: when the first of them came."""

    ingested_ms: int
    events: list[tuple[int, str]] = field(default_factory=list)


class LogBuffer:
    """closed: while it is, every event is dropped."""

    def __init__(self, hard_bytes: int = 128 * MIB) -> None:
        self.bytes = 0
        self.dropped = 0
        self.closed = False
        self._hard = hard_bytes
        self._streams: dict[StreamKey, Waiting] = {}
        self._drops: dict[tuple[StreamKey, str], int] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def add(
        self, key: StreamKey, events: Iterable[tuple[int, str]], now_ms: int
    ) -> list[tuple[int, str]]:
        """Append; returns what was taken."""
        batch = events if type(events) is list else list(events)
        if self.closed:
            self.lose(key, len(batch), SHORT)
            return []
        size = 0
        for _, message in batch:
            size += getsizeof(message)
        if size > EVENT_LIMIT_BYTES:
            batch = list(split_long(batch, EVENT_LIMIT_BYTES))
        if not batch:
            return batch
        size += len(batch) * _OBJECT_BYTES
        if self.bytes + size > self._hard:
            self.lose(key, len(batch), SLOW)
            return []
        if self._drops:
            self._tell_drops(now_ms)
        waiting = self._streams.get(key)
        if waiting is None:
            waiting = self._streams[key] = Waiting(now_ms)
        waiting.events += batch
        self.bytes += size
        return batch

    def take(self) -> tuple[dict[StreamKey, Waiting], int]:
        """All that waits and its size. The size counts as held until ``release``."""
        streams, self._streams = self._streams, {}
        return streams, self.bytes

    def release(self, size: int) -> None:
        self.bytes -= size

    def drop(self, key: StreamKey, events: int, why: str) -> None:
        """Have a stream say how many of its events are not kept, and why."""
        if not events:
            return
        told = (key, why)
        if told in self._drops or len(self._drops) < _MAX_DROP_COUNTS:
            self._drops[told] = self._drops.get(told, 0) + events

    def lose(self, key: StreamKey, events: int, why: str) -> None:
        """The same where the platform is to blame, which counts them."""
        self.dropped += events
        self.drop(key, events, why)

    def _tell_drops(self, now_ms: int) -> None:
        drops, self._drops = self._drops, {}
        for (key, why), count in drops.items():
            notice = f"boda dropped {count} log events here: {why}."
            waiting = self._streams.setdefault(key, Waiting(now_ms))
            waiting.events.append((now_ms, notice))
            self.bytes += len(notice) + _OBJECT_BYTES
