"""The durable queue of asynchronous events: accepted once on disk, run at least once.

Laws of this file:
  1. The caller that brings an event gets an answer only after its commit.
  2. The queue's time goes on when the machine's clock is set, and over restarts
     (``queue_time.py``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.core.tasks import Tasks
from boda.delivery import rows
from boda.delivery.attempt import EventAttempts
from boda.delivery.dead_letters import DeadLetters
from boda.delivery.destination import Destinations, Rules
from boda.delivery.event_metrics import EventMetrics
from boda.delivery.lane_runner import LaneRunner
from boda.delivery.queue_time import QueueTime, StoredTime
from boda.delivery.rows import QueuedEvent
from boda.invoke.call import InvokePath
from boda.invoke.function_table import LATEST, FunctionTable
from boda.runtime.function import FunctionVersion
from boda.storage.rows import Rows, Tx

_log = logging.getLogger(__name__)

_FARTHEST_S = 600.0
"""No event is due more than this after now."""

Accepted = Callable[[AwsError | None], None]
"""Called exactly once, with None after the commit, or with an error (503). Must not raise."""


class EventQueue:
    """Accepts events, and runs them.

    slots: attempts at once, of all functions together. boot: a name of the machine's run, the same
    over restarts of the platform alone. reserved: returns a function's reserved concurrency by
    account, region and name, or None. rules: returns how often and how long a version's events are
    tried, and their destinations.
    """

    def __init__(
        self,
        rows: Rows,
        functions: FunctionTable,
        invoker: InvokePath,
        dead_letters: DeadLetters,
        metrics: EventMetrics,
        clock: Clock,
        ids: Ids,
        *,
        slots: int,
        boot: str,
        reserved: Callable[[str, str, str], int | None],
        rules: Rules,
        destinations: Destinations,
    ) -> None:
        self._rows = rows
        self._time = QueueTime(clock, boot)
        self._now = self._time.now
        attempts = EventAttempts(
            *(functions, invoker, dead_letters, destinations, metrics, ids, self._now),
            reserved=reserved,
            rules=rules,
        )
        self._runner = LaneRunner(
            *(rows, attempts, metrics, clock, self._now),
            slots=slots,
            reserved=reserved,
            on_turn=self._see_clock,
        )
        self._journal = self._runner.journal
        self._numbers: dict[str, int] = {}
        self._last_id = -1
        self._opening = asyncio.Lock()
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
        """Accept an event for a known version; durable when this returns. Raises AwsError."""
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
        """Accept an event for a function; durable when this returns. Raises AwsError (503)."""
        if self._last_id < 0:
            try:
                await self._read_backlog()
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

    def try_enqueue(
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
        """Accept an event as ``enqueue`` does, and call ``accepted`` after its commit.

        Returns False, and does nothing, until the backlog of an earlier run has been read.
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
            QueuedEvent(
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

    async def waiting(self) -> int:
        """Return the number of events that are accepted and not finished."""
        await self._journal.flush()
        return await self._rows.read(rows.count)

    def late_s(self) -> float:
        """Return for how long the event that waits longest has been due; 0 if none is."""
        due_at = self._runner.first_due()
        return 0.0 if due_at is None else max(0.0, self._now() - due_at)

    # Life

    async def start(self) -> None:
        """Take over the events of an earlier run, and run events from now on."""
        await self._read_backlog()
        self._open = True
        self._runner.open()

    async def stop(self, grace_s: float | None = None) -> None:
        """Start nothing more; wait for what runs, for grace_s at most. The rest stays on disk."""
        self._open = False
        await self._runner.close(grace_s)
        await self._tasks.drain()
        if self._last_id >= 0:
            await self._store_time()

    async def _read_backlog(self) -> None:
        """Read, once, which lanes have events on disk."""
        async with self._opening:
            if self._last_id >= 0:
                return
            earlier, (found, highest) = await self._rows.read(
                lambda tx: (rows.read_time(tx), rows.backlogs(tx))
            )
            self._time.resume(earlier)
            time = self._time.unstored()
            empty = [one.lane for one in found if one.first_due is None]
            now = self._now()
            ahead = [one.lane for one in found if (one.last_due or now) > now + _FARTHEST_S]
            if empty or ahead or time is not None:
                await self._rows.write(lambda tx: _tidy(tx, empty, ahead, now, time))
            if time is not None:
                self._time.was_stored(time)
            for one in found:
                if one.first_due is not None:
                    self._numbers[one.arn] = one.lane
                    due_at = min(now, one.first_due) if one.lane in ahead else one.first_due
                    self._runner.due_on_disk(one.lane, one.arn, due_at)
            self._journal.knows_lanes(set(self._numbers.values()))
            self._last_id = highest

    async def _store_time(self) -> None:
        """Store the time, unless it is on disk; a refused write is tried at the next call."""
        time = self._time.unstored()
        if time is not None:
            try:
                await self._rows.write(lambda tx: rows.store_time(tx, time))
                self._time.was_stored(time)
            except Exception as error:
                _log.debug("the queue's time was not stored: %s", error)

    def _see_clock(self) -> None:
        """Store the time if the machine's clock was set."""
        if self._open and self._time.unstored() is not None:
            self._tasks.spawn(self._store_time())


def _not_accepted(arn: str, error: Exception) -> AwsError:
    # The caller gets the error; the operator got one line for all of them.
    _log.debug("an event for %s was not accepted: %s", arn, error)
    return AwsError(
        "ServiceException", "The event could not be stored; send it again.", 503, Type="Service"
    )


def _tidy(tx: Tx, empty: list[int], ahead: list[int], now: float, time: StoredTime | None) -> None:
    if time is not None:
        rows.store_time(tx, time)
    rows.drop_lanes(tx, empty)
    for lane in ahead:
        rows.hasten(tx, lane, now + _FARTHEST_S, now)
