"""The asynchronous queue over hours, crashes and a failing disk, in milliseconds."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from boda.core.errors import AwsError
from boda.core.principal import service_principal
from boda.delivery import rows
from boda.delivery.contract import EventSource
from boda.invoke.call import Call, Outcome
from boda.runtime import trace
from support.delivery_world import Office, arn, failed, office, ok, throttled

QUEUE_ARN = "arn:aws:sqs:us-east-1:000000000000:dead"


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Office]:
    made = office(folder, **settings)
    await made.delivery.start()
    try:
        yield made
    finally:
        await made.delivery.stop(grace_s=0)
        made.rows.close()


async def post(here: Office, name: str, number: int = 0, **settings: str) -> None:
    found = here.functions.resolve(arn(name))
    assert found is not None
    await here.delivery.queue.enqueue(
        found, b'{"n":%d}' % number, request_id=f"{name}-{number}", **settings
    )
    await here.clock.settle()  # so that it begins now and not when the clock has moved on


def times(here: Office, request_id: str) -> list[float]:
    """When each attempt began, seconds after the first."""
    found = [at for at, _, each, _ in here.invoker.log if each == request_id]
    return [round(at - found[0], 3) for at in found]


async def test_an_event_runs_once_and_is_forgotten(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        await post(here, "f")
        await here.clock.advance(1)
        assert times(here, "f-0") == [0.0]
        assert await here.waiting() == 0
        assert here.telemetry.counts["AsyncEventsReceived"] == 1
        assert here.telemetry.counts["AsyncEventAge"] == 1


async def test_function_errors_are_tried_again_after_one_and_two_minutes(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f", dead_letter_arn=QUEUE_ARN)
        here.invoker.outcome = lambda call: failed(call, "no " * 600)
        await post(here, "f")
        await here.clock.advance(1000)
        assert times(here, "f-0") == [0.0, 60.0, 180.0]
        assert await here.waiting() == 0
        (message,) = here.dead.messages
        assert message.event == b'{"n":0}'
        assert message.attributes["RequestID"].value == "f-0"
        assert message.attributes["ErrorCode"].value == "200"
        assert message.attributes["ErrorCode"].kind == "Number"
        assert message.attributes["ErrorMessage"].value == ("no " * 600)[:1024]
        assert here.telemetry.counts["AsyncEventsDropped"] == 1
        roots = {trace.parse(header).root for *_, header in here.invoker.log}
        assert len(roots) == 1, "the attempts of one event are one trace"


async def test_throttles_back_off_and_are_no_attempts(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f", dead_letter_arn=QUEUE_ARN)
        here.invoker.outcome = lambda call: throttled()
        await post(here, "f")
        await here.clock.advance(21_000)
        steps = times(here, "f-0")
        gaps = [round(b - a, 3) for a, b in itertools.pairwise(steps)]
        assert gaps[:9] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]
        assert set(gaps[9:]) == {300.0}
        assert not here.dead.messages
        await here.clock.advance(1000)
        assert max(times(here, "f-0")) < 21_600, "not tried when it is six hours old"
        assert here.dead.messages[0].attributes["ErrorCode"].value == "429"
        assert await here.waiting() == 0


async def test_after_throttles_all_three_attempts_are_still_to_come(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        here.invoker.outcome = lambda call: (
            throttled() if len(here.invoker.log) <= 3 else failed(call)
        )
        await post(here, "f")
        await here.clock.advance(1000)
        assert times(here, "f-0") == [0.0, 1.0, 3.0, 7.0, 67.0, 187.0]


async def test_the_age_of_an_event_at_each_attempt_is_measured(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        tries = iter((throttled, ok))
        here.invoker.outcome = lambda call: (
            made() if (made := next(tries)) is throttled else made(call)
        )
        await post(here, "f")
        await here.clock.advance(2)
        assert here.telemetry.values["AsyncEventAge"] == [0.0, pytest.approx(1000.0)]


async def test_system_errors_are_tried_again_as_throttles_are(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        problems: list[Exception] = [
            AwsError("ServiceException", "no environment", 500),
            RuntimeError("a defect"),
        ]
        here.invoker.outcome = lambda call: problems.pop() if problems else ok(call)
        await post(here, "f")
        await here.clock.advance(10)
        assert times(here, "f-0") == [0.0, 1.0, 3.0]
        assert await here.waiting() == 0


async def test_zero_reserved_concurrency_goes_straight_to_the_dead_letters(tmp_path: Path) -> None:
    async with running(tmp_path, reserved=lambda *key: 0) as here:
        here.function("f", dead_letter_arn=QUEUE_ARN)
        await post(here, "f")
        await here.clock.advance(1)
        assert not here.invoker.log
        assert len(here.dead.messages) == 1


async def test_a_dead_letter_that_cannot_be_sent_is_counted_and_said(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("refused", dead_letter_arn=QUEUE_ARN)
        here.function("nobody", dead_letter_arn="arn:aws:sns:us-east-1:000000000000:topic")
        here.dead.refuses = True
        here.invoker.outcome = failed
        await post(here, "refused", 7)
        await post(here, "nobody", 8)
        await here.clock.advance(1000)
        assert here.telemetry.counts["DeadLetterErrors"] == 2
        said = {key.group: json.loads(line) for key, line in here.telemetry.lines}
        assert said["/aws/lambda/refused"]["payload"] == '{"n":7}'
        assert said["/aws/lambda/nobody"]["requestId"] == "nobody-8"
        assert said["/aws/lambda/nobody"]["condition"] == "RetriesExhausted"


async def test_the_events_of_a_deleted_function_are_dropped(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        here.invoker.outcome = failed
        await post(here, "f")
        await here.clock.advance(1)
        here.functions.remove(arn("f"))
        await here.clock.advance(100)
        assert await here.waiting() == 0
        assert here.telemetry.counts["AsyncEventsDropped"] == 1


async def test_a_retry_runs_the_code_that_is_there_then(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        seen: list[int] = []

        def outcome(call: Call) -> Outcome:
            seen.append(call.version.memory_mb)
            return failed(call) if len(seen) == 1 else ok(call)

        here.invoker.outcome = outcome
        await post(here, "f")
        await here.clock.advance(1)
        here.function("f", memory_mb=512)
        await here.clock.advance(100)
        assert seen == [128, 512]


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_acknowledged_is_lost_over_crashes(tmp_path: Path, seed: int) -> None:
    """Thousands of events, failures of every kind, a disk that refuses, and crashes."""
    async with running(tmp_path, seed=seed) as here:
        names = [f"f{number}" for number in range(5)]
        for name in names:
            here.function(name, dead_letter_arn=QUEUE_ARN)
        done: Counter[str] = Counter()
        chance = here.random

        def outcome(call: Call) -> Outcome | Exception:
            roll = chance.random()
            if roll < 0.05:
                return failed(call)
            if roll < 0.10:
                return throttled()
            if roll < 0.12:
                return RuntimeError("lost the environment")
            done[call.request_id] += 1
            return ok(call)

        here.invoker.outcome = outcome
        here.invoker.duration_s = lambda call: chance.choice((0.0, 0.0, 0.5, 20.0))
        here.rows.failing = lambda: chance.random() < 0.02
        acknowledged: list[str] = []
        for turn in range(12):
            for number in range(100):
                key = turn * 100 + number
                try:
                    await post(here, chance.choice(names), key)
                except AwsError:
                    continue
                acknowledged.append(str(key))
            await here.clock.advance(chance.choice((0.0, 0.3, 5.0, 90.0)))
            if chance.random() < 0.5:
                here.rows.failing = lambda: False
                await here.crash()
                here.rows.failing = lambda: chance.random() < 0.02
        here.rows.failing = lambda: False
        await here.clock.advance(30_000)
        assert await here.waiting() == 0
        finished = {key.rpartition("-")[2] for key in done}
        dead = {
            message.attributes["RequestID"].value.rpartition("-")[2]
            for message in here.dead.messages
        }
        lost = [key for key in acknowledged if key not in finished | dead]
        assert len(acknowledged) > 1000 and not lost
        # More than once only for what ran when the platform died or could not forget it.
        assert sum(done.values()) < len(acknowledged) * 1.5


async def test_what_ran_when_the_platform_died_runs_again(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        here.invoker.duration_s = lambda call: 100.0
        await post(here, "f")
        await here.clock.advance(10)
        await here.crash()
        await here.clock.advance(200)
        assert len(here.invoker.log) == 2
        assert await here.waiting() == 0


async def test_an_event_that_was_not_stored_is_not_acknowledged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        here.rows.failing = lambda: True
        for _ in range(20):
            with pytest.raises(AwsError) as refused:
                await post(here, "f")
            assert refused.value.status == 503
        here.rows.failing = lambda: False
        await here.clock.advance(10)
        assert not here.invoker.log and await here.waiting() == 0
        # The operator hears of it once, however many events are refused, and of its end.
        assert [one.getMessage().partition(":")[0] for one in caplog.records] == [
            "the queue cannot be written"
        ]
        await post(here, "f")
        assert caplog.records[-1].getMessage() == "the queue is written again"


@pytest.mark.parametrize("refused", [False, True])
async def test_what_comes_while_the_disk_is_written_to_is_written_next(
    tmp_path: Path, refused: bool
) -> None:
    """Without anything else that would have it written."""
    async with running(tmp_path) as here:
        here.function("f")
        write, turn = here.rows.write, asyncio.Event()

        async def slowly(work: Any) -> Any:
            here.rows.write = write  # type: ignore[method-assign]
            await turn.wait()
            if refused:
                raise OSError(28, "No space left on device")
            return await write(work)

        here.rows.write = slowly  # type: ignore[method-assign]
        first = asyncio.create_task(post(here, "f", 1))
        await here.clock.settle()
        second = asyncio.create_task(post(here, "f", 2))
        await here.clock.settle()
        assert not first.done() and not second.done()
        turn.set()
        await here.clock.settle(100)
        assert second.done() and second.exception() is None
        assert isinstance(first.exception(), AwsError) is refused


async def test_a_defect_in_handling_an_event_only_delays_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as here:
        made = here.function("f")
        resolve, wrong = here.functions.resolve, [True]

        def broken(*names: str) -> Any:
            if wrong:
                raise RuntimeError("a defect")
            return resolve(*names)

        here.functions.resolve = broken  # type: ignore[method-assign]
        for number in (1, 2):
            await here.delivery.queue.enqueue(made, b"{}", request_id=f"f-{number}")
        await here.clock.advance(30)
        assert not here.invoker.log and "a defect" in caplog.text
        wrong.clear()
        await here.clock.advance(31)
        assert {key for _, _, key, _ in here.invoker.log} == {"f-1", "f-2"}
        assert await here.waiting() == 0


async def test_an_orderly_stop_leaves_nothing_to_be_run_twice(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        await post(here, "f")
        assert len(here.invoker.log) == 1
        await here.delivery.stop()
        assert here.rows.read_now(rows.count) == 0


async def test_a_caller_that_goes_away_leaves_its_event(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        task = asyncio.create_task(post(here, "f"))
        await asyncio.sleep(0)
        task.cancel()
        await here.clock.advance(1)
        assert await here.waiting() == 0
        assert len(here.invoker.log) == 1


async def test_who_is_called_back_hears_of_the_commit_and_not_before(tmp_path: Path) -> None:
    here = office(tmp_path)
    version = here.function("f")
    told: list[tuple[AwsError | None, int]] = []

    def accepted(error: AwsError | None) -> None:
        told.append((error, here.rows.read_now(rows.count)))
        raise RuntimeError("whoever listens has a defect")  # and the others hear all the same

    def begin(number: int) -> bool:
        return here.delivery.queue.try_enqueue(
            version,
            b'{"n":%d}' % number,
            accepted,
            request_id=f"f-{number}",
            qualifier="$LATEST",
            invoked_arn=version.arn,
            trace_id="",
        )

    assert not begin(0), "what an earlier run left is not known yet"
    await here.delivery.start()
    here.invoker.duration_s = lambda call: 5.0
    for number in (1, 2, 3):
        assert begin(number)
    assert told == []
    await here.clock.settle()
    assert told == [(None, 3)] * 3
    await here.clock.advance(10)
    assert Counter(each for _, _, each, _ in here.invoker.log) == {f"f-{n}": 1 for n in (1, 2, 3)}
    here.rows.failing = lambda: True
    assert begin(4)
    await here.clock.settle()
    error = told[-1][0]
    assert error is not None and (error.code, error.status) == ("ServiceException", 503)
    here.rows.failing = lambda: False
    await here.clock.advance(10)
    assert len(here.invoker.log) == 3 and await here.waiting() == 0
    await here.delivery.stop(grace_s=0)
    here.rows.close()


async def test_one_backlog_delays_nobody_else(tmp_path: Path) -> None:
    async with running(tmp_path, slots=8) as here:
        here.function("slow")
        here.function("quick")
        here.invoker.duration_s = lambda call: 10.0 if call.version.name == "slow" else 0.01
        for number in range(500):
            await post(here, "slow", number)
        await here.clock.advance(25)
        assert here.invoker.most["slow"] == 8, "alone it may have all slots"
        before = here.clock.now()
        for number in range(20):
            await post(here, "quick", number)
        await here.clock.advance(5)
        quick = [at - before for at, name, *_ in here.invoker.log if name == "quick"]
        assert len(quick) == 20
        assert max(quick) < 1.0


async def test_slots_are_shared_evenly_among_the_busy(tmp_path: Path) -> None:
    async with running(tmp_path, slots=8) as here:
        for name in "abcd":
            here.function(name)
        here.invoker.duration_s = lambda call: 1.0
        for number in range(100):
            for name in "abcd":
                await post(here, name, number)
        await here.clock.advance(20)
        counts = Counter(name for _, name, *_ in here.invoker.log)
        assert max(counts.values()) - min(counts.values()) <= 8
        assert sum(counts.values()) >= 8 * 19, "no slot stays empty"
        assert here.invoker.most == dict.fromkeys("abcd", 2), "and none is taken twice"


async def test_throttles_lower_the_rate_and_success_raises_it(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f")
        here.invoker.duration_s = lambda call: 1.0
        here.invoker.outcome = lambda call: (
            throttled() if here.invoker.running["f"] > 3 else ok(call)
        )
        for number in range(300):
            await post(here, "f", number)
        await here.clock.advance(600)
        assert await here.waiting() == 0
        # Every event once, and not several refusals for each.
        assert len(here.invoker.log) < 300 * 3


async def test_memory_is_bounded_and_order_kept(tmp_path: Path) -> None:
    from boda.delivery.lane_runner import WINDOW

    async with running(tmp_path, slots=1) as here:
        here.function("f")
        total = WINDOW * 3
        gate = asyncio.Event()
        original = here.invoker.invoke

        async def invoke(call: Call) -> Outcome:
            await gate.wait()
            return await original(call)

        here.invoker.invoke = invoke  # type: ignore[method-assign]
        await asyncio.gather(*(post(here, "f", number) for number in range(total)))
        (lane,) = here.delivery.queue._runner._lanes.values()
        assert len(lane._window) + len(lane.running) <= WINDOW + 1
        gate.set()
        await here.clock.advance(1)
        while await here.waiting():
            await here.clock.settle(200)
        numbers = [int(key.partition("-")[2]) for _, _, key, _ in here.invoker.log]
        assert numbers == list(range(total)), "each exactly once"
        assert not here.delivery.queue._runner._lanes and not here.delivery.queue._runner._held


async def test_a_payload_too_many_for_memory_stays_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boda.delivery import lane_runner

    monkeypatch.setattr(lane_runner, "_HELD_BYTES", 20)
    async with running(tmp_path, slots=1) as here:
        here.function("f")
        seen: list[bytes] = []

        def outcome(call: Call) -> Outcome:
            seen.append(call.payload)
            return ok(call)

        here.invoker.outcome = outcome
        here.invoker.duration_s = lambda call: 1.0
        for number in range(9):
            await post(here, "f", number)
        assert here.delivery.queue._runner._held <= 20
        await here.clock.advance(30)
        assert seen == [b'{"n":%d}' % number for number in range(9)]


# The recursion guard


async def test_a_loop_is_stopped_after_sixteen_invocations(tmp_path: Path) -> None:
    """A function that sets itself off by way of S3: each run posts the next with its trace."""
    async with running(tmp_path) as here:
        here.function("resizer", dead_letter_arn=QUEUE_ARN)
        here.allow("resizer")
        loops: list[asyncio.Task[str]] = []

        def again(call: Call) -> Outcome:
            source = EventSource(
                service_principal("s3.amazonaws.com"),
                "arn:aws:s3:::photos",
                "000000000000",
                "us-east-1",
                call.trace_id,
            )
            deliver = here.delivery.post.deliver(arn("resizer"), b'{"again":1}', source)
            loops.append(asyncio.create_task(deliver))
            return ok(call)

        here.invoker.outcome = again
        await post(here, "resizer")
        await here.clock.advance(60)
        assert len(here.invoker.log) == trace.MAX_HOPS == 16
        assert await here.waiting() == 0
        assert here.telemetry.counts["RecursiveInvocationsDropped"] == 1
        assert here.telemetry.counts["AsyncEventsDropped"] == 1
        ((key, line),) = here.telemetry.lines
        assert key.group == "/aws/lambda/resizer"
        said = json.loads(line)
        assert said["condition"] == "RecursiveInvocation"
        assert "prefix filter" in said["message"]
        assert here.dead.messages[0].event == b'{"again":1}'
        await asyncio.gather(*loops)


async def test_a_loop_that_is_allowed_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        here.function("f", recursive_loop="Allow")
        await post(here, "f", trace_id="Root=1-1-2;Lineage=900:12345678:0")
        await here.clock.advance(1)
        assert len(here.invoker.log) == 1


@pytest.mark.parametrize(("isolated", "tenant"), [(True, ""), (False, "blue")])
async def test_an_event_of_the_wrong_tenancy_is_given_up_at_once(
    tmp_path: Path, isolated: bool, tenant: str
) -> None:
    async with running(tmp_path) as here:
        here.function("f", tenant_isolation=isolated, dead_letter_arn=QUEUE_ARN)
        here.allow("f")
        await post(here, "f", tenant=tenant)
        await here.clock.advance(1)
        assert here.invoker.log == []
        assert await here.waiting() == 0
        ((_, line),) = here.telemetry.lines
        assert "tenancy configuration" in json.loads(line)["message"]
        assert here.dead.messages[0].event


# Stopping


async def test_stopping_lets_what_runs_finish_and_starts_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, slots=1) as here:
        here.function("f")
        here.invoker.duration_s = lambda call: 5.0
        await post(here, "f", 1)
        await post(here, "f", 2)
        await here.clock.advance(1)
        stopping = asyncio.create_task(here.delivery.stop())
        await here.clock.advance(30)
        assert stopping.done()
        assert len(here.invoker.log) == 1
        assert await here.waiting() == 1


async def test_hours_of_retries_of_many_keep_their_exact_times(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        for number in range(40):
            here.function(f"f{number}")
        here.invoker.outcome = failed
        starts: dict[str, float] = {}
        for number in range(40):
            await post(here, f"f{number}", number)
            starts[f"f{number}-{number}"] = here.clock.now()
            await here.clock.advance(here.random.random() * 30)
        await here.clock.advance(500)
        found = defaultdict(list)
        for at, _, key, _ in here.invoker.log:
            found[key].append(round(at - starts[key], 6))
        assert all(each == [0.0, 60.0, 180.0] for each in found.values())
        assert len(found) == 40
