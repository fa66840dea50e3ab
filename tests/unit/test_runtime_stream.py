"""Streamed answers: bandwidth, what is held, who is told to wait."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boda.core.clock import ManualClock
from boda.runtime.stream import HIGH_WATER, Allowance, JoinedResponse, ResponseStream

MIB = 1 << 20


def test_the_burst_is_free_and_then_the_rate_holds() -> None:
    bucket = Allowance(6 * MIB, 2 * MIB, 10.0)
    assert bucket.take(6 * MIB, 10.0) == 0
    assert bucket.take(MIB, 10.0) == pytest.approx(0.5)
    assert bucket.take(MIB, 10.5) == pytest.approx(0.5)
    assert bucket.take(MIB, 12.0) == 0, "time that passes fills it"
    assert bucket.take(0, 9.0) == 0, "and time that goes back changes nothing"


def test_it_never_holds_more_than_the_burst() -> None:
    bucket = Allowance(100, 10, 0.0)
    assert bucket.take(110, 1000.0) == pytest.approx(1.0)


@given(st.lists(st.tuples(st.integers(0, 300), st.floats(0, 5)), max_size=50))
def test_no_more_than_burst_and_rate_is_ever_sent(steps: list[tuple[int, float]]) -> None:
    bucket, now, sent = Allowance(500, 50, 0.0), 0.0, 0
    for count, pause in steps:
        now += pause
        now += bucket.take(count, now)
        sent += count
        assert sent <= 500 + 50 * now + 1e-6


class Source:
    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")


def begun(**more: int) -> tuple[ResponseStream, Source, ManualClock]:
    clock, source = ManualClock(), Source()
    stream = ResponseStream(clock, **more)
    stream.open("text/plain", source)
    return stream, source, clock


async def test_parts_are_read_in_order_until_the_end() -> None:
    stream, _, _ = begun()
    reading = asyncio.ensure_future(stream.read())
    await asyncio.sleep(0)
    stream.feed(b"a")
    assert await reading == b"a"
    stream.feed(b"b")
    stream.feed(b"c")
    stream.finish()
    assert await stream.read() == b"bc", "what waits together goes together"
    assert await stream.read() == b"" == await stream.read()


async def test_opened_waits_for_the_beginning_or_the_end() -> None:
    stream = ResponseStream(ManualClock())
    waiting = asyncio.ensure_future(stream.opened())
    await asyncio.sleep(0)
    assert not waiting.done()
    stream.finish()
    await waiting
    assert not stream.begun


async def test_a_slow_reader_pauses_the_source_and_goes_on_when_it_has_read() -> None:
    stream, source, _ = begun()
    part = b"x" * 65_536
    for _ in range(HIGH_WATER // len(part) + 2):
        stream.feed(part)
    assert source.told == ["pause"]
    while source.told == ["pause"]:
        assert await stream.read() == part
    assert source.told == ["pause", "resume"]


async def test_a_reader_that_goes_away_lets_the_rest_pass() -> None:
    stream, source, _ = begun()
    stream.feed(b"x" * HIGH_WATER)
    stream.abandon()
    assert source.told == ["pause", "resume"]
    stream.feed(b"x" * HIGH_WATER * 2)
    assert source.told == ["pause", "resume"] and stream._held == 0 and not stream._parts


async def test_a_source_that_was_let_go_is_told_nothing() -> None:
    stream, source, _ = begun()
    stream.feed(b"x" * HIGH_WATER)
    stream.detach()
    await stream.read()
    stream.abandon()
    assert source.told == ["pause"]


async def test_the_bandwidth_is_kept_on_the_given_clock() -> None:
    stream, _, clock = begun(burst=100, bytes_per_s=10)
    stream.feed(b"x" * 100)
    assert len(await stream.read()) == 100
    stream.feed(b"y" * 20)
    reading = asyncio.ensure_future(stream.read())
    await clock.advance(1.9)
    assert not reading.done()
    await clock.advance(0.2)
    assert await reading == b"y" * 20


async def test_what_is_beyond_the_limit_is_thrown_away() -> None:
    stream, _, _ = begun(limit=10)
    stream.feed(b"x" * 10)
    assert not stream.overflowed
    stream.feed(b"y")
    stream.finish()
    assert stream.overflowed and await stream.read() == b"x" * 10 and await stream.read() == b""


def test_joined_holds_the_limit_and_nothing_beyond() -> None:
    joined = JoinedResponse(4)
    joined.feed(b"ab")
    joined.feed(b"cd")
    assert joined.payload == b"abcd" and not joined.overflowed
    joined.feed(b"e")
    joined.feed(b"f")
    assert joined.overflowed and joined.payload == b""
