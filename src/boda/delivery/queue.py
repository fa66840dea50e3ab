"""The durable queue of asynchronous events: accepted once on disk, run at least once.

Laws of this file:
  1. Whoever brings an event is told only after its commit.
  2. An event leaves the disk only after its attempt succeeded, or after it was given up, and its
     dead-letter target and destination have been told.
  3. Memory is bounded: a window per function, smaller the more functions have events, and so
     many bytes of payloads.
  4. Each function has a lane of its own; lanes share the slots evenly.
  5. Time in here runs on when the machine's clock is set, over restarts too (queue_time.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from boda.core.clock import Clock, Timer
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.core.tasks import Tasks
from boda.delivery import rows
from boda.delivery.attempt import Attempts, Invokes
from boda.delivery.counts import Counts
from boda.delivery.destination import Destinations, Rules
from boda.delivery.failure import Failures
from boda.delivery.journal import Journal
from boda.delivery.lane import Lane
from boda.delivery.queue_time import Kept, QueueTime
from boda.delivery.rows import Event
from boda.delivery.shares import Shares
from boda.invoke.catalogue import LATEST, Functions
from boda.runtime.function import FunctionVersion
from boda.storage.database import Database

_log = logging.getLogger(__name__)

WINDOW = 1000
"""Events of one function in memory."""
_ALL_WINDOWS = 20_000
_LEAST_WINDOW = 16
_HELD_BYTES = 32 * 1024 * 1024
_PAGED_BYTES = 16 * 1024
"""Payloads up to this size are read with their events, longer ones each before its attempt."""
_AGAIN_S = 1.0
_ODD_S = 60.0
_FARTHEST_S = 600.0
"""No event is due later than this from now."""

Accepted = Callable[[AwsError | None], None]
"""Hears once that an event is durable, or why it is not (503). Does not raise."""


class Queue:
    """Accepts and runs events.

    slots: attempts at once, of all functions together.
    boot: a name of the machine's run, the same over restarts of the platform alone.
    reserved: a function's reserved concurrency by account, region and name, or None.
    rules: how often and how long a version's events are tried, and who is told of the end.
    """

    def __init__(
        self,
        database: Database,
        functions: Functions,
        invoker: Invokes,
        failures: Failures,
        counts: Counts,
        clock: Clock,
        ids: Ids,
        *,
        slots: int,
        boot: str,
        reserved: Callable[[str, str, str], int | None],
        rules: Rules,
        destinations: Destinations,
    ) -> None:
        self._database = database
        self._counts = counts
        self._clock = clock
        self._reserved = reserved
        self._time = QueueTime(clock, boot)
        self._now = self._time.now
        self._attempts = Attempts(
            functions,
            invoker,
            failures,
            destinations,
            counts,
            ids,
            self._now,
            reserved=reserved,
            rules=rules,
        )
        self._journal = Journal(database, clock, self._accepted, self._gone)
        self._shares = Shares(slots)
        self._numbers: dict[str, int] = {}
        self._lanes: dict[int, Lane] = {}
        self._timers: dict[int, tuple[float, Timer]] = {}
        self._last_id = -1
        self._opening = asyncio.Lock()
        self._held = 0
        self._tasks = Tasks()
        self._open = False

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
        """Accept an event for a function; durable when this returns. AwsError (503)."""
        if self._last_id < 0:
            try:
                await self._look()
            except Exception as error:
                raise _not_accepted(arn, error) from None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def accepted(error: AwsError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        self._add(arn, qualifier, payload, request_id, invoked_arn, trace_id, tenant, accepted)
        await future

    def begin(
        self,
        version: FunctionVersion,
        payload: bytes,
        accepted: Accepted,
        *,
        request_id: str,
        qualifier: str,
        invoked_arn: str,
        trace_id: str,
    ) -> bool:
        """Accept an event as ``enqueue`` does, told when it is durable, or why it is not.

        False, with nothing begun, while it is not yet known what an earlier run left.
        """
        if self._last_id < 0:
            return False
        arn = version.arn
        self._add(arn, qualifier, payload, request_id, invoked_arn, trace_id, "", accepted)
        return True

    def _add(
        self,
        arn: str,
        qualifier: str,
        payload: bytes,
        request_id: str,
        invoked_arn: str,
        trace_id: str,
        tenant: str,
        accepted: Accepted,
    ) -> None:
        number = self._numbers.get(arn)
        if number is None:
            number = self._numbers[arn] = max(self._numbers.values(), default=0) + 1
        self._last_id += 1
        now = self._now()

        def written(error: Exception | None) -> None:
            accepted(None if error is None else _not_accepted(arn, error))

        self._journal.add(
            Event(
                self._last_id,
                number,
                arn,
                qualifier,
                request_id,
                invoked_arn,
                trace_id,
                now,
                now,
                tenant,
                payload=payload,
            ),
            written,
        )

    def _accepted(self, some: Sequence[Event]) -> None:
        """These are on disk now: run them, or know that they are there."""
        lanes = {}
        room = self._room()
        for event in some:
            self._counts.count(event, "AsyncEventsReceived")
            lane = lanes[event.lane] = self._lane(event.lane, event.arn)
            if not self._open:
                lane.on_disk(event)
                event.payload = None
            elif not lane.offer(event, room) or not self._hold(event):
                event.payload = None
        for lane in lanes.values():
            self._turn(lane)
        self._see_clock()

    async def waiting(self) -> int:
        """Events that are accepted and not done with."""
        await self._journal.flush()
        return await self._database.read(rows.count)

    def late_s(self) -> float:
        """For how long the event that waits longest has been due; 0 when none is."""
        due = [lane.first_due for lane in self._lanes.values()]
        return max(0.0, self._now() - min((one for one in due if one is not None), default=1e300))

    # Life

    async def start(self) -> None:
        """Take up what an earlier run left, and run events from now on."""
        await self._look()
        self._open = True
        for lane in list(self._lanes.values()):
            self._turn(lane)

    async def stop(self, grace_s: float | None = None) -> None:
        """Start nothing more; let what runs finish, for so long. The rest stays on disk."""
        self._open = False
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._journal.close()
        await self._tasks.drain(grace_s)
        await self._journal.flush()
        if self._last_id >= 0:
            await self._keep_time()
        self._lanes.clear()
        self._held = 0

    async def _look(self) -> None:
        """See what is on disk, once."""
        async with self._opening:
            if self._last_id >= 0:
                return
            earlier, (found, highest) = await self._database.read(
                lambda connection: (rows.read_time(connection), rows.backlogs(connection))
            )
            self._time.go_on(earlier)
            kept = self._time.unkept()
            empty = [one.lane for one in found if one.first_due is None]
            now = self._now()
            ahead = [one.lane for one in found if (one.last_due or now) > now + _FARTHEST_S]
            if empty or ahead or kept is not None:
                await self._database.write(
                    lambda connection: _tidy(connection, empty, ahead, now, kept)
                )
            if kept is not None:
                self._time.is_kept(kept)
            for one in found:
                if one.first_due is not None:
                    self._numbers[one.arn] = one.lane
                    self._lane(one.lane, one.arn).due_on_disk(
                        min(now, one.first_due) if one.lane in ahead else one.first_due
                    )
            self._journal.knows_lanes(set(self._numbers.values()))
            self._last_id = highest

    async def _keep_time(self) -> None:
        """Store the time, unless it is known; where the disk refuses, the next one tries."""
        kept = self._time.unkept()
        if kept is not None:
            try:
                await self._database.write(lambda connection: rows.keep_time(connection, kept))
                self._time.is_kept(kept)
            except Exception as error:
                _log.debug("the queue's time was not stored: %s", error)

    def _see_clock(self) -> None:
        """Have it stored if the machine's clock was set."""
        if self._open and self._time.unkept() is not None:
            self._tasks.spawn(self._keep_time())

    # Lanes

    def _lane(self, number: int, arn: str) -> Lane:
        lane = self._lanes.get(number)
        if lane is None:
            lane = self._lanes[number] = Lane(number, arn, self._shares.slots)
        return lane

    def _room(self) -> int:
        """Events of one lane that may be in memory."""
        return max(_LEAST_WINDOW, min(WINDOW, _ALL_WINDOWS // max(1, len(self._lanes))))

    def _allowed(self, lane: Lane) -> int:
        """How many of a lane's events may run at once as far as others are concerned."""
        most = self._shares.each
        reserved = self._reserved(*lane.function)
        return most if reserved is None else min(most, reserved)

    def _turn(self, lane: Lane) -> None:
        """Do what there is to do now in a lane, and see to it that its next turn comes."""
        if not self._open:
            return
        now, room = self._now(), self._room()
        if lane.wants_load(now, room):
            self._tasks.spawn(self._load(lane, room))
        if lane.running or lane.has_due(now):
            self._shares.active(lane.arn)
        elif self._shares.passive(lane.arn):
            for other in list(self._lanes.values()):
                if other.running:  # it may run more now
                    self._run_more(other, now)
        self._run_more(lane, now)
        if lane.idle:
            self._lanes.pop(lane.number, None)
        self._set_timer(lane, lane.next_moment(now, room), now)

    def _run_more(self, lane: Lane, now: float) -> None:
        allowed = self._allowed(lane)
        while (event := lane.start(now, allowed)) is not None:
            lane.runners += 1
            self._tasks.spawn(self._run(lane, event))

    def _set_timer(self, lane: Lane, moment: float | None, now: float) -> None:
        there = self._timers.get(lane.number)
        if there is not None:
            if there[0] == moment:
                return
            there[1].cancel()
            del self._timers[lane.number]
        if moment is not None:
            timer = self._clock.call_later(moment - now, self._time_has_come, lane)
            self._timers[lane.number] = (moment, timer)

    def _time_has_come(self, lane: Lane) -> None:
        self._timers.pop(lane.number, None)
        self._see_clock()
        if self._lanes.get(lane.number) is lane:
            self._turn(lane)

    async def _load(self, lane: Lane, room: int) -> None:
        after = lane.begin_load()
        found, rest = None, None
        while found is None:
            now = self._now()
            try:
                found, rest = await self._database.read(
                    partial(
                        rows.page,
                        lane=lane.number,
                        arn=lane.arn,
                        after=after,
                        now=now,
                        limit=room,
                        payload_bytes=_PAGED_BYTES,
                    )
                )
            except Exception as error:
                _log.warning("events for %s cannot be read: %s", lane.arn, error)
                await self._clock.sleep(_AGAIN_S)
                if not self._open:
                    return
        for event in lane.end_load(found, rest):
            if event.payload is not None and not self._hold(event):
                event.payload = None
        self._turn(lane)

    # Running

    async def _run(self, lane: Lane, first: Event) -> None:
        """Run one event after the other, while the lane has any for this task."""
        event: Event | None = first
        try:
            while event is not None:
                await self._attempt(lane, event)
                now, room = self._now(), self._room()
                if lane.wants_load(now, room) and self._open:
                    self._tasks.spawn(self._load(lane, room))
                if self._journal.failing:
                    await self._journal.room()
                    now = self._now()
                if not self._open:
                    break
                allowed = self._allowed(lane)
                event = lane.start(now, allowed)
                if lane.may_start(now, allowed):  # it has shown that it can do more
                    self._run_more(lane, now)
        finally:
            lane.runners -= 1
        self._turn(lane)

    async def _attempt(self, lane: Lane, event: Event) -> None:
        try:
            payload = await self._payload(event)
            if payload is None:  # it is gone
                lane.end(event)
                lane.leave(event)
                return
            verdict = await self._attempts.run(event, payload)
            if verdict.ran_s is not None:
                lane.went_well(self._now(), verdict.ran_s)
            elif verdict.refused:
                lane.was_refused(self._now())
            if verdict.again_at is None:
                _log.debug("event %s is done with", event.request_id)
                lane.end(event)
                self._journal.remove(event)
                return
            again_at = verdict.again_at
        except Exception:
            # Not an attempt's failure but ours. The event is on disk; it must not be forgotten.
            _log.exception("an event for %s could not be handled", event.arn)
            again_at = self._now() + _ODD_S
        event.due_at = again_at
        await self._journal.defer(event)
        lane.end(event)
        lane.on_disk(event)
        lane.leave(event)

    def _gone(self, some: Sequence[Event]) -> None:
        """These have left the disk."""
        for event in some:
            lane = self._lanes.get(event.lane)
            if lane is not None:
                lane.leave(event)
                if lane.idle:
                    self._turn(lane)

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


def _not_accepted(arn: str, error: Exception) -> AwsError:
    # The caller is told; the operator has been, once.
    _log.debug("an event for %s was not accepted: %s", arn, error)
    return AwsError(
        "ServiceException", "The event could not be stored; send it again.", 503, Type="Service"
    )


def _tidy(
    connection: Any, empty: list[int], ahead: list[int], now: float, kept: Kept | None
) -> None:
    if kept is not None:
        rows.keep_time(connection, kept)
    rows.drop_lanes(connection, empty)
    for lane in ahead:
        rows.hasten(connection, lane, now + _FARTHEST_S, now)
