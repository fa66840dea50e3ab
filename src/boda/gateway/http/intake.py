"""Bound the memory of all incomplete bodies together, and the time that one may take.

Law of this file: slow clients cost the platform a bounded amount, however many they are. Only a
body that is put together piece by piece is counted; one that came whole with its head never is.
"""

from __future__ import annotations

from typing import Protocol

from boda.core.heap import ByteCollector
from boda.gateway.http.limits import Limits

_PIECE_BYTES = 64
"""The cost of a piece besides its bytes; bodies in tiny pieces would otherwise be undercounted."""


class HeldBody(Protocol):
    """A body of which a part is held."""

    def give_up(self) -> None:
        """End its reading, now if it waits for its client, else before its next piece."""


class Intake:
    """patience_s: how long one body is waited for in all. regained_s: the time that a byte gives
    back. passed: called with the size of each body that has been read whole."""

    __slots__ = ("_held", "_most", "_total", "passed", "patience_s", "regained_s")

    def __init__(self, limits: Limits) -> None:
        self.passed = ByteCollector().passed
        self.patience_s = limits.body_idle_s
        self.regained_s = 1 / limits.body_bytes_s
        self._most = limits.held_bytes
        self._held: dict[HeldBody, int] = {}
        self._total = 0

    @property
    def total(self) -> int:
        """Bytes held now."""
        return self._total

    def hold(self, body: HeldBody, size: int) -> None:
        """Count a piece of ``size`` bytes. Give up the bodies that began first, perhaps this very
        one, while all together are too many."""
        held, size = self._held, size + _PIECE_BYTES
        held[body] = held.get(body, 0) + size
        self._total += size
        while self._total > self._most:
            oldest = next(iter(held))
            self.release(oldest)
            oldest.give_up()

    def release(self, body: HeldBody) -> None:
        """Forget a body that is held no more, or has come whole."""
        self._total -= self._held.pop(body, 0)
