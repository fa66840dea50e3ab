"""The order in which an environment's requests to the Runtime API are read, and their rate.

Law of this file: in one turn of the event loop at most one request of an environment is read, and
in one second a bounded number, however many connections it has and however much it sends at once.

Requests that carry an invocation forward are as many as the callers make and cost nothing here.
Every other request, every accepted connection and every few pieces of a body are charged. An
environment that has spent its budget waits, and its bytes wait in the kernel.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from boda.core.clock import Clock, SystemClock, Timer
from boda.core.rate import TokenBucket

REQUESTS_PER_S = 200
BURST = 200
PIECES = 256
"""Pieces of bodies that are charged like one request: a chunk may be of one byte."""


class RequestReader(Protocol):
    """A connection with received bytes that have not been parsed."""

    def read_on(self) -> None:
        """Parse no further than to the end of one request."""


class RequestTurns:
    """The turns of one environment's connections. clock: of its budget of requests a second."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._loop = asyncio.get_running_loop()
        self._budget = TokenBucket(REQUESTS_PER_S, BURST)
        self._waiting: deque[RequestReader] = deque()
        self._taken = False
        self._timer: Timer | None = None
        self._pieces = 0

    def ask(self, reader: RequestReader) -> None:
        """Call ``read_on`` once: now if this turn is free, else in the order of asking."""
        if self._taken:
            self._waiting.append(reader)
        else:
            self._give(reader)

    def leave(self, reader: RequestReader) -> None:
        """Forget a reader that has asked and is closed."""
        if reader in self._waiting:
            self._waiting.remove(reader)

    def close(self) -> None:
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def charge(self) -> None:
        """Charge for a connection, or for a request that carried no invocation forward."""
        self._budget.spend(self._clock.monotonic())

    def charge_piece(self) -> None:
        """Charge for a piece of a body."""
        self._pieces += 1
        if self._pieces >= PIECES:
            self._pieces = 0
            self.charge()

    def reward(self) -> None:
        """Refund a connection for a request that carried an invocation forward.

        A shell script opens a connection for each request.
        """
        self._budget.give_back()

    def wait_s(self) -> float:
        """Return the seconds until the budget allows more."""
        return self._budget.wait_s(self._clock.monotonic())

    def later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._clock.call_later(seconds, callback)

    def _give(self, reader: RequestReader) -> None:
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
