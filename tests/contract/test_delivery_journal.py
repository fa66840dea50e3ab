"""Removals of events that are done with: how soon they are on disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from boda import delivery
from boda.core.clock import ManualClock
from boda.delivery import rows
from boda.delivery.journal import LINGER_S, QueueJournal
from boda.delivery.rows import QueuedEvent
from boda.storage.sqlite_rows import SqliteRows

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


class Stage:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.rows = SqliteRows(folder / "boda.db", [delivery.metadata])
        self.gone: list[int] = []
        self.journal = QueueJournal(self.rows, self.clock, lambda some: None, self._removed)

    def _removed(self, some: Sequence[QueuedEvent]) -> None:
        self.gone += [event.id for event in some]

    async def add(self, count: int) -> list[QueuedEvent]:
        events = [
            QueuedEvent(number, 1, ARN, "$LATEST", f"r{number}", ARN, "", 0.0, 0.0, payload=b"{}")
            for number in range(count)
        ]
        for event in events:
            self.journal.add(event, lambda error: None)
        await self.journal.flush()
        return events

    def left(self) -> int:
        return self.rows.read_now(rows.count)

    async def until_gone(self, *ids: int) -> None:
        async with asyncio.timeout(20):
            while sorted(self.gone) != sorted(ids):
                await asyncio.sleep(0.001)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.journal.close()
    made.rows.close()


async def test_removals_go_with_whoever_commits_next(stage: Stage) -> None:
    first, second, third = await stage.add(3)
    stage.journal.remove(first)
    stage.journal.remove(second)
    await stage.rows.write(lambda tx: None)  # another room's; no time has passed
    assert stage.left() == 1
    await stage.until_gone(0, 1)
    stage.journal.remove(third)
    await stage.rows.write(lambda tx: None)
    assert stage.left() == 0


async def test_removals_wait_for_nobody_for_longer_than_a_moment(stage: Stage) -> None:
    (event,) = await stage.add(1)
    stage.journal.remove(event)
    assert stage.left() == 1, "a removal alone causes no commit"
    await stage.clock.advance(LINGER_S)
    await stage.until_gone(0)
    assert stage.left() == 0


async def test_a_removal_that_a_full_disk_took_back_is_tried_again(stage: Stage) -> None:
    (event,) = await stage.add(1)

    def refuse(connection: Any) -> None:
        raise OSError(28, "No space left on device")

    stage.journal.remove(event)
    with pytest.raises(Exception, match="cannot write"):
        await stage.rows.write(refuse)
    assert stage.left() == 1
    await stage.rows.write(lambda tx: None)
    await stage.until_gone(0)
    assert stage.left() == 0


async def test_flush_returns_when_what_rides_is_on_disk_too(stage: Stage) -> None:
    events = await stage.add(50)
    writes = []
    for event in events:
        stage.journal.remove(event)
        writes.append(asyncio.ensure_future(stage.rows.write(lambda tx: None)))
        await asyncio.sleep(0)
    await stage.journal.flush()
    assert stage.left() == 0
    await asyncio.gather(*writes)
