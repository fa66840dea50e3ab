"""Log events that wait for the writer, in bounded memory.

Sizes are those of Python's objects, so that the bound is one of real memory. Beyond it (storage has
failed for long, or a caller ignores the back-pressure) new events are dropped and counted; a line
in the stream reports the count as soon as there is room.
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
class WaitingEvents:
    """Events of one stream in the order of arrival. ingested_ms: when the first one arrived."""

    ingested_ms: int
    events: list[tuple[int, str]] = field(default_factory=list)


class LogBuffer:
    """The waiting events of all streams. closed: every event is dropped."""

    def __init__(self, hard_bytes: int = 128 * MIB) -> None:
        self.bytes = 0
        self.dropped = 0
        self.closed = False
        self._hard = hard_bytes
        self._streams: dict[StreamKey, WaitingEvents] = {}
        self._drops: dict[tuple[StreamKey, str], int] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def add(
        self, key: StreamKey, events: Iterable[tuple[int, str]], now_ms: int
    ) -> list[tuple[int, str]]:
        """Append events; return those that were accepted."""
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
            waiting = self._streams[key] = WaitingEvents(now_ms)
        waiting.events += batch
        self.bytes += size
        return batch

    def take(self) -> tuple[dict[StreamKey, WaitingEvents], int]:
        """Take all waiting events, and their size, which counts as held until ``release``."""
        streams, self._streams = self._streams, {}
        return streams, self.bytes

    def release(self, size: int) -> None:
        self.bytes -= size

    def drop(self, key: StreamKey, events: int, why: str) -> None:
        """Report in a stream how many of its events were dropped, and why."""
        if not events:
            return
        told = (key, why)
        if told in self._drops or len(self._drops) < _MAX_DROP_COUNTS:
            self._drops[told] = self._drops.get(told, 0) + events

    def lose(self, key: StreamKey, events: int, why: str) -> None:
        """Count events that were dropped by the platform's fault, and report them."""
        self.dropped += events
        self.drop(key, events, why)

    def _tell_drops(self, now_ms: int) -> None:
        drops, self._drops = self._drops, {}
        for (key, why), count in drops.items():
            notice = f"boda dropped {count} log events here: {why}."
            waiting = self._streams.setdefault(key, WaitingEvents(now_ms))
            waiting.events.append((now_ms, notice))
            self.bytes += len(notice) + _OBJECT_BYTES
