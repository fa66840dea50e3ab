"""The time at which events are accepted and due, independent of how the machine's clock is set.

It was the wall clock's time when the first process of all began, and is counted from there, so that
neither a clock that is set nor a machine that was asleep makes events older. A later process
continues it: in the same run of the machine from the same origin; after a restart of the machine
with its last known difference from the wall clock. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

from boda.core.clock import Clock

_LEAP_S = 1.0


class StoredTime(NamedTuple):
    """The queue's time, as it is stored on disk.

    boot: a name of the machine's run, or "". origin: this time at zero of the machine's monotonic
    clock, epoch seconds. ahead: seconds by which this time is later than the wall clock.
    """

    boot: str
    origin: float
    ahead: float


class QueueTime:
    """Counts the time. boot: a name of the machine's run, whose monotonic clock goes on."""

    def __init__(self, clock: Clock, boot: str) -> None:
        self._clock = clock
        self._boot = boot
        self._origin = clock.now() - clock.monotonic()
        self._stored: StoredTime | None = None

    def now(self) -> float:
        """Return epoch seconds that never go back and never leap."""
        return self._origin + self._clock.monotonic()

    def resume(self, stored: StoredTime | None) -> None:
        """Continue the time that an earlier process has stored."""
        self._stored = stored
        if stored is None:
            return
        if self._boot and stored.boot == self._boot:
            self._origin = stored.origin
        else:
            self._origin = self._clock.now() - self._clock.monotonic() + stored.ahead

    def unstored(self) -> StoredTime | None:
        """Return the time to store now; None if it is on disk already."""
        now = StoredTime(self._boot, self._origin, self.now() - self._clock.now())
        old = self._stored
        if old is not None and old[:2] == now[:2] and abs(old.ahead - now.ahead) < _LEAP_S:
            return None
        return now

    def was_stored(self, stored: StoredTime) -> None:
        """Note that this is on disk."""
        self._stored = stored
