"""Whether the machine has memory for one more environment.

Law of this file: a new environment counts with the memory that it will need, from the decision to
start it until its memory shows in the machine's own figures, so that a burst of starts does not
take the same free memory many times. The bound has two marks: below ``reserve_mb`` idle
environments are evicted, until there is an eighth more, so that an eviction is not at once followed
by a start.

An environment is expected to need less than its MemorySize, which overcommits the machine. After
the kernel has killed one for that, each counts with its MemorySize for a while.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from boda.fleet.memory import machine_memory_mb
from boda.fleet.settings import FleetSettings
from boda.runtime.function import FunctionVersion

_STALLED_PERCENT = 10.0
_PART_OF_MEMORY = 8  # a function is expected to need so small a part of its memory at first
_HALF_OF_MACHINE_MB = machine_memory_mb() // 2


class Occupant(Protocol):
    """An environment or a template, which takes memory."""


class Capacity:
    """Counts the memory of environments and templates.

    available_mb: measures the memory that the machine can still give. stalled_percent: see
    ``memory``. used_mb: measures the memory that environments use now. pressed: memory is short.
    """

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
        self._starting: dict[Occupant, int] = {}
        # In the order in which their memory will have shown.
        self._settling: OrderedDict[Occupant, tuple[float, int]] = OrderedDict()
        self._promised_mb = 0
        self._sizes: dict[Occupant, int] = {}
        self._committed_mb = 0
        self._cautious_until_s = -math.inf
        self._paused_until_s = -math.inf
        self.pressed = False

    def expected_mb(self, version: FunctionVersion, seen_mb: int = 0) -> int:
        """Return the memory that an environment is expected to need.

        seen_mb: the most that environments of the version were seen to use; 0: unknown.
        """
        likely = seen_mb or version.memory_mb // _PART_OF_MEMORY
        return max(self._settings.start_mb, min(likely, _HALF_OF_MACHINE_MB))

    def killed(self, now_s: float) -> None:
        """Promise less for a while, after the kernel killed one for the machine's memory."""
        self._cautious_until_s = now_s + self._settings.caution_s
        self._paused_until_s = now_s + self._settings.killed_pause_s

    def fits(self, live: int, needs_mb: int, size_mb: int, now_s: float) -> bool:
        """Whether one more fits beside ``live`` others.

        The first one always fits, except for a moment after a kill, so that an environment that
        the kernel kills at once is not started again at once.

        needs_mb: its expected need; size_mb: its limit.
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
            occupant, (until_s, needed_mb) = next(iter(self._settling.items()))
            if until_s > now_s:
                break
            del self._settling[occupant]
            self._promised_mb -= needed_mb
        mark = self._high if self.pressed else self._low
        return self._available_mb() - self._promised_mb - needs_mb > mark

    def promise(self, occupant: Occupant, needs_mb: int, size_mb: int, now_s: float) -> None:
        """Count an occupant that starts."""
        if now_s < self._cautious_until_s:
            needs_mb = size_mb
        self._starting[occupant] = needs_mb
        self._promised_mb += needs_mb
        self._sizes[occupant] = size_mb
        self._committed_mb += size_mb

    def began(self, occupant: Occupant, now_s: float) -> None:
        """Note the end of its init: soon its memory shows in the machine's figures."""
        needs_mb = self._starting.pop(occupant, None)
        if needs_mb is not None:
            self._settling[occupant] = (now_s + self._settings.settle_s, needs_mb)

    def left(self, occupant: Occupant) -> None:
        """Count an occupant no more."""
        needs_mb = self._starting.pop(occupant, None)
        if needs_mb is None:
            needs_mb = self._settling.pop(occupant, (0.0, 0))[1]
        self._promised_mb -= needs_mb
        self._committed_mb -= self._sizes.pop(occupant, 0)

    def missing_mb(self) -> int:
        """Return the memory to free now; 0 while there is enough."""
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
        """Return the seconds until memory is to be looked at again: few when little is left."""
        tight = self._available_mb() < 2 * self._high
        return min(self._settings.sweep_s, 0.5) if tight else self._settings.sweep_s


def size_mb(version: FunctionVersion) -> int:
    """Return the limit of an environment; at most half of the machine, so that a function with
    more memory is not kept out for ever."""
    return min(version.memory_mb, _HALF_OF_MACHINE_MB)
