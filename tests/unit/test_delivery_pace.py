"""How many at once: doubled while it pays, halved where there is no capacity."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from boda.delivery.pace import FEW, Pace


def simulate(pace: Pace, seconds: float, duration_s: Callable[[int], float]) -> list[int]:
    """Events without end, each lasting as long as it does with so many at once; the limit at
    every end."""
    now, running, seen = 0.0, [], []
    while now < seconds:
        while len(running) < pace.limit:
            heapq.heappush(running, now + duration_s(len(running) + 1))
        now = running[0]
        pace.ended(now, len(running))
        heapq.heappop(running)
        seen.append(pace.limit)
    return seen


def test_a_function_that_waits_gets_all_it_may_have() -> None:
    assert simulate(Pace(256), 30.0, lambda running: 1.0)[-1] == 256
    assert simulate(Pace(100), 30.0, lambda running: 1.0)[-1] == 100
    assert simulate(Pace(4), 30.0, lambda running: 1.0)[-1] == 4


def test_where_the_machine_is_the_bound_there_are_few() -> None:
    """3,000 events a second, however many run at once."""
    seen = simulate(Pace(256), 20.0, lambda running: running / 3000)
    assert max(seen) <= 2 * FEW, "twice as many are tried now and then"
    assert seen.count(FEW) > len(seen) * 0.9


def test_the_search_ends_where_more_no_longer_pay() -> None:
    """Of ten milliseconds each, and at most 3,000 a second: some thirty at once."""
    seen = simulate(Pace(256), 20.0, lambda running: max(0.01, running / 3000))
    assert 16 <= seen[-1] <= 64
    assert max(seen) <= 128


def test_a_refusal_halves_and_growth_is_slow_for_a_while() -> None:
    pace = Pace(256)
    simulate(pace, 30.0, lambda running: 1.0)
    pace.refused(30.0)
    assert pace.limit == 128
    for _ in range(129):
        pace.ended(30.5, 256)
    assert pace.limit == 129


def test_without_work_for_all_nothing_changes() -> None:
    pace = Pace(256)
    for number in range(1000):
        pace.ended(number * 1.0, FEW - 1)
    assert pace.limit == FEW
