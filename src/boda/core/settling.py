"""Changes that take effect a while after they were answered, as AWS's do."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from boda.core.clock import Clock
from boda.core.tasks import Tasks

# Makes one attempt to let a change take effect. Returns whether nothing is left to wait for.
Step = Callable[[], Coroutine[Any, Any, bool]]


class Settling:
    """Completes changes later: waits, then runs steps until one reports that the change is
    complete.

    A running step is finished at a stop; a waiting one is cancelled. Changes to be completed after
    a crash must stand in rows, and are scheduled again at the next start.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting = Tasks()
        self._steps = Tasks()
        self._keys: set[Hashable] = set()
        self._renewed: set[Hashable] = set()

    def schedule(
        self, step: Step, *, after_s: float = 0.0, again_s: float = 1.0, key: Hashable = None
    ) -> None:
        """Schedule the steps of a change.

        after_s: the delay of the first step. again_s: the delay between two steps. key: if a change
        with the same key is scheduled, only make sure that a step begins after this call.
        """
        if key is not None and key in self._keys:
            self._renewed.add(key)
            return
        self._keys.add(key)
        self._waiting.spawn(self._settle(step, after_s, again_s, key), "settling")

    async def stop(self) -> None:
        """Finish the running steps, and cancel the waiting."""
        await self._waiting.cancel()
        await self._steps.drain()

    async def _settle(self, step: Step, after_s: float, again_s: float, key: Hashable) -> None:
        try:
            await self._clock.sleep(after_s)
            while True:
                self._renewed.discard(key)
                # This step may not have seen a change that was scheduled while it ran.
                if await self._steps.finish(step()) and key not in self._renewed:
                    return
                await self._clock.sleep(again_s)
        finally:
            self._renewed.discard(key)
            self._keys.discard(key)
