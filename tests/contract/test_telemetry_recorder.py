"""The recorder over a real database: nothing lost, nothing twice, in order, bounded."""

from __future__ import annotations

import asyncio
import gc
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from boda import telemetry
from boda.core.clock import Clock, ManualClock, SystemClock
from boda.core.errors import AwsError, Unwritable
from boda.storage.sqlite_rows import SqliteRows
from boda.telemetry import Recorder, log_reader
from boda.telemetry.block import SPAN_MS
from boda.telemetry.contract import MeteredInvocation, StreamKey
from boda.telemetry.log_reader import LogEvent, LogSearch
from boda.telemetry.tables import log_blocks, log_streams, log_trash

KEY = StreamKey("0", "us-east-1", "/aws/lambda/f", "one")
DAY_S = 86_400


@pytest.fixture
def database(tmp_path: Path) -> Any:
    database = SqliteRows(tmp_path / "boda.db", [telemetry.metadata])
    yield database
    database.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def recorder(database: SqliteRows, clock: ManualClock) -> AsyncIterator[Recorder]:
    recorder = telemetry.build(database, clock)
    yield recorder
    await recorder.stop()


async def group_id(recorder: Recorder, key: StreamKey = KEY) -> int:
    group = await recorder.logs.group(key.account, key.region, key.group)
    assert group is not None
    return group.id


async def read_all(recorder: Recorder, search: LogSearch) -> list[LogEvent]:
    """Every page; each goes on where the last ended."""
    events: list[LogEvent] = []
    beyond = search.beyond
    for _ in range(100_000):
        page = await recorder.logs.read(
            LogSearch(**{**_fields(search), "beyond": beyond})  # type: ignore[arg-type]
        )
        events += page.events
        if page.resume is None:
            return events
        assert page.resume != beyond
        beyond = page.resume
    raise AssertionError("the pages do not end")


def _fields(search: LogSearch) -> dict[str, Any]:
    return {name: getattr(search, name) for name in LogSearch.__slots__}


async def test_a_burst_arrives_whole_in_order_and_in_bounded_memory(database: SqliteRows) -> None:
    recorder = Recorder(database, SystemClock(), high_bytes=2_000_000, low_bytes=1_000_000)
    await recorder.start()
    peak = 0
    for start in range(0, 100_000, 50):
        recorder.log(KEY, [(1_000_000, f"line {n} {'.' * 60}") for n in range(start, start + 50)])
        peak = max(peak, recorder.buffered_bytes)
        await recorder.log_room()
    assert peak < 2_100_000
    assert recorder.dropped_log_events == 0
    events = await read_all(recorder, LogSearch(await group_id(recorder)))
    assert [int(event.message.split()[1]) for event in events] == list(range(100_000))
    assert len({event.position for event in events}) == 100_000
    await recorder.stop()


async def test_the_event_loop_is_not_held_up_by_writing(database: SqliteRows) -> None:
    recorder = Recorder(database, SystemClock())
    await recorder.start()
    batch = [(1_000_000, f"line {n} {'.' * 60}") for n in range(100)]
    spent = 0.0
    for _ in range(1000):
        began = time.thread_time()
        recorder.log(KEY, batch)
        spent += time.thread_time() - began
    flushing = asyncio.create_task(recorder.flush())
    turns = 0
    while not flushing.done():
        await asyncio.sleep(0)
        turns += 1
    await flushing
    # Packing 100,000 lines takes some 50 ms; a loop that does it itself turns twice or so.
    assert turns > 50
    # 200,000 lines a second is the aim, the measured rate some 30 times that.
    assert spent < 0.5
    await recorder.stop()


