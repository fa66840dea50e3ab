"""Runs the events of each function's lane: what is due, and as many at once as is allowed.

Laws of this file:
  1. An event leaves the disk only after its attempt succeeded, or after it was discarded, and its
     dead-letter target and destination have been sent to.
  2. Memory is bounded: a window per function, smaller the more functions have events, and a bound
     for the bytes of payloads.
  3. Each function has a lane of its own; lanes share the slots evenly.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from boda.core.clock import Clock, Timer
from boda.core.tasks import Tasks
from boda.delivery import rows
from boda.delivery.attempt import EventAttempts
from boda.delivery.event_metrics import EventMetrics
from boda.delivery.journal import QueueJournal
from boda.delivery.lane import Lane
from boda.delivery.rows import QueuedEvent
from boda.delivery.slot_shares import SlotShares
from boda.storage.rows import Rows

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


class LaneRunner:
    """Runs the events that the journal has made durable, while it is open.

    now: the queue's time. slots: attempts at once, of all functions together. reserved: returns a
    function's reserved concurrency by account, region and name, or None. on_turn: called whenever
    events were accepted or a lane's time has come.
    """

    def __init__(
        self,
        rows: Rows,
        attempts: EventAttempts,
        metrics: EventMetrics,
        clock: Clock,
        now: Callable[[], float],
        *,
        slots: int,
        reserved: Callable[[str, str, str], int | None],
        on_turn: Callable[[], None],
    ) -> None:
        self.journal = QueueJournal(rows, clock, self._added, self._removed)
        self._rows = rows
        self._attempts = attempts
        self._metrics = metrics
        self._clock = clock
        self._now = now
        self._reserved = reserved
        self._on_turn = on_turn
        self._shares = SlotShares(slots)
        self._lanes: dict[int, Lane] = {}
        self._timers: dict[int, tuple[float, Timer]] = {}
        self._held = 0
        self._tasks = Tasks()
        self._open = False

    def open(self) -> None:
        """Run events from now on."""
        self._open = True
        for lane in list(self._lanes.values()):
            self._turn(lane)

    async def close(self, grace_s: float | None = None) -> None:
        """Start nothing more; wait for what runs, for grace_s at most. The rest stays on disk."""
        self._open = False
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self.journal.close()
        await self._tasks.drain(grace_s)
        await self.journal.flush()
        self._lanes.clear()
        self._held = 0

    def first_due(self) -> float | None:
        """Return when the event that waits longest was due, or will be."""
        due = [lane.first_due for lane in self._lanes.values()]
        return min((one for one in due if one is not None), default=None)

    def due_on_disk(self, number: int, arn: str, due_at: float) -> None:
        """Note that an event of a lane is on disk, due then."""
        self._lane(number, arn).due_on_disk(due_at)

    def _added(self, some: Sequence[QueuedEvent]) -> None:
        """Run events that are on disk now, or note that they are there."""
        lanes = {}
        room = self._room()
        for event in some:
            self._metrics.count(event, "AsyncEventsReceived")
            lane = lanes[event.lane] = self._lane(event.lane, event.arn)
            if not self._open:
                lane.on_disk(event)
                event.payload = None
            elif not lane.offer(event, room) or not self._hold(event):
                event.payload = None
        for lane in lanes.values():
            self._turn(lane)
        self._on_turn()

    def _lane(self, number: int, arn: str) -> Lane:
        lane = self._lanes.get(number)
        if lane is None:
            lane = self._lanes[number] = Lane(number, arn, self._shares.slots)
        return lane

    def _room(self) -> int:
        """Return how many events of one lane may be in memory."""
        return max(_LEAST_WINDOW, min(WINDOW, _ALL_WINDOWS // max(1, len(self._lanes))))

    def _allowed(self, lane: Lane) -> int:
        """Return how many of a lane's events may run at once beside the others' events."""
        most = self._shares.each
        reserved = self._reserved(*lane.function)
        return most if reserved is None else min(most, reserved)

    def _turn(self, lane: Lane) -> None:
        """Start and load a lane's events, and set the timer for its next turn."""
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
        self._on_turn()
        if self._lanes.get(lane.number) is lane:
            self._turn(lane)

    async def _load(self, lane: Lane, room: int) -> None:
        after = lane.begin_load()
        found, rest = None, None
        while found is None:
            now = self._now()
            try:
                found, rest = await self._rows.read(
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

    async def _run(self, lane: Lane, first: QueuedEvent) -> None:
        """Run one event after the other, while the lane has events for this task."""
        event: QueuedEvent | None = first
        try:
            while event is not None:
                await self._attempt(lane, event)
                now, room = self._now(), self._room()
                if lane.wants_load(now, room) and self._open:
                    self._tasks.spawn(self._load(lane, room))
                if self.journal.failing:
                    await self.journal.room()
                    now = self._now()
                if not self._open:
                    break
                allowed = self._allowed(lane)
                event = lane.start(now, allowed)
                if lane.may_start(now, allowed):  # more slots may have become free
                    self._run_more(lane, now)
        finally:
            lane.runners -= 1
        self._turn(lane)

    async def _attempt(self, lane: Lane, event: QueuedEvent) -> None:
        try:
            payload = await self._payload(event)
            if payload is None:  # it was deleted
                lane.end(event)
                lane.leave(event)
                return
            verdict = await self._attempts.run(event, payload)
            if verdict.ran_s is not None:
                lane.went_well(self._now(), verdict.ran_s)
            elif verdict.refused:
                lane.was_refused(self._now())
            if verdict.again_at is None:
                _log.debug("event %s is finished", event.request_id)
                lane.end(event)
                self.journal.remove(event)
                return
            again_at = verdict.again_at
        except Exception:
            # A defect of the platform. The event is on disk; it must not be forgotten.
            _log.exception("an event for %s could not be handled", event.arn)
            again_at = self._now() + _ODD_S
        event.due_at = again_at
        await self.journal.defer(event)
        lane.end(event)
        lane.on_disk(event)
        lane.leave(event)

    def _removed(self, some: Sequence[QueuedEvent]) -> None:
        """Forget events that have left the disk."""
        for event in some:
            lane = self._lanes.get(event.lane)
            if lane is not None:
                lane.leave(event)
                if lane.idle:
                    self._turn(lane)

    # Payloads in memory

    def _hold(self, event: QueuedEvent) -> bool:
        size = len(event.payload or b"")
        if self._held + size > _HELD_BYTES:
            return False
        self._held += size
        return True

    async def _payload(self, event: QueuedEvent) -> bytes | None:
        held, event.payload = event.payload, None
        if held is not None:
            self._held -= len(held)
            return held
        while True:
            try:
                return await self._rows.read(lambda tx: rows.payload(tx, event.id))
            except Exception as error:
                _log.warning("an event for %s cannot be read: %s", event.arn, error)
                await self._clock.sleep(_AGAIN_S)
