"""Blocks: many log events of one stream, compressed; and the ids of events. Pure.

Laws of this file:
- Events of a block are in the order of their timestamps; equal ones as they were appended.
- A block spans at most SPAN_MS, which bounds where a search by time begins.
- An event's id is its time, its block's number and its place in the block: unique, and in the order
  in which events are shown. As text it has 56 digits, like AWS's.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

EVENT_OVERHEAD_BYTES = 26  # the bytes that AWS counts for an event beside its message
MAX_EVENTS = 4096
MAX_TEXT_BYTES = 256 * 1024
SPAN_MS = 10 * 60 * 1000

_FORMAT = b"\x01"
_BLOCK_BITS = 64
_PLACE_BITS = 24
_TIME_SHIFT = _BLOCK_BITS + _PLACE_BITS
_MAX_TIME_MS = (1 << 47) - 1


@dataclass(frozen=True, slots=True)
class LogBlock:
    """A compressed block. first_ms, last_ms: times of its first and last event. size: bytes as AWS
    counts them."""

    first_ms: int
    last_ms: int
    ingested_ms: int
    events: int
    size: int
    data: bytes


def position(time_ms: int, block: int = 0, place: int = 0) -> int:
    """Return the id of an event as a number; for a time alone, the smallest id of that time."""
    return (clamp_ms(time_ms) << _TIME_SHIFT) | (block << _PLACE_BITS) | place


def time_of(where: int) -> int:
    """Return the time of a position, in milliseconds."""
    return where >> _TIME_SHIFT


def event_id(where: int) -> str:
    return f"{where:056d}"


def clamp_ms(time_ms: float) -> int:
    return min(max(int(time_ms), 0), _MAX_TIME_MS)


def pack(events: Sequence[tuple[int, str]], ingested_ms: int) -> Iterator[LogBlock]:
    """Pack events of one stream, in any order, into blocks. Lone surrogates become "?"."""
    times: list[int] = []
    texts: list[bytes] = []
    size = 0
    first = 0
    for time_ms, message in _sorted(events):
        moment = time_ms if 0 <= time_ms <= _MAX_TIME_MS else clamp_ms(time_ms)
        text = message.encode("utf-8", "replace")
        size += len(text)
        if not times:
            first = moment
        elif size > MAX_TEXT_BYTES or moment - first > SPAN_MS or len(times) >= MAX_EVENTS:
            yield _seal(times, texts, ingested_ms)
            times, texts, size, first = [], [], len(text), moment
        times.append(moment)
        texts.append(text)
    if times:
        yield _seal(times, texts, ingested_ms)


def unpack(data: bytes) -> tuple[Sequence[int], list[str]]:
    """Return the times and messages of a block. Raises ValueError if the data is no block."""
    if data[:1] != _FORMAT:
        raise ValueError("unknown block format")
    try:
        raw = zlib.decompress(data[1:])
        (count,) = struct.unpack_from("<I", raw)
        times = struct.unpack_from(f"<{count}q", raw, 4)
        lengths = struct.unpack_from(f"<{count}I", raw, 4 + 8 * count)
    except (zlib.error, struct.error) as error:
        raise ValueError(f"damaged block: {error}") from error
    messages = []
    start = 4 + 12 * count
    for length in lengths:
        end = start + length
        messages.append(raw[start:end].decode("utf-8", "replace"))
        start = end
    return times, messages


def split_long(events: Iterable[tuple[int, str]], limit_bytes: int) -> Iterator[tuple[int, str]]:
    """Split messages that are too long for an event into several, as Lambda does."""
    for time_ms, message in events:
        if len(message) * 4 <= limit_bytes:
            yield time_ms, message
            continue
        text = message.encode("utf-8", "replace")
        while len(text) > limit_bytes:
            cut = limit_bytes
            while text[cut] & 0xC0 == 0x80:  # not in the middle of a character
                cut -= 1
            yield time_ms, text[:cut].decode("utf-8")
            text = text[cut:]
        yield time_ms, text.decode("utf-8")


def _sorted(events: Sequence[tuple[int, str]]) -> Sequence[tuple[int, str]]:
    last = -1
    for event in events:
        if event[0] < last:
            return sorted(events, key=lambda one: one[0])
        last = event[0]
    return events


def _seal(times: list[int], texts: list[bytes], ingested_ms: int) -> LogBlock:
    count = len(times)
    lengths = list(map(len, texts))
    raw = b"".join(
        (
            struct.pack("<I", count),
            struct.pack(f"<{count}q", *times),
            struct.pack(f"<{count}I", *lengths),
            *texts,
        )
    )
    # Level 1: logs shrink about tenfold already, and the writer must keep up with bursts.
    return LogBlock(
        times[0],
        times[-1],
        ingested_ms,
        count,
        sum(lengths) + EVENT_OVERHEAD_BYTES * count,
        _FORMAT + zlib.compress(raw, 1),
    )
