"""How fast an environment may write, and what becomes of what it writes beyond that."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator

import pytest

from boda.core.clock import ManualClock
from boda.fleet.output import BURST_BYTES, BYTES_PER_S, EVENT_BYTES, FAST, SLOWED, Output
from boda.telemetry.contract import StreamKey
from support.fake_sandbox import FakeTelemetry

KEY = StreamKey("0", "us-east-1", "/aws/lambda/f", "one")
LINE = b"x" * (1024 - EVENT_BYTES - 1) + b"\n"
"""Costs one KiB."""


class Pipes:
    """An environment that writes as much as its pipe takes."""

    def __init__(self) -> None:
        self.clock, self.telemetry = ManualClock(), FakeTelemetry()
        self.console, self.writes = os.pipe()
        self.log, self.logs = os.pipe()
        for fd in (self.console, self.writes, self.log, self.logs):
            os.set_blocking(fd, False)
        fcntl.fcntl(self.writes, fcntl.F_SETPIPE_SZ, 1 << 16)
        self.output = Output(KEY, self.telemetry, self.clock)  # type: ignore[arg-type]
        self.output.attach(self.console, self.log)
        self.written = 0
        self._rest = b""

    async def flood(self, text: bytes, turns: int = 3000) -> int:
        """Write on for so many turns of the loop; the bytes that were taken."""
        taken = 0
        for _ in range(turns):
            try:
                sent = os.write(self.writes, self._rest or text * (8192 // len(text)))
            except BlockingIOError:
                sent = 0
            rest = self._rest or text * (8192 // len(text))
            self._rest = rest[sent:]
            taken += sent
            await asyncio.sleep(0)
        self.written += taken
        return taken

    @property
    def lines(self) -> list[str]:
        return [text for _, text in self.telemetry.logs.get(KEY, [])]


@pytest.fixture
async def pipes() -> AsyncIterator[Pipes]:
    made = Pipes()
    yield made
    made.output.detach()
    for fd in (made.console, made.writes, made.log, made.logs):
        os.close(fd)


async def test_who_writes_on_and_on_waits_and_loses_nothing(pipes: Pipes) -> None:
    slack = 3 * (1 << 16)
    per_s = BYTES_PER_S * len(LINE) // 1024
    burst = BURST_BYTES * len(LINE) // 1024
    assert burst - slack <= await pipes.flood(LINE) <= burst + slack
    assert await pipes.flood(LINE, 200) == 0
    for _ in range(3):
        await pipes.clock.advance(0.5)
        taken = await pipes.flood(LINE, 200)
        await pipes.clock.advance(0.5)
        taken += await pipes.flood(LINE, 200)
        assert 0 < taken <= per_s + slack
    assert pipes.lines.count(SLOWED) == 1
    while len(pipes.lines) - 1 < pipes.written // len(LINE):
        await pipes.clock.advance(1)
        await asyncio.sleep(0)
    assert {len(line) for line in pipes.lines if line != SLOWED} == {len(LINE)}
    assert pipes.telemetry.dropped == {}


async def test_it_is_told_once_a_minute(pipes: Pipes) -> None:
    await pipes.flood(LINE)
    for _ in range(130):
        await pipes.flood(LINE, 300)
        await pipes.clock.advance(1)
    assert 2 <= pipes.lines.count(SLOWED) <= 3


async def test_empty_lines_cost_more_than_their_bytes(pipes: Pipes) -> None:
    await pipes.flood(b"\n")
    assert len(pipes.lines) <= BURST_BYTES // EVENT_BYTES + (1 << 16)


async def test_what_lies_in_the_pipes_after_too_much_is_counted_and_dropped(pipes: Pipes) -> None:
    """The end of an invocation reads them whatever they hold: that may not be a way around."""
    pipes.output._pause()
    kept = 0
    for _ in range(3 * BURST_BYTES // (1 << 16)):
        while True:
            try:
                os.write(pipes.writes, LINE * 8)
            except BlockingIOError:
                break
        pipes.output.drain()
        kept = len(pipes.lines)
    assert BURST_BYTES // 1024 <= kept <= (BURST_BYTES + 2 * BYTES_PER_S) // 1024
    dropped = pipes.telemetry.dropped[FAST]
    assert dropped > kept
    await pipes.clock.advance(60)
    os.write(pipes.writes, b"heard again\n")
    pipes.output.drain()
    assert pipes.lines[-1] == "heard again\n"
    assert pipes.telemetry.dropped[FAST] == dropped


async def test_frames_of_who_wrote_too_much_are_dropped_whole(pipes: Pipes) -> None:
    frame = b"\xa5\x5a\x00\x03" + (100).to_bytes(4, "big") + bytes(8) + b"f" * 100
    pipes.output._pause()
    for _ in range(BURST_BYTES // 8192):
        try:
            while True:
                os.write(pipes.logs, frame * 8)
        except BlockingIOError:
            pipes.output.drain()
    assert pipes.telemetry.dropped[FAST] > 100
    await pipes.clock.advance(60)
    os.write(pipes.logs, frame)
    pipes.output.drain()
    assert {len(line) for line in pipes.lines} == {100}
