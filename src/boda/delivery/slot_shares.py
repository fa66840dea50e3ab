"""The slots for attempts, shared among functions so that none waits behind another."""

from __future__ import annotations


class SlotShares:
    """Shares the slots, the attempts of all functions together. A function always has one."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._active: set[str] = set()

    def active(self, arn: str) -> None:
        """Note that the function has events that are due or running."""
        self._active.add(arn)

    def passive(self, arn: str) -> bool:
        """Note that it has none any more; return whether that changes the others' shares."""
        if arn not in self._active:
            return False
        before = self.each
        self._active.discard(arn)
        return self.each != before

    @property
    def each(self) -> int:
        """Return how many events each function may run at once."""
        return max(1, self.slots // max(1, len(self._active)))
