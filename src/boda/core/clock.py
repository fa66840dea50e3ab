"""Time, given by constructor, so that hours pass in a test in milliseconds."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A callback that will be called unless the timer is cancelled."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    def now(self) -> float:
        """Return the wall time, in seconds since the epoch."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds on this clock."""

    def call_later(self, seconds: float, callback: Callable[..., None], *args: Any) -> Timer:
        """Call a function from the event loop after so many seconds on this clock."""


class SystemClock:
    """The machine's own time."""

    # The functions themselves: a call less, several times per request.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    def call_later(self, seconds: float, callback: Callable[..., None], *args: Any) -> Timer:
        return asyncio.get_running_loop().call_later(max(0.0, seconds), callback, *args)


class _Appointment:
    """A callback among the sleepers of a manual clock; has the methods of Future that they use."""

    __slots__ = ("_args", "_callback", "_done")

    def __init__(self, callback: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._callback = callback
        self._args = args
        self._done = False

    def done(self) -> bool:
        return self._done

    def set_result(self, _: None) -> None:
        self._done = True
        self._callback(*self._args)

    def cancel(self) -> None:
        self._done = True


class ManualClock:
    """A clock that moves only by ``advance``; sleepers wake in the order of their deadlines."""

    def __init__(self, start: float = 1_767_225_600.0) -> None:
        self._now = start
        self._start = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None] | _Appointment]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now - self._start

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), future))
        await future

    def call_later(self, seconds: float, callback: Callable[..., None], *args: Any) -> Timer:
        appointment = _Appointment(callback, args)
        heapq.heappush(
            self._sleepers, (self._now + max(0.0, seconds), next(self._order), appointment)
        )
        return appointment

    async def advance(self, seconds: float) -> None:
        """Move the clock, waking each sleeper at its own time and letting it run before the
        next."""
        end = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            moment, _, future = heapq.heappop(self._sleepers)
            self._now = max(self._now, moment)
            if not future.done():
                future.set_result(None)
            await self.settle()
        self._now = end
        await self.settle()

    async def settle(self, rounds: int = 20) -> None:
        """Let every task that can run do so."""
        for _ in range(rounds):
            await asyncio.sleep(0)
