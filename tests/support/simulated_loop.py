"""An event loop on simulated time: one thread, one order of events, and it may die at any step.

It runs real tasks over real sockets and pipes. Time stands still while anything can run and then
leaps to the next timer, so that hours cost nothing and a seed gives the same run each time. What
would run in a thread runs on the loop, a moment later.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any


class ProcessDied(BaseException):
    """The platform's process ended here, with everything in its memory."""


class Stuck(Exception):
    """Somebody waits, and nothing will ever happen, or the same again and again."""


_CIRCLES = 50_000
"""So many steps are not taken at one moment."""


class _Selector(selectors.EpollSelector):
    """Never waits; tells what is ready in the order in which it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.leap: Callable[[float | None], None] = lambda timeout: None
        self._order: dict[int, int] = {}
        self._count = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        self._count += 1
        self._order[key.fd] = self._count
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if len(ready) > 1:
            ready.sort(key=lambda one: self._order[one[0].fd])
        if not ready and (timeout is None or timeout > 0):
            self.leap(timeout)
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """start_s: its time at the beginning. slow: how long the next piece of a thread's work takes.

    dies_after: so many steps from now the process dies; None: never.
    """

    def __init__(self, start_s: float, slow: Callable[[], float] = lambda: 0.0) -> None:
        self._time_s = start_s
        self._slow = slow
        self.dies_after: int | None = None
        self._since_leap = 0
        selector = _Selector()
        selector.leap = self._leap
        super().__init__(selector)
        self.complaints: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def time(self) -> float:
        return self._time_s

    def _leap(self, timeout: float | None) -> None:
        if timeout is None:
            raise Stuck("nothing is left to happen, and somebody still waits")
        self._time_s = max(self._time_s, self._scheduled[0].when())
        self._since_leap = 0

    def _run_once(self) -> None:
        super()._run_once()
        self._since_leap += 1
        if self._since_leap > _CIRCLES:
            self._since_leap = 0
            raise Stuck(f"it runs in circles: {self._ready or self._scheduled[:3]}")
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after <= 0:
                self.dies_after = None
                raise ProcessDied

    def hang_up(self) -> None:
        """Lose all connections, as the end of a process does."""
        for transport in list(self._transports.values()):  # asyncio's own record of them
            transport.abort()
        self.run_until_complete(asyncio.sleep(0.001))

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        done = self.create_future()

        def work() -> None:
            if done.cancelled():
                return
            try:
                done.set_result(func(*args))
            except Exception as error:
                done.set_exception(error)

        self.call_later(self._slow(), work)
        return done

    @property
    def watched(self) -> int:
        """How many descriptors somebody listens to."""
        return len(self._selector.get_map()) - 1  # the loop's own


class SimulatedClock:
    """The loop's time as a ``Clock``. wall: what ``now`` has more than ``monotonic``; may leap."""

    def __init__(self, loop: SimulatedLoop, wall: Callable[[], float]) -> None:
        self._loop = loop
        self._wall = wall

    def now(self) -> float:
        return self._loop.time() + self._wall()

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def call_later(
        self, seconds: float, callback: Callable[..., None], *args: Any
    ) -> asyncio.TimerHandle:
        return self._loop.call_later(max(0.0, seconds), callback, *args)
