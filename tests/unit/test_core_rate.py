"""Rates of requests: continuous refill, a burst, nothing saved up."""

from __future__ import annotations

import math
import random

import pytest

from boda.core.rate import TokenBucket


def taken(rate: TokenBucket, now_s: float, tries: int = 5000) -> int:
    return sum(rate.take(now_s) for _ in range(tries))


def test_a_burst_then_what_is_refilled() -> None:
    rate = TokenBucket(per_s=100, burst=1000)
    assert taken(rate, 0.0) == 1000
    assert taken(rate, 0.0) == 0
    assert taken(rate, 0.005) == 0
    assert taken(rate, 0.01) == 1
    assert taken(rate, 1.01) == 100
    assert rate.wait_s(1.01) == pytest.approx(0.01, abs=1e-5)


def test_what_is_not_used_is_not_saved_up() -> None:
    rate = TokenBucket(per_s=100, burst=1000)
    assert taken(rate, 0.0) == 1000
    assert not rate.full(9.9)
    assert rate.full(10.0)
    assert taken(rate, 3600.0) == 1000


def test_nothing_gets_through_at_rate_nought() -> None:
    rate = TokenBucket(0, 0)
    assert not rate.take(0.0) and not rate.take(1e9)
    assert rate.wait_s(5.0) == math.inf


def test_new_figures_hold_from_now_on() -> None:
    rate = TokenBucket(10, 10)
    assert taken(rate, 0.0) == 10
    rate.set(1000, 1000)
    assert taken(rate, 1.0) == 1000
    rate.set(0, 0)
    assert taken(rate, 2.0) == 0


@pytest.mark.parametrize("seed", range(20))
def test_never_more_than_burst_and_refill(seed: int) -> None:
    """Over every stretch of time."""
    chance = random.Random(seed)
    per_s, burst = chance.choice((1, 10, 333)), chance.choice((1, 7, 50))
    rate = TokenBucket(per_s, burst)
    now, times = 0.0, []
    for _ in range(3000):
        now += chance.choice((0.0, 0.0, 0.001, 0.02, 0.5))
        if rate.take(now):
            times.append(now)
    for first in range(0, len(times), 37):
        for last in range(first, len(times), 41):
            allowed = burst + per_s * (times[last] - times[first] + 1e-5)
            assert last - first + 1 <= allowed


def test_whoever_waits_as_long_as_told_gets_through():
    """At any moment of a clock that has run for months, whatever rounding leaves over."""
    chance = random.Random(1)
    for _ in range(2_000):
        now = chance.choice((10.0, 1e4, 1e7)) * (1 + chance.random())
        rate = TokenBucket(chance.choice((0.3, 1.7, 100.0)), chance.choice((1, 3)))
        for _ in range(4):
            for _tries in range(3):
                if rate.take(now):
                    break
                assert now + rate.wait_s(now) > now
                now += rate.wait_s(now)
            else:
                raise AssertionError("three times in vain")


def test_what_is_spent_in_advance_is_waited_for() -> None:
    rate = TokenBucket(per_s=10, burst=2)
    for _ in range(7):
        rate.spend(0.0)
    assert not rate.take(0.0)
    assert rate.wait_s(0.0) == pytest.approx(0.6, abs=1e-5)
    rate.give_back()
    assert rate.wait_s(0.0) == pytest.approx(0.5, abs=1e-5)
    assert rate.take(0.5)


def test_what_is_given_back_is_not_saved_up() -> None:
    rate = TokenBucket(per_s=10, burst=2)
    for _ in range(50):
        rate.give_back()
    assert taken(rate, 0.0) == 2
    nothing = TokenBucket(0, 0)
    nothing.give_back()
    assert not nothing.take(0.0)
