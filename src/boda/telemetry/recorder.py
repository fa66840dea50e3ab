"""The room's front: appends to memory, and one task that writes it down.

Laws of this file:
- ``log``, ``meter`` and ``metric`` touch memory only and never raise for a caller's sake.
- One round at a time takes everything that waits and commits it in one transaction; so order is
  kept, and nothing is written twice. What could not be written waits for the next round.
- The event loop packs and compresses nothing: that is done in a thread, a block at a time.

A crash loses at most what was appended in the last LINGER_S seconds and one commit. That holds
for function output, metering and metrics; ``put_events`` (PutLogEvents) answers after commit.

Functions' output is written whether or not the function's role has ``logs:CreateLogStream`` and
``logs:PutLogEvents``; AWS would discard it without them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from boda.core.clock import Clock
from boda.core.errors import BodaError, Unwritable
from boda.core.tasks import Tasks
from boda.storage.database import Database
from boda.telemetry import cost
from boda.telemetry.block import Block, pack
from boda.telemetry.contract import Answered, Metered, StreamKey, Telemetry
from boda.telemetry.log_buffer import MIB, SHORT, LogBuffer, Waiting
from boda.telemetry.log_store import LogStore
from boda.telemetry.metering import (
    MeterBuffer,
    Usage,
    month_bounds,
    month_of,
    read_usage,
    write_sums,
)
from boda.telemetry.metrics import Datapoint, MetricBuffer, read_datapoints, write_minutes
from boda.telemetry.subscription import Subscription
from boda.telemetry.sweeper import Sweeper
from boda.telemetry.tally import Tally, tally, tally_answers

LINGER_S = 0.2
HIGH_BYTES = 32 * MIB  # writers of logs are asked to wait above this
LOW_BYTES = 16 * MIB  # and go on below this
URGENT_BYTES = 2 * MIB  # from here the writer does not linger
UNCOUNTED = 20_000  # invocations that wait to be counted, at most
RETRY_S = 1.0
SWEEP_S = 3600.0

T = TypeVar("T")
Packed = list[tuple[StreamKey, list[Block]]]

_log = logging.getLogger("boda.telemetry")


class Recorder(Telemetry):
    """logs: groups, streams and events as rows, for whoever reads or manages them.

    why_no_room: why the disk has no room for logs, or ""; may block. While it has none, log events
    are dropped: what is left of it is for functions' other rows. high_bytes, low_bytes, hard_bytes:
    where ``log_room`` begins to wait, ends to wait, and where events are dropped.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        why_no_room: Callable[[], str] = lambda: "",
        *,
        high_bytes: int = HIGH_BYTES,
        low_bytes: int = LOW_BYTES,
        hard_bytes: int = 128 * MIB,
    ) -> None:
        self._database = database
        self._clock = clock
        self._why_no_room = why_no_room
        self._high = high_bytes
        self._low = low_bytes
        self._buffer = LogBuffer(hard_bytes)
        self._invocations: list[Metered] = []
        self._answers: list[Answered] = []
        self._meters = MeterBuffer()
        self._metrics = MetricBuffer()
        self._unwritten: Packed = []  # packed, but the write failed
        self._failing = False
        self._subscriptions: list[Subscription] = []
        self._sweeper = Sweeper(database, clock)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="boda-logs")
        self._round_lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._room = asyncio.Event()
        self._sweep_now = asyncio.Event()
        self._tasks = Tasks()
        self._rounds = Tasks()
        self._stopped = False
        self.logs = LogStore(database, clock, self._settle, self._sweep_now.set)

    # Life

    async def start(self) -> None:
        """Begin to write and to sweep."""
        self._tasks.spawn(self._write_on(), name="telemetry-writer")
        self._tasks.spawn(self._sweep_on(), name="telemetry-sweeper")

    async def stop(self) -> None:
        """Write what waits, then end. Safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        await self._tasks.cancel()
        self.end_subscriptions()
        try:
            await self.flush()
        except Exception as error:
            _log.error("The last logs and metering could not be written: %s", error)
        self._room.set()
        self._threads.shutdown()

    # Appending

    def log(self, key: StreamKey, events: Iterable[tuple[int, str]]) -> None:
        """Append events (epoch milliseconds, message). Group and stream are made if absent.

        Messages above 1 MiB are cut into several events, as Lambda does.
        """
        now_ms = int(self._clock.now() * 1000)
        taken = self._buffer.add(key, events, now_ms)
        if not taken:
            return
        if self._subscriptions:
            self._publish(key, taken, now_ms)
        self._wake.set()
        if self._buffer.bytes > URGENT_BYTES:
            self._urgent.set()

    def log_dropped(self, key: StreamKey, count: int, why: str) -> None:
        self._buffer.drop(key, count, why)

    async def log_room(self) -> None:
        """Return when there is room for more log events.

        While storage fails this does not wait: functions go on and their output is dropped.
        """
        while self._buffer.bytes > self._high and not self._failing and self._is_writing:
            self._room.clear()
            self._urgent.set()
            await self._room.wait()

    def meter(self, invocation: Metered) -> None:
        self._invocations.append(invocation)
        if len(self._invocations) >= UNCOUNTED:
            self._count(tally(self._take_invocations()))
        self._wake.set()

    def answered(self, answer: Answered) -> None:
        """Count a request to a function URL in metrics."""
        self._answers.append(answer)
        if len(self._answers) >= UNCOUNTED:
            self._metrics.add_counted(tally_answers(self._take_answers()).minutes)
        self._wake.set()

    def metric(
        self,
        account: str,
        region: str,
        namespace: str,
        name: str,
        value: float,
        dimensions: Mapping[str, str] | None = None,
        unit: str = "Count",
    ) -> None:
        now = self._clock.now()
        self._metrics.add(account, region, namespace, name, value, dimensions, unit, now)
        self._wake.set()

    def measure(
        self,
        account: str,
        region: str,
        namespace: str,
        values: Sequence[tuple[str, float, str]],
        dimensions: Mapping[str, str],
    ) -> None:
        dimension = tuple(sorted(dimensions.items()))
        add, now = self._metrics.add_to, self._clock.now()
        for name, value, unit in values:
            add((account, region, namespace, name, dimension, unit), value, now)
        self._wake.set()

    @property
    def dropped_log_events(self) -> int:
        """Log events that found no room since the start."""
        return self._buffer.dropped

    @property
    def dropped_metric_samples(self) -> int:
        """Samples of series beyond the bound, since the start."""
        return self._metrics.dropped

    @property
    def buffered_bytes(self) -> int:
        """Memory held by log events on their way to storage."""
        return self._buffer.bytes

    async def flush(self) -> None:
        """Return when everything appended so far is durable; raises what storage raised."""
        # The round goes on when the caller goes away, or nobody would know whether it wrote.
        await self._rounds.finish(self._round())

    async def put_events(self, key: StreamKey, events: Sequence[tuple[int, str]]) -> bool:
        """Store events and return once they are durable; False when there is no such stream.

        Raises Unwritable while the disk has no room for logs.
        """
        now_ms = int(self._clock.now() * 1000)
        if why := await self._in_thread(self._why_no_room):
            raise Unwritable(why)
        packed = await self._in_thread(lambda: [(key, list(pack(events, now_ms)))])
        try:
            stored = await self._database.write(
                lambda c: self.logs.write_blocks(c, packed, create=False)
            )
        except Exception:
            self.logs.forget()
            raise
        if stored:
            self._publish(key, events, now_ms)
        return stored

    # Reading

    def subscribe(
        self,
        account: str,
        region: str,
        groups: Collection[str],
        streams: Collection[str] = (),
        prefixes: Collection[str] = (),
    ) -> Subscription:
        """Watch log events as they are appended, from now on; ``close`` it in the end."""
        subscription = Subscription(
            account, region, groups, streams, prefixes, on_close=self._subscriptions.remove
        )
        self._subscriptions.append(subscription)
        return subscription

    def end_subscriptions(self) -> None:
        """End every live tail, so that no answer goes on for ever while the platform stops."""
        for subscription in list(self._subscriptions):
            subscription.close()

    async def usage(self, account: str, month: str) -> list[Usage]:
        """Sums of a ``YYYY-MM`` month per region, function and version. ValueError if no month."""
        start, end = month_bounds(month)
        await self._settle()
        return await self._database.read(lambda c: read_usage(c, account, start, end))

    async def usage_report(self, account: str, month: str = "") -> dict[str, Any]:
        """The month (this one by default) with AWS's list price; see ``cost.report``."""
        month = month or month_of(self._clock.now())
        return cost.report(month, await self.usage(account, month))

    async def metrics(
        self,
        account: str,
        region: str,
        namespace: str,
        name: str,
        dimensions: Mapping[str, str] | None = None,
        *,
        start_s: int,
        end_s: int,
        period_s: int = 60,
    ) -> list[Datapoint]:
        """Datapoints of one metric in [start_s, end_s); 15 days are kept."""
        await self._settle()
        return await self._database.read(
            lambda c: read_datapoints(
                c, account, region, namespace, name, dimensions, start_s, end_s, period_s
            )
        )

    async def sweep(self) -> None:
        """Delete now what has outlived its time."""
        await self._sweeper.sweep()

    # Writing

    @property
    def _is_writing(self) -> bool:
        return bool(self._tasks) and not self._stopped

    def _publish(self, key: StreamKey, events: Sequence[tuple[int, str]], now_ms: int) -> None:
        for subscription in self._subscriptions:
            if subscription.wants(key):
                subscription.offer(key, events, now_ms)

    def _take_invocations(self) -> list[Metered]:
        taken, self._invocations = self._invocations, []
        return taken

    def _take_answers(self) -> list[Answered]:
        taken, self._answers = self._answers, []
        return taken

    def _count(self, counted: Tally) -> None:
        self._meters.add(counted.sums)
        self._metrics.add_counted(counted.minutes)

    async def _settle(self) -> None:
        """Let readers see what was appended; what cannot be written now stays unseen."""
        with contextlib.suppress(Exception):
            await self.flush()

    async def _write_on(self) -> None:
        refused = False
        while True:
            await self._wake.wait()
            if not self._urgent.is_set():
                await self._linger()
            try:
                await self.flush()
            except Exception as error:
                if not refused:
                    refused = True
                    _log.error("Logs and metering could not be written, trying again: %s", error)
                await self._clock.sleep(RETRY_S)
            else:
                if refused:
                    refused = False
                    _log.warning("Logs and metering are written again")

    async def _linger(self) -> None:
        """Wait for more to write at once, but not when much is there already."""
        timer = self._clock.call_later(LINGER_S, self._urgent.set)
        try:
            await self._urgent.wait()
        finally:
            timer.cancel()

    async def _round(self) -> None:
        async with self._round_lock:
            self._wake.clear()
            self._urgent.clear()
            waiting, held = await self._take_what_fits()
            invocations = self._take_invocations()
            packed, self._unwritten = self._unwritten, []
            if waiting or invocations:
                fresh, counted = await self._in_thread(
                    lambda: (_pack_all(waiting), tally(invocations))
                )
                packed += fresh
                self._count(counted)
            if self._answers:
                self._metrics.add_counted(tally_answers(self._take_answers()).minutes)
            sums = self._meters.take()
            minutes = self._metrics.take()
            if not (packed or sums or minutes):
                return

            def work(connection: Connection) -> None:
                self.logs.write_blocks(connection, packed)
                write_sums(connection, sums)
                write_minutes(connection, minutes)

            try:
                await self._database.write(work)
            except (OperationalError, BodaError, OSError):
                # The disk is full, or the like: it may pass.
                self._failing = True
                self.logs.forget()
                self._unwritten = packed
                self._meters.add(sums)
                self._metrics.put_back(minutes)
                self._wake.set()
                raise
            except Exception:
                # Not the storage's state but the data's: trying again would never end.
                self.logs.forget()
                self._buffer.release(held)
                raise
            else:
                self._failing = False
                self._buffer.release(held)
            finally:
                if self._failing or self._buffer.bytes <= self._low:
                    self._room.set()

    async def _take_what_fits(self) -> tuple[dict[StreamKey, Waiting], int]:
        """What waits and its size; nothing where the disk has no room for it."""
        waiting, held = self._buffer.take()
        if not waiting or not (why := await self._in_thread(self._why_no_room)):
            return waiting, held
        for key, one in waiting.items():
            self._buffer.lose(key, len(one.events), SHORT)
        self._buffer.release(held)
        if not self._buffer.closed and not self._stopped:
            self._buffer.closed = True
            self._tasks.spawn(self._reopen(), name="telemetry-reopen")
            _log.error("Log events are dropped until the disk has room for them: %s", why)
        return {}, 0

    async def _reopen(self) -> None:
        """Take log events again once the disk has room."""
        while await self._in_thread(self._why_no_room):
            await self._clock.sleep(RETRY_S)
        self._buffer.closed = False
        _log.warning("Log events are kept again; each stream tells how many were dropped")

    async def _sweep_on(self) -> None:
        while True:
            self._sweep_now.clear()
            try:
                await self._sweeper.sweep()
            except Exception as error:
                _log.error("Old logs could not be deleted, trying again later: %s", error)
            timer = self._clock.call_later(SWEEP_S, self._sweep_now.set)
            try:
                await self._sweep_now.wait()
            finally:
                timer.cancel()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _pack_all(waiting: Mapping[StreamKey, Waiting]) -> Packed:
    packed: Packed = []
    for key, one in waiting.items():
        blocks: list[Block] = []
        for block in pack(one.events, one.ingested_ms):
            blocks.append(block)
            # Give the interpreter to the event loop now rather than when it insists (5 ms).
            time.sleep(0)
        packed.append((key, blocks))
    return packed
