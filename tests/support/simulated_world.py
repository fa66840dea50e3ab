"""The platform's engine in a simulated world: what really runs is the invoke path with its limits,
the fleet with its environments, templates and sessions, and the durable queue on a database; what
is simulated is time, guests, clients, the disk's moods and the end of the process.

A seed decides everything, and the same seed gives the same run to the last step:

    PYTHONPATH=src:tests python -m support.simulated_world SEED

prints a run. A world lives through several processes: one that dies leaves only the database and
what clients, targets and logs have seen; the next one opens the same folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import sqlite3
import sys
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from boda import delivery, telemetry
from boda.core.arn import function_arn
from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.delivery.destination import AsyncRules
from boda.delivery.retry import RetryPolicy
from boda.fleet.lifecycle import AVAILABLE
from boda.fleet.settings import FleetSettings
from boda.fleet.template import SnapshotFailed
from boda.invoke.call import Call, Done
from boda.invoke.concurrency import Concurrency, ConcurrencyLease
from boda.invoke.function_table import LATEST, FunctionTable
from boda.invoke.path import Invoker
from boda.invoke.streaming import open_stream
from boda.runtime.function import FunctionVersion
from boda.sandbox.contract import SandboxSpec
from support.delivery_world import ACCOUNT, REGION, ROLE
from support.fake_guests import FramedGuest, Guest, HttpGuest
from support.fake_sandbox import function
from support.fleet_platform import Platform
from support.simulated_disk import SimulatedRows
from support.simulated_guests import Guests
from support.simulated_ledger import LONGEST_S, Asked, Ledger, Witness
from support.simulated_loop import ProcessDied, SimulatedClock, SimulatedLoop, Stuck

TOLD = "arn:aws:sqs:us-east-1:000000000000:told"
WALL = 1_767_225_600.0
PLENTY_MB = 10_000
RULES = {
    "a": AsyncRules(on_success=TOLD, on_failure=TOLD),
    "b": AsyncRules(RetryPolicy(max_retries=0), TOLD, TOLD),
    "s": AsyncRules(RetryPolicy(max_retries=1), TOLD, TOLD),
    "t": AsyncRules(RetryPolicy(max_age_s=100.0), TOLD, TOLD),
}


class Broken(AssertionError):
    """The world saw what must never be."""


@dataclass
class Truth:
    """One function as its rows would tell. provisioned: by version."""

    name: str
    revision: int = 0
    versions: dict[str, FunctionVersion] = field(default_factory=dict)
    published: int = 0
    alias: tuple[str, dict[str, float]] | None = None
    reserved: int | None = None
    provisioned: dict[str, int] = field(default_factory=dict)
    ever_provisioned: bool = False

    @property
    def arn(self) -> str:
        return function_arn(ACCOUNT, REGION, self.name)


class World:
    """One seed's run. ``run`` once."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.folder = folder
        chance = self.chance = random.Random(seed)
        self.ledger = Ledger()
        self.time_s = 1000.0
        self.wall_s = WALL
        self.limit = chance.choice((4, 8, 100))
        self.settings = FleetSettings(
            max_environments=chance.choice((4, 6, 9)),
            reserve_mb=100,
            idle_s=20,
            template_idle_s=40,
            start_limit_s=30,
            room_limit_s=10,
            provisioned_init_limit_s=15,
            provision_again_s=20,
            scale_rate=chance.choice((0, 3, 1000)),
            provisioning_at_once=2,
            tenant_environments=3,
        )
        self.requests_per_unit = chance.choice((0, 2, 10))
        self.guests = Guests(chance, self.ledger, chance.choice((0.0, 0.15, 0.35)))
        self.slow_disk = chance.choice((0.0, 0.02, 0.5))
        self.disk = ""
        self.steps_left = chance.randrange(15, 40) if chance.random() < 0.98 else 200
        self.recorded = chance.random() < 0.2
        """Whether logs and metering go to rows, too."""
        self.expires_s: float | None = chance.choice((None, None, 330.0))
        """How long the keys of roles last; environments go 300 s before."""
        self.deaths_left = chance.choice((0, 0, 0, 1, 2))
        self.framings = {name: chance.choice((FramedGuest, HttpGuest)) for name in "abt"}
        """How the guests of a function speak; SnapStart's speak in frames."""
        self.calm = False
        self.functions = {name: Truth(name) for name in "abst"}
        for truth in self.functions.values():
            self.make(truth, LATEST)
        self._count = 0

    # What clients of the control plane did

    def make(self, truth: Truth, version: str) -> FunctionVersion:
        """A version with new code, as rows would hold it."""
        truth.revision += 1
        revision = f"{truth.name}{truth.revision}"
        made = function(
            truth.name,
            revision,
            version=version,
            timeout_s=2,
            code_dir=Path(f"/{revision}"),
            environment=(("REVISION", revision),),
            tenant_isolation=truth.name == "t",
            snap_start=truth.name == "s" and version != LATEST,
            dead_letter_arn=TOLD if truth.name == "b" else "",
        )
        truth.versions[version] = made
        return made

    def framing(self, spec: SandboxSpec) -> type[Guest]:
        return self.framings.get(spec.environment["AWS_LAMBDA_FUNCTION_NAME"], FramedGuest)

    def next_id(self) -> str:
        self._count += 1
        return f"r{self._count}"

    def delay(self) -> float:
        """How long the disk takes for its next piece of work."""
        return 0.0 if self.calm or not self.slow_disk else self.chance.random() * self.slow_disk

    def refuses(self) -> str:
        if self.calm:
            return ""
        if self.disk:
            return self.disk
        return "commit" if self.chance.random() < 0.02 else ""

    def unreadable(self) -> bool:
        return not self.calm and self.chance.random() < 0.05

    # Life and death

    def run(self) -> Ledger:
        """Raises Broken with what was wrong, the last of what happened, and how to see it again."""
        before = _descriptors()
        with _quiet(self.ledger) as heard:
            while True:
                life = Life(self)
                died = life.live()
                self.time_s = life.loop.time()
                if died:
                    life.bury()
                for complaint in life.loop.complaints if not died else ():
                    self.ledger.fault(f"unheard: {complaint}")
                life.loop.close()
                if self.ledger.wrong or not (died or life.stopping):
                    break
                self.time_s += self.chance.choice((0.0, 5.0, 100.0))
            for record in heard:
                self.ledger.fault(record)
        if not self.ledger.wrong and _descriptors() != before:
            self.ledger.fault(f"{_descriptors() - before} descriptors are left open")
        if self.ledger.wrong:
            raise Broken(
                f"seed {self.seed}: {'; '.join(self.ledger.wrong[:5])}\n"
                + "\n".join(self.ledger.trace[-60:])
                + f"\nsee it again: PYTHONPATH=src:tests python -m support.simulated_world "
                f"{self.seed}"
            )
        return self.ledger


