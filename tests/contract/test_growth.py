"""What would grow without bound does not: metered hours, streams, free pages of the database."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from boda import telemetry
from boda.core.clock import ManualClock
from boda.storage import vacuum
from boda.storage.rewrite import INCREMENTAL
from boda.storage.rows import Tx
from boda.storage.sqlite_rows import SqliteRows
from boda.storage.sqlite_tx import SqliteTx
from boda.storage.vacuum import Vacuum
from boda.telemetry.contract import StreamKey
from boda.telemetry.metering import (
    DAY_S,
    DAYS_LAST_S,
    HOURS_LAST_S,
    MONTHS_LAST_S,
    UsageSums,
    month_bounds,
    month_of,
    read_usage,
    write_sums,
)
from boda.telemetry.retention_sweeper import RetentionSweeper
from boda.telemetry.tables import log_streams, metering

START = 1_767_225_600  # a first of January
KEY = StreamKey("000000000000", "us-east-1", "/aws/lambda/f", "s")


@dataclass
class Stage:
    rows: SqliteRows
    clock: ManualClock
    recorder: telemetry.Recorder
    sweeper: RetentionSweeper

    def all_of(self, table: sa.Table) -> list[Any]:
        return list(self.rows.read_now(lambda tx: tx.run(sa.select(table)).all()))

    async def log(self, name: str) -> None:
        now_ms = int(self.clock.now() * 1000)
        self.recorder.log(KEY._replace(stream=name), [(now_ms, "hello")])
        await self.recorder.flush()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    clock = ManualClock(START)
    database = SqliteRows(tmp_path / "boda.db", [telemetry.metadata])
    recorder = telemetry.build(database, clock)
    yield Stage(database, clock, recorder, RetentionSweeper(database, clock))
    await recorder.stop()
    database.close()


# Metering


async def test_hours_become_days_and_days_months_and_no_sum_changes(stage: Stage) -> None:
    chance = random.Random(5)
    last_s = START + 200 * DAY_S
    hours = {
        ("a", "us-east-1", name, version, START + hour * 3600): UsageSums(
            *(chance.randrange(1 << 40) for _ in range(7)), max_memory_mb=chance.randrange(10_000)
        )
        for hour in range(0, 200 * 24, 3)
        for name in ("f", "g")
        for version in ("$LATEST", "1")
        if chance.random() < 0.5
    }
    stage.rows.write_now(lambda tx: write_sums(tx, hours))
    await stage.clock.advance(last_s - START)

    def usage(start_s: int, end_s: int) -> Any:
        return stage.rows.read_now(lambda tx: read_usage(tx, "a", start_s, end_s))

    months = sorted({month_of(key[4]) for key in hours})
    before = [usage(*month_bounds(month)) for month in months]
    lately = last_s - HOURS_LAST_S
    recent = usage(lately, last_s)
    for _ in range(2):  # the second time changes nothing
        await stage.sweeper.sweep()
        assert [usage(*month_bounds(month)) for month in months] == before
        assert usage(lately, last_s) == recent
    found = {row.hour_s for row in stage.all_of(metering)}
    days = {hour_s for hour_s in found if hour_s % DAY_S == 0}
    assert all(hour_s >= lately for hour_s in found - days)
    assert len(days) <= (DAYS_LAST_S + 31 * DAY_S) // DAY_S + len(months)
    # What comes late is added as well.
    late = {("a", "us-east-1", "f", "1", START + 5 * 3600): UsageSums(requests=3)}
    stage.rows.write_now(lambda tx: write_sums(tx, late))
    await stage.sweeper.sweep()
    assert sum(each.sums.requests for each in usage(*month_bounds(months[0]))) == 3 + sum(
        each.sums.requests for each in before[0]
    )
    await stage.clock.advance(MONTHS_LAST_S)
    await stage.sweeper.sweep()
    assert all(row.hour_s >= START + 31 * DAY_S for row in stage.all_of(metering))


# Streams


async def test_streams_go_with_their_last_event_where_a_group_has_a_retention(
    stage: Stage,
) -> None:
    for number in range(700):
        stage.recorder.log(KEY._replace(stream=f"old-{number}"), [(START * 1000, "x")])
    await stage.recorder.flush()
    await stage.recorder.logs.create_stream(KEY._replace(stream="made, never written"))
    await stage.recorder.logs.set_retention(*KEY[:3], 7)
    await stage.sweeper.sweep()
    assert len(stage.all_of(log_streams)) == 701
    await stage.clock.advance(6 * DAY_S)
    await stage.log("young")
    await stage.recorder.logs.create_stream(KEY._replace(stream="made lately"))
    await stage.log("old-5")  # goes on
    await stage.clock.advance(2 * DAY_S)
    await stage.sweeper.sweep()
    names = {row.name for row in stage.all_of(log_streams)}
    assert names == {"young", "made lately", "old-5"}
    # Whoever still writes into one that has gone finds it made anew.
    await stage.log("old-6")
    await stage.sweeper.sweep()
    assert "old-6" in {row.name for row in stage.all_of(log_streams)}


async def test_without_a_retention_streams_stay(stage: Stage) -> None:
    await stage.log("s")
    await stage.clock.advance(3650 * DAY_S)
    await stage.sweeper.sweep()
    assert [row.name for row in stage.all_of(log_streams)] == ["s"]


async def test_a_page_of_streams_costs_the_same_everywhere(stage: Stage) -> None:
    def fill(tx: Tx) -> None:
        last = ({"name": f"s{n:05}", "last_ms": n if n % 7 else None} for n in range(20_000))
        tx.run_many(
            sa.insert(log_streams), [{"group_id": 1, "created_ms": 0, **one} for one in last]
        )

    stage.rows.write_now(fill)
    asked: list[int] = []

    def count() -> int:
        asked.append(1)
        return 0

    original = stage.rows.read

    async def counted(work: Any) -> Any:
        def inside(tx: Tx) -> Any:
            assert isinstance(tx, SqliteTx)
            tx.raw.set_progress_handler(count, 100)
            try:
                return work(tx)
            finally:
                tx.raw.set_progress_handler(None, 0)

        return await original(inside)

    stage.rows.read = counted  # type: ignore[method-assign]
    for options in (
        {"by_time": True},
        {"by_time": True, "after": (15_000, "s15000")},
        {"by_time": True, "descending": True, "after": (5_000, "s05000")},
        {"after": (0, "s15000")},
        {"prefix": "s001"},
    ):
        asked.clear()
        found, more = await stage.recorder.logs.streams(1, limit=50, **options)
        assert len(found) == 50 and more
        assert len(asked) < 30, options


# The database's file


def _pages(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as raw:
        return int(raw.execute(f"PRAGMA {name}").fetchone()[0])


async def test_what_was_deleted_is_given_back_step_by_step(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vacuum, "KEPT_PAGES", 100)
    path = tmp_path / "boda.db"
    assert _pages(path, "auto_vacuum") == INCREMENTAL

    def fill(tx: Tx) -> None:
        tx.run(sa.text("CREATE TABLE filled (data BLOB)"))
        some = [{"data": bytes(4000)} for _ in range(3000)]
        tx.run_many(sa.text("INSERT INTO filled VALUES (:data)"), some)

    stage.rows.write_now(fill)
    stage.rows.write_now(lambda tx: tx.run(sa.text("DELETE FROM filled")).rowcount)
    before = _pages(path, "page_count")
    shrinking = Vacuum(stage.rows, stage.clock)
    steps = 0
    while await shrinking.step():
        steps += 1
        await stage.log(f"between-{steps}")
    assert 8 <= steps <= 12 and _pages(path, "page_count") < before - 2500
    free = _pages(path, "freelist_count")
    assert 100 <= free <= 100 + vacuum.STEP_PAGES + 300, "some stay for the next rows"
    assert len(stage.all_of(log_streams)) == steps


def test_a_file_made_without_the_means_to_shrink_is_rewritten_once(tmp_path: Path) -> None:
    path = tmp_path / "boda.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("CREATE TABLE there (x)")
        raw.executemany("INSERT INTO there VALUES (?)", [(n,) for n in range(1000)])
        raw.commit()
    path.chmod(0o600)
    for _ in range(2):
        database = SqliteRows(path, [telemetry.metadata])
        rows = database.read_now(lambda tx: tx.run(sa.text("SELECT count(*) FROM there")).all())
        assert rows == [(1000,)]
        database.close()
        assert _pages(path, "auto_vacuum") == INCREMENTAL
        assert path.stat().st_mode & 0o777 == 0o600


def test_an_index_that_came_later_is_made_in_older_folders(tmp_path: Path) -> None:
    path = tmp_path / "boda.db"
    SqliteRows(path, [telemetry.metadata]).close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("DROP INDEX log_streams_by_last")
        raw.execute("DROP TABLE boda_schemas")  # older folders have no numbers
    SqliteRows(path, [telemetry.metadata]).close()
    with closing(sqlite3.connect(path)) as raw:
        names = {row[0] for row in raw.execute("SELECT name FROM sqlite_master")}
    assert "log_streams_by_last" in names
