"""Rates: so many per second, refilled continuously, saved up to one burst at most."""

from __future__ import annotations

import math

_TOLERANCE_S = 1e-6  # of the sums of many short intervals


class TokenBucket:
    """A bucket of ``burst`` tokens that is refilled by ``per_s`` tokens a second.

    It stores only the time at which it will be full again, so that taking a token costs a
    comparison and an addition. Times are seconds on a monotonic clock. A rate of 0 gives no token.
    """

    __slots__ = ("_full_at", "_interval_s", "_slack_s")

    def __init__(self, per_s: float, burst: float) -> None:
        self._full_at = -math.inf
        self.set(per_s, burst)

    def set(self, per_s: float, burst: float) -> None:
        """Use another rate and burst from now on."""
        self._interval_s = 1.0 / per_s if per_s > 0 else math.inf
        self._slack_s = (burst - 1.0) * self._interval_s + _TOLERANCE_S if per_s > 0 else -math.inf

    def take(self, now_s: float) -> bool:
        """Take one token. Return False if there is none."""
        full_at = self._full_at
        if full_at < now_s:
            full_at = now_s
        if full_at - now_s > self._slack_s:
            return False
        self._full_at = full_at + self._interval_s
        return True

    def spend(self, now_s: float, count: float = 1.0) -> None:
        """Take tokens even if there are none: the next take waits so much longer."""
        self._full_at = max(self._full_at, now_s) + count * self._interval_s

    def give_back(self) -> None:
        """Undo one ``take`` or ``spend``; the bucket never exceeds its burst."""
        if self._interval_s != math.inf:
            self._full_at -= self._interval_s

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until a token is there: 0 now, infinite never.

        Other results are long enough for a clock with so many digits to move on.
        """
        if self._slack_s == -math.inf:
            return math.inf
        left_s = max(self._full_at, now_s) - now_s - self._slack_s
        return max(left_s, _TOLERANCE_S) if left_s > 0 else 0.0

    def full(self, now_s: float) -> bool:
        """Return whether the bucket is full."""
        return self._full_at <= now_s
