"""How many events may run at once, shared among functions so that none waits behind another."""

from __future__ import annotations


class Shares:
    """slots: attempts of all functions together. A function with work may always run one."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._active: set[str] = set()

    def active(self, arn: str) -> None:
        """The function has events that are due or running."""
        self._active.add(arn)

    def passive(self, arn: str) -> bool:
        """It has none any more; whether that changes what the others may run."""
        if arn not in self._active:
            return False
        before = self.each
        self._active.discard(arn)
        return self.each != before

    @property
    def each(self) -> int:
        """What every function with work may run at once."""
        return max(1, self.slots // max(1, len(self._active)))
