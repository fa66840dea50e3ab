"""The time that events are accepted and due at: it runs on whatever the machine's clock is set to.

It is wall time where the first process of all began, and is counted from there, so that neither a
clock that is set nor a machine that was asleep makes events older. A process that follows goes on
with it: in the same run of the machine from the same origin; after the machine was started anew
as far from the wall clock as it last was known to be. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

from boda.core.clock import Clock

_LEAP_S = 1.0


class Kept(NamedTuple):
    """What is on disk of it. boot: a name of the machine's run, "" where it has none.

    origin: what this time was when the machine's monotonic clock was zero, epoch seconds.
    ahead: seconds by which this time is later than the wall clock.
    """

    boot: str
    origin: float
    ahead: float


class QueueTime:
    """boot: a name of the machine's run; monotonic time goes on while it stays the same."""

    def __init__(self, clock: Clock, boot: str) -> None:
        self._clock = clock
        self._boot = boot
        self._origin = clock.now() - clock.monotonic()
        self._kept: Kept | None = None

    def now(self) -> float:
        """Epoch seconds that never go back nor leap."""
        return self._origin + self._clock.monotonic()

    def go_on(self, kept: Kept | None) -> None:
        """Go on from what an earlier process kept."""
        self._kept = kept
        if kept is None:
            return
        if self._boot and kept.boot == self._boot:
            self._origin = kept.origin
        else:
            self._origin = self._clock.now() - self._clock.monotonic() + kept.ahead

    def unkept(self) -> Kept | None:
        """What is to be kept now; None when that is on disk."""
        there = Kept(self._boot, self._origin, self.now() - self._clock.now())
        kept = self._kept
        if kept is not None and kept[:2] == there[:2] and abs(kept.ahead - there.ahead) < _LEAP_S:
            return None
        return there

    def is_kept(self, kept: Kept) -> None:
        """This is on disk."""
        self._kept = kept
