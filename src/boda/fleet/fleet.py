"""All execution environments of this machine: scaling, eviction, retirement.

Law: what was started is destroyed, by whichever way it ends. A call gets an environment of its own
function version, revision and tenant or none. The machine's memory bounds how many there are; when
it runs out, idle ones go, the longest idle first, and calls wait their turn: functions grow alike,
and none waits for ever. No step looks at all environments.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from boda.core.clock import Clock, Timer
from boda.core.descriptors import Spare
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.core.rate import Rate
from boda.core.tasks import Tasks
from boda.fleet.context import FleetContext, ServedEndpoint
from boda.fleet.environment import Environment
from boda.fleet.hungry import Hungry
from boda.fleet.memory import available_memory, machine_memory_mb, stalled_percent
from boda.fleet.pool import COULD_NOT_START, Pool, PoolKey, Waiter
from boda.fleet.refusals import could_not_start, shutting_down, too_many
from boda.fleet.room import Room
from boda.fleet.settings import FleetSettings
from boda.fleet.status import EnvironmentStatus
from boda.fleet.template import SnapshotFailed, Template
from boda.fleet.templates import Templates
from boda.runtime.credentials import RoleCredential
from boda.runtime.function import FunctionVersion, VersionKey
from boda.sandbox.contract import Sandboxes
from boda.telemetry.contract import Telemetry

_log = logging.getLogger(__name__)
_LOOK_AGAIN_S = 0.25
_LEAVING_AT_ONCE = 8
_REMEMBERED_S = 3600.0  # longer than any call that was begun before may still try
_PART_OF_MEMORY = 8  # what a function is taken to need of its memory until it has shown it
_HALF_OF_MACHINE_MB = machine_memory_mb() // 2
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
    on_shortage: called when the kernel killed an environment for the machine's memory.
    verify: returns when a version's code is known to be what was uploaded; AwsError otherwise.
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
            Spare(self._settings.runtime_connections),
            verify or _unverified,
        )
        self._clock = clock
        # What the machine has is given by whoever says what of it is free.
        stalled = stalled_percent if available_mb is None else _never
        available = available_mb or available_memory()
        self._room = Room(self._settings, available, stalled, sandboxes.memory_mb)
        self._on_shortage = on_shortage
        self._pools: dict[PoolKey, Pool] = {}
        self._live: dict[str, Environment] = {}
        self._pool_of: dict[Environment, Pool] = {}
        # Idle ones that may go, the longest idle first.
        self._idle: OrderedDict[Environment, None] = OrderedDict()
        self._templates = Templates(self._context, self)
        self._snapshotting: set[VersionKey] = set()
        self._hungry = Hungry()
        self._leaving = 0
        self._feeding = False
        self._look_again: Timer | None = None
        self._provisioning: set[Environment] = set()
        self._rates: dict[tuple[str, str, str, bool], Rate] = {}
        self._tenants: Counter[tuple[str, str, str]] = Counter()
        # Lately, and when; in this order.
        self._retired: OrderedDict[VersionKey, float] = OrderedDict()
        self._tasks = Tasks()
        self._sweeper: asyncio.Task[None] | None = None
        self._closing = False
        self._quiet = asyncio.Event()

    # For the invoke path

    def take(self, version: FunctionVersion, tenant: str = "") -> Environment | None:
        """A warm environment, if there is one."""
        pool = self._pools.get((version.key, tenant))
        if pool is None:
            return None
        environment = pool.take(self._clock.now())
        if environment is not None:
            self._idle.pop(environment, None)
        return environment

    async def wait(self, version: FunctionVersion, tenant: str = "") -> Environment:
        """An environment, started if needed. AwsError where none can be had: 429 where the
        function grows too fast or the machine has no room."""
        if self._closing:
            raise shutting_down()
        key = (version.key, tenant)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(key, version)
            pool.retired = version.key in self._retired
        waiter = Waiter(asyncio.get_running_loop().create_future())
        pool.waiters[waiter] = None
        waiter.timer = self._clock.call_later(
            self._settings.room_limit_s, self._waited_for_room, pool, waiter
        )
        try:
            if pool.wanting > 0:
                self._refuse_to_grow(pool)
                self._want(pool)
            return await waiter.future
        except asyncio.CancelledError:
            future = waiter.future
            if future.done() and not future.cancelled() and future.exception() is None:
                self.environment_available(future.result())
            raise
        finally:
            pool.forget(waiter)
            if self._hungry.size and not pool.wants:
                self._hungry.drop(pool)
            self._tidy(pool)

    def _refuse_to_grow(self, pool: Pool) -> None:
        """AwsError (429) where the function may not have another environment now."""
        rate = self._rate(pool, provisioned=False)
        if rate is not None and (wait_s := rate.wait_s(self._clock.monotonic())) > 0:
            raise too_many("FunctionInvocationRateLimitExceeded", wait_s)
        if pool.tenant and self._tenants[pool.key[0][:3]] >= self._settings.tenant_environments:
            raise too_many("ConcurrentInvocationLimitExceeded", 1.0)

    # For provisioned concurrency

    def provision(self, version: FunctionVersion, count: int) -> None:
        """Keep so many environments of the version initialised from now on; 0: none."""
        key = (version.key, "")
        pool = self._pools.get(key)
        if pool is None:
            if not count:
                return
            pool = self._pools[key] = Pool(key, version)
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
        self._provision_again(pool)  # what has failed so far may go well now
        self._tidy(pool)

    def provisioned(self, version: FunctionVersion) -> Provisioned:
        """What there is for the version."""
        pool = self._pools.get((version.key, ""))
        if pool is None:
            return Provisioned(0, 0)
        there = [each for each in pool.kept if each.initialised]
        available = sum(each.state == "idle" for each in there)
        return Provisioned(len(there), available, pool.failing)

    def _provisioning_failed(self, pool: Pool, why: str) -> None:
        pool.failing = why
        if pool.again is None:
            pool.again = self._clock.call_later(
                self._settings.provision_again_s, self._provision_again, pool
            )

    def _provision_again(self, pool: Pool) -> None:
        pool.again, pool.failing = None, ""
        self._want(pool)

    # For SnapStart

    def offers_snapshots(self) -> bool:
        """Whether environments of versions with SnapStart are forked from a template here."""
        return self._context.sandboxes.can_fork

    async def snapshot(self, version: FunctionVersion) -> None:
        """Run the init of a version in a template; return when it can be forked, SnapshotFailed.

        Waits while the machine has no room for it; ``retire`` ends that too.
        """
        key = version.key
        self._snapshotting.add(key)
        try:
            while not self._closing and key in self._snapshotting:
                if self._templates.has(key) or self._has_room_for_template(version):
                    self._begin_sweeping()
                    await self._templates.want(version).ready()
                    return
                victim = self._evict_one()
                if victim is None:
                    await self._clock.sleep(self._settings.room_again_s)
                else:
                    await victim.destroyed()  # before it is gone its memory is not back
            raise SnapshotFailed("dropped")
        finally:
            self._snapshotting.discard(key)

    def _has_room_for_template(self, version: FunctionVersion) -> bool:
        there = len(self._live) + self._templates.count
        now_s = self._clock.monotonic()
        return self._room.fits(there, self._expected_mb(version), _size_mb(version), now_s)

    # Owner of templates

    def template_begins(self, template: Template) -> None:
        # Once it is made it is one process's image, and never grows to its size.
        needs_mb = self._expected_mb(template.version)
        self._room.promise(template, needs_mb, needs_mb, self._clock.monotonic())

    def template_ready(self, template: Template) -> None:
        self._room.began(template, self._clock.monotonic())

    def template_dead(self, template: Template) -> None:
        self._room.left(template)
        self._leaving += 1

    def template_buried(self) -> None:
        self._leaving -= 1
        if self._hungry.size:
            self._feed()

    def killed_by_machine(self) -> None:
        self._room.killed(self._clock.monotonic())
        self._on_shortage()

    # For the operator

    def environments(self) -> list[EnvironmentStatus]:
        """And templates, which are what environments are forked from."""
        live = [environment.status() for environment in list(self._live.values())]
        return live + self._templates.statuses()

    def retire(self, version: FunctionVersion) -> None:
        """The version is no longer anybody's: idle environments go now, busy ones when done."""
        now_s = self._clock.monotonic()
        # A call that began before may ask for it yet.
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
        """The version is somebody's, perhaps again."""
        self._retired.pop(version.key, None)

    async def close(self, grace_s: float = 0.0) -> None:
        """Take no more, let what runs finish within the grace, then destroy everything."""
        self._closing = True
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

    # Owner of environments

    def environment_available(self, environment: Environment) -> None:
        pool = self._pool_of.get(environment)
        if pool is None:
            return  # it has died meanwhile
        if environment in pool.fresh:
            pool.fresh.discard(environment)
            self._begun(environment, pool)
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
        if self._hungry.size:
            if not pool.wants:
                self._hungry.drop(pool)
            if self._gives_way(environment, pool):
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
        self._room.left(environment)
        if environment.forked:
            self._templates.leave(environment.version.key)
        self._provisioning.discard(environment)
        if environment.tenant:
            self._tenants[environment.version.key[:3]] -= 1
        if not self._live:
            self._quiet.set()
        self._leaving += 1
        self._tasks.spawn(self._buried(environment))
        pool = self._pool_of.pop(environment, None)
        if pool is None:
            return
        pool.lose(environment)
        if error is not None:
            waiter = pool.next_waiter()
            if waiter is not None:
                told = error if isinstance(error, AwsError) else could_not_start()
                waiter.future.set_exception(told)
        failed = error is not None or environment.killed
        if failed and environment.provisioned and not environment.initialised:
            self._provisioning_failed(pool, COULD_NOT_START)
        self._want(pool)
        self._tidy(pool)

    def _begun(self, environment: Environment, pool: Pool) -> None:
        """A new environment has ended its init, well or not."""
        self._room.began(environment, self._clock.monotonic())
        if environment in self._provisioning:
            self._provisioning.discard(environment)
            if environment.provisioned and not environment.initialised:
                self._provisioning_failed(pool, _INIT_FAILED)
            if self._hungry.size:
                self._feed()

    def _gives_way(self, environment: Environment, pool: Pool) -> bool:
        """Whether an environment that is free goes, so that one of another function may come.

        Calls of its own may wait for it too; then it goes where its function has more than the
        other one, or where the other one has none and has waited for a turn.
        """
        head = self._hungry.head()
        if head is None or head is pool or environment.provisioned or self._closing:
            return False
        if self._leaving >= self._hungry.size:
            return False  # enough are on their way out
        if pool.waiters and not environment.invocations:
            return False  # it came for them
        if not pool.waiters or len(pool.environments) > len(head.environments) + 1:
            return True
        waited_s = self._clock.monotonic() - self._hungry.since_s(head)
        return not head.environments and waited_s >= self._settings.turn_s

    # Scaling

    def _want(self, pool: Pool) -> None:
        """Let the pool have as many environments as calls wait for and as are provisioned, in
        its turn and as far as the machine goes."""
        if pool.wants:
            self._hungry.add(pool, self._clock.monotonic())
        if self._hungry.size:
            self._feed()

    def _feed(self) -> None:
        """Start environments, one for each pool in turn, until the machine is full."""
        if self._feeding or self._closing:
            return
        self._feeding = True
        hungry, now_s = self._hungry, self._clock.monotonic()
        try:
            while (pool := hungry.head()) is not None:
                if not pool.wants:
                    hungry.drop(pool)
                    continue
                hungry.add(pool, now_s)  # where it belongs now
                if hungry.head() is not pool:
                    continue
                provisioned = pool.wanting <= 0
                at_once = self._settings.provisioning_at_once
                if provisioned and len(self._provisioning) >= at_once:
                    return  # nobody waits for more than such; _begun looks again
                if not self._make_room(pool):
                    return
                hungry.drop(pool)
                if self._may_grow(pool, provisioned=provisioned):
                    self._start(pool)
                    if pool.wants:
                        hungry.add(pool, now_s)
        finally:
            self._feeding = False

    def _may_grow(self, pool: Pool, *, provisioned: bool) -> bool:
        """Take one of those by which the function may grow now; where there is none the pool is
        looked at again when there is."""
        rate = self._rate(pool, provisioned=provisioned)
        now_s = self._clock.monotonic()
        if rate is None or rate.take(now_s):
            return True
        if pool.grows is None:
            pool.grows = self._clock.call_later(rate.wait_s(now_s), self._grow, pool)
        return False

    def _grow(self, pool: Pool) -> None:
        pool.grows = None
        self._want(pool)

    def _rate(self, pool: Pool, *, provisioned: bool) -> Rate | None:
        settings = self._settings
        if not settings.scale_rate:
            return None
        key = (*pool.key[0][:3], provisioned)
        rate = self._rates.get(key)
        if rate is None:
            per_s = settings.scale_rate / settings.scale_period_s
            rate = self._rates[key] = Rate(per_s, settings.scale_rate)
        return rate

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
            self._provisioning.add(environment)
        if pool.tenant:
            self._tenants[pool.key[0][:3]] += 1
        now_s = self._clock.monotonic()
        self._room.promise(environment, self._needs_mb(pool), _size_mb(pool.version), now_s)
        self._begin_sweeping()
        self._tasks.spawn(environment.start())

    def _needs_mb(self, pool: Pool) -> int:
        """What one more environment is expected to need: what others of the pool have shown."""
        return self._expected_mb(pool.version, pool.peak_bytes >> 20)

    def _expected_mb(self, version: FunctionVersion, seen_mb: int = 0) -> int:
        likely = seen_mb or version.memory_mb // _PART_OF_MEMORY
        return max(self._settings.start_mb, min(likely, _HALF_OF_MACHINE_MB))

    def _has_room(self, pool: Pool) -> bool:
        needs_mb, size_mb = self._needs_mb(pool), _size_mb(pool.version)
        if self._lacks_template(pool):
            template_mb = self._expected_mb(pool.version)
            needs_mb, size_mb = needs_mb + template_mb, size_mb + template_mb
        return self._room.fits(self._beside(pool), needs_mb, size_mb, self._clock.monotonic())

    def _lacks_template(self, pool: Pool) -> bool:
        return self._templates.offers(pool.version) and not self._templates.has(pool.version.key)

    def _beside(self, pool: Pool) -> int:
        """How many there are besides what one more environment of the pool takes; its own
        template alone is no reason to have it wait."""
        there = len(self._live) + self._templates.count
        if there and self._lacks_template(pool):
            return there + 1
        return 0 if there == 1 and self._templates.has(pool.version.key) else there

    def _make_room(self, pool: Pool) -> bool:
        """Whether there is room, for which what is idle may have had to go. Where that takes a
        moment the pools that wait are looked at again."""
        while not self._has_room(pool):
            full = self._beside(pool) >= self._settings.max_environments
            if not full and self._leaving >= min(max(1, pool.wanting), _LEAVING_AT_ONCE):
                return False  # _buried looks again
            if self._evict_one(pool) is None:
                if not full and self._look_again is None:
                    self._look_again = self._clock.call_later(_LOOK_AGAIN_S, self._looked_again)
                return False
        return True

    def _looked_again(self) -> None:
        self._look_again = None
        self._feed()

    def _evict_one(self, pool: Pool | None = None) -> Environment | Template | None:
        """Destroy the idle environment or the template that was used last before all others.
        pool: whose own template is needed."""
        oldest = self._used_least(None if pool is None else pool.version.key)
        if oldest is not None:
            oldest.destroy()
        return oldest

    def _used_least(self, but: VersionKey | None = None) -> Environment | Template | None:
        environment = next(iter(self._idle), None)
        template = self._templates.resting(but)
        if template is None or environment is None:
            return template or environment
        return template if template.used_at < environment.idle_since else environment

    def _waited_for_room(self, pool: Pool, waiter: Waiter) -> None:
        """A call has waited as long as it may for a full machine."""
        if waiter.future.done():
            return
        if pool in self._hungry:
            self._no_room(waiter)
            return
        settings = self._settings
        left_s = max(0.0, settings.start_limit_s - settings.room_limit_s)
        if self._templates.offers(pool.version):  # whose template may have to be made again
            left_s += settings.snapshot_limit_s(pool.version)
        waiter.timer = self._clock.call_later(left_s, self._waited_too_long, pool, waiter)

    def _waited_too_long(self, pool: Pool, waiter: Waiter) -> None:
        if waiter.future.done():
            return
        if pool in self._hungry:
            self._no_room(waiter)
        else:
            waiter.future.set_exception(could_not_start())

    def _no_room(self, waiter: Waiter) -> None:
        waiter.future.set_exception(too_many("ConcurrentInvocationLimitExceeded", 1.0))

    def _tidy(self, pool: Pool) -> None:
        if pool.empty:
            self._hungry.drop(pool)
            if self._pools.get(pool.key) is pool:
                del self._pools[pool.key]

    async def _buried(self, environment: Environment) -> None:
        await environment.destroyed()
        self._leaving -= 1
        if self._hungry.size:
            self._feed()

    def _begin_sweeping(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def _sweep(self) -> None:
        """Let go of environments that have been idle too long or whose keys lapse, and of idle
        ones while memory is short."""
        settings = self._settings
        while True:
            await self._clock.sleep(self._room.look_again_s())
            now, epoch = self._clock.monotonic(), self._clock.now()
            self._templates.sweep(now)
            for environment in list(self._idle):
                if now - environment.idle_since < settings.idle_s:
                    break
                environment.destroy()
            for pool in [pool for pool in self._pools.values() if pool.provisioned]:
                for environment in list(pool.ready):
                    ended = environment.initialised and environment.state == "cold"
                    if ended or environment.retire_at <= epoch:
                        environment.destroy()  # and make another one
            for key in [key for key, rate in self._rates.items() if rate.full(now)]:
                del self._rates[key]
            await self._relieve()
            if self._hungry.size:
                self._feed()

    async def _relieve(self) -> None:
        """While memory is short, destroy as many of the longest idle as make up for it, and
        where none is left, templates that environments were forked from."""
        while (missing_mb := self._room.missing_mb()) > 0:
            going: list[Environment | Template] = []
            while missing_mb > 0:
                oldest = self._used_least() or self._templates.in_use()
                if oldest is None:
                    break
                missing_mb -= max(1, oldest.memory_mb())
                oldest.destroy()
                going.append(oldest)
            if not going:
                return
            for each in going:  # before it is gone its memory is not back
                await each.destroyed()


def _size_mb(version: FunctionVersion) -> int:
    """What an environment may come to use; half of the machine at most, so that one that would
    take more is not kept out for ever."""
    return min(version.memory_mb, _HALF_OF_MACHINE_MB)


async def _unverified(version: FunctionVersion) -> None:
    return None


def _never() -> float:
    return 0.0
