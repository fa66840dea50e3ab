"""One function's events: a window of them in memory, the rest on disk.

Pure bookkeeping: which events are in memory, which run, when the next is due, how many may run at
once. Nothing here waits or writes.

Law of this file: every event on disk at or before ``cursor`` is in memory, or is finished and about
to leave the disk; so a page is read from there on, and nothing is read twice.
"""

from __future__ import annotations

import heapq

from boda.core.arn import Arn
from boda.delivery.pace import Pace
from boda.delivery.rows import START, Position, QueuedEvent

_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 10.0


class Lane:
    """The events of one function.

    function: account, region and name. most: the bound of attempts at once. next_due: no event that
    is only on disk is due earlier; None if there is none. running: ids of the events that run.
    runners: how many tasks run events of the lane.
    """

    def __init__(self, number: int, arn: str, most: int) -> None:
        self.number = number
        self.arn = arn
        parsed = Arn.parse(arn)
        self.function = (parsed.account, parsed.region, parsed.name)
        self.next_due: float | None = None
        self.running: set[int] = set()
        self.runners = 0
        self.loading = False
        self.paused_until = 0.0
        self.cursor: Position = START
        self._pace = Pace(most)
        self._refusals = 0
        self._window: list[tuple[float, int, QueuedEvent]] = []
        self._known: set[int] = set()
        self._left_meanwhile: set[int] = set()

    # Into memory

    def offer(self, event: QueuedEvent, room: int) -> bool:
        """Take a newly accepted event into memory.

        Returns False if it waits on disk, or was read from there between its commit and this call.
        """
        if event.id in self._known:
            return False
        behind = self.next_due is not None and self.next_due <= event.due_at
        if self.loading or behind or len(self._window) >= room:
            self.on_disk(event)
            return False
        self.cursor = max(self.cursor, event.position)
        self._push(event)
        return True

    def on_disk(self, event: QueuedEvent) -> None:
        """Note that an event waits on disk only."""
        if event.position <= self.cursor:  # a clock went back: read again from before it
            self.cursor = (event.due_at, event.id - 1)
        self.due_on_disk(event.due_at)

    def due_on_disk(self, due_at: float) -> None:
        """Note that an event on disk is due then."""
        self.next_due = due_at if self.next_due is None else min(self.next_due, due_at)

    def wants_load(self, now: float, room: int) -> bool:
        """Whether events on disk are due and there is room for them."""
        return (
            not self.loading
            and self.next_due is not None
            and self.next_due <= now
            and len(self._window) <= room // 2
        )

    def begin_load(self) -> Position:
        """Start to read from disk; return the position to read after."""
        self.loading = True
        self.next_due = None
        return self.cursor

    def end_load(self, found: list[QueuedEvent], rest: float | None) -> list[QueuedEvent]:
        """Take the events that were read; return those that were not in memory."""
        self.loading = False
        # An event may have become due before these while they were read.
        if found and (self.next_due is None or self.next_due > found[-1].due_at):
            self.cursor = max(self.cursor, found[-1].position)
        fresh = [
            event
            for event in found
            if event.id not in self._known and event.id not in self._left_meanwhile
        ]
        for event in fresh:
            self._push(event)
        self._left_meanwhile.clear()
        if rest is not None:
            self.due_on_disk(rest)
        return fresh

    # Running

    def start(self, now: float, allowed: int) -> QueuedEvent | None:
        """Return the next event that may run now, or None."""
        if not self.may_start(now, allowed):
            return None
        event = heapq.heappop(self._window)[2]
        self.running.add(event.id)
        return event

    def may_start(self, now: float, allowed: int) -> bool:
        """Whether one more event may run now."""
        return self.has_due(now) and len(self.running) < max(1, min(allowed, self.limit))

    def has_due(self, now: float) -> bool:
        """Whether an event in memory is due, and no refusal is being waited out."""
        return bool(self._window) and self._window[0][0] <= now and now >= self.paused_until

    def end(self, event: QueuedEvent) -> None:
        """Note the end of an attempt, whose result is not on disk yet."""
        self.running.discard(event.id)

    def leave(self, event: QueuedEvent) -> None:
        """Note that an event has left the disk, or waits only there."""
        self._known.discard(event.id)
        if self.loading:
            self._left_meanwhile.add(event.id)

    # How many at once

    @property
    def limit(self) -> int:
        """How many may run at once, from the attempts so far."""
        return self._pace.limit

    def went_well(self, now: float, duration_s: float) -> None:
        """Note the end of an attempt for which there was capacity."""
        self.paused_until = 0.0
        self._refusals = 0
        self._pace.ended(now, len(self.running), duration_s)

    def was_refused(self, now: float) -> None:
        """Note that there was no capacity: allow half, and wait unless other events run."""
        self._pace.refused(now)
        if len(self.running) <= 1:  # the one that was just refused
            self.paused_until = now + min(_PAUSE_S * 2.0**self._refusals, _LONGEST_PAUSE_S)
            self._refusals = min(self._refusals + 1, 8)

    # When

    def next_moment(self, now: float, room: int) -> float | None:
        """Return when the lane is to be looked at again; None: only after an event."""
        moments = []
        if self._window:
            moments.append(max(self._window[0][0], self.paused_until))
        if self.next_due is not None and not self.loading and len(self._window) <= room // 2:
            moments.append(self.next_due)
        later = [moment for moment in moments if moment > now]
        return min(later, default=None)

    @property
    def first_due(self) -> float | None:
        """When the first waiting event was due, or will be; None if none waits."""
        moments = [self._window[0][0]] if self._window else []
        if self.next_due is not None:
            moments.append(self.next_due)
        return min(moments, default=None)

    @property
    def idle(self) -> bool:
        return not (self._known or self.loading or self.runners or self.next_due is not None)

    def _push(self, event: QueuedEvent) -> None:
        self._known.add(event.id)
        heapq.heappush(self._window, (event.due_at, event.id, event))