async def test_logging_makes_group_and_stream(recorder: Recorder, clock: ManualClock) -> None:
    recorder.log(KEY, [(5_000, "a"), (7_000, "b"), (6_000, "c")])
    recorder.log(KEY, [])
    group = await recorder.logs.group("0", "us-east-1", "/aws/lambda/f")
    assert group is not None
    assert (group.retention_days, group.stored_bytes) == (None, 3 * 27)
    stream = await recorder.logs.stream(group.id, "one")
    assert stream is not None
    assert (stream.first_ms, stream.last_ms) == (5_000, 7_000)
    assert stream.ingested_ms == stream.created_ms == int(clock.now() * 1000)
    assert await recorder.logs.group("0", "eu-west-1", "/aws/lambda/f") is None
    assert await recorder.logs.group("1", "us-east-1", "/aws/lambda/f") is None


async def test_what_was_flushed_survives_and_goes_on(
    database: SqliteRows, clock: ManualClock
) -> None:
    first = telemetry.build(database, clock)
    first.log(KEY, [(1, "before")])
    await first.stop()
    second = telemetry.build(database, clock)
    second.log(KEY, [(1, "after")])
    events = await read_all(second, LogSearch(await group_id(second)))
    assert [event.message for event in events] == ["before", "after"]
    assert events[0].position < events[1].position
    await second.stop()


async def test_the_writer_gathers_for_a_moment_then_writes(
    database: SqliteRows, clock: ManualClock
) -> None:
    recorder = telemetry.build(database, clock)
    await recorder.start()
    recorder.log(KEY, [(1, "a")])
    await clock.settle()
    assert recorder.buffered_bytes > 0
    await clock.advance(1)
    for _ in range(1000):
        if not recorder.buffered_bytes:
            break
        await asyncio.sleep(0.001)
    assert recorder.buffered_bytes == 0
    await recorder.stop()
    await recorder.stop()


