"""All execution environments of this machine: scaling, eviction, retirement.

Law: what was started is destroyed, by whichever way it ends. A call gets an environment of its own
function version, revision and tenant or none. The machine's memory bounds how many there are; when
it runs out, idle ones go, the longest idle first, and calls wait their turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.fleet.environment import Environment
from boda.fleet.lifecycle import AVAILABLE
from boda.fleet.pool import COULD_NOT_START, Pool, PoolKey, Waiter
from boda.fleet.settings import FleetSettings, available_memory_mb
from boda.fleet.surroundings import Closable, Snapshot, Surroundings
from boda.fleet.variables import RoleCredential
from boda.runtime.function import FunctionVersion
from boda.sandbox.contract import Sandboxes
from boda.telemetry.contract import Telemetry

_log = logging.getLogger(__name__)
_EVICTED_PER_SWEEP = 8
_INIT_FAILED = "FUNCTION_ERROR_INIT_FAILURE"


@dataclass(frozen=True, slots=True)
class Provisioned:
    """allocated: initialised environments. available: those that run nothing. failing: why
    there are not as many as wanted, or "" (they are on their way, or there)."""

    allocated: int
    available: int
    failing: str = ""


class Fleet:
    """Hands out environments. ``take`` for a warm one, ``wait`` where there is none.

    credentials: short-lived keys of a function's role. serve_endpoint: begins to serve AWS
    requests on a listening socket inside a sandbox. available_mb: the machine's free memory.
    """

    def __init__(
        self,
        sandboxes: Sandboxes,
        telemetry: Telemetry,
        clock: Clock,
        ids: Ids,
        *,
        credentials: Callable[[FunctionVersion], RoleCredential],
        serve_endpoint: Callable[[Any, str], Closable],
        settings: FleetSettings | None = None,
        available_mb: Callable[[], int] = available_memory_mb,
    ) -> None:
        self._settings = settings or FleetSettings()
        self._around = Surroundings(
            sandboxes, telemetry, clock, ids, credentials, serve_endpoint, self._settings
        )
        self._clock = clock
        self._available_mb = available_mb
        self._pools: dict[PoolKey, Pool] = {}
        self._live: dict[str, Environment] = {}
        self._starved: dict[PoolKey, Pool] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._closing = False
        self._quiet = asyncio.Event()

    # For the invoke path

    def take(self, version: FunctionVersion, tenant: str = "") -> Environment | None:
        """A warm environment, if there is one."""
        pool = self._pools.get((version.key, tenant))
        return None if pool is None else pool.take(self._clock.monotonic())

    async def wait(self, version: FunctionVersion, tenant: str = "") -> Environment:
        """An environment, started if needed. AwsError where none can be had."""
        if self._closing:
            raise AwsError("ServiceException", "The platform is shutting down.", 500)
        key = (version.key, tenant)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(key, version)
        future: asyncio.Future[Environment] = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(
            self._settings.start_limit_s, self._waited_too_long, pool, future
        )
        waiter = Waiter(future, timer)
        pool.waiters.append(waiter)
        self._want(pool)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.environment_available(future.result())
            raise
        finally:
            pool.forget(waiter)
            self._tidy(pool)

    # For provisioned concurrency

    def provision(self, version: FunctionVersion, count: int) -> None:
        """Keep so many environments of the version initialised from now on; 0: none."""
        key = (version.key, "")
        pool = self._pools.get(key)
        if pool is None:
            if not count:
                return
            pool = self._pools[key] = Pool(key, version)
        pool.provisioned, pool.failing = count, ""
        for environment in pool.kept[count:]:
            environment.provisioned = False  # from now on it goes when it is idle for too long
        self._want(pool)
        self._tidy(pool)

    def provisioned(self, version: FunctionVersion) -> Provisioned:
        """What there is for the version."""
        pool = self._pools.get((version.key, ""))
        if pool is None:
            return Provisioned(0, 0)
        there = [each for each in pool.kept if each.initialised]
        available = sum(each.state in AVAILABLE for each in there)
        return Provisioned(len(there), available, pool.failing)

    def _provision_again(self, pool: Pool) -> None:
        pool.failing = ""
        self._want(pool)

    # For the operator

    def environments(self) -> list[Snapshot]:
        return [environment.snapshot() for environment in list(self._live.values())]

    def retire(self, version: FunctionVersion) -> None:
        """The version is no longer anybody's: idle environments go now, busy ones when done."""
        for key, pool in list(self._pools.items()):
            if key[0] != version.key:
                continue
            pool.retired = True
            pool.provisioned = 0
            for environment in list(pool.environments):
                environment.retiring = True
            while pool.idle:
                pool.idle.pop().destroy()
            self._tidy(pool)

    async def close(self, grace_s: float = 0.0) -> None:
        """Take no more, let what runs finish within the grace, then destroy everything."""
        self._closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for pool in list(self._pools.values()):
            while (waiter := pool.next_waiter()) is not None:
                waiter.future.set_exception(
                    AwsError("ServiceException", "The platform is shutting down.", 500)
                )
        for environment in list(self._live.values()):
            environment.retiring = True
            if environment.state not in ("busy", "resetting"):
                environment.destroy()
        if self._live and grace_s > 0:
            waits = [
                asyncio.ensure_future(self._quiet.wait()),
                asyncio.ensure_future(self._clock.sleep(grace_s)),
            ]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        for environment in list(self._live.values()):
            environment.destroy()
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    # Owner of environments

    def environment_available(self, environment: Environment) -> None:
        pool = self._pools.get((environment.version.key, environment.tenant))
        if pool is None or environment not in pool.environments:
            return  # it has died meanwhile
        pool.fresh.discard(environment)
        if environment.provisioned and not environment.initialised:
            pool.failing = _INIT_FAILED
        if environment.lapsed(self._clock.monotonic()):
            environment.destroy()
            return
        waiter = pool.next_waiter()
        if waiter is not None:
            waiter.future.set_result(environment)
        elif (
            environment.retiring or self._closing or (self._starved and not environment.provisioned)
        ):
            environment.destroy()
        else:
            pool.idle.append(environment)

    def environment_dead(self, environment: Environment, error: Exception | None) -> None:
        self._live.pop(environment.id, None)
        if not self._live:
            self._quiet.set()
        self._spawn(self._buried(environment))
        pool = self._pools.get((environment.version.key, environment.tenant))
        if pool is None:
            return
        pool.environments.discard(environment)
        pool.fresh.discard(environment)
        if environment in pool.idle:
            pool.idle.remove(environment)
        if error is not None:
            waiter = pool.next_waiter()
            if waiter is not None:
                told = error if isinstance(error, AwsError) else _could_not_start()
                waiter.future.set_exception(told)
            if environment.provisioned and not environment.initialised:
                pool.failing = COULD_NOT_START
                self._clock.call_later(
                    self._settings.provision_again_s, self._provision_again, pool
                )
        self._want(pool)
        self._tidy(pool)

    # Scaling

    def _want(self, pool: Pool) -> None:
        """Start as many environments as calls wait for and as are provisioned, as far as the
        machine goes."""
        while not self._closing and (pool.wanting > 0 or pool.lacking > 0):
            if not self._has_room():
                self._evict_one()
                if not self._has_room():
                    self._starved[pool.key] = pool
                    return
            self._start(pool)
        self._starved.pop(pool.key, None)

    def _start(self, pool: Pool) -> None:
        environment = Environment(
            self._around, self, pool.version, pool.tenant, provisioned=pool.lacking > 0
        )
        environment.retiring = pool.retired
        self._live[environment.id] = environment
        pool.environments.add(environment)
        pool.fresh.add(environment)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        self._spawn(environment.start())

    def _has_room(self) -> bool:
        if len(self._live) >= self._settings.max_environments:
            return False
        return not self._live or self._available_mb() > self._settings.reserve_mb

    def _evict_one(self) -> Environment | None:
        """Destroy the environment that has been idle longest."""
        oldest: Environment | None = None
        for pool in self._pools.values():
            for environment in pool.idle:
                if not environment.provisioned:
                    if oldest is None or environment.idle_since < oldest.idle_since:
                        oldest = environment
                    break
        if oldest is not None:
            oldest.destroy()
        return oldest

    def _serve_starved(self) -> None:
        for pool in list(self._starved.values()):
            self._want(pool)

    def _waited_too_long(self, pool: Pool, future: asyncio.Future[Environment]) -> None:
        if future.done():
            return
        if pool.key in self._starved:
            error = AwsError(
                "TooManyRequestsException",
                "Rate Exceeded.",
                429,
                Reason="ConcurrentInvocationLimitExceeded",
                Type="User",
            )
        else:
            error = _could_not_start()
        future.set_exception(error)

    def _tidy(self, pool: Pool) -> None:
        if pool.empty:
            self._starved.pop(pool.key, None)
            if self._pools.get(pool.key) is pool:
                del self._pools[pool.key]

    async def _buried(self, environment: Environment) -> None:
        await environment.destroyed()
        self._serve_starved()

    async def _sweep(self) -> None:
        """Let go of environments that have been idle too long or whose keys lapse."""
        settings = self._settings
        while True:
            await self._clock.sleep(settings.sweep_s)
            now = self._clock.monotonic()
            for pool in list(self._pools.values()):
                for environment in list(pool.idle):
                    if environment.provisioned:
                        old = environment.retire_at <= now
                    else:
                        old = now - environment.idle_since >= settings.idle_s
                    if old or environment.lapsed(now):
                        environment.destroy()
            for _ in range(_EVICTED_PER_SWEEP):
                if self._available_mb() > settings.reserve_mb:
                    break
                evicted = self._evict_one()
                if evicted is None:
                    break
                await evicted.destroyed()  # before it is gone its memory is not back

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _could_not_start() -> AwsError:
    return AwsError("ServiceException", "The execution environment could not be started.", 500)