class WatchedInvoker(Invoker):
    """Tells the ledger of each attempt; its end is heard even where its caller has gone."""

    ledger: Ledger

    def _start(self, call: Call, done: Done) -> Any:
        ledger = self.ledger
        ledger.begins(call)

        def heard(outcome: Any, error: Any) -> None:
            ledger.ends(call, outcome, error)
            done(outcome, error)

        return super()._start(call, heard)


class WatchedConcurrency(Concurrency):
    """Counts the leases by itself, and holds each new one against what was set."""

    def __init__(self, world: World, clock: Clock) -> None:
        super().__init__(
            world.limit, requests_per_unit=world.requests_per_unit, monotonic=clock.monotonic
        )
        self._world = world
        self.out: Counter[Any] = Counter()

    def lease(self, version: FunctionVersion, qualifier: str = "", **how: Any) -> Any:
        lease = super().lease(version, qualifier, **how)
        truth, world, out = self._world.functions[version.name], self._world, self.out
        keys = ["all", version.name]
        if lease.provisioned:
            keys.append((version.name, version.version))
        elif truth.reserved is None:
            keys.append("unreserved")
        out.update(keys)
        shared = world.limit - sum(
            sum(each.provisioned.values()) if each.reserved is None else each.reserved
            for each in world.functions.values()
        )
        bounds: list[tuple[Any, int | None]] = [
            ("all", world.limit),
            (version.name, truth.reserved),
            ((version.name, version.version), truth.provisioned.get(version.version, 0)),
            ("unreserved", shared),
        ]
        for key, most in bounds:
            if key in keys and most is not None and out[key] > most:
                world.ledger.fault(f"{out[key]} of {key} run, and {most} may")
        return _WatchedLease(lease, lambda: out.subtract(keys))


class _WatchedLease:
    def __init__(self, lease: ConcurrencyLease, released: Any) -> None:
        self._lease, self._released = lease, released

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lease, name)

    def release(self) -> None:
        self._lease.release()
        released, self._released = self._released, lambda: None
        released()


