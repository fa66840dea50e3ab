"""The scrub: everything is looked at slowly, and what is damaged is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from boda.core.clock import ManualClock
from boda.scrub import BYTES_PER_S, Scrub
from boda.storage.inspection import Step
from boda.storage.lost import LostAndFound

MIB = 1024 * 1024


class Told:
    def __init__(self) -> None:
        self.faults: list[str] = []
        self.clean = 0
        self.rounds = 0

    def was_clean(self) -> None:
        self.clean += 1


def scrub(clock: ManualClock, told: Told, steps: list[Step]) -> Scrub:
    def look() -> Iterator[Step]:
        told.rounds += 1
        yield from steps

    lost = LostAndFound(Path("/nowhere"), clock)
    return Scrub(look, lost, clock, told.faults.append, told.was_clean)


async def passing(clock: ManualClock, seconds: float) -> None:
    """Let time pass in small steps; the scrub's threads are given theirs in between."""
    for _ in range(int(seconds)):
        await clock.advance(1)
        await asyncio.sleep(0.002)


async def test_a_round_takes_the_time_that_its_bytes_are_given() -> None:
    clock, told = ManualClock(), Told()
    steps = [Step(MIB) for _ in range(80)]
    round_ = asyncio.ensure_future(scrub(clock, told, steps).round())
    await passing(clock, 80 * MIB / BYTES_PER_S - 2)
    assert not round_.done()
    while not round_.done():
        await passing(clock, 1)
    assert (told.clean, told.faults) == (1, [])


async def test_each_fault_is_told_and_the_round_goes_on() -> None:
    clock, told = ManualClock(), Told()
    steps = [Step(1), Step(0, "object a/b: gone"), Step(1), Step(0, "object a/c: gone")]
    round_ = asyncio.ensure_future(scrub(clock, told, steps).round())
    while not round_.done():
        await passing(clock, 1)
    assert told.faults == ["object a/b: gone", "object a/c: gone"]
    assert told.clean == 0


async def test_there_is_a_round_a_day_until_it_is_stopped() -> None:
    clock, told = ManualClock(), Told()
    one = scrub(clock, told, [])
    one.start()

    async def rounds(count: int) -> None:
        while told.rounds < count or told.clean < count:
            await clock.advance(10_000)
            await asyncio.sleep(0.002)

    await rounds(2)
    await one.stop()
    await one.stop()
    before = told.rounds
    await clock.advance(500_000)
    assert told.rounds == before
