"""Changes that take effect a while after they were answered, as AWS's do."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from boda.core.clock import Clock
from boda.core.tasks import Tasks

# Makes one attempt to let a change take effect. Returns whether nothing is left to wait for.
Step = Callable[[], Coroutine[Any, Any, bool]]


class Settling:
    """Lets changes settle: waits, then steps until a step says that the change has settled.

    A step that has begun is finished at a stop; what only waits is called off. What is to be
    settled after a crash must stand in rows, and is begun again at the next start.
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
        """Begin to settle a change.

        after_s: how long the change is seen under way. again_s: between two steps. key: with one
        that is being settled already, only make sure that a step follows those that have begun.
        """
        if key is not None and key in self._keys:
            self._renewed.add(key)
            return
        self._keys.add(key)
        self._waiting.spawn(self._settle(step, after_s, again_s, key), "settling")

    async def stop(self) -> None:
        """Finish the steps that have begun, and call off the waiting."""
        await self._waiting.cancel()
        await self._steps.drain()

    async def _settle(self, step: Step, after_s: float, again_s: float, key: Hashable) -> None:
        try:
            await self._clock.sleep(after_s)
            while True:
                self._renewed.discard(key)
                # What was begun while this step ran may not have been seen by it.
                if await self._steps.finish(step()) and key not in self._renewed:
                    return
                await self._clock.sleep(again_s)
        finally:
            self._renewed.discard(key)
            self._keys.discard(key)
