"""The sequence: numbers that only grow, so that writes and events have an order."""

from __future__ import annotations

from boda.core.clock import Clock


class Sequence:
    """Numbers that grow with every write, over restarts too.

    A number is the wall clock's nanoseconds, or one more than the last if the clock stands or went
    back. Called on the database's writer thread only, so the order of numbers is the order of
    commits. The number of an event is stored with it; at start the highest stored one is the floor.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def raise_to(self, floor: int) -> None:
        self._last = max(self._last, floor)

    def next(self, above: int = 0) -> int:
        """Return a number greater than every one before and than ``above``."""
        self._last = max(int(self._clock.now() * 1e9), self._last + 1, above + 1)
        return self._last


def sequencer(number: int) -> str:
    """Format a number as in event records: hexadecimal, padded, so that text compares as numbers
    do."""
    return f"{number:018X}"
