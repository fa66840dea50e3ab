"""The scrub: everything is looked at slowly, and what is damaged is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from boda.core.clock import ManualClock
from boda.scrub import BYTES_PER_S, Scrub
from boda.storage.inspection import InspectionStep
from boda.storage.lost import LostAndFound
from support.in_place import without_threads

MIB = 1024 * 1024


class Told:
    def __init__(self) -> None:
        self.faults: list[str] = []
        self.clean = 0
        self.rounds = 0

    def was_clean(self) -> None:
        self.clean += 1


def scrub(clock: ManualClock, told: Told, steps: list[InspectionStep]) -> Scrub:
    def look() -> Iterator[InspectionStep]:
        told.rounds += 1
        yield from steps

    lost = LostAndFound(Path("/nowhere"), clock)
    return Scrub(look, lost, clock, told.faults.append, told.was_clean)


@pytest.fixture(autouse=True)
async def in_place() -> None:
    without_threads()


async def test_a_round_takes_the_time_that_its_bytes_are_given() -> None:
    clock, told = ManualClock(), Told()
    steps = [InspectionStep(MIB) for _ in range(80)]
    round_ = asyncio.ensure_future(scrub(clock, told, steps).round())
    await clock.settle()
    await clock.advance(80 * MIB / BYTES_PER_S - 0.1)
    assert not round_.done()
    await clock.advance(0.2)
    assert round_.done()
    assert (told.clean, told.faults) == (1, [])


async def test_each_fault_is_told_and_the_round_goes_on() -> None:
    clock, told = ManualClock(), Told()
    steps = [
        InspectionStep(1),
        InspectionStep(0, "object a/b: gone"),
        InspectionStep(1),
        InspectionStep(0, "object a/c: gone"),
    ]
    round_ = asyncio.ensure_future(scrub(clock, told, steps).round())
    await clock.settle()
    await clock.advance(1)
    assert round_.done()
    assert told.faults == ["object a/b: gone", "object a/c: gone"]
    assert told.clean == 0


async def test_there_is_a_round_a_day_until_it_is_stopped() -> None:
    clock, told = ManualClock(), Told()
    one = scrub(clock, told, [])
    one.start()
    await clock.settle()
    await clock.advance(86_000)
    assert (told.rounds, told.clean) == (1, 1)
    await clock.advance(1_000)
    assert (told.rounds, told.clean) == (2, 2)
    await one.stop()
    await one.stop()
    await clock.advance(500_000)
    assert told.rounds == 2
