"""How many of one function's events run at once, found by experiment. Pure.

A function that answers in a millisecond drains as fast with a few environments as with many,
which would cost memory and starts; one that waits for a second needs many; one that computes
needs as many as there are cores. So for functions that take a while, the limit is doubled as long
as that pays, and halved now and then to see whether half does as well. After a refusal (a throttle,
no room) the limit is halved, and grows by one with every round.
"""

from __future__ import annotations

from collections import deque

FEW = 8
"""The limit at which every function begins, and which is enough for quick ones."""
LONG_S = 0.025
"""Functions that typically take less are quick."""
_PAYS = 1.5
"""Twice as many at once must end at least so many times as many events."""
_AS_WELL = 0.9
"""Half as many must end at least this share of them."""
_SHORTEST_S = 0.1
_HOLD_S = 15.0
_LONG_HOLD_S = 60.0
_CAUTIOUS_S = 60.0
_REMEMBERED = 32


class Pace:
    """Adapts limit, how many events may run at once, within most."""

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._limit = float(min(FEW, most))
        self._durations: deque[float] = deque(maxlen=_REMEMBERED)
        self._since: float | None = None
        self._ended = 0
        self._trying = ""
        self._next = "more"
        self._settling = False
        self._before = (self._limit, 0.0)
        self._hold_until = float("-inf")
        self._cautious_until = float("-inf")

    @property
    def limit(self) -> int:
        return int(self._limit)

    def ended(self, now: float, running: int, duration_s: float) -> None:
        """Note the end of an attempt. running: how many ran until then, itself included."""
        self._durations.append(duration_s)
        if running < self.limit:  # the limit does not bound it
            self._since = None
            return
        if now < self._cautious_until:
            self._since = None
            self._limit = min(self._most, self._limit + 1.0 / self._limit)
            return
        if self._since is None:
            self._since, self._ended = now, 0
            return
        self._ended += 1
        if self._ended >= self._limit and now - self._since >= _SHORTEST_S:
            self._judge(now, self._ended / (now - self._since))
            self._since, self._ended = now, 0

    def refused(self, now: float) -> None:
        """Note that there was no capacity for an attempt."""
        self._limit = max(1.0, self._limit / 2)
        self._cautious_until = now + _CAUTIOUS_S
        self._trying, self._settling = "", False

    def _judge(self, now: float, rate: float) -> None:
        """Judge a round, in which so many events ended per second."""
        few = min(FEW, self._most)
        # The median: a moment in which the machine stood still is not the function's doing.
        if sorted(self._durations)[len(self._durations) // 2] < LONG_S:
            self._limit, self._trying, self._settling = max(1.0, min(self._limit, few)), "", False
            return
        if self._settling:  # environments are being started
            self._settling = False
            return
        trying, self._trying = self._trying, ""
        limit, before = self._before
        if trying == "more" and rate < before * _PAYS:
            self._limit, self._next, self._hold_until = limit, "fewer", now + _HOLD_S
        elif trying == "fewer" and rate < before * _AS_WELL:
            self._limit, self._next, self._hold_until = limit, "more", now + _LONG_HOLD_S
        if now >= self._hold_until:
            self._try(now, rate, few)

    def _try(self, now: float, rate: float, few: float) -> None:
        step = self._next
        if self._limit >= self._most:
            step = "fewer"
            if self._next == "more":  # the highest limit pays: try a lower one later
                self._next, self._hold_until = "fewer", now + _LONG_HOLD_S
                return
        if step == "fewer" and self._limit <= few:
            step = self._next = "more"
        self._before = (self._limit, rate)
        self._limit = min(self._most, self._limit * 2) if step == "more" else self._limit / 2
        self._limit = max(few, self._limit)
        self._trying, self._settling = step, True
