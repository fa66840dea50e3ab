"""SnapStart under seeded faults: inits and hooks that fail or hang, forks that fail, templates
dropped and versions deleted or published anew at any moment.

Whatever happens: nobody runs in what was forked of another version or revision, leases return,
nothing is left over, and no more is there than the bound. A failure names its seed.
"""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest

from boda.core.errors import AwsError
from boda.fleet.settings import FleetSettings
from boda.fleet.template import SnapshotFailed
from boda.invoke.call import Call
from boda.runtime.function import FunctionVersion
from support.fake_guests import Guest, Invoked
from support.fake_sandbox import function
from support.fleet_platform import Platform

SEEDS = range(40)
NAMES = ("a", "b", "c", "plain")
BOUND = 6
TOLD = {
    "ServiceException",
    "TooManyRequestsException",
    "SnapStartException",
    "SnapStartTimeoutException",
    "SnapStartRegenerationFailureException",
}


class Chaos:
    def __init__(self, platform: Platform, seed: int) -> None:
        self.chance = random.Random(seed)
        self.platform = platform
        script = platform.sandboxes
        script.init, script.snapshot, script.restore = self.init, self.snapshot, self.restore
        script.handle = self.handle
        self.calm = False

    def later(self, seconds, callback, *args) -> None:
        self.platform.clock.call_later(seconds, callback, *args)

    def init(self, guest: Guest) -> None:
        self.later(0.01, guest.ready)

    def snapshot(self, guest: Guest) -> None:
        draw = 0.0 if self.calm else self.chance.random()
        delay = self.chance.choice((0, 0.5, 5))
        if draw < 0.75:
            self.later(delay, self._snapshotted, guest)
        elif draw < 0.80:
            self.later(delay, guest.init_error, "Runtime.ImportModuleError")
        elif draw < 0.85:
            self.later(delay, guest.exit, self.chance.choice((0, 1, 139)))
        elif draw < 0.90:
            self.later(delay, guest.ready)
        elif draw < 0.95:
            self.later(delay, guest.send, self.chance.randbytes(30))
        # else: it never says a word

    def _snapshotted(self, guest: Guest) -> None:
        if guest.alive:
            guest.snapshotted()

    def restore(self, guest: Guest) -> None:
        draw = 0.0 if self.calm else self.chance.random()
        delay = self.chance.choice((0, 0.01, 2))
        if draw < 0.75:
            self.later(delay, guest.ready)
        elif draw < 0.80:
            self.later(delay, guest.init_error, "Runtime.AfterRestoreError")
        elif draw < 0.85:
            self.later(delay, guest.exit, 1)
        elif draw < 0.90:
            self.later(delay, guest.frame, 9, b"")  # says that it is a template
        elif draw < 0.95:
            self.later(delay, guest.send, self.chance.randbytes(30))

    def handle(self, guest: Guest, invoked: Invoked) -> None:
        draw = 0.0 if self.calm else self.chance.random()
        delay = self.chance.choice((0, 0.01, 1.5))
        if draw < 0.85:
            self.later(delay, self.answer, guest, invoked)
        elif draw < 0.95:
            self.later(delay, guest.exit, 1)

    def answer(self, guest: Guest, invoked: Invoked) -> None:
        template = guest.sandbox.template
        body = {
            "request": invoked.request_id,
            "code": str(guest.sandbox.spec.code_dir),
            "memory": str((template or guest.sandbox).spec.code_dir),
        }
        guest.respond(invoked, json.dumps(body).encode())


async def simulate(seed: int) -> None:
    platform = Platform(
        FleetSettings(
            max_environments=BOUND,
            reserve_mb=100,
            idle_s=20,
            template_idle_s=40,
            start_limit_s=30,
            provisioned_init_limit_s=15,
        )
    )
    chaos = Chaos(platform, seed)
    chance = random.Random(seed + 1_000_000)
    fleet, functions = platform.fleet, platform.functions
    numbers = dict.fromkeys(NAMES, 0)
    answered, failed = 0, 0
    refusals: list[AwsError] = []
    snapshots: list[asyncio.Future[None]] = []

    def publish(name: str) -> FunctionVersion:
        numbers[name] += 1
        revision = f"{name}{numbers[name]}"
        made = function(
            name, revision, version="1", code_dir=Path(f"/{revision}"), timeout_s=2,
            snap_start=name != "plain",
        )  # fmt: skip
        functions.put(made.arn, "1", made)
        if made.snap_start:
            snapshots.append(asyncio.ensure_future(fleet.snapshot(made)))
        return made

    async def call(number: int) -> None:
        nonlocal answered, failed
        resolved = functions.find("000000000000", "us-east-1", chance.choice(NAMES), "1")
        if resolved is None:
            return
        try:
            outcome = await platform.invoker.invoke(
                Call(resolved, b"{}", f"id-{number}", resolved.arn)
            )
        except AwsError as error:
            refusals.append(error)
            return
        if outcome.function_error:
            failed += 1
            return
        answered += 1
        body = json.loads(outcome.payload)
        assert body == {
            "request": f"id-{number}",
            "code": str(resolved.code_dir),
            "memory": str(resolved.code_dir),
        }

    for name in NAMES:
        publish(name)
    tasks = []
    for number in range(60):
        tasks.append(asyncio.ensure_future(call(number)))
        draw = chance.random()
        name = chance.choice(NAMES)
        if draw < 0.10:
            publish(name)
        elif draw < 0.14:
            functions.remove(function(name).arn)
        elif draw < 0.18:
            publish(name)
            functions.remove(function(name).arn)
        elif draw < 0.24:
            chance.choice(tasks).cancel()
        elif draw < 0.30:
            platform.sandboxes.fail_forks = chance.choice((1, 2, 5))
        elif draw < 0.34:
            platform.sandboxes.fail_starts = 1
        elif draw < 0.40:
            platform.available_mb = chance.choice((10, 10_000))
        elif draw < 0.44 and snapshots:
            chance.choice(snapshots).cancel()
        await platform.advance(chance.choice((0, 0, 0.001, 0.1, 1, 12)))
        assert len(fleet.environments()) <= BOUND + 1  # a template made again is one more
    chaos.calm = True
    platform.available_mb = 10_000
    platform.sandboxes.fail_forks = platform.sandboxes.fail_starts = 0
    await platform.advance(40)
    await platform.advance(160)

    assert all(task.done() for task in (*tasks, *snapshots))
    for task in (*tasks, *snapshots):
        if not task.cancelled() and not isinstance(task.exception(), SnapshotFailed):
            task.result()
    assert answered > 3
    assert {error.code for error in refusals} <= TOLD
    for name in NAMES:
        assert platform.concurrency.running("000000000000", "us-east-1", name) == 0
    await platform.advance(120)  # everything idle has gone
    assert fleet.environments() == [] == platform.sandboxes.alive
    assert fleet._pools == {} and fleet._scaling.leaving == 0
    assert not fleet._templates._environments and not fleet._templates._resting
    for name in NAMES:  # and all goes well again
        outcome = await _patiently(platform, publish(name))
        assert json.loads(outcome.payload)["memory"] == f"/{name}{numbers[name]}"
    await fleet.close()
    assert not any(platform.endpoints.values())
    assert platform.sandboxes.alive == []


async def _patiently(platform: Platform, version: FunctionVersion):
    task = platform.begin(version)
    for _ in range(20):
        await platform.advance(1)
    return await task


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens(seed):
    await simulate(seed)
