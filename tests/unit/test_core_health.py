"""What keeps the platform from working: told once where it begins and ends, read at any time."""

from __future__ import annotations

import pytest

from boda.core.clock import ManualClock
from boda.core.health import DROPS_LAST_S, Health


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def health(clock: ManualClock, said: list[str]) -> Health:
    return Health(clock.monotonic, said.append)


def test_nothing_is_wrong_at_first(health: Health) -> None:
    assert health.members() == {"status": "ok", "reasons": []}


def test_the_log_says_the_same_sentence_once(health: Health, said: list[str]) -> None:
    for _ in range(3):
        health.report("disk", "No space left on device")
    (reason,) = health.reasons
    assert reason.startswith("disk: ") and "No space left on device" in reason
    assert health.members() == {"status": "degraded", "reasons": [reason]}
    assert said == [f"degraded: {reason}"]
    health.clear("disk")
    health.clear("disk")
    assert health.members()["status"] == "ok"
    assert said[1:] == ["no longer degraded: disk"]


async def test_drops_are_counted_together_and_lapse(health: Health, clock: ManualClock) -> None:
    health.dropped("log events", 3)
    await clock.advance(DROPS_LAST_S - 1)
    health.dropped("log events")
    health.dropped("metrics", 2)
    await clock.advance(2)
    health.lapse()
    (reason,) = health.reasons
    assert reason.startswith("drops: ") and "4 log events, 2 metrics" in reason
    await clock.advance(DROPS_LAST_S)
    health.lapse()
    assert health.reasons == []
    health.dropped("log events", 1)
    assert "1 log events" in health.reasons[0], "what lapsed counts no more"


def test_several_reasons_stand_beside_each_other(health: Health) -> None:
    health.report("disk", "a")
    health.report("queue", "b")
    health.clear("disk")
    assert [one.partition(":")[0] for one in health.reasons] == ["queue"]
