"""Many events on disk: bounded memory, no reading twice, neighbours, throttles, clocks, disks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from boda.core.errors import AwsError
from boda.delivery import lane_runner, rows
from boda.delivery.pace import FEW
from boda.delivery.rows import QueuedEvent
from boda.invoke.concurrency import Concurrency
from boda.invoke.function_table import LATEST
from boda.storage.rows import Tx
from support.delivery_world import Office, arn, failed, office, ok, throttled

T = TypeVar("T")


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Office]:
    made = office(folder, **settings)
    try:
        yield made
    finally:
        await made.delivery.stop(grace_s=0)
        made.rows.close()


def fill(here: Office, name: str, events: int, lane: int = 1, **changes: Any) -> None:
    """Put events on disk as if an earlier run had accepted them, a millisecond apart."""
    first = lane * 1_000_000
    now = here.clock.now() - events / 1000
    some = [
        QueuedEvent(
            first + n,
            lane,
            arn(name),
            LATEST,
            f"{name}-{n}",
            arn(name),
            "",
            now + n / 1000,
            now + n / 1000,
            payload=b'{"n":%d}' % n,
        )
        for n in range(events)
    ]
    for one in some:
        for member, value in changes.items():
            setattr(one, member, value)

    def work(tx: Tx) -> None:
        rows.add_lanes(tx, [(lane, arn(name))])
        rows.add(tx, some)

    here.rows.write_now(work)


def count_reads(here: Office) -> Counter[str]:
    """From now on, how often the database is read and written."""
    counts: Counter[str] = Counter()
    read, write = here.rows.read, here.rows.write

    async def counted_read(work: Callable[[Tx], T]) -> T:
        counts["reads"] += 1
        return await read(work)

    async def counted_write(work: Callable[[Tx], T]) -> T:
        counts["writes"] += 1
        return await write(work)

    here.rows.read = counted_read  # type: ignore[method-assign]
    here.rows.write = counted_write  # type: ignore[method-assign]
    return counts


async def test_a_backlog_is_read_in_pages_each_event_once_and_in_order(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        fill(here, "f", 10_000)
        counts = count_reads(here)
        seen: list[bytes] = []
        here.invoker.outcome = lambda call: seen.append(call.payload) or ok(call)
        here.invoker.duration_s = lambda call: 0.001
        most = 0
        await here.delivery.start()
        for _ in range(300):
            await here.clock.advance(0.01)
            most = max(
                most, sum(len(lane._known) for lane in here.delivery.queue._runner._lanes.values())
            )
            if len(seen) == 10_000:
                break
        assert [int(each[5:-1]) for each in seen] == list(range(10_000))
        assert await here.waiting() == 0
        assert counts["reads"] < 10_000 / lane_runner.WINDOW * 4
        # The window, half of one being read, and what has run but is not yet off the disk.
        assert most <= lane_runner.WINDOW * 2.5
        assert not here.delivery.queue._runner._lanes and here.delivery.queue._runner._held == 0


async def test_the_windows_of_many_functions_shrink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_runner, "_ALL_WINDOWS", 640)
    async with running(tmp_path) as here:
        for number in range(40):
            here.function(f"f{number}")
            fill(here, f"f{number}", 200, lane=number + 1)
        here.invoker.duration_s = lambda call: 5.0
        await here.delivery.start()
        await here.clock.advance(1)
        lanes = here.delivery.queue._runner._lanes.values()
        assert sum(len(lane._known) for lane in lanes) <= 640
        here.invoker.duration_s = lambda call: 0.0
        while await here.waiting():
            await here.clock.advance(1)
        assert Counter(name for _, name, *_ in here.invoker.log) == {
            f"f{number}": 200 for number in range(40)
        }


async def test_a_throttled_backlog_is_not_read_again_and_again(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        fill(here, "f", 5_000)
        counts = count_reads(here)
        here.invoker.outcome = lambda call: throttled()
        await here.delivery.start()
        await here.clock.advance(3600)
        assert len(here.invoker.log) < 500, "one try now and then, not one per event"
        assert counts["reads"] < 100
        here.invoker.outcome = ok
        await here.clock.advance(400)
        assert await here.waiting() == 0


async def test_a_throttled_backlog_delays_nobody_else(tmp_path: Path) -> None:
    async with running(tmp_path, slots=8) as here:
        for name in ("full", "slow", "quick"):
            here.function(name)
        fill(here, "full", 3_000, lane=1)
        fill(here, "slow", 3_000, lane=2)
        here.invoker.outcome = lambda call: throttled() if call.version.name == "full" else ok(call)
        here.invoker.duration_s = lambda call: 10.0 if call.version.name == "slow" else 0.01
        await here.delivery.start()
        await here.clock.advance(60)
        begun = here.clock.now()
        for number in range(20):
            await accept(here, "quick", f"quick-{number}")
        await here.clock.advance(3)
        ended = [at - begun for at, name, *_ in here.invoker.log if name == "quick"]
        assert len(ended) == 20 and max(ended) < 1.0


async def accept(here: Office, name: str, request_id: str, qualifier: str = LATEST) -> None:
    invoked = arn(name) if qualifier == LATEST else f"{arn(name)}:{qualifier}"
    await here.delivery.queue.accept(
        arn(name), qualifier, b"{}", request_id=request_id, invoked_arn=invoked, trace_id=""
    )
    await here.clock.settle()


async def test_reserved_concurrency_is_used_and_not_run_into(tmp_path: Path) -> None:
    """A reservation bounds the attempts, so that none is throttled for the queue's own sake."""
    concurrency = Concurrency()
    concurrency.reserve("000000000000", "us-east-1", "f", 3)
    async with running(tmp_path, reserved=concurrency.reserved) as here:
        here.function("f")
        fill(here, "f", 300)
        here.invoker.duration_s = lambda call: 1.0
        await here.delivery.start()
        await here.clock.advance(0)
        await here.clock.advance(101)
        assert here.invoker.most["f"] == 3
        assert len(here.invoker.log) == 300, "three a second, and no second try"


