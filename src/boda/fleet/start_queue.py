"""The order in which pools get environments on a full machine.

The pool with the fewest environments comes first, among equals the one that has waited longest: so
all functions grow alike. Pools that lack only provisioned environments, for which no call waits,
come last.
"""

from __future__ import annotations

from collections import OrderedDict

from boda.fleet.pool import Pool

_LAST = 1 << 30


class StartQueue:
    """The pools that wait for an environment to be started. size: how many they are."""

    def __init__(self) -> None:
        # By how many environments they have; each with the time since when it waits.
        self._ranks: dict[int, OrderedDict[Pool, float]] = {}
        self._rank_of: dict[Pool, int] = {}

    @property
    def size(self) -> int:
        return len(self._rank_of)

    def add(self, pool: Pool, now_s: float) -> None:
        """Add a pool behind its equals; a pool that waits already keeps its turn."""
        rank = len(pool.environments) if pool.wanting > 0 else _LAST
        if self._rank_of.get(pool) == rank:
            return
        since_s = self.drop(pool)
        self._ranks.setdefault(rank, OrderedDict())[pool] = now_s if since_s is None else since_s
        self._rank_of[pool] = rank

    def drop(self, pool: Pool) -> float | None:
        """Remove a pool; return since when it waited, or None if it did not."""
        rank = self._rank_of.pop(pool, None)
        if rank is None:
            return None
        pools = self._ranks[rank]
        since_s = pools.pop(pool)
        if not pools:
            del self._ranks[rank]
        return since_s

    def head(self) -> Pool | None:
        """Return the pool whose turn it is."""
        return next(iter(self._ranks[min(self._ranks)])) if self._ranks else None

    def since_s(self, pool: Pool) -> float:
        """Return since when a pool waits."""
        return self._ranks[self._rank_of[pool]][pool]

    def __contains__(self, pool: Pool) -> bool:
        return pool in self._rank_of
