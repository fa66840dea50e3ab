"""Provisioned concurrency: environments that are initialised before any call needs them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from boda.core.clock import Clock
from boda.fleet.environment import Environment
from boda.fleet.pool import Pool


@dataclass(frozen=True, slots=True)
class ProvisionedStatus:
    """The provisioned environments of a version.

    allocated: initialised environments. available: those that run nothing. failing: why there are
    not as many as wanted, or "" (they are on their way, or there).
    """

    allocated: int
    available: int
    failing: str = ""


class ProvisionedConcurrency:
    """Sets how many environments pools keep.

    idle: environments that may be evicted. want: starts the environments that a pool lacks.
    again_s: after a failure starting is tried again so much later.
    """

    def __init__(
        self,
        clock: Clock,
        idle: OrderedDict[Environment, None],
        want: Callable[[Pool], None],
        again_s: float,
    ) -> None:
        self._clock = clock
        self._idle = idle
        self._want = want
        self._again_s = again_s

    def set(self, pool: Pool, count: int) -> None:
        """Keep count environments from now on; start those that lack, release those beyond."""
        pool.provisioned = count
        for environment in sorted(pool.kept, key=lambda each: each.initialised):
            if len(pool.kept) <= count:
                break
            pool.release(environment)
            if environment in pool.idle:
                self._idle[environment] = None
            elif environment in pool.fresh and pool.unneeded:
                environment.destroy()
        if pool.again is not None:
            pool.again.cancel()
        self._try_again(pool)  # a start that has failed so far may succeed now

    def status(self, pool: Pool) -> ProvisionedStatus:
        initialised = [each for each in pool.kept if each.initialised]
        available = sum(each.state == "idle" for each in initialised)
        return ProvisionedStatus(len(initialised), available, pool.failing)

    def failed(self, pool: Pool, why: str) -> None:
        """Start no more of them for a while."""
        pool.failing = why
        if pool.again is None:
            pool.again = self._clock.call_later(self._again_s, self._try_again, pool)

    def _try_again(self, pool: Pool) -> None:
        pool.again, pool.failing = None, ""
        self._want(pool)
