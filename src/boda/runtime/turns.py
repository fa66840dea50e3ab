"""Whose request the Runtime API reads next, and how many a second.

Law of this file: one environment costs one turn of the event loop at most one request, and one
second a bounded number of them, however many connections it has and however much it sends at once.

Requests that carry an invocation forward are as many as the callers make and cost nothing here.
Every other request, every accepted connection and every few pieces of a body are charged; who has
spent the budget waits, and its bytes wait with it in the kernel.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from boda.core.clock import Clock, SystemClock, Timer
from boda.core.rate import Rate

REQUESTS_PER_S = 200
BURST = 200
PIECES = 256
"""Pieces of bodies that are charged like one request: a chunk may be of one byte."""


class Reader(Protocol):
    """A connection of which something was received that has not been read."""

    def read_on(self) -> None:
        """Parse no further than to the end of one request."""


class Turns:
    """The turns of one environment. clock: where the budget's time comes from."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._loop = asyncio.get_running_loop()
        self._budget = Rate(REQUESTS_PER_S, BURST)
        self._waiting: deque[Reader] = deque()
        self._taken = False
        self._timer: Timer | None = None
        self._pieces = 0

    def ask(self, reader: Reader) -> None:
        """Call ``read_on`` once: now if this turn is free, else in the order of asking."""
        if self._taken:
            self._waiting.append(reader)
        else:
            self._give(reader)

    def leave(self, reader: Reader) -> None:
        """Forget that it asked."""
        if reader in self._waiting:
            self._waiting.remove(reader)

    def close(self) -> None:
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def charge(self) -> None:
        """A request, or a connection, that carried no invocation forward."""
        self._budget.spend(self._clock.monotonic())

    def charge_piece(self) -> None:
        """A piece of a body."""
        self._pieces += 1
        if self._pieces >= PIECES:
            self._pieces = 0
            self.charge()

    def reward(self) -> None:
        """A request that carried an invocation forward pays for its connection as well: a shell
        script makes one for each."""
        self._budget.give_back()

    def wait_s(self) -> float:
        """How long until the budget allows more."""
        return self._budget.wait_s(self._clock.monotonic())

    def later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._clock.call_later(seconds, callback)

    def _give(self, reader: Reader) -> None:
        self._taken = True
        wait_s = self.wait_s()
        if wait_s > 0:
            self._waiting.appendleft(reader)
            self._timer = self._clock.call_later(wait_s, self._next)
        else:
            self._loop.call_soon(self._next)
            reader.read_on()

    def _next(self) -> None:
        self._taken = False
        if self._waiting:
            self._give(self._waiting.popleft())
