"""The queue's writes: all that wait go to disk in one transaction, one transaction at a time.

Laws of this file:
  1. ``add`` calls back after the commit, and ``defer`` returns after it.
  2. Nobody waits for a removal: it goes with the next commit of any room, and at the latest after
     LINGER_S. A crash in between runs the event again, which "at least once" allows.
  3. If the disk refuses a write: an addition fails, for its caller to send again; a deferral or a
     removal is tried until it succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence

from boda.core.clock import Clock, Timer
from boda.delivery import rows
from boda.delivery.rows import QueuedEvent
from boda.storage.rows import Rows, Tx

_log = logging.getLogger(__name__)

LINGER_S = 0.01
"""How long removals wait for another commit."""
MANY = 256
"""The number of removals that are written at once."""
_AGAIN_S = 1.0

Written = Callable[[Exception | None], None]
"""Called exactly once, with None after the commit, or with an error. Must not raise."""


class QueueJournal:
    """Writes additions, deferrals and removals of events.

    added: called with events after their commit, also if their caller has gone. removed: called
    with events that have left the disk. failing: the disk refuses writes.
    """

    def __init__(
        self,
        rows: Rows,
        clock: Clock,
        added: Callable[[Sequence[QueuedEvent]], None],
        removed: Callable[[Sequence[QueuedEvent]], None],
    ) -> None:
        self._rows = rows
        self._clock = clock
        self._added = added
        self._removed = removed
        self._lanes: set[int] = set()
        self._additions: list[tuple[QueuedEvent, Written]] = []
        self._deferrals: list[tuple[QueuedEvent, asyncio.Future[None]]] = []
        # Emptied by the database's writer thread, too.
        self._removals: deque[QueuedEvent] = deque()
        self._riding: list[QueuedEvent] | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._settled: asyncio.Future[None] | None = None
        self._closing = False
        self._refused = False
        self.failing = False

    def knows_lanes(self, some: set[int]) -> None:
        """Note which lanes have rows already."""
        self._lanes |= some

    def add(self, event: QueuedEvent, written: Written) -> None:
        """Make an event durable; ``written`` is called later, never before this returns."""
        self._additions.append((event, written))
        self._write_now()

    async def defer(self, event: QueuedEvent) -> None:
        """Store when an event is due again; return after the commit."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deferrals.append((event, future))
        self._write_soon()
        await future

    def remove(self, event: QueuedEvent) -> None:
        """Delete an event soon."""
        self._removals.append(event)
        if self._riding is None:
            self._ride()
        self._write_soon()

    def _ride(self) -> None:
        """Delete the events with the next transaction of any room."""
        riding: list[QueuedEvent] = []
        self._riding = riding

        def work(tx: Tx) -> None:
            _move(self._removals, riding)
            if riding:
                rows.remove(tx, [event.id for event in riding])

        self._rows.write_along(work).add_done_callback(self._rode)

    def _rode(self, future: asyncio.Future[None]) -> None:
        riding, self._riding = self._riding or [], None
        if future.cancelled() or future.exception() is not None:
            self._removals.extendleft(reversed(riding))
        elif riding:
            self._removed(riding)
        if self._removals:
            self._ride()
            self._write_soon()

    async def room(self) -> None:
        """Return when the disk accepts writes."""
        while self.failing:
            await self._settle()

    async def flush(self) -> None:
        """Return when all writes so far have been committed or refused."""
        if self._task is None:
            self._write_now()
        while self._task is not None:
            await self._settle()
            if self.failing:
                return

    def close(self) -> None:
        """Try refused writes no more; they are made up for after the next start."""
        self._closing = True
        if self.failing:
            self._write_now()

    async def _settle(self) -> None:
        if self._settled is None:
            self._settled = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._settled)

    def _write_soon(self) -> None:
        if self._task is not None or self.failing:
            return  # the write under way, or the next one, takes it along
        if len(self._removals) + len(self._deferrals) >= MANY:
            self._write_now()
        elif self._timer is None:
            self._timer = self._clock.call_later(LINGER_S, self._write_now)

    def _write_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while await self._write():
                pass
        finally:
            self._task = None
            if self._settled is not None:
                self._settled.set_result(None)
                self._settled = None
            if self._removals or self._deferrals:
                if self.failing:
                    self._timer = self._clock.call_later(_AGAIN_S, self._write_now)
                else:
                    self._write_soon()

    async def _write(self) -> bool:
        """Write all that waits; return whether to write again at once."""
        additions, self._additions = self._additions, []
        deferrals, self._deferrals = self._deferrals, []
        removals: list[QueuedEvent] = []
        _move(self._removals, removals)
        fresh = {event.lane: event.arn for event, _ in additions if event.lane not in self._lanes}

        def work(tx: Tx) -> None:
            if fresh:
                rows.add_lanes(tx, fresh.items())
            if additions:
                rows.add(tx, [event for event, _ in additions])
            if deferrals:
                rows.defer(tx, [event for event, _ in deferrals])
            if removals:
                rows.remove(tx, [event.id for event in removals])

        if not (additions or deferrals or removals or self._riding):
            self.failing = False
            return False
        try:
            await self._rows.write(work)
        except Exception as error:
            if not self._refused:
                # Once, and not for each event: a full disk may hold these lines as well.
                self._refused = True
                _log.warning("the queue cannot be written: %s", error)
            _call_back(additions, error)
            if self._closing:
                _resolve(deferrals)
            else:
                self._deferrals = deferrals + self._deferrals
                self._removals.extendleft(reversed(removals))
            # Additions have failed with an error; the others wait until the disk accepts them.
            self.failing = bool(self._deferrals or self._removals)
            return bool(self._additions)
        self.failing = False
        if self._refused:
            self._refused = False
            _log.warning("the queue is written again")
        self._lanes |= fresh.keys()
        if additions:
            self._added([event for event, _ in additions])
        _call_back(additions, None)
        _resolve(deferrals)
        if removals:
            self._removed(removals)
        return bool(self._additions) or len(self._removals) + len(self._deferrals) >= MANY


def _move(source: deque[QueuedEvent], target: list[QueuedEvent]) -> None:
    """Move all events, also while another thread appends."""
    with contextlib.suppress(IndexError):
        while True:
            target.append(source.popleft())


def _call_back(some: Sequence[tuple[QueuedEvent, Written]], error: Exception | None) -> None:
    for event, written in some:
        try:
            written(error)
        except Exception:
            # The other callbacks are called all the same.
            _log.exception("what an event for %s led to failed", event.arn)


def _resolve(some: Sequence[tuple[QueuedEvent, asyncio.Future[None]]]) -> None:
    for _, future in some:
        if not future.done():
            future.set_result(None)
