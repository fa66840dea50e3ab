"""All execution environments of this machine: handing out, retirement, the end.

Law: every environment that was started is destroyed, in whatever way it ends. A call gets an
environment of its own function version, revision and tenant or none. No step looks at all
environments.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from boda.core.clock import Clock
from boda.core.descriptors import SharedCount
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.core.tasks import Tasks
from boda.fleet.capacity import Capacity, size_mb
from boda.fleet.context import FleetContext, ServedEndpoint
from boda.fleet.environment import Environment
from boda.fleet.eviction import Eviction
from boda.fleet.memory import available_memory, stalled_percent
from boda.fleet.pool import COULD_NOT_START, Pool, PoolKey, Waiter
from boda.fleet.provisioned import ProvisionedConcurrency, ProvisionedStatus
from boda.fleet.refusals import could_not_start, shutting_down, too_many
from boda.fleet.scale_limits import ScaleLimits
from boda.fleet.scaling import Scaling
from boda.fleet.settings import FleetSettings
from boda.fleet.status import EnvironmentStatus
from boda.fleet.template import SnapshotFailed, Template
from boda.fleet.templates import Templates
from boda.runtime.credentials import RoleCredential
from boda.runtime.function import FunctionVersion, VersionKey
from boda.sandbox.contract import Sandboxes
from boda.telemetry.contract import Telemetry

_REMEMBERED_S = 3600.0  # longer than a call that has started before may still wait
_INIT_FAILED = "FUNCTION_ERROR_INIT_FAILURE"


class Fleet:
    """Hands out environments: ``take`` a warm one, or ``wait`` for one if there is none.

    credentials, serve_endpoint, verify: see ``FleetContext``. available_mb: measures the machine's
    free memory. on_shortage: called when the kernel killed an environment for the machine's memory.
    """

    def __init__(
        self,
        sandboxes: Sandboxes,
        telemetry: Telemetry,
        clock: Clock,
        ids: Ids,
        *,
        credentials: Callable[[FunctionVersion], RoleCredential],
        serve_endpoint: Callable[[Any, str], ServedEndpoint],
        settings: FleetSettings | None = None,
        available_mb: Callable[[], int] | None = None,
        on_shortage: Callable[[], None] = lambda: None,
        verify: Callable[[FunctionVersion], Awaitable[None]] | None = None,
    ) -> None:
        self._settings = settings or FleetSettings()
        self._context = FleetContext(
            sandboxes,
            telemetry,
            clock,
            ids,
            credentials,
            serve_endpoint,
            self._settings,
            SharedCount(self._settings.runtime_connections),
            verify or _unverified,
        )
        self._clock = clock
        # A caller that measures the free memory itself knows better whether the machine stalls.
        stalled = stalled_percent if available_mb is None else _never
        available = available_mb or available_memory()
        self._capacity = Capacity(self._settings, available, stalled, sandboxes.memory_mb)
        self._on_shortage = on_shortage
        self._pools: dict[PoolKey, Pool] = {}
        self._live: dict[str, Environment] = {}
        self._pool_of: dict[Environment, Pool] = {}
        self._templates = Templates(self._context, self)
        eviction = self._eviction = Eviction(self._capacity, self._templates)
        self._idle = eviction.idle
        self._limits = ScaleLimits(self._settings, clock)
        self._scaling = Scaling(
            *(self._settings, clock, self._capacity, eviction, self._templates, self._limits),
            start=self._start,
            live=lambda: len(self._live),
        )
        self._queue = self._scaling.queue
        self._provisioned = ProvisionedConcurrency(
            clock, eviction.idle, self._scaling.want, self._settings.provision_again_s
        )
        self._snapshotting: set[VersionKey] = set()
        # Versions that were deleted lately, and when, in this order.
        self._retired: OrderedDict[VersionKey, float] = OrderedDict()
        self._tasks = Tasks()
        self._sweeper: asyncio.Task[None] | None = None
        self._closing = False
        self._quiet = asyncio.Event()

    # For the invoke path

    def take(self, version: FunctionVersion, tenant: str = "") -> Environment | None:
        """Return an environment that is idle, or None."""
        pool = self._pools.get((version.key, tenant))
        if pool is None:
            return None
        environment = pool.take(self._clock.now())
        if environment is not None:
            self._idle.pop(environment, None)
        return environment

    async def wait(self, version: FunctionVersion, tenant: str = "") -> Environment:
        """Return an environment, and start one if needed.

        Raises AwsError: 429 if the function grows too fast or the machine has no room, 500 if an
        environment cannot be started.
        """
        if self._closing:
            raise shutting_down()
        pool = self._pools.get((version.key, tenant))
        if pool is None:
            pool = self._new_pool(version, tenant)
        waiter = Waiter(asyncio.get_running_loop().create_future())
        pool.waiters[waiter] = None
        waiter.timer = self._clock.call_later(
            self._settings.room_limit_s, self._waited_for_room, pool, waiter
        )
        try:
            if pool.wanting > 0:
                self._limits.check(pool)
                self._scaling.want(pool)
            return await waiter.future
        except asyncio.CancelledError:
            future = waiter.future
            if future.done() and not future.cancelled() and future.exception() is None:
                self.environment_available(future.result())
            raise
        finally:
            pool.forget(waiter)
            if self._queue.size and not pool.wants:
                self._queue.drop(pool)
            self._tidy(pool)

    def _new_pool(self, version: FunctionVersion, tenant: str) -> Pool:
        key = (version.key, tenant)
        pool = self._pools[key] = Pool(key, version)
        pool.retired = version.key in self._retired
        return pool

    # For provisioned concurrency

    def provision(self, version: FunctionVersion, count: int) -> None:
        """Keep count environments of the version initialised from now on; 0: none."""
        pool = self._pools.get((version.key, ""))
        if pool is None:
            if not count:
                return
            pool = self._new_pool(version, "")
        self._provisioned.set(pool, count)
        self._tidy(pool)

    def provisioned(self, version: FunctionVersion) -> ProvisionedStatus:
        pool = self._pools.get((version.key, ""))
        return ProvisionedStatus(0, 0) if pool is None else self._provisioned.status(pool)

    # For SnapStart

    def offers_snapshots(self) -> bool:
        """Whether environments of versions with SnapStart are forked from a template here."""
        return self._context.sandboxes.can_fork

    async def snapshot(self, version: FunctionVersion) -> None:
        """Run the init of a version in a template; return when that can be forked.

        Waits while the machine has no room for it. Raises SnapshotFailed, also when the version is
        retired meanwhile.
        """
        key = version.key
        self._snapshotting.add(key)
        try:
            while not self._closing and key in self._snapshotting:
                if self._templates.has(key) or self._scaling.has_room_for_template(version):
                    self._begin_sweeping()
                    await self._templates.want(version).ready()
                    return
                victim = self._eviction.evict_one()
                if victim is None:
                    await self._clock.sleep(self._settings.room_again_s)
                else:
                    await victim.destroyed()  # its memory is free only after its end
            raise SnapshotFailed("dropped")
        finally:
            self._snapshotting.discard(key)

    # TemplatesOwner

    def template_begins(self, template: Template) -> None:
        # A template is the image of one process, and never grows to the function's limit.
        needs_mb = self._capacity.expected_mb(template.version)
        self._capacity.promise(template, needs_mb, needs_mb, self._clock.monotonic())

    def template_ready(self, template: Template) -> None:
        self._capacity.began(template, self._clock.monotonic())

    def template_dead(self, template: Template) -> None:
        self._capacity.left(template)
        self._scaling.leaving += 1

    def template_buried(self) -> None:
        self._scaling.leaving -= 1
        self._scaling.feed()

    def killed_by_machine(self) -> None:
        self._capacity.killed(self._clock.monotonic())
        self._on_shortage()

    # For the operator

    def environments(self) -> list[EnvironmentStatus]:
        """Return the status of every environment and template."""
        live = [environment.status() for environment in list(self._live.values())]
        return live + self._templates.statuses()

    def retire(self, version: FunctionVersion) -> None:
        """Destroy the idle environments of a deleted version now, the busy ones when done."""
        now_s = self._clock.monotonic()
        # A call that has started before may still ask for an environment.
        self._retired[version.key] = now_s
        self._retired.move_to_end(version.key)
        while next(iter(self._retired.values())) < now_s - _REMEMBERED_S:
            self._retired.popitem(last=False)
        self._snapshotting.discard(version.key)
        self._templates.retire(version.key)
        for key, pool in list(self._pools.items()):
            if key[0] != version.key:
                continue
            pool.retired = True
            pool.provisioned = 0
            for environment in list(pool.environments):
                environment.retiring = True
            for environment in (*pool.idle, *pool.ready):
                environment.destroy()
            for environment in list(pool.fresh):
                if pool.unneeded:
                    environment.destroy()
            self._tidy(pool)

    def named(self, version: FunctionVersion) -> None:
        """Note that the version exists, possibly again."""
        self._retired.pop(version.key, None)

    async def close(self, grace_s: float = 0.0) -> None:
        """Refuse calls, let invocations finish within the grace, then destroy everything."""
        self._closing = True
        self._scaling.close()
        await self._templates.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for pool in list(self._pools.values()):
            while (waiter := pool.next_waiter()) is not None:
                waiter.future.set_exception(shutting_down())
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
        await self._tasks.drain()

    # EnvironmentOwner

    def environment_available(self, environment: Environment) -> None:
        pool = self._pool_of.get(environment)
        if pool is None:
            return  # it has died meanwhile
        if environment in pool.fresh:
            pool.fresh.discard(environment)
            self._init_ended(environment, pool)
            if environment.provisioned and not environment.initialised:
                environment.destroy()  # calls start others meanwhile, on demand as on AWS
                return
        elif environment.peak_bytes > pool.peak_bytes:
            pool.peak_bytes = environment.peak_bytes
        if pool.stopping:
            pool.stopping.discard(environment)
        if environment.lapsed(self._clock.now()):
            environment.destroy()
            return
        if self._queue.size:
            if not pool.wants:
                self._queue.drop(pool)
            if self._scaling.gives_way(environment, pool):
                environment.destroy()
                return
        waiter = pool.next_waiter()
        if waiter is not None:
            waiter.future.set_result(environment)
        elif environment.retiring or self._closing:
            environment.destroy()
        else:
            pool.rest(environment)
            if not environment.provisioned:
                self._idle[environment] = None

    def environment_stopping(self, environment: Environment) -> None:
        pool = self._pool_of.get(environment)
        if pool is not None and environment not in pool.fresh:
            pool.stopping.add(environment)

    def environment_dead(self, environment: Environment, error: Exception | None) -> None:
        self._live.pop(environment.id, None)
        self._idle.pop(environment, None)
        self._capacity.left(environment)
        if environment.forked:
            self._templates.leave(environment.version.key)
        self._scaling.provisioning.discard(environment)
        if environment.tenant:
            self._limits.tenants[environment.version.key[:3]] -= 1
        if not self._live:
            self._quiet.set()
        self._scaling.leaving += 1
        self._tasks.spawn(self._bury(environment))
        pool = self._pool_of.pop(environment, None)
        if pool is None:
            return
        pool.lose(environment)
        if error is not None:
            waiter = pool.next_waiter()
            if waiter is not None:
                refusal = error if isinstance(error, AwsError) else could_not_start()
                waiter.future.set_exception(refusal)
        failed = error is not None or environment.killed
        if failed and environment.provisioned and not environment.initialised:
            self._provisioned.failed(pool, COULD_NOT_START)
        self._scaling.want(pool)
        self._tidy(pool)

    def _init_ended(self, environment: Environment, pool: Pool) -> None:
        """Note the end, good or bad, of a new environment's init."""
        self._capacity.began(environment, self._clock.monotonic())
        if environment in self._scaling.provisioning:
            self._scaling.provisioning.discard(environment)
            if environment.provisioned and not environment.initialised:
                self._provisioned.failed(pool, _INIT_FAILED)
            self._scaling.feed()

    async def _bury(self, environment: Environment) -> None:
        await environment.destroyed()
        self._scaling.leaving -= 1
        self._scaling.feed()

    def _start(self, pool: Pool) -> None:
        templates = self._templates if self._templates.offers(pool.version) else None
        if templates is not None:
            templates.join(pool.version)
        environment = Environment(
            self._context,
            self,
            pool.version,
            pool.tenant,
            provisioned=pool.lacking > 0,
            templates=templates,
        )
        environment.retiring = pool.retired
        self._live[environment.id] = environment
        self._pool_of[environment] = pool
        pool.environments.add(environment)
        pool.fresh.add(environment)
        if environment.provisioned:
            pool.keep(environment)
            self._scaling.provisioning.add(environment)
        if pool.tenant:
            self._limits.tenants[pool.key[0][:3]] += 1
        needs_mb, now_s = self._scaling.needs_mb(pool), self._clock.monotonic()
        self._capacity.promise(environment, needs_mb, size_mb(pool.version), now_s)
        self._begin_sweeping()
        self._tasks.spawn(environment.start())

    # Calls that wait

    def _waited_for_room(self, pool: Pool, waiter: Waiter) -> None:
        """Refuse a call whose pool still waits for room; let it wait for its environment if not."""
        if waiter.future.done():
            return
        if pool in self._queue:
            self._no_room(waiter)
            return
        settings = self._settings
        left_s = max(0.0, settings.start_limit_s - settings.room_limit_s)
        if self._templates.offers(pool.version):  # the template may have to be made again
            left_s += settings.snapshot_limit_s(pool.version)
        waiter.timer = self._clock.call_later(left_s, self._waited_too_long, pool, waiter)

    def _waited_too_long(self, pool: Pool, waiter: Waiter) -> None:
        if waiter.future.done():
            return
        if pool in self._queue:
            self._no_room(waiter)
        else:
            waiter.future.set_exception(could_not_start())

    def _no_room(self, waiter: Waiter) -> None:
        waiter.future.set_exception(too_many("ConcurrentInvocationLimitExceeded", 1.0))

    def _tidy(self, pool: Pool) -> None:
        if pool.empty:
            self._queue.drop(pool)
            if self._pools.get(pool.key) is pool:
                del self._pools[pool.key]

    # Sweeping

    def _begin_sweeping(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def _sweep(self) -> None:
        """Destroy environments that have been idle too long or whose keys lapse, and idle ones
        while memory is short."""
        while True:
            await self._clock.sleep(self._capacity.look_again_s())
            now, epoch = self._clock.monotonic(), self._clock.now()
            self._templates.sweep(now)
            self._eviction.evict_idle(now, self._settings.idle_s)
            for pool in [pool for pool in self._pools.values() if pool.provisioned]:
                for environment in list(pool.ready):
                    ended = environment.initialised and environment.state == "cold"
                    if ended or environment.retire_at <= epoch:
                        environment.destroy()  # and make another one
            self._limits.sweep(now)
            await self._eviction.relieve()
            self._scaling.feed()


async def _unverified(version: FunctionVersion) -> None:
    return None


def _never() -> float:
    return 0.0
