"""Tasks outlive their callers, tell of failures, and are waited for."""

from __future__ import annotations

import asyncio

import pytest

from boda.core.clock import ManualClock
from boda.core.errors import AwsError
from boda.core.settling import Settling
from boda.core.tasks import Tasks, repeat


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_work_is_finished_though_its_caller_leaves() -> None:
    tasks, go, done = Tasks(), asyncio.Event(), []

    async def work() -> str:
        await go.wait()
        done.append(True)
        return "result"

    caller = asyncio.ensure_future(tasks.finish(work()))
    await turn()
    caller.cancel()
    await turn()
    assert caller.cancelled() and not done and len(tasks) == 1
    go.set()
    await tasks.drain()
    assert done and len(tasks) == 0
    assert await tasks.finish(work()) == "result"


async def test_a_failure_goes_to_the_caller_or_to_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks, go = Tasks(), asyncio.Event()

    async def fail() -> None:
        await go.wait()
        raise ValueError("broken")

    caller = asyncio.ensure_future(tasks.finish(fail()))
    await turn()
    go.set()
    with pytest.raises(ValueError, match="broken"):
        await caller
    assert not caplog.records
    go.clear()
    left = asyncio.ensure_future(tasks.finish(fail()))
    tasks.spawn(fail(), name="sweeper")
    await turn()
    left.cancel()
    await turn()
    go.set()
    await tasks.drain()
    await turn()
    said = [record.message for record in caplog.records]
    assert len(said) == 2 and "sweeper failed" in said


async def test_a_failure_that_has_words_is_told_in_them(caplog: pytest.LogCaptureFixture) -> None:
    tasks = Tasks()

    async def refuse() -> None:
        raise AwsError("ServiceException", "The disk is full.", 503)

    tasks.spawn(refuse(), name="writer")
    await tasks.drain()
    await turn()
    (record,) = caplog.records
    assert record.levelname == "WARNING" and record.exc_info is None
    assert record.message == "writer failed: ServiceException: The disk is full."


async def test_draining_waits_for_what_begins_meanwhile_and_cancels_what_is_late() -> None:
    tasks, ended = Tasks(), []

    async def second() -> None:
        await turn()
        ended.append("second")

    async def first() -> None:
        await turn()
        tasks.spawn(second())

    tasks.spawn(first())
    await tasks.drain()
    assert ended == ["second"]

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    tasks.spawn(never())
    await tasks.drain(timeout_s=0.001)
    assert ended == ["second", "cancelled"] and len(tasks) == 0


async def test_work_is_repeated_though_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    clock, tasks, runs = ManualClock(), Tasks(), []

    async def work() -> None:
        runs.append(clock.monotonic())
        if len(runs) == 2:
            raise OSError("broken")

    tasks.spawn(repeat(work, "looking around", clock, 5.0, first_s=1.0))
    await turn()
    await clock.advance(12.0)
    assert runs == [1.0, 6.0, 11.0]
    assert [one.message for one in caplog.records] == [
        "looking around failed; it is tried again in 5 s"
    ]
    await tasks.cancel()
    await clock.advance(12.0)
    assert len(runs) == 3


async def test_a_change_settles_after_its_time_and_is_tried_again() -> None:
    clock = ManualClock()
    settling, steps = Settling(clock), []

    async def step() -> bool:
        steps.append(clock.monotonic())
        return len(steps) == 3

    settling.schedule(step, after_s=5.0, again_s=2.0, key="one")
    settling.schedule(step, key="one")
    for _ in range(12):
        await clock.advance(1.0)
    assert [moment - steps[0] for moment in steps] == [0, 2, 4]
    settling.schedule(step, key="one")
    await turn()
    assert len(steps) == 4, "what has settled can be settled anew"
    await settling.stop()


async def test_what_is_begun_while_a_step_ends_gets_a_step_of_its_own() -> None:
    clock = ManualClock()
    settling, steps, go = Settling(clock), [], asyncio.Event()

    async def step() -> bool:
        steps.append(clock.monotonic())
        await go.wait()
        return True

    settling.schedule(step, again_s=2.0, key="one")
    await turn()
    settling.schedule(step, key="one")  # the step that runs may have looked already
    go.set()
    await turn()
    for _ in range(4):
        await clock.advance(1.0)
    assert [moment - steps[0] for moment in steps] == [0, 2]
    await settling.stop()


async def test_a_stop_finishes_the_step_that_has_begun_and_calls_off_the_rest() -> None:
    settling, go, ended = Settling(ManualClock()), asyncio.Event(), []

    async def step() -> bool:
        await go.wait()
        ended.append("step")
        return False

    settling.schedule(step)
    settling.schedule(step, after_s=10.0)
    await turn()
    stopping = asyncio.ensure_future(settling.stop())
    await turn()
    assert not stopping.done()
    go.set()
    await stopping
    assert ended == ["step"]