@pytest.mark.parametrize("seed", range(6))
async def test_pages_show_everything_once_in_order_however_blocks_overlap(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rnd = random.Random(seed)
    # Small budgets make early ends of pages common.
    monkeypatch.setattr(log_reader, "SCAN_BYTES", rnd.choice([100, 1000, 10_000]))
    monkeypatch.setattr(log_reader, "SCAN_BLOCKS", rnd.choice([2, 10, 1000]))
    monkeypatch.setattr(log_reader, "PAGE_BYTES", rnd.choice([200, 2000, 1_000_000]))
    span = rnd.choice([1, 50, SPAN_MS * 3])
    written: list[tuple[int, str, str]] = []
    for number in range(60):
        stream = f"s{rnd.randrange(4)}"
        base = rnd.randrange(span)
        events = []
        for line in range(rnd.randrange(1, 12)):
            moment = base + rnd.randrange(span)
            message = f"{number}.{line} {'x' * rnd.randrange(40)}"
            events.append((moment, message))
            written.append((moment, stream, message))
        recorder.log(StreamKey("0", "us-east-1", "g", stream), events)
        if rnd.random() < 0.7:
            await recorder.flush()
    key = StreamKey("0", "us-east-1", "g", "s0")
    group = await group_id(recorder, key)
    ids = {}
    for name in ("s0", "s1", "s2", "s3"):
        found = await recorder.logs.stream(group, name)
        if found is not None:
            ids[name] = found.id
    low, high = sorted((rnd.randrange(2 * span + 1), rnd.randrange(2 * span + 1)))
    cases: list[tuple[dict[str, Any], Callable[[int, str, str], bool]]] = [
        ({}, lambda t, s, m: True),
        ({"start_ms": low, "end_ms": high}, lambda t, s, m: low <= t < high),
        ({"stream_ids": [ids["s1"]]}, lambda t, s, m: s == "s1"),
        ({"stream_ids": [ids["s1"], ids["s2"]]}, lambda t, s, m: s in ("s1", "s2")),
        ({"prefix": "s3"}, lambda t, s, m: s == "s3"),
        ({"match": lambda m: "7" in m}, lambda t, s, m: "7" in m),
        ({"match": lambda m: False}, lambda t, s, m: False),
    ]
    for options, wanted in cases:
        for forward in (True, False):
            limit = rnd.choice([1, 3, 17, 10_000])
            events = await read_all(
                recorder, LogSearch(group, forward=forward, limit=limit, **options)
            )
            expected = sorted((t, s, m) for t, s, m in written if wanted(t, s, m))
            assert sorted((e.timestamp_ms, e.stream, e.message) for e in events) == expected
            places = [event.position for event in events]
            assert places == sorted(set(places), reverse=not forward)


async def test_a_search_by_time_does_not_read_what_lies_far_away(
    recorder: Recorder, database: SqliteRows
) -> None:
    day = DAY_S * 1000
    for number in range(20):
        recorder.log(KEY, [(number * day, f"day {number}")])
        await recorder.flush()
    # What is damaged elsewhere is not even looked at.
    await database.write(
        lambda tx: (
            tx.run(
                sa.update(log_blocks)
                .where(log_blocks.c.first_ms != 10 * day)
                .values(data=b"damaged")
            ).rowcount
        )
    )
    group = await group_id(recorder)
    page = await recorder.logs.read(LogSearch(group, start_ms=10 * day, end_ms=10 * day + 1))
    assert [event.message for event in page.events] == ["day 10"]
    plan = []
    await database.read(
        lambda tx: plan.extend(
            tx.run(
                sa.text(
                    "EXPLAIN QUERY PLAN SELECT data FROM log_blocks "
                    "INDEXED BY log_blocks_group_first "
                    "WHERE group_id=1 AND first_ms<=10 AND last_ms>=5 AND first_ms>=-5 "
                    "ORDER BY first_ms, id"
                )
            ).all()
        )
    )
    assert "TEMP B-TREE" not in str(plan)


async def test_a_damaged_block_hides_only_itself(recorder: Recorder, database: SqliteRows) -> None:
    recorder.log(KEY, [(1, "lost")])
    await recorder.flush()
    recorder.log(KEY, [(2, "kept")])
    await recorder.flush()
    await database.write(
        lambda tx: (
            tx.run(
                sa.update(log_blocks).where(log_blocks.c.first_ms == 1).values(data=b"\x01junk")
            ).rowcount
        )
    )
    events = await read_all(recorder, LogSearch(await group_id(recorder)))
    assert [event.message for event in events] == ["kept"]


async def test_retention_hides_at_once_and_deletes_whole_blocks(
    recorder: Recorder, database: SqliteRows, clock: ManualClock
) -> None:
    now_ms = int(clock.now() * 1000)
    recorder.log(KEY, [(now_ms - 3 * DAY_S * 1000, "old")])
    await recorder.flush()
    recorder.log(KEY, [(now_ms, "young")])
    assert await recorder.logs.set_retention("0", "us-east-1", KEY.group, 3)
    group = await recorder.logs.group("0", "us-east-1", KEY.group)
    assert group is not None
    assert recorder.logs.oldest_shown_ms(group) == now_ms - 3 * DAY_S * 1000
    await recorder.sweep()
    events = await read_all(recorder, LogSearch(group.id))
    assert [event.message for event in events] == ["old", "young"]
    await clock.advance(1)
    await recorder.sweep()
    events = await read_all(recorder, LogSearch(group.id))
    assert [event.message for event in events] == ["young"]
    group = await recorder.logs.group("0", "us-east-1", KEY.group)
    assert group is not None
    assert group.stored_bytes == len("young") + 26
    assert (
        database.read_now(
            lambda tx: tx.run(sa.select(sa.func.count()).select_from(log_blocks)).scalar()
        )
        == 1
    )


async def test_the_sweeper_runs_by_itself(database: SqliteRows, clock: ManualClock) -> None:
    recorder = telemetry.build(database, clock)
    recorder.log(KEY, [(int(clock.now() * 1000), "x")])
    await recorder.flush()
    await recorder.logs.set_retention("0", "us-east-1", KEY.group, 1)
    await recorder.start()

    def blocks() -> int:
        query = sa.select(sa.func.count()).select_from(log_blocks)
        return database.read_now(lambda tx: tx.run(query).scalar()) or 0

    await clock.settle()
    assert blocks() == 1
    for _ in range(26 * 50):
        await clock.advance(3600 / 50)
        await asyncio.sleep(0.001)
        if not blocks():
            break
    assert blocks() == 0
    assert clock.now() > ManualClock().now() + DAY_S
    await recorder.stop()


async def test_deleting_a_group_takes_its_events_and_later_its_space(
    recorder: Recorder, database: SqliteRows
) -> None:
    other = StreamKey("0", "us-east-1", "/aws/lambda/g", "one")
    for number in range(1200):
        recorder.log(KEY, [(number * (SPAN_MS + 1), f"{number}")])
    recorder.log(other, [(1, "stays")])
    assert await recorder.logs.delete_group("0", "us-east-1", KEY.group)
    assert not await recorder.logs.delete_group("0", "us-east-1", KEY.group)
    recorder.log(KEY, [(1, "a new life")])
    events = await read_all(recorder, LogSearch(await group_id(recorder)))
    assert [event.message for event in events] == ["a new life"]
    await recorder.sweep()

    def count(table: sa.Table) -> Any:
        query = sa.select(sa.func.count()).select_from(table)
        return database.read_now(lambda tx: tx.run(query).scalar())

    assert (count(log_blocks), count(log_streams), count(log_trash)) == (2, 2, 0)
    events = await read_all(recorder, LogSearch(await group_id(recorder, other)))
    assert [event.message for event in events] == ["stays"]


async def test_a_deleted_stream_comes_back_empty(recorder: Recorder) -> None:
    recorder.log(KEY, [(1, "gone")])
    assert await recorder.logs.delete_stream(KEY) == "deleted"
    assert await recorder.logs.delete_stream(KEY) == "no stream"
    group = await recorder.logs.group("0", "us-east-1", KEY.group)
    assert group is not None
    assert group.stored_bytes == 0
    recorder.log(KEY, [(2, "new")])
    events = await read_all(recorder, LogSearch(group.id))
    assert [event.message for event in events] == ["new"]


async def test_a_stream_deleted_behind_the_recorders_back_is_made_again(
    recorder: Recorder, database: SqliteRows
) -> None:
    recorder.log(KEY, [(1, "gone")])
    await recorder.flush()
    await database.write(lambda tx: tx.run(sa.delete(log_streams)).rowcount)
    recorder.log(KEY, [(2, "new")])
    events = await read_all(recorder, LogSearch(await group_id(recorder)))
    assert [event.message for event in events] == ["new"]


async def test_put_events_answers_after_commit_and_makes_no_stream(
    recorder: Recorder, database: SqliteRows
) -> None:
    assert not await recorder.put_events(KEY, [(1, "x")])
    await recorder.logs.create_group("0", "us-east-1", KEY.group, {})
    assert not await recorder.put_events(KEY, [(1, "x")])
    assert await recorder.logs.create_stream(KEY) == "created"
    assert await recorder.put_events(KEY, [(1, "x")])
    assert database.read_now(lambda tx: tx.run(sa.select(log_blocks.c.events)).scalar()) == 1


class Failing:
    """A database whose disk is full for a while."""

    def __init__(self, database: SqliteRows) -> None:
        self._rows = database
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)

    async def write(self, work: Callable[[Any], Any]) -> Any:
        def fail(connection: Any) -> Any:
            work(connection)
            full = sqlite3.OperationalError("database or disk is full")
            full.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise sa.exc.OperationalError("commit", {}, full)

        if self.failures:
            self.failures -= 1
            return await self._rows.write(fail)
        return await self._rows.write(work)


