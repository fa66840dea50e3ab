"""Blocks give back what was put in, in order; ids of events are unique and ordered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boda.telemetry.block import (
    MAX_EVENTS,
    MAX_TEXT_BYTES,
    SPAN_MS,
    event_id,
    pack,
    position,
    split_long,
    time_of,
    unpack,
)

_EVENTS = st.lists(st.tuples(st.integers(0, 2_000_000), st.text(max_size=20)), max_size=50)


@given(_EVENTS)
def test_packing_keeps_every_event_in_order_of_time(events: list[tuple[int, str]]) -> None:
    blocks = list(pack(events, 7))
    seen = []
    for block in blocks:
        times, messages = unpack(block.data)
        assert (block.first_ms, block.last_ms, block.events) == (times[0], times[-1], len(times))
        assert block.last_ms - block.first_ms <= SPAN_MS
        assert block.size == sum(len(m.encode()) + 26 for m in messages)
        seen += zip(times, messages, strict=True)
    # Equal times stay in the order in which they came.
    assert seen == sorted(events, key=lambda event: event[0])


def test_blocks_are_bounded() -> None:
    blocks = list(pack([(1, "x" * 1000)] * 10_000, 0))
    assert sum(block.events for block in blocks) == 10_000
    assert all(block.events <= MAX_EVENTS for block in blocks)
    assert all(block.size <= MAX_TEXT_BYTES + 26 * block.events for block in blocks)


def test_what_is_no_unicode_and_times_out_of_range_do_no_harm() -> None:
    ((block),) = (pack([(-5, "a\ud800b"), (1 << 60, "c")], 0),)
    first, second = block
    assert unpack(first.data) == ((0,), ["a?b"])
    assert second.last_ms == (1 << 47) - 1


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x02abc", b"\x01abc", b"\x01" + b"\x78\x9c\x03\x00\x00\x00\x00\x01"]
)
def test_damage_is_told(data: bytes) -> None:
    with pytest.raises(ValueError):
        unpack(data)


@given(st.lists(st.tuples(st.integers(0, 1 << 46), st.integers(1, 1 << 40), st.integers(0, 4095))))
def test_ids_order_as_time_block_and_place_do(keys: list[tuple[int, int, int]]) -> None:
    places = [position(*key) for key in keys]
    assert [key for _, key in sorted(zip(places, keys, strict=True))] == sorted(keys)
    assert sorted(event_id(one) for one in places) == [event_id(one) for one in sorted(places)]
    assert all(len(event_id(one)) == 56 for one in places)
    assert [time_of(one) for one in places] == [key[0] for key in keys]


@given(st.text(max_size=300), st.integers(8, 40))
def test_long_messages_are_cut_between_characters(message: str, limit: int) -> None:
    parts = [part for _, part in split_long([(1, message)], limit)]
    assert "".join(parts) == message
    assert all(len(part.encode()) <= limit for part in parts)
