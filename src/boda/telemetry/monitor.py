"""Checks the disk, the queue and dropped data every few seconds, and reports to ``Health``.

The disk is checked by writing to it, also while nothing else writes: so a refusal, and its end,
are noticed before a caller meets them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from boda.core.clock import Clock
from boda.core.errors import BodaError
from boda.core.health import Health
from boda.core.tasks import Tasks, repeat
from boda.storage import disk
from boda.storage.rows import Rows

LOOK_S = 5.0
LATE_S = 300.0
"""An asynchronous event that has been due for so long is reported."""

_log = logging.getLogger(__name__)


class HealthMonitor:
    """Runs the checks.

    folder: the data folder. late: returns for how many seconds the event that waits longest has
    been due. dropped: by name, such as log events, functions that return how many were dropped
    since the start.
    """

    def __init__(
        self,
        health: Health,
        folder: Path,
        rows: Rows,
        clock: Clock,
        *,
        late: Callable[[], float],
        dropped: Mapping[str, Callable[[], int]],
        look_s: float = LOOK_S,
    ) -> None:
        self._health = health
        self._folder = folder
        self._rows = rows
        self._clock = clock
        self._late = late
        self._dropped = dropped
        self._dropped_before = dict.fromkeys(dropped, 0)
        self._look_s = look_s
        self._tasks = Tasks()

    def start(self) -> None:
        what = "looking at the platform's state"
        self._tasks.spawn(repeat(self.look, what, self._clock, self._look_s))

    async def stop(self) -> None:
        """Idempotent."""
        await self._tasks.cancel()

    async def look(self) -> None:
        """Check once."""
        health = self._health
        why = await asyncio.to_thread(_disk, self._folder)
        if why:
            health.report("disk", why)
        else:
            health.clear("disk")
        if health.has("database") or why:
            try:
                await self._rows.try_to_write()  # which reports a refusal, or its end
            except BodaError as error:
                _log.debug("the database: %s", error)
        late_s = self._late()
        if late_s >= LATE_S:
            health.report("queue", f"one has been due for {late_s:.0f} s")
        else:
            health.clear("queue")
        for what, count in self._dropped.items():
            dropped = count()
            if dropped > self._dropped_before[what]:
                health.dropped(what, dropped - self._dropped_before[what])
                self._dropped_before[what] = dropped
        health.lapse()


def _disk(folder: Path) -> str:
    return disk.why_short(folder) or disk.why_unwritable(folder)