async def test_a_flush_that_nobody_waits_for_any_more_fails_in_silence(
    database: SqliteRows, clock: ManualClock
) -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    failing = Failing(database)
    recorder = Recorder(failing, clock)  # type: ignore[arg-type]
    recorder.log(KEY, [(1, "one")])
    failing.failures = 1
    waiting = asyncio.ensure_future(recorder.flush())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await recorder.flush()  # after the other round, which has failed by now
    gc.collect()
    assert not complaints and recorder.buffered_bytes == 0


async def test_what_a_full_disk_refused_is_written_later_once(
    database: SqliteRows, clock: ManualClock
) -> None:
    failing = Failing(database)
    recorder = Recorder(failing, clock, high_bytes=10)  # type: ignore[arg-type]
    recorder.log(KEY, [(1, "one")])
    recorder.meter(metered(clock, 1))
    recorder.metric("0", "us-east-1", "AWS/Lambda", "Throttles", 1)
    failing.failures = 2
    for _ in range(2):
        with pytest.raises(AwsError):
            await recorder.flush()
    # Functions are not made to wait for a disk that is full.
    await asyncio.wait_for(recorder.log_room(), 5)
    assert recorder.buffered_bytes > 0
    recorder.log(KEY, [(2, "two")])
    recorder.meter(metered(clock, 1))
    await recorder.flush()
    assert recorder.buffered_bytes == 0
    events = await read_all(recorder, LogSearch(await group_id(recorder)))
    assert [event.message for event in events] == ["one", "two"]
    assert (await recorder.usage_report("0"))["Total"]["Requests"] == 2
    points = await recorder.metrics(
        "0", "us-east-1", "AWS/Lambda", "Throttles", start_s=0, end_s=1 << 40
    )
    assert [point.samples for point in points] == [1]
    points = await recorder.metrics(
        "0",
        "us-east-1",
        "AWS/Lambda",
        "Invocations",
        {"FunctionName": "resize"},
        start_s=0,
        end_s=1 << 40,
    )
    assert [(point.samples, point.sum) for point in points] == [(2, 2)]
    await recorder.stop()


