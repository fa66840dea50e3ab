"""One function's events on their way: a window of them in memory, the rest on disk.

Pure bookkeeping: what is in memory, what runs, when the next is due, how many may run at once.
Nothing here waits or writes.
"""

from __future__ import annotations

import asyncio
import heapq

from boda.delivery.rows import Event

WINDOW = 1000
"""Events of one function in memory, without their payloads."""


class Lane:
    """The events of one function.

    next_due: no event that is only on disk is due earlier; None when there is none.
    limit: how many may run at once, as far as throttles have shown.
    """

    def __init__(self, arn: str, most: int) -> None:
        self.arn = arn
        self.next_due: float | None = None
        self.running: set[str] = set()
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.loading = False
        self.paused_until = 0.0
        self.limit = float(most)
        self._most = float(most)
        self._window: list[tuple[float, str, Event]] = []
        self._known: set[str] = set()
        self._left_meanwhile: set[str] = set()

    def offer(self, event: Event) -> bool:
        """Take an event that was just accepted into memory; False: it waits on disk."""
        if self.loading or self.next_due is not None or len(self._window) >= WINDOW:
            self.on_disk(event.due_at)
            return False
        self._push(event)
        return True

    def on_disk(self, due_at: float) -> None:
        """Know that an event which is due then waits on disk only."""
        self.next_due = due_at if self.next_due is None else min(self.next_due, due_at)

    def wants_load(self, now: float) -> bool:
        """Whether events on disk are due and there is room for them."""
        return (
            not self.loading
            and self.next_due is not None
            and self.next_due <= now
            and len(self._window) < WINDOW // 2
        )

    def begin_load(self) -> int:
        """Start reading from disk; how many to ask for so that enough new ones are among them."""
        self.loading = True
        self.next_due = None
        return WINDOW + len(self._known)

    def end_load(self, found: list[Event], rest: float | None) -> list[Event]:
        """Take what was read and is not known here; those that were new."""
        self.loading = False
        fresh = []
        for event in found:
            if event.id in self._known or event.id in self._left_meanwhile:
                continue
            if len(self._window) >= WINDOW:
                self.on_disk(event.due_at)
                continue
            self._push(event)
            fresh.append(event)
        self._left_meanwhile.clear()
        if rest is not None:
            self.on_disk(rest)
        return fresh

    def fail_load(self, again_at: float) -> None:
        self.loading = False
        self._left_meanwhile.clear()
        self.on_disk(again_at)

    def start(self, now: float, allowed: int) -> Event | None:
        """The next event that may run now."""
        if not self.has_due(now) or now < self.paused_until:
            return None
        if len(self.running) >= max(1, min(allowed, int(self.limit))):
            return None
        event = heapq.heappop(self._window)[2]
        self.running.add(event.id)
        return event

    def has_due(self, now: float) -> bool:
        """Whether an event in memory is due."""
        return bool(self._window) and self._window[0][0] <= now

    def leave(self, event: Event) -> None:
        """An attempt is over and stored: the event is gone, or waits on disk."""
        self.running.discard(event.id)
        self._known.discard(event.id)
        if self.loading:
            self._left_meanwhile.add(event.id)

    def went_well(self) -> None:
        """There was capacity: allow a little more."""
        self.paused_until = 0.0
        self.limit = min(self._most, self.limit + 1.0 / self.limit)

    def was_throttled(self, now: float, pause_s: float) -> None:
        """There was none: allow half, and wait unless something of ours is still running."""
        self.limit = max(1.0, self.limit / 2)
        if len(self.running) <= 1:  # the one that was just refused
            self.paused_until = now + pause_s

    def next_moment(self, now: float) -> float | None:
        """When there is something to do without being woken; None: only when woken."""
        moments = []
        if self._window:
            moments.append(max(self._window[0][0], self.paused_until))
        if self.next_due is not None and not self.loading:
            moments.append(self.next_due)
        later = [moment for moment in moments if moment > now]
        return min(later, default=None)

    @property
    def idle(self) -> bool:
        return not (self._window or self.running or self.loading or self.next_due is not None)

    def _push(self, event: Event) -> None:
        self._known.add(event.id)
        heapq.heappush(self._window, (event.due_at, event.id, event))