class Life:
    """One process of the platform, from its start to its end or its death."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ledger = world.ledger
        self.ledger.life += 1
        self.loop = SimulatedLoop(world.time_s, world.delay)
        self.ledger.now = self.loop.time
        self.clients: deque[asyncio.Task[None]] = deque()
        self.streams: list[Any] = []
        self.cut = False
        self.stopping = False

    def live(self) -> bool:
        """Whether it died."""
        try:
            self.loop.run_until_complete(self._main())
        except ProcessDied:
            return True
        except Stuck as error:
            self.ledger.fault(str(error))
        return False

    def bury(self) -> None:
        """Its end: what was in memory is gone, and nothing it still does reaches anything."""
        self.ledger.note("the process dies")
        self.ledger.counts["deaths"] += 1
        self.cut = True
        self.witness.wired = False
        self.rows.cut()
        self.ledger.lost_process()
        sandboxes = self.platform.sandboxes
        sandboxes.init = sandboxes.snapshot = sandboxes.restore = lambda guest: None
        sandboxes.handle = lambda guest, invoked: None
        sandboxes.fail_starts = sandboxes.fail_forks = 1 << 30
        self.ledger.deaf = True
        try:
            self._cancel_all()
            self.loop.run_until_complete(sandboxes.close())
            self.loop.hang_up()
            self._cancel_all()  # what began as the connections ended
        finally:
            self.ledger.deaf = False
        self.rows.close()

    def _cancel_all(self) -> None:
        for _ in range(20):
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=1))

    async def _main(self) -> None:
        world = self.world
        self.platform, self.rows = self._build()
        self._tell_functions()
        if world.recorded:
            self.recorder = telemetry.build(self.rows, self.platform.clock)
            await self.recorder.start()
            self.witness.beside = self.recorder
        self._watch_starts()
        await self._start()
        if world.deaths_left and world.steps_left:
            world.deaths_left -= 1
            self.loop.dies_after = world.chance.choice((3, 30, 100, 300, 1000))
        while world.steps_left and not self.stopping:
            world.steps_left -= 1
            Program(self).step()
            await asyncio.sleep(world.chance.choice((0, 0, 0.001, 0.1, 1, 1, 3, 12, 70)))
            self.check()
            if self.ledger.wrong:
                break
        if self.stopping and not self.ledger.wrong:
            await self._stop()
            return
        self.loop.dies_after = None
        if not self.ledger.wrong:
            await self._come_to_rest()
        await self._close(0.0)

    def _build(self) -> tuple[Platform, SimulatedRows]:
        world = self.world
        clock = SimulatedClock(self.loop, lambda: world.wall_s)
        ids = Ids(world.chance.randrange(1 << 30))
        self.witness = Witness(self.ledger)
        platform = Platform(
            world.settings,
            clock=clock,
            telemetry=self.witness,
            functions=FunctionTable(world.chance.random),
            concurrency=lambda clock: WatchedConcurrency(world, clock),
            ids=ids,
            invoker=WatchedInvoker,
        )
        platform.invoker.ledger = self.ledger
        platform.lasts_s = world.expires_s
        world.guests.script(platform.sandboxes)
        platform.sandboxes.framing = world.framing
        world.guests.hang_up = Program(self).hang_up
        rows = SimulatedRows(
            world.folder / "rows.sqlite",
            [delivery.metadata, *([telemetry.metadata] if world.recorded else [])],
            self.loop,
            refuses=world.refuses,
            slow=world.delay,
            unreadable=world.unreadable,
        )
        self.delivery = delivery.build(
            rows,
            platform.functions,
            platform.invoker,
            self.witness,
            clock,
            ids,
            slots=8,
            boot="one",
            reserved=platform.concurrency.reserved,
            rules=lambda version, qualifier: RULES[version.name],
            role=lambda version: ROLE,
        )
        self.delivery.post.add("sqs", _Targets(self))
        return platform, rows

    async def _start(self) -> None:
        """It may be refused while the disk is full; whoever runs it tries again."""
        while True:
            try:
                await self.delivery.start()
                return
            except (AwsError, sqlite3.OperationalError) as error:
                self.ledger.note(f"no start: {error}")
                self.world.disk = ""
                await asyncio.sleep(1)

    def _tell_functions(self) -> None:
        """What a start finds in its rows."""
        platform = self.platform
        for truth in self.world.functions.values():
            for number, version in truth.versions.items():
                platform.functions.put(truth.arn, number, version)
            if truth.alias is not None:
                platform.functions.put_alias(truth.arn, "live", *truth.alias)
            if truth.reserved is not None:
                platform.concurrency.reserve(ACCOUNT, REGION, truth.name, truth.reserved)
            for number in truth.provisioned:
                self.provision(truth, number)

    def _watch_starts(self) -> None:
        """No function gets more environments than its rate lets it have."""
        world, sandboxes = self.world, self.platform.sandboxes
        start, begun = sandboxes.start, defaultdict[str, list[float]](list)
        rate, burst = (
            world.settings.scale_rate / world.settings.scale_period_s,
            world.settings.scale_rate,
        )

        async def watched(spec: Any) -> Any:
            name = spec.environment["AWS_LAMBDA_FUNCTION_NAME"]
            if burst and not spec.template:
                now, times = self.loop.time(), begun[name]
                times.append(now)
                both = 2 if world.functions[name].ever_provisioned else 1  # each has its own rate
                for number, since in enumerate(reversed(times), 1):
                    if number > both * (burst + rate * (now - since) + 1e-3):
                        self.ledger.fault(f"{name} started {number} in {now - since} s")
                        break
            return await start(spec)

        sandboxes.start = watched

    def provision(self, truth: Truth, number: str) -> None:
        truth.ever_provisioned = True
        count = truth.provisioned.get(number, 0)
        version = truth.versions[number]
        self.platform.fleet.provision(version, count)
        self.platform.concurrency.provision(ACCOUNT, REGION, truth.name, number, count)

    # Checks

    def check(self) -> None:
        """At any moment."""
        platform, ledger, fleet = self.platform, self.ledger, self.platform.fleet
        ledger.check_times()
        current = {
            version.key
            for truth in self.world.functions.values()
            for version in truth.versions.values()
        }
        busy: Counter[str] = Counter()
        for environment in fleet._live.values():
            if environment.version.key not in current and environment.state in AVAILABLE:
                ledger.fault(f"an idle environment of {environment.version.key} is left")
            busy[environment.version.name] += environment._invocation.call is not None
        for name, count in busy.items():
            if count > platform.concurrency.running(ACCOUNT, REGION, name):
                ledger.fault(f"{count} of {name} are busy, and fewer leases are out")
        # A template that is made again for what lives already is one more for each version.
        templates = len({key for key in current if key[2] == "s"})
        if len(fleet._live) > self.world.settings.max_environments + templates:
            ledger.fault(f"{len(fleet._live)} environments live")
        if not self.rows._waiting and not self.delivery.queue._journal._additions:
            self._check_durable()

    def _check_durable(self) -> None:
        rows = self.rows.read_now(
            lambda tx: tx.run(sa.text("SELECT request_id FROM async_events")).all()
        )
        self.ledger.check_durable({row[0] for row in rows})

    async def _come_to_rest(self) -> None:
        """All goes well from now on: everything must end, and then everything must be gone."""
        world, platform, ledger = self.world, self.platform, self.ledger
        ledger.note("calm")
        world.calm = world.guests.calm = True
        world.disk = ""
        platform.available_mb = PLENTY_MB
        sandboxes = platform.sandboxes
        sandboxes.fail_starts = sandboxes.fail_forks = 0
        sandboxes.fail_restarts = sandboxes.fail_stops = False
        platform.refusal = None
        if sandboxes.start_gate is not None:
            sandboxes.start_gate.set()
        sandboxes.start_gate = None
        await self._all_end()
        for _ in range(400):
            if not await self.delivery.queue.waiting():
                break
            await asyncio.sleep(30)
        else:
            ledger.fault("the queue is not drained")
        await self._all_end()
        for task in self.clients:
            if not task.done():
                ledger.fault(f"a client still waits: {task}")
            elif not task.cancelled() and task.exception() is not None:
                ledger.fault(f"a client got {task.exception()!r}")
        ledger.check_quiet()
        await self._check_provisioned()
        await self._serve_again()
        for truth in world.functions.values():
            for number in list(truth.provisioned):
                del truth.provisioned[number]
                self.provision(truth, number)
        await asyncio.sleep(80)
        self._check_nothing_left()
        if world.recorded:
            await self._check_recorded()

    async def _all_end(self) -> None:
        """Give what has begun the time that it may take."""
        for _ in range(int(LONGEST_S / 5)):
            await asyncio.sleep(5)
            if not self.ledger.begun and all(task.done() for task in self.clients):
                break
        self.check()

    async def _check_provisioned(self) -> None:
        """All there are, though now and then one goes because its keys lapse."""
        for truth in self.world.functions.values():
            for number, count in truth.provisioned.items():
                for _ in range(30):
                    there = self.platform.fleet.provisioned(truth.versions[number])
                    if there.allocated == there.available == count:
                        break
                    await asyncio.sleep(1)
                else:
                    self.ledger.fault(f"{there} of {count} for {truth.name}:{number}")

    async def _serve_again(self) -> None:
        """Everything there is can be called, without a restart."""
        program = Program(self)
        for truth in self.world.functions.values():
            for number in truth.versions:
                if truth.reserved == 0:
                    continue
                before = self.ledger.counts["answered"]
                for _ in range(4):
                    program.call(truth, number, "call")
                    await asyncio.sleep(8)
                    if self.ledger.counts["answered"] > before:
                        break
                else:
                    self.ledger.fault(f"{truth.name}:{number} does not recover")

    async def _check_recorded(self) -> None:
        """What rows tell of logs and metering is what was seen of them."""
        await self.recorder.flush()
        ledger = self.ledger
        rows = self.rows.read_now(
            lambda tx: tx.run(
                sa.text(
                    "SELECT function, version, sum(requests), sum(billed_ms) FROM metering "
                    "GROUP BY function, version"
                )
            ).all()
        )
        seen = {
            name: (each["requests"], each["billed_ms"])
            for name, each in ledger.billed.items()
            if "billed_ms" in each
        }
        found = {f"{row[0]}:{row[1]}": (row[2], row[3]) for row in rows}
        lines = self.rows.read_now(
            lambda tx: tx.run(sa.text("SELECT sum(events) FROM log_blocks")).scalar()
        )
        if ledger.life == 1 and found != seen:
            ledger.fault(f"metered {found}, not {seen}")
        if ledger.life == 1 and lines != ledger.counts["lines"]:
            ledger.fault(f"{lines} lines are stored of {ledger.counts['lines']}")
        if any(found[name] > seen.get(name, (0, 0)) for name in found):
            ledger.fault(f"metered {found}, more than {seen}")

    def _check_nothing_left(self) -> None:
        platform, ledger = self.platform, self.ledger
        fleet, queue = platform.fleet, self.delivery.queue
        left = {
            "environments": fleet.environments(),
            "sandboxes": platform.sandboxes.alive,
            "pools": fleet._pools,
            "idle": fleet._idle,
            "queue": fleet._queue.size,
            "leaving": fleet._scaling.leaving,
            "provisioning": fleet._scaling.provisioning,
            "tenants": +fleet._limits.tenants,
            "snapshotting": fleet._snapshotting,
            "promised": fleet._capacity._promised_mb if fleet._capacity._starting else 0,
            "templates": fleet._templates._environments,
            "resting": fleet._templates._resting,
            "alive": fleet._templates._alive,
            "endpoints": [each for each, is_open in platform.endpoints.items() if is_open],
            "lanes": queue._runner._lanes,
            "held": queue._runner._held,
            "timers": queue._runner._timers,
            "leases": +platform.concurrency.out,
        }
        for _, _, place in platform.concurrency.scopes():
            left["running"] = place.running
            left["unreserved"] = place.unreserved
            left["of functions"] = sum(
                each.running + each.own + sum(share.running for share in each.shares.values())
                for each in place.functions.values()
            )
        for what, there in left.items():
            if there:
                ledger.fault(f"{what} are left: {there}")

    async def _stop(self) -> None:
        """An orderly end amid everything: what runs may finish for a while, clients hear of it."""
        grace_s = self.world.chance.choice((0.0, 0.5, 5.0))
        self.ledger.note(f"stops within {grace_s} s")
        self.ledger.counts["stops"] += 1
        for rid in self.ledger.begun:
            self.ledger.died_in[rid] += 1
        await self._close(grace_s)
        for task in self.clients:
            if not task.done() or (not task.cancelled() and task.exception() is not None):
                self.ledger.fault(f"a client was left waiting by the stop: {task}")
        for rid in self.ledger.begun:
            self.ledger.fault(f"{rid} did not end with the stop")

    async def _close(self, grace_s: float) -> None:
        if self.platform.sandboxes.start_gate is not None:
            self.platform.sandboxes.start_gate.set()
        await self.delivery.stop(grace_s)
        await self.platform.fleet.close(grace_s)
        if not self.ledger.wrong and self.platform.sandboxes.alive:
            self.ledger.fault("a sandbox outlives the fleet")
        await self.platform.sandboxes.close()
        if self.world.recorded:
            await self.recorder.stop()
        await asyncio.sleep(10)
        if self.ledger.wrong:
            for task in self.clients:
                task.cancel()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if not self.ledger.wrong:
            if others:
                self.ledger.fault(f"tasks are left: {others}")
            if self.loop.watched:
                self.ledger.fault(f"{self.loop.watched} descriptors are still listened to")
        for task in others:
            task.cancel()
        await asyncio.sleep(0)
        self.loop.dies_after = None  # it has ended
        self.rows.close()


class _Targets:
    """Where records and dead letters go; now and then it is out of order."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def may_deliver(self, target_arn: str, source: Any) -> bool:
        return True

    async def deliver(self, target_arn: str, message: Any) -> str:
        life, world = self._life, self._life.world
        if not world.calm:
            await asyncio.sleep(world.chance.choice((0, 0, 0.1)))
            if world.chance.random() < 0.1 and not message.attributes:
                raise AwsError("QueueDoesNotExist", "There is no such queue.", 400)
            if world.chance.random() < 0.1:
                raise AwsError("ServiceUnavailable", "The platform cannot write.", 503)
        if life.cut:
            raise AwsError("ServiceException", "There is nobody who could send.", 500)
        life.ledger.letter(message.event, message.attributes)
        return "id"


