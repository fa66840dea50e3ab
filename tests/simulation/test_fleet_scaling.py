"""How a fleet grows: by how much, for whom, and how far the machine's memory goes.

Whatever the order in which calls come: a function grows no faster than its rate, the memory that
is to be left alone is left alone, every call is served or throttled in bounded time, no function
starves, and no environment crosses tenants.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from boda.core.errors import AwsError
from boda.fleet.provisioned import ProvisionedStatus
from boda.fleet.settings import FleetSettings
from support.fake_guests import Guest, Invoked
from support.fake_sandbox import function
from support.fleet_platform import Platform

PLENTY = {"max_environments": 1000, "reserve_mb": 100}


class Machine(Platform):
    """With memory of its own: an environment uses it a while after it came to be.

    total_mb: without environments. uses: MiB of an environment by function, seconds after its
    start. busy_s: how long a call takes. cold_s: how long init does.
    """

    def __init__(self, total_mb: int = 10_000, **settings) -> None:
        self.total_mb = total_mb
        self.uses: dict[str, tuple[int, float]] = {}
        self.busy_s = 1.0
        self.cold_s = 0.1
        self.lowest_mb = total_mb
        super().__init__(FleetSettings(**{**PLENTY, **settings}))
        self.sandboxes.init = lambda guest: self.clock.call_later(self.cold_s, guest.ready)
        self.sandboxes.handle = self._work

    def _work(self, guest: Guest, invoked: Invoked) -> None:
        self.clock.call_later(self.busy_s, guest.respond, invoked, invoked.payload)

    @property
    def available_mb(self) -> int:
        now, left = self.clock.monotonic(), self.total_mb
        for sandbox in self.sandboxes.alive:
            name = sandbox.spec.environment["AWS_LAMBDA_FUNCTION_NAME"]
            most, after_s = self.uses.get(name, (7, 0.0))
            left -= most if now - sandbox.began_s >= after_s else 0
        self.lowest_mb = min(self.lowest_mb, left)
        return left

    @available_mb.setter
    def available_mb(self, value: int) -> None:
        """Its figures come from its environments."""

    async def end(self) -> None:
        closing = asyncio.ensure_future(self.fleet.close())
        await self.clock.settle()
        await closing
        assert self.sandboxes.alive == []

    def there(self) -> Counter[str]:
        return Counter(shot.function for shot in self.fleet.environments())


async def ends(tasks) -> Counter[str]:
    """How calls ended: "served", or why not."""
    found: Counter[str] = Counter()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, AwsError):
            found[outcome.fields.get("Reason", outcome.code)] += 1
        else:
            assert not isinstance(outcome, BaseException), outcome
            found["served"] += 1
    return found


async def test_a_function_grows_by_its_rate_and_no_faster():
    machine = Machine(scale_rate=20, scale_period_s=10.0)
    machine.busy_s = 100.0
    version, other = function(timeout_s=900), function("g", timeout_s=900)
    first = [machine.begin(version) for _ in range(30)]
    await machine.advance(0.5)
    assert machine.there() == {"f": 20}
    refused = [task for task in first if task.done()]
    assert await ends(refused) == {"FunctionInvocationRateLimitExceeded": 10}
    error = refused[0].exception()
    assert (error.status, error.message) == (429, "Rate Exceeded.")
    assert error.headers == {"Retry-After": "1"}
    throttles = [by for name, _, by in machine.telemetry.metrics if name == "Throttles"]
    assert Counter(throttles) == {(): 10, (("FunctionName", "f"),): 10}
    # Refilled continuously, for each function by itself, for events as for calls.
    await machine.advance(2.5)
    second = [machine.begin(version, synchronous=False) for _ in range(30)]
    others = [machine.begin(other) for _ in range(20)]
    await machine.advance(0.5)
    assert machine.there() == {"f": 26, "g": 20}
    await machine.advance(200)
    assert (await ends(first + second))["served"] == 26
    assert await ends(others) == {"served": 20}
    # What is warm serves whatever the rate.
    again = [machine.begin(version) for _ in range(26)]
    await machine.advance(101)
    assert await ends(again) == {"served": 26}
    # Unused growth is not saved up.
    await machine.advance(3600)
    many = [machine.begin(version) for _ in range(100)]
    await machine.advance(0.5)
    assert machine.there()["f"] == 20
    await machine.advance(200)
    await ends(many)
    await machine.end()


async def test_provisioned_ones_come_by_their_rate_and_few_at_a_time():
    machine = Machine(scale_rate=20, scale_period_s=10.0, provisioning_at_once=4)
    version = function(version="1")
    machine.fleet.provision(version, 30)
    served = machine.begin(function("g"))
    for step in range(140):
        await machine.advance(0.05)
        assert len(machine.fleet._scaling.provisioning) <= 4
        found = machine.fleet.provisioned(version)
        assert found.allocated == found.available <= 20 + 2 * 0.05 * (step + 1) + 1
        if step == 20:  # once they cannot come any faster
            assert found.allocated >= 20
    assert machine.fleet.provisioned(version) == ProvisionedStatus(30, 30)
    assert await ends([served]) == {"served": 1}
    await machine.end()


async def test_a_burst_of_starts_does_not_take_the_same_memory_twice():
    """Environments that have not touched their memory yet count with what they will need."""
    machine = Machine(total_mb=4000, reserve_mb=500)
    machine.uses["f"] = (120, 0.9)
    machine.busy_s = 2.0
    version = function(memory_mb=1024, timeout_s=60)
    calls = [machine.begin(version) for _ in range(200)]
    for _ in range(400):
        await machine.advance(0.1)
        assert machine.available_mb >= 500 - 120
    assert machine.lowest_mb >= 500 - 120
    found = await ends(calls)
    assert found["served"] >= 190, found
    await machine.end()


async def test_what_is_idle_goes_before_memory_is_gone_and_not_more_than_that():
    machine = Machine(total_mb=2000, reserve_mb=400)
    for number in range(40):
        machine.uses[f"f{number}"] = (20, 0.0)
        await asyncio.gather(machine.begin(function(f"f{number}")), machine.advance(2))
    assert len(machine.there()) == 40
    machine.total_mb = 1150  # something else on the machine takes 850
    await machine.advance(10)
    assert 400 <= machine.available_mb <= 400 + 50 + 20
    there = machine.there()
    assert set(there) == {f"f{number}" for number in range(40 - len(there), 40)}
    before = len(there)
    await machine.advance(60)  # at rest: what goes does not come back and forth
    assert len(machine.there()) == before
    await machine.end()


@pytest.mark.parametrize("seed", range(8))
async def test_on_a_full_machine_all_functions_get_their_turn(seed):
    """Ten at a time, some flooded, some called now and then, more functions than room."""
    chance = random.Random(seed)
    machine = Machine(max_environments=10, room_limit_s=20.0)
    machine.busy_s = chance.choice((0.05, 0.3, 1.0))
    flooded = [f"flood{n}" for n in range(chance.choice((1, 3)))]
    modest = [f"modest{n}" for n in range(chance.choice((4, 20)))]
    calls: dict[str, list[asyncio.Task]] = {name: [] for name in flooded + modest}
    waited: dict[str, list[float]] = {name: [] for name in calls}

    def begin(name: str) -> None:
        began = machine.clock.monotonic()
        task = machine.begin(function(name, timeout_s=60))
        task.add_done_callback(lambda _: waited[name].append(machine.clock.monotonic() - began))
        calls[name].append(task)

    for _ in range(60):
        for name in flooded:
            while sum(not task.done() for task in calls[name]) < 30:
                begin(name)
        for name in modest:
            if chance.random() < 0.3 and all(task.done() for task in calls[name]):
                begin(name)
        await machine.advance(0.25)
        assert len(machine.fleet.environments()) <= 10
    await machine.advance(60)
    for name, tasks in calls.items():
        found = await ends(tasks)
        assert set(found) <= {"served", "ConcurrentInvocationLimitExceeded"}
        assert max(waited[name], default=0.0) <= 20.0 + machine.busy_s + machine.cold_s
        if name in modest and tasks:
            assert found["served"] == len(tasks), (name, found)
    await machine.end()


async def test_floods_share_a_full_machine_evenly():
    machine = Machine(max_environments=12)
    machine.busy_s = 0.2
    calls = [machine.begin(function(name, timeout_s=60)) for name in "aaab" for _ in range(100)]
    await machine.advance(1)
    for _ in range(10):
        await machine.advance(0.1)
        there = machine.there()
        assert abs(there["a"] - there["b"]) <= 2, there
    await machine.advance(60)
    await ends(calls)
    await machine.end()


async def test_a_call_for_which_there_is_no_room_is_told_in_bounded_time():
    machine = Machine(max_environments=2, room_limit_s=20.0)
    machine.busy_s = 300.0
    busy = [machine.begin(function(timeout_s=900)) for _ in range(2)]
    await machine.advance(1)
    waiting = machine.begin(function("g"))
    await machine.advance(19.9)
    assert not waiting.done()
    await machine.advance(0.2)
    error = waiting.exception()
    assert (error.code, error.status) == ("TooManyRequestsException", 429)
    assert error.fields["Reason"] == "ConcurrentInvocationLimitExceeded"
    assert error.headers == {"Retry-After": "1"}
    assert machine.fleet._queue.size == 0 and len(machine.fleet._pools) == 1
    await machine.advance(300)
    assert await ends(busy) == {"served": 2}
    await machine.end()


async def test_a_new_environment_that_nobody_needs_any_more_becomes_idle():
    machine = Machine()
    machine.cold_s, machine.busy_s = 1.0, 0.1
    await asyncio.gather(machine.begin(function()), machine.advance(2))
    first, second = machine.begin(function()), machine.begin(function())
    await machine.advance(0.3)  # the second one got what the first had
    assert await ends([first, second]) == {"served": 2}
    await machine.advance(2)
    assert machine.states() == ["idle", "idle"]
    both = [machine.begin(function()) for _ in range(2)]
    await machine.advance(0.2)
    assert await ends(both) == {"served": 2}
    assert len(machine.sandboxes.made) == 2
    await machine.end()


@pytest.mark.parametrize("seed", range(10))
async def test_environments_never_cross_tenants(seed):
    """Under faults, retries and a machine that is full: each serves one tenant all its life."""
    chance = random.Random(seed)
    machine = Machine(max_environments=6, tenant_environments=5)
    served: dict[Guest, set[str]] = {}

    def work(guest: Guest, invoked: Invoked) -> None:
        served.setdefault(guest.sandbox, set()).add(invoked.header.get("tenant", ""))
        assert invoked.payload == invoked.header["tenant"].encode()
        delay = chance.choice((0.0, 0.05, 0.5))
        if chance.random() < 0.15:
            machine.clock.call_later(delay, guest.exit, 1)
        else:
            machine.clock.call_later(delay, guest.respond, invoked, invoked.payload)

    machine.sandboxes.handle = work
    version = function(tenant_isolation=True)
    calls, wanted = [], []
    for _ in range(150):
        tenant = chance.choice(("blue", "green", "red", "a/b@c d", "t5", "t6", "t7"))
        wanted.append(tenant.encode())
        calls.append(machine.begin(version, tenant.encode(), tenant=tenant))
        await machine.advance(chance.choice((0.0, 0.01, 0.2)))
        live = machine.fleet.environments()
        assert len(live) <= 5
    await machine.advance(60)
    for call, payload in zip(calls, wanted, strict=True):
        if call.exception() is None and not call.result().function_error:
            assert call.result().payload == payload
    assert served and all(len(tenants) == 1 for tenants in served.values())
    await machine.advance(700)
    assert machine.states() == [] and not +machine.fleet._limits.tenants
    await machine.end()
