"""Starts environments: for which pool next, and whether the machine has room for one.

Law: the machine's memory bounds how many environments there are. When it runs out, idle ones are
evicted and pools wait their turn: functions grow alike, and none waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable

from boda.core.clock import Clock, Timer
from boda.fleet.capacity import Capacity, size_mb
from boda.fleet.environment import Environment
from boda.fleet.eviction import Eviction
from boda.fleet.pool import Pool
from boda.fleet.scale_limits import ScaleLimits
from boda.fleet.settings import FleetSettings
from boda.fleet.start_queue import StartQueue
from boda.fleet.templates import Templates
from boda.runtime.function import FunctionVersion

_LOOK_AGAIN_S = 0.25
_LEAVING_AT_ONCE = 8


class Scaling:
    """Starts environments, one for each pool in turn, until the machine is full.

    start: starts one environment of a pool. live: returns how many there are. queue: the pools
    that wait. provisioning: provisioned environments that have not ended their init. leaving: how
    many environments and templates are being destroyed, whose memory is not free yet.
    """

    def __init__(
        self,
        settings: FleetSettings,
        clock: Clock,
        capacity: Capacity,
        eviction: Eviction,
        templates: Templates,
        limits: ScaleLimits,
        *,
        start: Callable[[Pool], None],
        live: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._capacity = capacity
        self._eviction = eviction
        self._templates = templates
        self._limits = limits
        self._start = start
        self._live = live
        self.queue = StartQueue()
        self.provisioning: set[Environment] = set()
        self.leaving = 0
        self._feeding = False
        self._closed = False
        self._look_again: Timer | None = None

    def close(self) -> None:
        """Start nothing more."""
        self._closed = True

    def want(self, pool: Pool) -> None:
        """Start the environments that the pool's calls wait for and that are to be provisioned,
        in its turn and as far as the machine has room."""
        if pool.wants:
            self.queue.add(pool, self._clock.monotonic())
        self.feed()

    def feed(self) -> None:
        """Start environments until the machine is full or no pool waits."""
        queue = self.queue
        if not queue.size or self._feeding or self._closed:
            return
        self._feeding = True
        now_s = self._clock.monotonic()
        try:
            while (pool := queue.head()) is not None:
                if not pool.wants:
                    queue.drop(pool)
                    continue
                queue.add(pool, now_s)  # its rank may have changed
                if queue.head() is not pool:
                    continue
                provisioned = pool.wanting <= 0
                at_once = self._settings.provisioning_at_once
                if provisioned and len(self.provisioning) >= at_once:
                    return  # no call waits behind it; the next end of an init feeds again
                if not self._make_room(pool):
                    return
                queue.drop(pool)
                if self._may_grow(pool, provisioned=provisioned):
                    self._start(pool)
                    if pool.wants:
                        queue.add(pool, now_s)
        finally:
            self._feeding = False

    def gives_way(self, environment: Environment, pool: Pool) -> bool:
        """Whether a free environment is destroyed, so that another function may get one.

        If calls of its own function wait for it too, it is destroyed only if its function has
        more than the other one, or the other one has none and has waited for a turn.
        """
        head = self.queue.head()
        if head is None or head is pool or environment.provisioned or self._closed:
            return False
        if self.leaving >= self.queue.size:
            return False  # enough are being destroyed
        if pool.waiters and not environment.invocations:
            return False  # it was started for those calls
        if not pool.waiters or len(pool.environments) > len(head.environments) + 1:
            return True
        waited_s = self._clock.monotonic() - self.queue.since_s(head)
        return not head.environments and waited_s >= self._settings.turn_s

    def needs_mb(self, pool: Pool) -> int:
        """Return the expected need of one more environment, from what others of the pool used."""
        return self._capacity.expected_mb(pool.version, pool.peak_bytes >> 20)

    def has_room_for_template(self, version: FunctionVersion) -> bool:
        there = self._live() + self._templates.count
        needs_mb, now_s = self._capacity.expected_mb(version), self._clock.monotonic()
        return self._capacity.fits(there, needs_mb, size_mb(version), now_s)

    def _may_grow(self, pool: Pool, *, provisioned: bool) -> bool:
        """Count one more environment; if its function grows too fast, look at the pool later."""
        wait_s = self._limits.take(pool, provisioned=provisioned)
        if not wait_s:
            return True
        if pool.grows is None:
            pool.grows = self._clock.call_later(wait_s, self._grow, pool)
        return False

    def _grow(self, pool: Pool) -> None:
        pool.grows = None
        self.want(pool)

    # Room on the machine

    def _make_room(self, pool: Pool) -> bool:
        """Whether there is room, possibly after evictions. If these take a moment, the waiting
        pools are looked at again when they have ended."""
        while not self._has_room(pool):
            full = self._beside(pool) >= self._settings.max_environments
            if not full and self.leaving >= min(max(1, pool.wanting), _LEAVING_AT_ONCE):
                return False  # the end of what is leaving feeds again
            if self._eviction.evict_one(pool.version.key) is None:
                if not full and self._look_again is None:
                    self._look_again = self._clock.call_later(_LOOK_AGAIN_S, self._looked_again)
                return False
        return True

    def _looked_again(self) -> None:
        self._look_again = None
        self.feed()

    def _has_room(self, pool: Pool) -> bool:
        needs_mb, limit_mb = self.needs_mb(pool), size_mb(pool.version)
        if self._lacks_template(pool):
            template_mb = self._capacity.expected_mb(pool.version)
            needs_mb, limit_mb = needs_mb + template_mb, limit_mb + template_mb
        return self._capacity.fits(self._beside(pool), needs_mb, limit_mb, self._clock.monotonic())

    def _lacks_template(self, pool: Pool) -> bool:
        return self._templates.offers(pool.version) and not self._templates.has(pool.version.key)

    def _beside(self, pool: Pool) -> int:
        """Return how many environments and templates the next one of the pool would stand beside.

        Its own template alone does not count, so that it does not wait for that.
        """
        there = self._live() + self._templates.count
        if there and self._lacks_template(pool):
            return there + 1
        return 0 if there == 1 and self._templates.has(pool.version.key) else there