class Program:
    """What happens in a world, a step at a time."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.world = life.world
        self.chance = life.world.chance
        self.ledger = life.ledger

    _STEPS = {
        "calls": 40,
        "update": 7,
        "publish": 6,
        "route": 4,
        "unpublish": 3,
        "delete": 2,
        "reserve": 5,
        "provision": 5,
        "hang_up": 6,
        "start_fault": 4,
        "memory": 4,
        "disk_fault": 4,
        "wall": 3,
        "gate": 2,
        "role": 2,
        "stop": 1,
        "rest": 3,
    }  # fmt: skip

    def step(self) -> None:
        what = self.chance.choices(list(self._STEPS), list(self._STEPS.values()))[0]
        getattr(self, what)()

    def _any(self) -> Truth:
        return self.chance.choice(list(self.world.functions.values()))

    # Clients of functions

    def calls(self) -> None:
        truth = self._any()
        kind = self.chance.choice(("call", "call", "invoke", "stream", "event", "event"))
        for _ in range(self.chance.choice((1, 1, 1, 2, 3, 8))):
            qualifiers = [*truth.versions, *(["live"] if truth.alias else [])]
            self.call(truth, self.chance.choice(qualifiers), kind)

    def call(self, truth: Truth, qualifier: str, kind: str) -> None:
        life, world, ledger = self.life, self.world, self.ledger
        version = life.platform.functions.find(ACCOUNT, REGION, truth.name, qualifier)
        assert version is not None
        if version.key != truth.versions[version.version].key:
            ledger.fault(f"{truth.name}:{qualifier} leads to {version.key}")
        led = (truth.alias[0], *truth.alias[1]) if truth.alias is not None else ()
        if qualifier == "live" and version.version not in led:
            ledger.fault(f"{truth.name}:live is {truth.alias} and leads to {version.key}")
        rid = world.next_id()
        tenant = self.chance.choice(("blue", "green")) if version.tenant_isolation else ""
        payload = json.dumps({"nonce": rid}).encode()
        arn = truth.arn if qualifier == LATEST else f"{truth.arn}:{qualifier}"
        asked = Asked(
            rid,
            kind,
            ledger.life,
            life.loop.time(),
            truth.name,
            qualifier,
            arn,
            tenant,
            RULES[truth.name].retry,
            bool(version.dead_letter_arn),
        )
        ledger.asked[rid] = asked
        ledger.note(f"{rid} {kind} {truth.name}:{qualifier} {tenant}")
        ledger.counts[kind] += 1
        call = Call(
            version, payload, rid, arn, tenant=tenant, tail=self.chance.random() < 0.3
        )  # fmt: skip
        if kind == "call":
            life.platform.invoker.dispatch(call, lambda outcome, error: self._ended(asked))
        elif kind == "invoke":
            self._client(asked, life.platform.invoker.invoke(call))
        elif kind == "stream":
            self._client(asked, self._read(call))
        else:
            self._client(asked, self._enqueue(asked, version, call, qualifier))

    def _client(self, asked: Asked, work: Any) -> None:
        async def wait() -> None:
            try:
                await work
            except AwsError:
                pass
            except asyncio.CancelledError:
                asked.left = True
                return
            self._ended(asked)

        task = self.life.loop.create_task(wait())
        # Never begun, it never hears of its end, and its work is never done.
        task.add_done_callback(lambda _: work.close())
        self.life.clients.append(task)

    def _ended(self, asked: Asked) -> None:
        asked.ended += not self.life.cut

    async def _read(self, call: Call) -> None:
        leaves = self.chance.random() < 0.2
        answer = await open_stream(self.life.platform.invoker, call, self.life.platform.clock)
        got = bytearray()
        async for data in answer:
            got += data
            if leaves:
                await answer.aclose()
                return
            await asyncio.sleep(self.chance.choice((0, 0.01)))
        outcome = await answer.outcome()
        if not outcome.function_error:
            self.ledger.check_answer(call.request_id, bytes(got))

    async def _enqueue(
        self, asked: Asked, version: FunctionVersion, call: Call, qualifier: str
    ) -> None:
        await self.life.delivery.queue.enqueue(
            version,
            call.payload,
            request_id=asked.request_id,
            qualifier=qualifier,
            invoked_arn=call.invoked_arn,
            tenant=call.tenant,
        )
        if not self.life.cut:
            asked.acknowledged = True
            self.ledger.note(f"{asked.request_id} accepted")

    def hang_up(self) -> None:
        waiting = [task for task in self.life.clients if not task.done()]
        self.chance.shuffle(waiting)
        for task in waiting[: self.chance.choice((1, 2))]:
            self.ledger.note("a client hangs up")
            task.cancel()

    # Clients of the control plane

    def update(self) -> None:
        truth = self._any()
        version = self.world.make(truth, LATEST)
        self.ledger.note(f"update {version.key}")
        self.life.platform.functions.put(truth.arn, LATEST, version)

    def publish(self) -> None:
        truth = self._any()
        if truth.name == "t" or len(truth.versions) > 3:
            return
        truth.published += 1
        number = str(truth.published)
        version = self.world.make(truth, number)
        if version.snap_start:
            del truth.versions[number]  # until its template is there
            self.life.clients.append(
                self.life.loop.create_task(self._snapshot(truth, number, version))
            )
        else:
            self.ledger.note(f"publish {version.key}")
            self.life.platform.functions.put(truth.arn, number, version)

    async def _snapshot(self, truth: Truth, number: str, version: FunctionVersion) -> None:
        fleet = self.life.platform.fleet
        self.ledger.note(f"snapshot {version.key}")
        try:
            await fleet.snapshot(version)
        except SnapshotFailed as error:
            self.ledger.note(f"no snapshot {version.key}: {error}")
            fleet.retire(version)
            return
        except asyncio.CancelledError:
            fleet.retire(version)
            raise
        if not self.life.cut:
            self.ledger.note(f"publish {version.key}")
            truth.versions[number] = version
            self.life.platform.functions.put(truth.arn, number, version)

    def route(self) -> None:
        truth = self._any()
        numbers = [number for number in truth.versions if number != LATEST]
        if numbers:
            to = self.chance.choice(numbers)
            others = {each: 0.3 for each in numbers if each != to and self.chance.random() < 0.5}
            truth.alias = (to, dict(list(others.items())[:1]))
            self.ledger.note(f"route {truth.name} {truth.alias}")
            self.life.platform.functions.put_alias(truth.arn, "live", *truth.alias)

    def unpublish(self) -> None:
        truth = self._any()
        routed = () if truth.alias is None else (truth.alias[0], *truth.alias[1])
        numbers = [each for each in truth.versions if each != LATEST and each not in routed]
        if numbers:
            self._drop(truth, self.chance.choice(numbers))

    def _drop(self, truth: Truth, number: str) -> None:
        self.ledger.note(f"unpublish {truth.name}:{number}")
        self.ledger.gone[f"{truth.name}:{number}"].append(self.life.loop.time())
        if truth.provisioned.pop(number, 0):
            self.life.provision(truth, number)
        del truth.versions[number]
        self.life.platform.functions.remove(truth.arn, number)

    def delete(self) -> None:
        """And make it again, later or at once."""
        truth, life = self._any(), self.life
        self.ledger.note(f"delete {truth.name}")
        self.ledger.gone[truth.name].append(life.loop.time())
        for number in list(truth.provisioned):
            del truth.provisioned[number]
            life.provision(truth, number)
        truth.versions.clear()
        truth.alias, truth.reserved = None, None
        life.platform.concurrency.reserve(ACCOUNT, REGION, truth.name, None)
        life.platform.functions.remove(truth.arn)
        life.platform.functions.put(truth.arn, LATEST, self.world.make(truth, LATEST))

    def reserve(self) -> None:
        truth = self._any()
        others = sum(
            max(each.reserved or 0, sum(each.provisioned.values()))
            for each in self.world.functions.values()
            if each is not truth
        )
        count = self.chance.choice((None, None, 0, 1, 2))
        if count is not None and (
            others + count >= self.world.limit or count <= sum(truth.provisioned.values()) != 0
        ):
            return
        truth.reserved = count
        self.ledger.note(f"reserve {truth.name} {count}")
        self.life.platform.concurrency.reserve(ACCOUNT, REGION, truth.name, count)

    def provision(self) -> None:
        truth = self._any()
        numbers = [number for number in truth.versions if number != LATEST]
        if not numbers:
            return
        number = self.chance.choice(numbers)
        count = self.chance.choice((0, 1, 2))
        other = sum(each for one, each in truth.provisioned.items() if one != number)
        taken = sum(
            max(each.reserved or 0, sum(each.provisioned.values()))
            for each in self.world.functions.values()
            if each is not truth
        )
        room = (self.world.limit - taken if truth.reserved is None else truth.reserved) - 1
        kept = [
            each + (one.name == "s")  # and its template
            for one in self.world.functions.values()
            for version, each in one.provisioned.items()
            if (one, version) != (truth, number)
        ]
        if sum(kept) + count + (truth.name == "s") > self.world.settings.max_environments - 2:
            return  # there would be no room for others
        if other + count > room:
            return
        self.ledger.note(f"provision {truth.name}:{number} {count}")
        if count:
            truth.provisioned[number] = count
        else:
            truth.provisioned.pop(number, None)
        self.life.provision(truth, number)

    # The machine

    def start_fault(self) -> None:
        sandboxes = self.life.platform.sandboxes
        what = self.chance.choice(("starts", "starts", "forks", "restarts", "stops"))
        self.ledger.note(f"fault: {what}")
        if what == "starts":
            sandboxes.fail_starts = self.chance.choice((1, 3))
        elif what == "forks":
            sandboxes.fail_forks = self.chance.choice((1, 2, 5))
        elif what == "restarts":
            sandboxes.fail_restarts = not sandboxes.fail_restarts
        else:
            sandboxes.fail_stops = not sandboxes.fail_stops

    def memory(self) -> None:
        platform = self.life.platform
        platform.available_mb = self.chance.choice((10, 150, PLENTY_MB, PLENTY_MB))
        self.ledger.note(f"memory {platform.available_mb}")

    def disk_fault(self) -> None:
        self.world.disk = self.chance.choice(("", "", "begin", "commit"))
        self.ledger.note(f"disk {self.world.disk or 'well'}")

    def wall(self) -> None:
        leap_s = self.chance.choice((-86_400.0, -3600.0, -1.0, 1.0, 3600.0, 86_400.0))
        self.world.wall_s += leap_s
        self.ledger.note(f"wall clock {leap_s:+g}")

    def gate(self) -> None:
        """Starts hang, and then go on."""
        sandboxes = self.life.platform.sandboxes
        if sandboxes.start_gate is None:
            sandboxes.start_gate = asyncio.Event()
        else:
            sandboxes.start_gate.set()
            sandboxes.start_gate = None
        self.ledger.note("gate")

    def stop(self) -> None:
        """The platform is stopped, and started again."""
        self.life.stopping = True

    def role(self) -> None:
        """The role gives its keys no more, or again."""
        platform = self.life.platform
        refused = AwsError("AccessDeniedException", "The role cannot be assumed.", 403)
        platform.refusal = refused if platform.refusal is None else None
        self.ledger.note(f"role {platform.refusal}")

    def rest(self) -> None:
        """Nothing happens."""


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "boda.telemetry" and "could not be" in record.getMessage():
            return  # while the disk refuses
        words = record.getMessage()
        if record.exc_info:
            words += f" ({record.exc_info[1]!r})"
        self.records.append(words)


@contextlib.contextmanager
def _quiet(ledger: Ledger) -> Iterator[list[str]]:
    """What the platform itself holds for a defect; its other words go nowhere."""
    logger, heard = logging.getLogger("boda"), _Heard()
    level, propagates = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    logger.addHandler(heard)
    try:
        yield heard.records
    finally:
        logger.removeHandler(heard)
        logger.setLevel(level)
        logger.propagate = propagates


def run(seed: int) -> Ledger:
    """A seed's world in a folder of its own. Broken."""
    with tempfile.TemporaryDirectory(prefix="boda-world-") as folder:
        return World(seed, Path(folder)).run()


def main() -> None:
    """Print the run of a seed."""
    ledger = Ledger()
    with tempfile.TemporaryDirectory(prefix="boda-world-") as folder:
        world = World(int(sys.argv[1]), Path(folder))
        try:
            ledger = world.run()
        finally:
            print("\n".join(world.ledger.trace))
    print({**ledger.counts})


if __name__ == "__main__":
    main()