async def test_logs_stop_before_the_disk_is_full(database: SqliteRows, clock: ManualClock) -> None:
    """What may not be lost goes on being written, and each stream tells what it misses."""
    why = ""
    recorder = Recorder(database, clock, lambda: why)
    await recorder.start()
    recorder.log(KEY, [(1, "kept")])
    await recorder.flush()
    why = "3 KiB are left"
    recorder.log(KEY, [(2, "lost"), (3, "lost")])
    recorder.meter(metered(clock, 1))
    await recorder.flush()
    assert (recorder.dropped_log_events, recorder.buffered_bytes) == (2, 0)
    recorder.log(KEY, [(4, "lost")])  # not even held any more
    assert (recorder.dropped_log_events, recorder.buffered_bytes) == (3, 0)
    await asyncio.wait_for(recorder.log_room(), 5)
    with pytest.raises(Unwritable, match="3 KiB are left"):
        await recorder.put_events(KEY, [(5, "refused, and so not lost")])
    assert (await recorder.usage_report("0"))["Total"]["Requests"] == 1
    why = ""
    assert await recorder.put_events(KEY, [(6, "put")])
    while recorder._writer.logs.closed:
        await clock.advance(1)
        await asyncio.sleep(0.001)
    recorder.log(KEY, [(7, "kept again")])
    await recorder.flush()
    events = await read_all(recorder, LogSearch(await group_id(recorder)))
    told = "boda dropped 3 log events here: the disk is nearly full."
    assert {event.message for event in events} == {"kept", "put", told, "kept again"}
    await recorder.stop()


async def test_back_pressure_ends_when_the_writer_has_caught_up(database: SqliteRows) -> None:
    recorder = Recorder(database, SystemClock(), high_bytes=1000, low_bytes=500)
    await recorder.start()
    recorder.log(KEY, [(1, "x" * 2000)])
    await asyncio.wait_for(recorder.log_room(), 10)
    assert recorder.buffered_bytes <= 500
    await recorder.stop()


async def test_watchers_see_lines_as_they_come(recorder: Recorder) -> None:
    subscription = recorder.subscribe("0", "us-east-1", [KEY.group], prefixes=["on"])
    recorder.log(KEY, [(1, "live")])
    recorder.log(StreamKey("0", "us-east-1", KEY.group, "two"), [(1, "other stream")])
    await recorder.put_events(KEY, [(2, "no: the stream is not there yet")])
    await recorder.flush()
    await recorder.put_events(KEY, [(3, "put")])
    assert [batch.events for batch in subscription.take()] == [((1, "live"),), ((3, "put"),)]
    subscription.close()
    recorder.log(KEY, [(4, "unseen")])
    assert subscription.take() == []