async def test_system_errors_of_a_backlog_are_tried_now_and_then(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        fill(here, "f", 2_000)
        here.invoker.outcome = lambda call: AwsError("ServiceException", "no environment", 500)
        await here.delivery.start()
        await here.clock.advance(60)
        assert len(here.invoker.log) < 100
        here.invoker.outcome = ok
        await here.clock.advance(400)
        assert await here.waiting() == 0


async def test_a_function_that_waits_runs_many_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        fill(here, "f", 4_000)
        here.invoker.duration_s = lambda call: 2.0
        await here.delivery.start()
        await here.clock.advance(0)
        assert here.invoker.most["f"] == FEW
        await here.clock.advance(60)
        assert here.invoker.most["f"] == 64


async def test_a_retry_of_one_event_keeps_the_others_in_memory(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        here.invoker.outcome = lambda call: failed(call) if call.request_id == "bad" else ok(call)
        await here.delivery.start()
        await accept(here, "f", "bad")
        await here.clock.advance(1)
        counts = count_reads(here)
        for number in range(50):
            await accept(here, "f", f"f-{number}")
        await here.clock.advance(1)
        assert len(here.invoker.log) == 51 and counts["reads"] == 0


# Time


async def test_events_that_an_earlier_clock_put_into_the_future_run_now(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        ahead = here.clock.now() + 86_400
        fill(here, "f", 10, due_at=ahead, accepted_at=ahead)
        await here.delivery.start()
        await here.clock.advance(1)
        assert len(here.invoker.log) == 10
        assert await here.waiting() == 0


async def test_nor_do_they_live_longer_for_it(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        ahead = here.clock.now() + 86_400
        fill(here, "f", 1, due_at=ahead, accepted_at=ahead)
        here.invoker.outcome = lambda call: throttled()
        await here.delivery.start()
        await here.clock.advance(21_700)
        assert await here.waiting() == 0


@pytest.mark.parametrize("leap_s", [-86_400.0, 86_400.0])
async def test_a_clock_that_leaps_changes_nothing(tmp_path: Path, leap_s: float) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        here.invoker.outcome = failed
        await here.delivery.start()
        await accept(here, "f", "first")
        real = here.clock.now
        here.clock.now = lambda: real() + leap_s  # type: ignore[method-assign]
        await accept(here, "f", "second")
        await here.clock.advance(61)
        tried = Counter(key for _, _, key, _ in here.invoker.log)
        assert tried == {"first": 2, "second": 2}
        await here.clock.advance(121)
        assert await here.waiting() == 0


@pytest.mark.parametrize("leap_s", [-86_400.0, 86_400.0])
@pytest.mark.parametrize("anew", [False, True])
async def test_nor_does_it_where_the_platform_starts_again(
    tmp_path: Path, leap_s: float, anew: bool
) -> None:
    """A clock that was set, or a machine that was asleep, makes no event older. anew: the machine
    starts as well, so that its monotonic clock tells nothing."""
    async with running(tmp_path) as here:
        here.function("f")
        here.invoker.outcome = failed
        await here.delivery.start()
        await accept(here, "f", "before")
        await here.clock.advance(1)
        wall, ran = here.clock.now, here.clock.monotonic
        here.clock.now = lambda: wall() + leap_s  # type: ignore[method-assign]
        if anew:
            here.boot = "second"
            await accept(here, "f", "after")  # by which the leap is noticed
            here.clock.monotonic = lambda: ran() - 500.0  # type: ignore[method-assign]
        await here.crash()
        await accept(here, "f", "later")
        await here.clock.advance(61)
        tried = Counter(key for _, _, key, _ in here.invoker.log)
        assert tried["before"] == tried["later"] == 2
        await here.crash()
        await here.clock.advance(121)
        tried = Counter(key for _, _, key, _ in here.invoker.log)
        assert tried["before"] == tried["later"] == 3
        assert await here.waiting() == 0


# The disk


async def test_events_that_cannot_be_read_are_read_a_little_later(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        fill(here, "f", 3)
        read, reads = here.rows.read, []

        async def refuses(work: Callable[[Tx], T]) -> T:
            reads.append(work)
            if len(reads) == 2:  # the first is the start's own
                raise OSError(5, "Input/output error")
            return await read(work)

        here.rows.read = refuses  # type: ignore[method-assign]
        await here.delivery.start()
        await here.clock.advance(0.5)
        assert not here.invoker.log
        await accept(here, "f", "meanwhile")
        await here.clock.advance(1)
        assert len(here.invoker.log) == 4 and await here.waiting() == 0


async def test_while_nothing_can_be_removed_nothing_more_is_run(tmp_path: Path) -> None:
    """What has run stays in memory until it is off the disk; so little may, and none twice."""
    async with running(tmp_path) as here:
        here.function("f")
        fill(here, "f", 3_000)
        here.invoker.duration_s = lambda call: 0.01
        await here.delivery.start()
        await here.clock.advance(0.1)
        here.rows.failing = lambda: True
        await here.clock.advance(0.1)
        before = len(here.invoker.log)
        await here.clock.advance(60)
        assert len(here.invoker.log) - before <= 64
        with pytest.raises(AwsError) as refused:
            await accept(here, "f", "refused")
        assert refused.value.status == 503
        here.rows.failing = lambda: False
        await here.clock.advance(60)
        assert await here.waiting() == 0
        ran = Counter(key for _, _, key, _ in here.invoker.log)
        assert set(ran.values()) == {1} and len(ran) == 3_000


async def test_what_had_run_but_was_not_yet_removed_runs_again_after_a_crash(
    tmp_path: Path,
) -> None:
    """Removals wait for company; at least once permits it."""
    async with running(tmp_path) as here:
        here.function("f")
        await here.delivery.start()
        await accept(here, "f", "a")
        await here.crash()
        await here.clock.advance(1)
        assert [key for _, _, key, _ in here.invoker.log] == ["a", "a"]
        await here.crash()
        await here.clock.advance(1)
        assert len(here.invoker.log) == 2 and await here.waiting() == 0


async def test_stopping_does_not_wait_for_a_disk_that_refuses(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        here.invoker.outcome = failed
        here.invoker.duration_s = lambda call: 1.0
        await here.delivery.start()
        await accept(here, "f", "a")
        here.rows.failing = lambda: True
        await here.clock.advance(2)
        await asyncio.wait_for(here.delivery.stop(), 5)
        here.rows.failing = lambda: False
        here.rebuild()
        await here.delivery.start()
        await here.clock.advance(2)
        assert [key for _, _, key, _ in here.invoker.log] == ["a", "a"]


async def test_lanes_of_functions_without_events_are_forgotten_at_the_next_start(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as here:
        for name in "abc":
            here.function(name)
        await here.delivery.start()
        for name in "abc":
            await accept(here, name, name)
        await here.clock.advance(1)
        assert await here.waiting() == 0
        await here.crash()
        found, _ = await here.rows.read(rows.backlogs)
        assert found == []
        await accept(here, "b", "again")
        await here.clock.advance(1)
        assert await here.waiting() == 0


async def test_events_that_come_before_the_start_run_after_it(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        fill(here, "f", 3)
        here.function("g")
        for name in "fg":
            await accept(here, name, f"{name}-early")
        await here.clock.advance(10)
        assert not here.invoker.log
        await here.delivery.start()
        await here.clock.advance(1)
        ran = [key for _, _, key, _ in here.invoker.log]
        assert [key for key in ran if key[0] == "f"] == ["f-0", "f-1", "f-2", "f-early"]
        assert "g-early" in ran


async def test_the_refused_leave_their_share_of_the_slots_to_others(tmp_path: Path) -> None:
    async with running(tmp_path, slots=8) as here:
        for number in range(7):
            here.function(f"refused{number}")
            fill(here, f"refused{number}", 50, lane=number + 1)
        here.function("slow")
        fill(here, "slow", 500, lane=8)
        here.invoker.outcome = lambda call: ok(call) if call.version.name == "slow" else throttled()
        here.invoker.duration_s = lambda call: 1.0
        await here.delivery.start()
        await here.clock.advance(30)
        begun = len([1 for _, name, *_ in here.invoker.log if name == "slow"])
        await here.clock.advance(30)
        ran = len([1 for _, name, *_ in here.invoker.log if name == "slow"]) - begun
        assert ran > 30 * 8 * 0.8


async def test_metrics_name_the_function_and_the_alias_that_was_named(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        made = here.function("f")
        here.functions.put(arn("f"), "1", made)
        here.functions.put_alias(arn("f"), "live", "1")
        await here.delivery.start()
        await accept(here, "f", "one", "live")
        await here.clock.advance(1)
        for name, unit in (("AsyncEventsReceived", "Count"), ("AsyncEventAge", "Milliseconds")):
            assert here.telemetry.series[name] == {
                (("FunctionName", "f"), unit): 1,
                (("FunctionName", "f"), ("Resource", "f:live"), unit): 1,
            }
