"""The environments of one function version and tenant, and the calls that wait for one."""

from __future__ import annotations

import asyncio
from collections import deque

from boda.core.clock import Timer
from boda.fleet.environment import Environment
from boda.fleet.lifecycle import AVAILABLE
from boda.runtime.function import FunctionVersion

COULD_NOT_START = "The execution environments could not be started."

PoolKey = tuple[tuple[str, str, str, str, str], str]


class Pool:
    """Late binding: a call that waits takes whichever environment comes first, a new one or an
    old one. Idle ones are used last in, first out, so that those not needed grow old and go.

    fresh: environments that have not been available yet. provisioned: how many to keep whether
    or not calls need them; failing: why they cannot be had, or "".
    """

    __slots__ = (
        "environments",
        "failing",
        "fresh",
        "idle",
        "key",
        "provisioned",
        "retired",
        "version",
        "waiters",
    )

    def __init__(self, key: PoolKey, version: FunctionVersion) -> None:
        self.key = key
        self.version = version
        self.environments: set[Environment] = set()
        self.fresh: set[Environment] = set()
        self.idle: list[Environment] = []
        self.waiters: deque[Waiter] = deque()
        self.retired = False
        self.provisioned = 0
        self.failing = ""

    @property
    def tenant(self) -> str:
        return self.key[1]

    @property
    def wanting(self) -> int:
        """How many calls wait for which no environment is on its way: a new one, or one that
        is being stopped after a failure, to be reset for the next call with ``/tmp`` kept."""
        if not self.waiters:
            return 0
        stopping = sum(each.state == "stopping" for each in self.environments - self.fresh)
        return len(self.waiters) - len(self.fresh) - stopping

    @property
    def kept(self) -> list[Environment]:
        """The environments that are there because of ``provisioned``."""
        return [each for each in self.environments if each.provisioned]

    @property
    def lacking(self) -> int:
        """How many more are to be started for ``provisioned``; none while that fails."""
        if not self.provisioned or self.failing == COULD_NOT_START:
            return 0
        return self.provisioned - len(self.kept)

    def take(self, now_s: float) -> Environment | None:
        """The idle environment used last. now_s: monotonic; lapsed ones are passed over."""
        idle = self.idle
        while idle:
            environment = idle.pop()
            if environment.state not in AVAILABLE:
                continue
            if environment.lapsed(now_s):
                environment.destroy()
                continue
            return environment
        return None

    def next_waiter(self) -> Waiter | None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.future.done():
                waiter.timer.cancel()
                return waiter
        return None

    def forget(self, waiter: Waiter) -> None:
        waiter.timer.cancel()
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    @property
    def empty(self) -> bool:
        return not self.environments and not self.waiters and not self.provisioned


class Waiter:
    """One call that waits for an environment."""

    __slots__ = ("future", "timer")

    def __init__(self, future: asyncio.Future[Environment], timer: Timer) -> None:
        self.future = future
        self.timer = timer
