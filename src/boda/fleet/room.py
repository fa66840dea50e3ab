"""Whether the machine has room for one more environment.

Law of this file: a new environment counts with what it will need from the moment it is decided
on until its memory shows in the machine's own figures, so that a burst of starts does not take
the same free memory many times. The bound has two marks: below ``reserve_mb`` idle environments
go, until there is an eighth more, so that one that goes is not at once followed by one that comes.

An environment is expected to need less than its MemorySize, which overcommits the machine. Where
that went wrong, and the kernel killed one, each counts with its MemorySize for a while.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from boda.fleet.settings import FleetSettings

_STALLED_PERCENT = 10.0


class Tenant(Protocol):
    """Whatever takes room."""


class Room:
    """available_mb: what the machine could still give. stalled_percent: see ``memory``. used_mb:
    what environments use now."""

    def __init__(
        self,
        settings: FleetSettings,
        available_mb: Callable[[], int],
        stalled_percent: Callable[[], float],
        used_mb: Callable[[], int] = lambda: 0,
    ) -> None:
        self._settings = settings
        self._available_mb = available_mb
        self._used_mb = used_mb
        self._stalled = stalled_percent
        self._low = settings.reserve_mb
        self._high = settings.reserve_mb + max(16, settings.reserve_mb // 8)
        self._starting: dict[Tenant, int] = {}
        # In the order in which their memory will have shown.
        self._settling: OrderedDict[Tenant, tuple[float, int]] = OrderedDict()
        self._promised_mb = 0
        self._sizes: dict[Tenant, int] = {}
        self._committed_mb = 0
        self._cautious_until_s = -math.inf
        self._paused_until_s = -math.inf
        self.pressed = False

    def killed(self, now_s: float) -> None:
        """The kernel killed one for the machine's memory: too much was promised."""
        self._cautious_until_s = now_s + self._settings.caution_s
        self._paused_until_s = now_s + self._settings.killed_pause_s

    def fits(self, live: int, needs_mb: int, size_mb: int, now_s: float) -> bool:
        """Whether another one does, beside so many. The first one always does, but for a moment
        after a kill, so that what is killed at once is not started again at once.

        needs_mb: what it is expected to need; size_mb: what it may come to use.
        """
        if now_s < self._paused_until_s:
            return False
        if not live:
            return True
        if live >= self._settings.max_environments:
            return False
        overcommit = self._settings.overcommit
        if now_s < self._cautious_until_s:
            needs_mb, overcommit = size_mb, min(overcommit, 1.0)
        if overcommit < math.inf:
            have_mb = self._available_mb() + self._used_mb() - self._low
            if self._committed_mb + size_mb > overcommit * have_mb:
                return False
        while self._settling:
            tenant, (until_s, needed_mb) = next(iter(self._settling.items()))
            if until_s > now_s:
                break
            del self._settling[tenant]
            self._promised_mb -= needed_mb
        mark = self._high if self.pressed else self._low
        return self._available_mb() - self._promised_mb - needs_mb > mark

    def promise(self, tenant: Tenant, needs_mb: int, size_mb: int, now_s: float) -> None:
        """It starts, and will need this much."""
        if now_s < self._cautious_until_s:
            needs_mb = size_mb
        self._starting[tenant] = needs_mb
        self._promised_mb += needs_mb
        self._sizes[tenant] = size_mb
        self._committed_mb += size_mb

    def began(self, tenant: Tenant, now_s: float) -> None:
        """It works: what it needs shows in a moment."""
        needs_mb = self._starting.pop(tenant, None)
        if needs_mb is not None:
            self._settling[tenant] = (now_s + self._settings.settle_s, needs_mb)

    def left(self, tenant: Tenant) -> None:
        """It is gone."""
        needs_mb = self._starting.pop(tenant, None)
        if needs_mb is None:
            needs_mb = self._settling.pop(tenant, (0.0, 0))[1]
        self._promised_mb -= needs_mb
        self._committed_mb -= self._sizes.pop(tenant, 0)

    def missing_mb(self) -> int:
        """How much has to be freed now; 0 while there is enough."""
        available = self._available_mb()
        if available < self._low:
            self.pressed = True
        elif available >= self._high:
            # Near the mark a machine that stalls has too little, whatever it calls available.
            tight = available < 2 * self._high
            self.pressed = tight and self._stalled() > _STALLED_PERCENT
            if self.pressed:
                return max(1, 2 * self._high - available)
        return max(0, self._high - available) if self.pressed else 0

    def look_again_s(self) -> float:
        """When to look at memory again: soon where little is left."""
        tight = self._available_mb() < 2 * self._high
        return min(self._settings.sweep_s, 0.5) if tight else self._settings.sweep_s
