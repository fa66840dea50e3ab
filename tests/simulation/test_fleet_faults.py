"""A fleet under seeded faults, in both framings: guests that crash, hang, lie and answer late,
updates in between.

Whatever happens: every call gets its own answer or an error, no old code answers a call that came
after an update, leases return, and nothing is left over. A failure names its seed.
"""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from boda.core.errors import AwsError
from boda.fleet.lifecycle import AVAILABLE
from boda.fleet.settings import FleetSettings
from boda.invoke.call import Call
from support.fake_guests import FramedGuest, Guest, HttpGuest, Invoked
from support.fake_sandbox import function
from support.fleet_platform import Platform

SEEDS = range(40)
NAMES = ("a", "b", "c")


class Chaos:
    """A script for every guest, drawn from a seed."""

    def __init__(self, platform: Platform, seed: int) -> None:
        self.chance = random.Random(seed)
        self.platform = platform
        platform.sandboxes.init = self.init
        platform.sandboxes.handle = self.handle
        self.past: list[tuple[Guest, Invoked]] = []

    def later(self, seconds: float, callback, *args) -> None:
        self.platform.clock.call_later(seconds, callback, *args)

    def init(self, guest: Guest) -> None:
        draw = self.chance.random()
        delay = self.chance.choice((0, 0.01, 0.5, 3))
        if draw < 0.7:
            self.later(delay, guest.ready)
        elif draw < 0.78:
            self.later(delay, guest.exit, self.chance.choice((0, 1, 139)))
        elif draw < 0.86:
            self.later(delay, guest.init_error, "Runtime.ImportModuleError", b'{"init":1}')
        elif draw < 0.93:
            self.later(11, guest.ready)
        elif draw < 0.95:
            self.later(delay, guest.exit, None, 9, False, True)
        elif draw < 0.98:
            self.later(delay, guest.send, self.chance.randbytes(40))
        # else: it never says a word

    def answer(self, guest: Guest, invoked: Invoked) -> None:
        code = dict(guest.sandbox.spec.environment)["REVISION"]
        body = {
            "request": invoked.request_id,
            "revision": code,
            "payload": invoked.payload.decode(),
        }
        guest.respond(invoked, json.dumps(body).encode())

    def handle(self, guest: Guest, invoked: Invoked) -> None:
        self.past.append((guest, invoked))
        draw = self.chance.random()
        delay = self.chance.choice((0, 0, 0.002, 0.3, 1.5, 2.5))
        if draw < 0.6:
            self.later(delay, self.answer, guest, invoked)
        elif draw < 0.66:
            self.later(delay, guest.exit, self.chance.choice((0, 1)))
        elif draw < 0.70:
            why = self.chance.choice(("own limit", "machine", "itself"))
            self.later(delay, guest.exit, None, 9, why == "own limit", why == "machine")
        elif draw < 0.76:
            pass  # hangs
        elif draw < 0.80:
            self.later(delay, guest.fail, invoked, "ValueError", b'{"errorType":"ValueError"}')
        elif draw < 0.85:  # answers twice
            self.later(delay, self.answer, guest, invoked)
            self.later(delay, self.answer, guest, invoked)
        elif draw < 0.90:  # answers an older call, perhaps another environment's
            other = self.chance.choice(self.past)[1]
            self.later(delay, self.answer, guest, other)
        elif draw < 0.94:
            self.later(delay, guest.send, self.chance.randbytes(30))
        else:  # answers, then ends
            self.later(delay, self.answer, guest, invoked)
            self.later(delay, guest.exit, 1)


async def simulate(seed: int, guest: type[Guest]) -> None:
    platform = Platform(
        FleetSettings(max_environments=5, reserve_mb=100, idle_s=20, start_limit_s=30),
        guest=guest,
    )
    Chaos(platform, seed)
    chance = random.Random(seed + 1_000_000)
    revisions = dict.fromkeys(NAMES, 1)
    answered = 0
    refusals: list[AwsError] = []

    def version(name: str):
        revision = str(revisions[name])
        environment = (("REVISION", revision),)
        return function(name, revision, timeout_s=2, environment=environment)

    for name in NAMES:
        platform.functions.put(version(name).arn, "$LATEST", version(name))

    async def call(number: int) -> None:
        nonlocal answered
        name = chance.choice(NAMES)
        resolved = platform.functions.find("000000000000", "us-east-1", name)
        request_id = f"id-{number}"
        try:
            outcome = await platform.invoker.invoke(
                Call(resolved, b"%d" % number, request_id, resolved.arn)
            )
        except AwsError as error:
            refusals.append(error)
            return
        answered += 1
        body = json.loads(outcome.payload)
        if outcome.function_error:
            if "errorMessage" in body and body["errorMessage"].startswith("RequestId: "):
                assert request_id in body["errorMessage"]
            return
        assert body["request"] == request_id and body["payload"] == str(number)
        assert body["revision"] == resolved.revision_id  # never older, never newer

    tasks = []
    for number in range(60):
        tasks.append(asyncio.ensure_future(call(number)))
        draw = chance.random()
        if draw < 0.08:
            name = chance.choice(NAMES)
            revisions[name] += 1
            platform.functions.put(version(name).arn, "$LATEST", version(name))
        elif draw < 0.14:
            chance.choice(tasks).cancel()
        elif draw < 0.18:
            platform.sandboxes.fail_starts = 1
        elif draw < 0.22:
            platform.available_mb = chance.choice((10, 10_000))
        await platform.advance(chance.choice((0, 0, 0.001, 0.1, 1, 12)))
        for environment in platform.fleet._live.values():
            old = environment.version.revision_id != str(revisions[environment.version.name])
            assert not (old and environment.state in AVAILABLE)
    platform.available_mb = 10_000
    await platform.advance(120)

    assert all(task.done() for task in tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
    assert answered > 20
    assert {error.status for error in refusals} <= {429, 500}
    for name in NAMES:
        assert platform.concurrency.running("000000000000", "us-east-1", name) == 0
    current = {(name, str(revisions[name])) for name in NAMES}
    for environment in platform.fleet._live.values():
        assert (environment.version.name, environment.version.revision_id) in current
    assert len(platform.sandboxes.alive) == len(platform.fleet.environments()) <= 5
    await platform.advance(60)  # everything idle has gone
    assert platform.fleet.environments() == [] == platform.sandboxes.alive
    assert platform.fleet._pools == {}
    started = sum("START RequestId" in line for line in platform.telemetry.lines())
    assert len(platform.telemetry.metered) <= started
    await platform.fleet.close()
    assert not any(platform.endpoints.values())


@pytest.mark.parametrize("guest", [FramedGuest, HttpGuest])
@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens(seed, guest):
    await simulate(seed, guest)