@dataclass(frozen=True)
class Function:
    """What ran."""

    account: str = "0"
    region: str = "us-east-1"
    name: str = "resize"
    version: str = "$LATEST"
    memory_mb: int = 1024
    ephemeral_mb: int = 512


def metered(
    clock: Clock, number: int, ran: Function | None = None, **changes: Any
) -> MeteredInvocation:
    values: dict[str, Any] = {
        "function": ran or Function(),
        "invoked_arn": "arn:aws:lambda:us-east-1:0:function:resize",
        "request_id": str(number),
        "at": clock.now(),
        "duration_ms": 99.5,
        "init_ms": 0.0,
        "billed_ms": 100,
        "function_error": False,
        "max_memory_mb": 50 + number,
    }
    return MeteredInvocation(**{**values, **changes})


async def test_usage_is_of_one_account_and_one_calendar_month(
    recorder: Recorder, clock: ManualClock
) -> None:
    for number in range(10):
        recorder.meter(metered(clock, number, function_error=number == 3))
        await recorder.flush()
    recorder.meter(metered(clock, 0, Function(account="1")))
    recorder.meter(metered(clock, 0, Function(version="7", memory_mb=2048)))
    last_second = clock.now() + 31 * DAY_S - 1
    recorder.meter(metered(clock, 0, at=last_second))
    recorder.meter(metered(clock, 0, at=last_second + 1))
    usages = {one.version: one.sums for one in await recorder.usage("0", "2026-01")}
    assert set(usages) == {"$LATEST", "7"}
    latest = usages["$LATEST"]
    assert (latest.requests, latest.errors, latest.billed_ms) == (11, 1, 1100)
    assert (latest.duration_us, latest.max_memory_mb) == (1_094_500, 59)
    report = await recorder.usage_report("0")
    assert report["Month"] == "2026-01"
    assert report["Functions"] == [
        {
            "FunctionName": "resize",
            "Region": "us-east-1",
            "Requests": 12,
            "Errors": 1,
            "DurationMs": 1194.0,
            "BilledMs": 1200,
            "GbSeconds": 1.3,
            "AwsPriceWithoutFreeTierUsd": "0.0000240667",
        }
    ]
    assert (report["AwsPriceUsd"], report["AwsPriceWithoutFreeTierUsd"]) == ("0.00", "0.0000240667")
    assert (await recorder.usage_report("0", "2026-02"))["Total"]["Requests"] == 1
    assert (await recorder.usage_report("0", "2025-12"))["Functions"] == []
    with pytest.raises(ValueError, match="not a month"):
        await recorder.usage("0", "January")


async def test_metrics_by_period_and_for_fifteen_days(
    recorder: Recorder, clock: ManualClock
) -> None:
    start = int(clock.now())

    async def points(period: int, **dimensions: str) -> list[tuple[int, int, float, float, float]]:
        found = await recorder.metrics(
            "0", "r", "N", "m", dimensions, start_s=start, end_s=start + DAY_S, period_s=period
        )
        return [(p.start_s - start, p.samples, p.sum, p.minimum, p.maximum) for p in found]

    for value in (1, 2, 3, 10):
        recorder.metric("0", "r", "N", "m", value, {"F": "a"})
        await recorder.flush()
        await clock.advance(45)
    assert await points(60, F="a") == [(0, 2, 3, 1, 2), (60, 1, 3, 3, 3), (120, 1, 10, 10, 10)]
    assert await points(300, F="a") == [(0, 4, 16, 1, 10)]
    assert await points(60, F="b") == []
    with pytest.raises(ValueError, match="multiple of 60"):
        await points(61, F="a")
    await clock.advance(16 * DAY_S)
    await recorder.sweep()
    assert await points(300, F="a") == []
