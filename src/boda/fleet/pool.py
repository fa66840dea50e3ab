"""The environments of one function version and tenant, and the calls that wait for one.

Law of this file: no method iterates over all environments or all calls.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from boda.core.clock import Timer
from boda.fleet.environment import Environment
from boda.fleet.lifecycle import AVAILABLE
from boda.runtime.function import FunctionVersion, VersionKey

COULD_NOT_START = "The execution environments could not be started."

PoolKey = tuple[VersionKey, str]


class Pool:
    """Binds calls to environments late: a waiting call takes the first one that becomes available,
    a new one or an old one. Idle ones are used last in, first out, so that those not needed grow
    old and are evicted; provisioned ones before others, and cold ones after all others.

    fresh: environments that have not been available yet. stopping: those whose runtime is being
    stopped after a failure. idle, ready: those that wait for a call, the provisioned ones in
    ``ready``, in the order in which they became idle, cold ones first. provisioned: how many to
    keep whether or not calls need them; kept: those that are kept for that; failing: why they
    cannot be started, or "". peak_bytes: the most memory that one of them has used. again, grows:
    timers until provisioned ones are tried again, and until the pool may grow.
    """

    __slots__ = (
        "again",
        "environments",
        "failing",
        "fresh",
        "grows",
        "idle",
        "kept",
        "key",
        "peak_bytes",
        "provisioned",
        "ready",
        "retired",
        "stopping",
        "version",
        "waiters",
    )

    def __init__(self, key: PoolKey, version: FunctionVersion) -> None:
        self.key = key
        self.version = version
        self.environments: set[Environment] = set()
        self.fresh: set[Environment] = set()
        self.stopping: set[Environment] = set()
        self.idle: OrderedDict[Environment, None] = OrderedDict()
        self.ready: OrderedDict[Environment, None] = OrderedDict()
        self.waiters: OrderedDict[Waiter, None] = OrderedDict()
        self.retired = False
        self.provisioned = 0
        self.kept: set[Environment] = set()
        self.failing = ""
        self.peak_bytes = 0
        self.again: Timer | None = None
        self.grows: Timer | None = None

    @property
    def tenant(self) -> str:
        return self.key[1]

    @property
    def wanting(self) -> int:
        """How many calls wait without an environment on its way: a new one, or one that is being
        stopped after a failure, to be reset for the next call with ``/tmp`` kept."""
        if not self.waiters:
            return 0
        return len(self.waiters) - len(self.fresh) - len(self.stopping)

    @property
    def unneeded(self) -> bool:
        """Whether more environments are on their way than calls wait for."""
        return len(self.waiters) < len(self.fresh) + len(self.stopping)

    @property
    def lacking(self) -> int:
        """How many more are to be started for ``provisioned``; 0 while starts fail."""
        if not self.provisioned or self.failing:
            return 0
        return self.provisioned - len(self.kept)

    @property
    def wants(self) -> bool:
        """Whether environments are to be started for the pool."""
        return self.wanting > 0 or self.lacking > 0

    def take(self, now_s: float) -> Environment | None:
        """Return the idle environment that was used last, or None; destroy lapsed ones.

        now_s: epoch seconds.
        """
        while self.ready or self.idle:
            environment, _ = (self.ready or self.idle).popitem()
            if environment.state not in AVAILABLE:
                continue
            if environment.lapsed(now_s):
                environment.destroy()
                continue
            return environment
        return None

    def rest(self, environment: Environment) -> None:
        """Let an environment wait for a call."""
        held = self.ready if environment.provisioned else self.idle
        held[environment] = None
        if environment.state == "cold":
            held.move_to_end(environment, last=False)

    def keep(self, environment: Environment) -> None:
        """Count an environment as provisioned."""
        environment.provisioned = True
        self.kept.add(environment)

    def release(self, environment: Environment) -> None:
        """Count an environment as provisioned no more; it may be evicted when idle."""
        environment.provisioned = False
        self.kept.discard(environment)
        if environment in self.ready:
            del self.ready[environment]
            self.rest(environment)

    def lose(self, environment: Environment) -> None:
        """Forget a dead environment."""
        for held in (self.environments, self.fresh, self.stopping, self.kept):
            held.discard(environment)
        self.idle.pop(environment, None)
        self.ready.pop(environment, None)

    def next_waiter(self) -> Waiter | None:
        while self.waiters:
            waiter, _ = self.waiters.popitem(last=False)
            if not waiter.future.done():
                waiter.timer.cancel()
                return waiter
        return None

    def forget(self, waiter: Waiter) -> None:
        waiter.timer.cancel()
        self.waiters.pop(waiter, None)

    @property
    def empty(self) -> bool:
        return not self.environments and not self.waiters and not self.provisioned


class Waiter:
    """One call that waits for an environment."""

    __slots__ = ("future", "timer")

    timer: Timer

    def __init__(self, future: asyncio.Future[Environment]) -> None:
        self.future = future
