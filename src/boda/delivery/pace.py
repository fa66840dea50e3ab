"""How many of one function's events run at once, found by trying. Pure.

A function that answers in a millisecond drains as fast with a few environments as with many,
which would cost memory and starts; one that waits for a second needs many. So what is allowed is
doubled while that pays: where twice as many at once do not end noticeably more events in the same
time, one goes back, and tries again later. After a refusal (a throttle, no room) half is allowed,
and one more with every round.
"""

from __future__ import annotations

FEW = 8
"""Attempts at once with which every function begins."""
_WORTH = 1.2
"""Twice as many at once must end so many times as many events."""
_SHORTEST_S = 0.1
_HOLD_S = 15.0
_CAUTIOUS_S = 60.0


class Pace:
    """most: never more than so many. limit: how many may run at once now."""

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._limit = float(min(FEW, most))
        self._since: float | None = None
        self._ended = 0
        self._trying = False
        self._settling = False
        self._before = (self._limit, 0.0)
        self._hold_until = float("-inf")
        self._cautious_until = float("-inf")

    @property
    def limit(self) -> int:
        return int(self._limit)

    def ended(self, now: float, running: int) -> None:
        """An attempt has ended. running: how many ran until then, itself included."""
        if running < self.limit:  # it is not the limit that holds it up
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
        """There was no capacity for an attempt."""
        self._limit = max(1.0, self._limit / 2)
        self._cautious_until = now + _CAUTIOUS_S
        self._trying = self._settling = False

    def _judge(self, now: float, rate: float) -> None:
        if self._settling:  # environments are being started
            self._settling = False
            return
        if self._trying:
            self._trying = False
            limit, before = self._before
            if rate < before * _WORTH:
                self._limit = limit
                self._hold_until = now + _HOLD_S
                return
        if now >= self._hold_until and self._limit < self._most:
            self._before = (self._limit, rate)
            self._limit = min(self._most, self._limit * 2)
            self._trying = self._settling = True
