"""Read all stored data, slowly and repeatedly, so that damage is found while there is still a
backup.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from boda.core.clock import Clock
from boda.core.tasks import Tasks, repeat
from boda.storage.inspection import InspectionStep
from boda.storage.lost import LostAndFound

BYTES_PER_S = 8 * 1024 * 1024
_BURST_BYTES = 4 * 1024 * 1024
_BURST_STEPS = 200
_FIRST_S = 60.0
_EVERY_S = 86_400.0


class Scrub:
    """Makes one round a day over the data that ``steps`` inspects, and over lost+found.

    damaged: called with each fault. clean: called after a round without any.
    """

    def __init__(
        self,
        steps: Callable[[], Iterator[InspectionStep]],
        lost: LostAndFound,
        clock: Clock,
        damaged: Callable[[str], None],
        clean: Callable[[], None],
    ) -> None:
        self._steps = steps
        self._lost = lost
        self._clock = clock
        self._damaged = damaged
        self._clean = clean
        self._tasks = Tasks()

    def start(self) -> None:
        what = "looking at what is stored"
        self._tasks.spawn(repeat(self._run, what, self._clock, _EVERY_S, first_s=_FIRST_S))

    async def stop(self) -> None:
        """Safe to call twice."""
        await self._tasks.cancel()

    async def _run(self) -> None:
        await asyncio.to_thread(self._lost.sweep)
        await self.round()

    async def round(self) -> None:
        """Read everything once, at ``BYTES_PER_S``."""
        steps, faults, ended = self._steps(), 0, False
        while not ended:
            burst, ended = await asyncio.to_thread(_burst, steps)
            for step in burst:
                if step.fault:
                    faults += 1
                    self._damaged(step.fault)
            await self._clock.sleep(sum(step.read for step in burst) / BYTES_PER_S)
        if not faults:
            self._clean()


def _burst(steps: Iterator[InspectionStep]) -> tuple[list[InspectionStep], bool]:
    """Return the next steps, and whether they were the last ones."""
    found: list[InspectionStep] = []
    count = 0
    for step in steps:
        found.append(step)
        count += step.read
        if count >= _BURST_BYTES or len(found) >= _BURST_STEPS:
            return found, False
    return found, True
