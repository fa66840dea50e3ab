"""How many at once: doubled while it pays, halved where half does as well or nothing is free."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from boda.delivery.pace import FEW, Pace


def simulate(
    pace: Pace, seconds: float, duration_s: Callable[[int], float], since: float = 0.0
) -> list[int]:
    """Events without end, each lasting as long as it does with so many at once; the limit at
    every end."""
    now, seen = since, []
    running: list[tuple[float, float]] = []
    while now < since + seconds:
        while len(running) < pace.limit:
            lasts = duration_s(len(running) + 1)
            heapq.heappush(running, (now + lasts, lasts))
        now, lasted = running[0]
        pace.ended(now, len(running), lasted)
        heapq.heappop(running)
        seen.append(pace.limit)
    return seen


@pytest.mark.parametrize("most", [4, 100, 256])
def test_a_function_that_waits_gets_all_it_may_have(most: int) -> None:
    seen = simulate(Pace(most), 30.0, lambda running: 1.0)
    assert seen[-1] == most


def test_and_keeps_nearly_all_of_it() -> None:
    pace = Pace(256)
    simulate(pace, 30.0, lambda running: 1.0)
    seen = simulate(pace, 600.0, lambda running: 1.0, since=30.0)
    assert sum(seen) / len(seen) > 256 * 0.9


def test_quick_functions_run_few_at_once_however_noisy_the_machine() -> None:
    chance = random.Random(1)
    seen = simulate(Pace(256), 60.0, lambda running: running / 3000 * chance.choice((0.3, 1, 4)))
    assert max(seen) == FEW


def test_a_machine_that_stands_still_for_a_moment_starts_nothing() -> None:
    pace = Pace(256)
    simulate(pace, 5.0, lambda running: 0.001)
    simulate(pace, 1.5, lambda running: 1.5, since=5.0)
    assert max(simulate(pace, 5.0, lambda running: 0.001, since=6.5)) == FEW


@pytest.mark.parametrize("seed", range(5))
def test_functions_that_compute_do_not_get_the_whole_machine(seed: int) -> None:
    """A tenth of a second of CPU each on two cores: more at once only last longer."""
    chance = random.Random(seed)
    pace = Pace(256)
    seen = simulate(pace, 300.0, lambda running: 0.1 * max(1, running / 2) * chance.uniform(0.5, 2))
    assert sum(seen) / len(seen) < 3 * FEW and max(seen) <= 8 * FEW


def test_the_search_ends_where_more_no_longer_pay() -> None:
    """Of fifty milliseconds each, and at most 1,000 a second: some fifty at once."""
    seen = simulate(Pace(256), 60.0, lambda running: max(0.05, running / 1000))
    assert 32 <= seen[-1] <= 64 and max(seen) <= 128


def test_what_is_no_longer_needed_is_given_back() -> None:
    pace = Pace(256)
    simulate(pace, 30.0, lambda running: 1.0)
    assert simulate(pace, 600.0, lambda running: 0.1 * running, since=30.0)[-1] <= 2 * FEW
    pace = Pace(256)
    simulate(pace, 30.0, lambda running: 1.0)
    assert simulate(pace, 10.0, lambda running: 0.002, since=31.0)[-1] == FEW


def test_a_refusal_halves_and_growth_is_slow_for_a_while() -> None:
    pace = Pace(256)
    simulate(pace, 30.0, lambda running: 1.0)
    pace.refused(30.0)
    assert pace.limit == 128
    for _ in range(129):
        pace.ended(30.5, 256, 1.0)
    assert pace.limit == 129


def test_without_work_for_all_nothing_changes() -> None:
    pace = Pace(256)
    for number in range(1000):
        pace.ended(number * 1.0, FEW - 1, 1.0)
    assert pace.limit == FEW
