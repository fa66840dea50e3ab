"""The platform's state as the monitor sees it, on a real folder and database."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from boda.core.clock import ManualClock
from boda.core.errors import Unwritable
from boda.core.health import Health
from boda.storage import disk
from boda.storage.sqlite_rows import SqliteRows
from boda.telemetry.monitor import LATE_S, HealthMonitor


@dataclass
class Stage:
    health: Health
    rows: SqliteRows
    monitor: HealthMonitor
    said: list[str] = field(default_factory=list)
    late_s: float = 0.0
    dropped: int = 0

    def names(self) -> list[str]:
        return [reason.partition(":")[0] for reason in self.health.reasons]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    clock = ManualClock()
    said: list[str] = []
    health = Health(clock.monotonic, said.append)
    folder = tmp_path / "data"
    folder.mkdir()
    database = SqliteRows(folder / "boda.db", [], health=health)
    monitor = HealthMonitor(
        health,
        folder,
        database,
        clock,
        late=lambda: on.late_s,
        dropped={"log events": lambda: on.dropped},
    )
    on = Stage(health, database, monitor, said)
    yield on
    database.close()


async def test_all_is_well_and_nothing_is_left_behind(stage: Stage, tmp_path: Path) -> None:
    before = sorted(path.name for path in (tmp_path / "data").iterdir())
    await stage.monitor.look()
    assert stage.health.members() == {"status": "ok", "reasons": []} and not stage.said
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == before


async def test_a_disk_that_refuses_and_takes_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(disk, "why_unwritable", lambda folder: "No space left on device")
        await stage.monitor.look()
        await stage.monitor.look()
    assert stage.names() == ["disk"] and "No space left on device" in stage.health.reasons[0]
    await stage.monitor.look()
    assert stage.names() == []
    assert [line.partition(":")[0] for line in stage.said] == ["degraded", "no longer degraded"]


async def test_little_that_is_left_is_told_before_nothing_is(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_LOW_BYTES", 1 << 62)
    monkeypatch.setattr(disk, "_LOW_SHARE", 1)
    await stage.monitor.look()
    assert stage.names() == ["disk"] and "KiB are left" in stage.health.reasons[0]


async def test_a_folder_that_was_removed(stage: Stage, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(Unwritable, match="removed while boda was running"):
        await stage.rows.write(lambda tx: None)
    await stage.monitor.look()
    assert set(stage.names()) == {"disk", "database"}


async def test_events_that_wait_for_long(stage: Stage) -> None:
    stage.late_s = LATE_S - 1
    await stage.monitor.look()
    assert stage.names() == []
    stage.late_s = LATE_S
    await stage.monitor.look()
    assert stage.names() == ["queue"]
    stage.late_s = 0.0
    await stage.monitor.look()
    assert stage.names() == []


async def test_drops_are_told_of_by_their_number(stage: Stage) -> None:
    stage.dropped = 7
    await stage.monitor.look()
    await stage.monitor.look()
    assert stage.names() == ["drops"] and "7 log events" in stage.health.reasons[0]


async def test_a_database_that_refuses_and_takes_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(connection: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(Unwritable) as caught:
        await stage.rows.write(refuse)
    assert caught.value.status == 503
    assert stage.names() == ["database"]
    await stage.monitor.look()  # which writes, although nobody else does
    assert stage.names() == []
