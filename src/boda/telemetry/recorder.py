"""The front of telemetry: appends to memory, and reads what was written.

Law of this file: ``log``, ``meter`` and ``metric`` touch memory only and never raise because of a
caller's data. ``writer.py`` writes the buffers down.

A crash may lose the last function output, metering and metrics; ``put_events`` (PutLogEvents)
returns after the commit.

Functions' output is written whether or not the function's role has ``logs:CreateLogStream`` and
``logs:PutLogEvents``; AWS would discard it without them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from boda.core.clock import Clock
from boda.core.tasks import Tasks
from boda.storage.rows import Rows
from boda.telemetry import cost
from boda.telemetry.block_writer import BlockWriter
from boda.telemetry.contract import MeteredInvocation, MeteredUrlRequest, StreamKey, Telemetry
from boda.telemetry.log_buffer import MIB
from boda.telemetry.log_store import LogStore
from boda.telemetry.metering import VersionUsage, month_bounds, month_of, read_usage
from boda.telemetry.metrics import Datapoint, read_datapoints
from boda.telemetry.retention_sweeper import RetentionSweeper
from boda.telemetry.subscription import Subscription
from boda.telemetry.writer import HIGH_BYTES, LOW_BYTES, UNCOUNTED, TelemetryWriter

URGENT_BYTES = 2 * MIB  # from here the writer does not linger
SWEEP_S = 3600.0

_log = logging.getLogger("boda.telemetry")


class Recorder(Telemetry):
    """Records logs, metrics and metering.

    logs: groups, streams and events, for whoever reads or manages them. why_no_room, high_bytes,
    low_bytes, hard_bytes: see ``TelemetryWriter``.
    """

    def __init__(
        self,
        rows: Rows,
        clock: Clock,
        why_no_room: Callable[[], str] = lambda: "",
        *,
        high_bytes: int = HIGH_BYTES,
        low_bytes: int = LOW_BYTES,
        hard_bytes: int = 128 * MIB,
    ) -> None:
        self._rows = rows
        self._clock = clock
        blocks = BlockWriter(clock)
        self._writer = TelemetryWriter(
            *(rows, clock, blocks, why_no_room),
            high_bytes=high_bytes,
            low_bytes=low_bytes,
            hard_bytes=hard_bytes,
        )
        self._subscriptions: list[Subscription] = []
        self._sweeper = RetentionSweeper(rows, clock)
        self._sweep_now = asyncio.Event()
        self._tasks = Tasks()
        self._stopped = False
        self.logs = LogStore(rows, clock, blocks, self._writer.settle, self._sweep_now.set)

    # Life

    async def start(self) -> None:
        """Start to write and to sweep."""
        self._writer.start()
        self._tasks.spawn(self._sweep_on(), name="telemetry-sweeper")

    async def stop(self) -> None:
        """Write what waits, then end. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        await self._tasks.cancel()
        self.end_subscriptions()
        await self._writer.stop()

    # Appending

    def log(self, key: StreamKey, events: Iterable[tuple[int, str]]) -> None:
        """Append events (epoch milliseconds, message). Group and stream are made if absent.

        Messages above 1 MiB are cut into several events, as Lambda does.
        """
        now_ms = int(self._clock.now() * 1000)
        writer = self._writer
        taken = writer.logs.add(key, events, now_ms)
        if not taken:
            return
        if self._subscriptions:
            self._publish(key, taken, now_ms)
        writer.wake.set()
        if writer.logs.bytes > URGENT_BYTES:
            writer.urgent.set()

    def log_dropped(self, key: StreamKey, count: int, why: str) -> None:
        self._writer.logs.drop(key, count, why)

    async def log_room(self) -> None:
        await self._writer.room()

    def meter(self, invocation: MeteredInvocation) -> None:
        writer = self._writer
        writer.invocations.append(invocation)
        if len(writer.invocations) >= UNCOUNTED:
            writer.count()
        writer.wake.set()

    def url_requested(self, request: MeteredUrlRequest) -> None:
        """Count a request to a function URL in metrics."""
        writer = self._writer
        writer.url_requests.append(request)
        if len(writer.url_requests) >= UNCOUNTED:
            writer.count_url_requests()
        writer.wake.set()

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
        self._writer.metrics.add(account, region, namespace, name, value, dimensions, unit, now)
        self._writer.wake.set()

    def measure(
        self,
        account: str,
        region: str,
        namespace: str,
        values: Sequence[tuple[str, float, str]],
        dimensions: Mapping[str, str],
    ) -> None:
        dimension = tuple(sorted(dimensions.items()))
        add, now = self._writer.metrics.add_to, self._clock.now()
        for name, value, unit in values:
            add((account, region, namespace, name, dimension, unit), value, now)
        self._writer.wake.set()

    @property
    def dropped_log_events(self) -> int:
        """Log events that were dropped for lack of room since the start."""
        return self._writer.logs.dropped

    @property
    def dropped_metric_samples(self) -> int:
        """Samples of series beyond the bound, since the start."""
        return self._writer.metrics.dropped

    @property
    def buffered_bytes(self) -> int:
        """Memory held by log events on their way to storage."""
        return self._writer.logs.bytes

    async def flush(self) -> None:
        """Return when everything appended so far is durable. Raises what storage raises."""
        await self._writer.flush()

    async def put_events(self, key: StreamKey, events: Sequence[tuple[int, str]]) -> bool:
        """Store events and return once they are durable; False if there is no such stream.

        Raises Unwritable while the disk has no room for logs.
        """
        now_ms = int(self._clock.now() * 1000)
        stored = await self._writer.put_events(key, events, now_ms)
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
        """Receive log events as they are appended, from now on; ``close`` it in the end."""
        subscription = Subscription(
            account, region, groups, streams, prefixes, on_close=self._subscriptions.remove
        )
        self._subscriptions.append(subscription)
        return subscription

    def end_subscriptions(self) -> None:
        """End every live tail, so that its answer ends when the platform stops."""
        for subscription in list(self._subscriptions):
            subscription.close()

    async def usage(self, account: str, month: str) -> list[VersionUsage]:
        """Return the sums of a ``YYYY-MM`` month per region, function and version.

        Raises ValueError if it is no month.
        """
        start, end = month_bounds(month)
        await self._writer.settle()
        return await self._rows.read(lambda tx: read_usage(tx, account, start, end))

    async def usage_report(self, account: str, month: str = "") -> dict[str, Any]:
        """Return a month's usage with AWS's list price; see ``cost.report``. Default: this
        month."""
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
        """Return datapoints of one metric in [start_s, end_s); 15 days are kept."""
        await self._writer.settle()
        return await self._rows.read(
            lambda tx: read_datapoints(
                tx, account, region, namespace, name, dimensions, start_s, end_s, period_s
            )
        )

    async def sweep(self) -> None:
        """Delete expired data now."""
        await self._sweeper.sweep()

    def _publish(self, key: StreamKey, events: Sequence[tuple[int, str]], now_ms: int) -> None:
        for subscription in self._subscriptions:
            if subscription.wants(key):
                subscription.offer(key, events, now_ms)

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
