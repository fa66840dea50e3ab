"""A deadline that is moved often and reached seldom."""

from __future__ import annotations

import math
from collections.abc import Callable

from boda.core.clock import Clock, Timer

_CLOSE_ENOUGH_S = 0.0005


class Alarm:
    """Calls back once at a deadline.

    Setting it costs two assignments in the usual case: the timer of an earlier deadline stays and,
    if it fires too early, is set anew. So an invocation per millisecond makes no timers.
    """

    __slots__ = ("_at", "_callback", "_clock", "_timer", "_timer_at")

    def __init__(self, clock: Clock, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self._at = math.inf
        self._timer: Timer | None = None
        self._timer_at = math.inf

    def set(self, at: float) -> None:
        """at: on the clock's monotonic scale, seconds."""
        self._at = at
        if at < self._timer_at:
            self._arm(at)

    def clear(self) -> None:
        self._at = math.inf

    def close(self) -> None:
        self._at = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._timer_at = math.inf

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._clock.call_later(at - self._clock.monotonic(), self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        if self._at == math.inf:
            return
        if self._clock.monotonic() + _CLOSE_ENOUGH_S < self._at:
            self._arm(self._at)
            return
        self._at = math.inf
        self._callback()
