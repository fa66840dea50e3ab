"""Streams under seeded faults, in both framings: functions that stop, lie and break off, callers
that go away.

Whatever happens: no caller gets a byte of another's stream, every stream ends, what the platform
calls whole is whole, environments and leases return. A failure names its seed.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from boda.core.errors import AwsError
from boda.fleet.settings import FleetSettings
from boda.invoke.call import Call
from boda.invoke.streaming import open_stream
from support.fake_guests import FramedGuest, Guest, HttpGuest, Invoked
from support.fake_sandbox import function
from support.fleet_platform import Platform

SEEDS = range(40)


class Chaos:
    """What every guest does, drawn from a seed. A whole answer is its number ten times."""

    def __init__(self, platform: Platform, seed: int) -> None:
        self.chance = random.Random(seed)
        self.platform = platform
        self.past: list[Invoked] = []
        platform.sandboxes.handle = self.handle

    def later(self, seconds: float, callback, *args) -> None:
        self.platform.clock.call_later(seconds, callback, *args)

    def handle(self, guest: Guest, invoked: Invoked) -> None:
        self.past.append(invoked)
        chance, at = self.chance, 0.0
        guest.stream(invoked)
        stops = chance.choice((10, 10, 10, 10, 0, 3, 7))
        for _ in range(stops):
            at += chance.choice((0, 0, 0.001, 0.1))
            self.later(at, guest.part, invoked, invoked.payload)
        if stops == 10:
            self.later(at, guest.end, invoked)
            if chance.random() < 0.1:  # more after the end
                self.later(at, guest.part, invoked, b"more")
            return
        draw = chance.random()
        if draw < 0.2:
            self.later(at, guest.exit, 1)
        elif draw < 0.4:
            self.later(at, guest.fail, invoked, "ValueError", b'{"errorType":"ValueError"}')
        elif draw < 0.6:  # another's stream
            other = chance.choice(self.past)
            self.later(at, guest.part, other, other.payload)
        elif draw < 0.7:
            self.later(at, guest.send, chance.randbytes(40))
        elif draw < 0.8:
            self.later(at, guest.respond, invoked, b"whole")
        # else: it hangs


async def simulate(seed: int, guest: type[Guest]) -> None:
    platform = Platform(
        FleetSettings(max_environments=5, reserve_mb=100, idle_s=20, start_limit_s=30),
        guest=guest,
    )
    Chaos(platform, seed)
    chance = random.Random(seed + 1_000_000)
    version = function(timeout_s=2)
    platform.functions.put(version.arn, "$LATEST", version)
    whole = 0

    async def call(number: int, leaves: bool) -> None:
        nonlocal whole
        text = b"<%d>" % number
        made = Call(version, text, f"id-{number}", version.arn)
        try:
            answer = await open_stream(platform.invoker, made, platform.clock)
            got = bytearray()
            async for data in answer:
                got += data
                assert (text * 10).startswith(got)
                if leaves:
                    await answer.aclose()
                    return
            outcome = await answer.outcome()
        except AwsError:
            return
        if not outcome.function_error:
            assert bytes(got) == text * 10
            whole += 1

    tasks = []
    for number in range(60):
        tasks.append(asyncio.ensure_future(call(number, chance.random() < 0.2)))
        if chance.random() < 0.06:
            chance.choice(tasks).cancel()
        await platform.advance(chance.choice((0, 0, 0.001, 0.1, 1)))
    await platform.advance(120)

    assert all(task.done() for task in tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
    assert whole > 10
    assert platform.concurrency.running("000000000000", "us-east-1", "f") == 0
    await platform.advance(60)  # everything idle has gone
    assert platform.fleet.environments() == [] == platform.sandboxes.alive
    await platform.fleet.close()


@pytest.mark.parametrize("guest", [FramedGuest, HttpGuest])
@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_half_way(seed: int, guest: type[Guest]) -> None:
    await simulate(seed, guest)
