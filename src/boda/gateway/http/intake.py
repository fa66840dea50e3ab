"""What all bodies that have not come whole may hold of memory, and how long one may take.

Law of this file: a client's patience costs the platform a bounded amount, however many clients
there are. Only a body that is being put together piece by piece is counted; one that came whole
with its head never is.
"""

from __future__ import annotations

from typing import Protocol

from boda.core.heap import ByteCollector
from boda.gateway.http.limits import Limits

_PIECE_BYTES = 64
"""What a piece costs besides its bytes; without it, a body in tiny pieces would cost most."""


class HeldBody(Protocol):
    """A body of which a part is held."""

    def give_up(self) -> None:
        """End its reading, now if it waits for its client, else before its next piece."""


class Intake:
    """patience_s: how long one body is waited for in all. regained_s: what a byte gives back.
    passed: called with the size of each body that has been read whole."""

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
        """A piece of ``size`` bytes more is held of it. Gives up those that began first, perhaps
        this very one, while all together are too many."""
        held, size = self._held, size + _PIECE_BYTES
        held[body] = held.get(body, 0) + size
        self._total += size
        while self._total > self._most:
            oldest = next(iter(held))
            self.release(oldest)
            oldest.give_up()

    def release(self, body: HeldBody) -> None:
        """Nothing of it is held any more, or it has come whole."""
        self._total -= self._held.pop(body, 0)
