"""The durable queue of asynchronous events: accepted once on disk, run at least once.

Laws of this file:
  1. ``accept`` returns only after the event's commit.
  2. An event leaves the disk only after its attempt succeeded, or after it was given up, and its
     dead-letter target and destination have been told.
  3. Memory is bounded: a window per function without payloads, and so many bytes of payloads.
  4. Each function has a lane of its own; lanes share the slots evenly.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import orjson

from boda.core.clock import Clock
from boda.core.errors import AwsError, BodaError
from boda.core.ids import Ids
from boda.delivery import retry, rows
from boda.delivery.batch import Batch
from boda.delivery.destination import AsyncRules, Destinations, Rules
from boda.delivery.failure import Failures, Reason
from boda.delivery.guard import refusal, stable_root
from boda.delivery.lane import Lane
from boda.delivery.retry import Again, GiveUp, RetryPolicy
from boda.delivery.rows import Event
from boda.delivery.shares import Shares
from boda.invoke.call import Call, Outcome
from boda.invoke.catalogue import LATEST, Functions
from boda.runtime import trace
from boda.runtime.function import FunctionVersion
from boda.storage.database import Database

_log = logging.getLogger(__name__)

_HELD_BYTES = 32 * 1024 * 1024
_ALIVE_S = 60.0
_BEAT_S = 15.0
_AGAIN_S = 1.0
_ODD_S = 60.0


class Invokes(Protocol):
    """The invoke path."""

    async def invoke(self, call: Call) -> Outcome: ...


class Queue:
    """Accepts and runs events.

    slots: attempts at once, of all functions together.
    reserved: a function's reserved concurrency by account, region and name, or None.
    rules: how often and how long a version's events are tried, and who is told of the end.
    exclusive: nobody else works on these rows, so what another owner held is free at once.
    """

    def __init__(
        self,
        database: Database,
        functions: Functions,
        invoker: Invokes,
        failures: Failures,
        clock: Clock,
        ids: Ids,
        *,
        slots: int,
        reserved: Callable[[str, str, str], int | None],
        rules: Rules,
        destinations: Destinations,
        exclusive: bool,
    ) -> None:
        self._database = database
        self._functions = functions
        self._invoker = invoker
        self._failures = failures
        self._clock = clock
        self._ids = ids
        self._reserved = reserved
        self._rules = rules
        self._destinations = destinations
        self._exclusive = exclusive
        self._owner = ids.hex(16)
        self._shares = Shares(slots)
        self._lanes: dict[str, Lane] = {}
        self._held = 0
        self._serial = 0
        self._running: set[asyncio.Task[None]] = set()
        self._beating: asyncio.Task[None] | None = None
        self._open = False
        self._added: Batch[Event] = Batch(
            database,
            lambda connection, some: rows.add(connection, some, self._owner),
            self._accepted,
        )
        self._deferred: Batch[Event] = Batch(database, rows.defer)
        self._removed: Batch[str] = Batch(database, rows.remove)

    # Accepting

    async def enqueue(
        self,
        version: FunctionVersion,
        payload: bytes,
        *,
        request_id: str,
        qualifier: str = LATEST,
        invoked_arn: str = "",
        trace_id: str = "",
        tenant: str = "",
    ) -> None:
        """Accept an event for a version found already; durable when this returns. AwsError."""
        await self.accept(
            version.arn,
            qualifier,
            payload,
            request_id=request_id,
            invoked_arn=invoked_arn or version.arn,
            trace_id=trace_id,
            tenant=tenant,
        )

    async def accept(
        self,
        arn: str,
        qualifier: str,
        payload: bytes,
        *,
        request_id: str,
        invoked_arn: str,
        trace_id: str,
        tenant: str = "",
    ) -> None:
        """Accept an event for a function; durable when this returns. AwsError.

        The function is looked up anew at every attempt: an alias may have moved by then.
        """
        now = self._clock.now()
        event = Event(
            id=self._next_id(now),
            arn=arn,
            qualifier=qualifier,
            request_id=request_id,
            invoked_arn=invoked_arn,
            trace_id=trace_id or stable_root(now, self._ids),
            accepted_at=now,
            due_at=now,
            tenant=tenant,
            payload=payload,
        )
        try:
            await self._added.add(event)
        except Exception as error:
            _log.warning("an event for %s was not accepted: %s", arn, error)
            raise AwsError(
                "ServiceException",
                "The event could not be stored; send it again.",
                503,
                Type="Service",
            ) from None

    def _next_id(self, now: float) -> str:
        """Unique, and in the order of acceptance: among events due at once it is the order."""
        self._serial += 1
        return f"{int(now * 1_000_000):016x}{self._serial:010x}{self._ids.hex(8)}"

    def _accepted(self, event: Event) -> None:
        self._failures.count(event, "AsyncEventsReceived")
        lane = self._lane(event.arn)
        if not lane.offer(event) or not self._hold(event):
            event.payload = None
        lane.wake.set()

    async def waiting(self) -> int:
        """Events that are accepted and not done with."""
        return await self._database.read(rows.count)

    # Running

    async def start(self) -> None:
        """Take up what an earlier run left, and run events from now on."""
        if self._exclusive:
            await self._database.write(rows.bury)
        await self._beat()
        self._open = True
        await self._scan()
        for lane in list(self._lanes.values()):
            self._ensure(lane)
        self._beating = asyncio.get_running_loop().create_task(self._keep_beating())

    async def stop(self, grace_s: float | None = None) -> None:
        """Start nothing more; let what runs finish, for so long. The rest stays on disk."""
        self._open = False
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
            self._beating = None
        dispatchers = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for task in dispatchers:
            task.cancel()
        await asyncio.gather(*dispatchers, return_exceptions=True)
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=grace_s)
            for attempt in late:
                attempt.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._lanes.clear()
        self._held = 0

    async def _scan(self) -> None:
        for arn, due_at in await self._database.read(rows.waiting):
            lane = self._lane(arn)
            lane.on_disk(due_at)
            lane.wake.set()

    async def _keep_beating(self) -> None:
        while True:
            await self._clock.sleep(_BEAT_S)
            try:
                if not self._exclusive:
                    await self._scan()
                    await self._beat()
            except Exception as error:
                _log.warning("the queue could not say that it lives: %s", error)

    async def _beat(self) -> None:
        until = self._clock.now() + _ALIVE_S
        await self._database.write(lambda connection: rows.beat(connection, self._owner, until))

    def _lane(self, arn: str) -> Lane:
        lane = self._lanes.get(arn)
        if lane is None:
            lane = self._lanes[arn] = Lane(arn, self._shares.slots)
        self._ensure(lane)
        return lane

    def _ensure(self, lane: Lane) -> None:
        if self._open and lane.task is None:
            lane.task = asyncio.get_running_loop().create_task(self._dispatch(lane))

    async def _dispatch(self, lane: Lane) -> None:
        """Run the lane's events as they become due; ends when there is nothing left."""
        while True:
            lane.wake.clear()
            now = self._clock.now()
            if lane.wants_load(now):
                await self._load(lane)
                continue
            if lane.has_due(now) or lane.running:
                self._shares.active(lane.arn)
            else:
                self._passive(lane)
            while (event := lane.start(now, self._shares.each)) is not None:
                self._spawn(self._attempt(lane, event))
            if lane.idle:
                lane.task = None
                self._lanes.pop(lane.arn, None)
                return
            await self._sleep(lane, now)

    def _passive(self, lane: Lane) -> None:
        if self._shares.passive(lane.arn):
            for other in self._lanes.values():
                if other.running:  # it may run more now
                    other.wake.set()

    async def _sleep(self, lane: Lane, now: float) -> None:
        moment = lane.next_moment(now)
        if moment is None:
            await lane.wake.wait()
            return
        timer = self._clock.call_later(moment - now, lane.wake.set)
        try:
            await lane.wake.wait()
        finally:
            timer.cancel()

    async def _load(self, lane: Lane) -> None:
        limit = lane.begin_load()
        now = self._clock.now()
        try:
            found, rest = await self._database.write(
                lambda connection: rows.take(connection, lane.arn, limit, self._owner, now)
            )
        except Exception as error:
            _log.warning("events for %s cannot be read: %s", lane.arn, error)
            lane.fail_load(now + _AGAIN_S)
            await self._clock.sleep(_AGAIN_S)
            return
        lane.end_load(found, rest)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # One attempt

    async def _attempt(self, lane: Lane, event: Event) -> None:
        try:
            payload = await self._payload(event)
            if payload is not None:
                await self._try(lane, event, payload)
        except Exception:
            # Not an attempt's failure but ours. The event is on disk; it must not be forgotten.
            _log.exception("an event for %s could not be handled", event.arn)
            lane.on_disk(self._clock.now() + _ODD_S)
        finally:
            lane.leave(event)
            lane.wake.set()

    async def _try(self, lane: Lane, event: Event, payload: bytes) -> None:
        now = self._clock.now()
        version = self._functions.resolve(event.arn, event.qualifier)
        if version is None:
            await self._without_function(lane, event, payload, now)
            return
        rules = self._rules(version, event.qualifier)
        policy = rules.retry
        self._failures.count(
            event, "AsyncEventAge", (now - event.accepted_at) * 1000.0, "Milliseconds"
        )
        if retry.too_old(policy, event.accepted_at, now):
            await self._give_up(event, payload, version, _too_old(policy), rules)
            return
        if self._reserved(version.account, version.region, version.name) == 0:
            await self._give_up(event, payload, version, _SWITCHED_OFF, rules)
            return
        run_under, hops = trace.next_hop(event.trace_id, event.arn, now, self._ids.hex)
        refused = refusal(version, hops)
        if refused is not None:
            await self._give_up(event, payload, version, refused, rules)
            return
        call = Call(
            version,
            payload,
            event.request_id,
            event.invoked_arn,
            trace_id=run_under,
            tenant=event.tenant,
            synchronous=False,
        )
        try:
            outcome = await self._invoker.invoke(call)
        except AwsError as error:
            await self._not_run(lane, event, policy, throttled=error.status == 429)
        except BodaError as error:
            _log.warning("an event for %s could not be run: %s", event.arn, error)
            await self._not_run(lane, event, policy, throttled=False)
        except Exception:
            _log.exception("an event for %s could not be run", event.arn)
            await self._not_run(lane, event, policy, throttled=False)
        else:
            lane.went_well()
            await self._ran(lane, event, call, rules, outcome)

    async def _ran(
        self,
        lane: Lane,
        event: Event,
        call: Call,
        rules: AsyncRules,
        outcome: Outcome,
    ) -> None:
        if not outcome.function_error:
            await self._destinations.succeeded(rules.on_success, event, call, outcome)
            await self._remove(event)
            return
        event.failures += 1
        now = self._clock.now()
        step = retry.after_error(rules.retry, event.failures, event.accepted_at, now)
        if isinstance(step, GiveUp):
            reason = Reason(step.condition, 200, _error_message(outcome.payload))
            # From here on the chain of invocations is one longer.
            event.trace_id = call.trace_id
            await self._give_up(event, call.payload, call.version, reason, rules, outcome)
        else:
            await self._defer(lane, event, step)

    async def _not_run(
        self, lane: Lane, event: Event, policy: RetryPolicy, *, throttled: bool
    ) -> None:
        event.throttles += 1
        now = self._clock.now()
        if throttled:
            lane.was_throttled(now, policy.throttle_first_s)
        await self._defer(
            lane, event, retry.after_throttle(policy, event.throttles, event.accepted_at, now)
        )

    async def _without_function(self, lane: Lane, event: Event, payload: bytes, now: float) -> None:
        """A function that is being created may have a policy already: its events wait."""
        policy = RetryPolicy()
        expected = self._functions.policy(event.arn, event.qualifier) is not None
        if expected and not retry.too_old(policy, event.accepted_at, now):
            await self._not_run(lane, event, policy, throttled=False)
            return
        reason = Reason("FunctionNotFound", 404, f"Function not found: {event.invoked_arn}")
        await self._give_up(event, payload, None, reason)

    async def _give_up(
        self,
        event: Event,
        payload: bytes,
        version: FunctionVersion | None,
        reason: Reason,
        rules: AsyncRules | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        await self._failures.give_up(event, payload, version, reason)
        if version is not None and rules is not None:
            await self._destinations.failed(
                rules.on_failure, event, payload, version, reason, outcome
            )
        await self._remove(event)

    async def _remove(self, event: Event) -> None:
        await self._surely(lambda: self._removed.add(event.id))

    async def _defer(self, lane: Lane, event: Event, again: Again) -> None:
        event.due_at = again.at
        await self._surely(lambda: self._deferred.add(event))
        lane.on_disk(event.due_at)

    async def _surely(self, write: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Write, and if the disk refuses, again: forgetting how an attempt ended repeats it."""
        while True:
            try:
                await write()
                return
            except Exception as error:
                _log.warning("the queue cannot be written: %s", error)
                if not self._open:
                    return
                await self._clock.sleep(_AGAIN_S)

    # Payloads in memory

    def _hold(self, event: Event) -> bool:
        size = len(event.payload or b"")
        if self._held + size > _HELD_BYTES:
            return False
        self._held += size
        return True

    async def _payload(self, event: Event) -> bytes | None:
        held, event.payload = event.payload, None
        if held is not None:
            self._held -= len(held)
            return held
        while True:
            try:
                return await self._database.read(
                    lambda connection: rows.payload(connection, event.id)
                )
            except Exception as error:
                _log.warning("an event for %s cannot be read: %s", event.arn, error)
                await self._clock.sleep(_AGAIN_S)


def _too_old(policy: RetryPolicy) -> Reason:
    return Reason("EventAgeExceeded", 429, f"The event is older than {policy.max_age_s:g} seconds.")


_SWITCHED_OFF = Reason(
    "ZeroReservedConcurrency", 429, "The function's reserved concurrency is zero."
)


def _error_message(payload: bytes) -> str:
    """The ``errorMessage`` of an error a function answered, or the answer itself."""
    try:
        answer = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return payload[:1024].decode(errors="replace")
    message = answer.get("errorMessage") if isinstance(answer, dict) else None
    return message if isinstance(message, str) else payload[:1024].decode(errors="replace")
