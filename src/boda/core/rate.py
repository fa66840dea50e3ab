"""Rates: so many per second, refilled continuously, never saved up beyond one burst."""

from __future__ import annotations

import math

_TOLERANCE_S = 1e-6  # of the sums of many short intervals


class TokenBucket:
    """What a bucket of ``burst`` that is refilled ``per_s`` times a second lets through.

    Kept as one moment, at which the bucket will be full again, so that asking costs a comparison
    and an addition. Times are seconds on a monotonic clock. A rate of 0 lets nothing through.
    """

    __slots__ = ("_full_at", "_interval_s", "_slack_s")

    def __init__(self, per_s: float, burst: float) -> None:
        self._full_at = -math.inf
        self.set(per_s, burst)

    def set(self, per_s: float, burst: float) -> None:
        """Go on with other figures from now on."""
        self._interval_s = 1.0 / per_s if per_s > 0 else math.inf
        self._slack_s = (burst - 1.0) * self._interval_s + _TOLERANCE_S if per_s > 0 else -math.inf

    def take(self, now_s: float) -> bool:
        """Let one through, if there is one."""
        full_at = self._full_at
        if full_at < now_s:
            full_at = now_s
        if full_at - now_s > self._slack_s:
            return False
        self._full_at = full_at + self._interval_s
        return True

    def spend(self, now_s: float, count: float = 1.0) -> None:
        """Take so many even where there are none: the next waits for so much longer."""
        self._full_at = max(self._full_at, now_s) + count * self._interval_s

    def give_back(self) -> None:
        """Undo one ``take`` or ``spend``; beyond the burst nothing is given back."""
        if self._interval_s != math.inf:
            self._full_at -= self._interval_s

    def wait_s(self, now_s: float) -> float:
        """How long until one gets through: 0 now, infinite never.

        Never so short that a clock of so many digits would not move on.
        """
        if self._slack_s == -math.inf:
            return math.inf
        left_s = max(self._full_at, now_s) - now_s - self._slack_s
        return max(left_s, _TOLERANCE_S) if left_s > 0 else 0.0

    def full(self, now_s: float) -> bool:
        """Whether nothing of the burst is used up."""
        return self._full_at <= now_s
