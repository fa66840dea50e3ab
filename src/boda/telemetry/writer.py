"""Writes telemetry from memory to the database, in rounds.

Laws of this file:
- One round at a time takes everything that waits and commits it in one transaction; so order is
kept, and nothing is written twice. A failed round is made up for by the next one.
- The event loop packs and compresses nothing: that is done in a thread, a block at a time.

A crash loses at most the last LINGER_S seconds and one commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from boda.core.clock import Clock
from boda.core.errors import AwsError, PlatformError, Unwritable
from boda.core.tasks import Tasks
from boda.storage.rows import Rows, Tx
from boda.telemetry.block import LogBlock, pack
from boda.telemetry.block_writer import BlockWriter
from boda.telemetry.contract import MeteredInvocation, MeteredUrlRequest, StreamKey
from boda.telemetry.log_buffer import MIB, SHORT, LogBuffer, WaitingEvents
from boda.telemetry.metering import MeterBuffer, write_sums
from boda.telemetry.metrics import MetricBuffer, write_minutes
from boda.telemetry.tally import Tally, tally, tally_url_requests

LINGER_S = 0.2
HIGH_BYTES = 32 * MIB  # writers of logs are asked to wait above this
LOW_BYTES = 16 * MIB  # and go on below this
UNCOUNTED = 20_000  # invocations that wait to be counted, at most
RETRY_S = 1.0

T = TypeVar("T")
Packed = list[tuple[StreamKey, list[LogBlock]]]

_log = logging.getLogger("boda.telemetry")


class TelemetryWriter:
    """Holds the buffers of telemetry and empties them.

    blocks: writes log events. why_no_room: returns why the disk has no room for logs, or ""; may
    block. While it has none, log events are dropped: the rest of it is for functions' other rows.
    high_bytes, low_bytes, hard_bytes: where ``room`` starts to wait, ends to wait, and where events
    are dropped.

    logs, invocations, url_requests, metrics: append to them, then set ``wake``; set ``urgent`` to
    have them written without lingering.
    """

    def __init__(
        self,
        rows: Rows,
        clock: Clock,
        blocks: BlockWriter,
        why_no_room: Callable[[], str],
        *,
        high_bytes: int,
        low_bytes: int,
        hard_bytes: int,
    ) -> None:
        self.logs = LogBuffer(hard_bytes)
        self.invocations: list[MeteredInvocation] = []
        self.url_requests: list[MeteredUrlRequest] = []
        self.metrics = MetricBuffer()
        self.wake = asyncio.Event()
        self.urgent = asyncio.Event()
        self._rows = rows
        self._clock = clock
        self._blocks = blocks
        self._why_no_room = why_no_room
        self._high = high_bytes
        self._low = low_bytes
        self._meters = MeterBuffer()
        self._unwritten: Packed = []  # packed, but the write failed
        self._failing = False
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="boda-logs")
        self._round_lock = asyncio.Lock()
        self._room = asyncio.Event()
        self._tasks = Tasks()
        self._rounds = Tasks()
        self._stopped = False

    def start(self) -> None:
        """Write from now on."""
        self._tasks.spawn(self._run(), name="telemetry-writer")

    async def stop(self) -> None:
        """Write what waits, then end."""
        self._stopped = True
        await self._tasks.cancel()
        try:
            await self.flush()
        except Exception as error:
            _log.error("The last logs and metering could not be written: %s", error)
        self._room.set()
        self._threads.shutdown()

    async def flush(self) -> None:
        """Return when everything appended so far is durable. Raises what storage raises."""
        # The round goes on if the caller is cancelled, so that it is known whether it has written.
        await self._rounds.finish(self._round())

    async def settle(self) -> None:
        """Let readers see what was appended so far; data that cannot be written stays unseen."""
        with contextlib.suppress(Exception):
            await self.flush()

    async def room(self) -> None:
        """Return when there is room for more log events.

        While storage fails this does not wait: functions go on and their output is dropped.
        """
        is_writing = bool(self._tasks) and not self._stopped
        while self.logs.bytes > self._high and not self._failing and is_writing:
            self._room.clear()
            self.urgent.set()
            await self._room.wait()
            is_writing = bool(self._tasks) and not self._stopped

    def count(self) -> None:
        """Add the waiting invocations up in metering and metrics, in the calling thread."""
        self._add(tally(self._take_invocations()))

    def count_url_requests(self) -> None:
        """Add the waiting requests to function URLs up in metrics."""
        taken, self.url_requests = self.url_requests, []
        self.metrics.add_counted(tally_url_requests(taken).minutes)

    async def put_events(
        self, key: StreamKey, events: Sequence[tuple[int, str]], now_ms: int
    ) -> bool:
        """Store events and return once they are durable; False if there is no such stream.

        Raises Unwritable while the disk has no room for logs.
        """
        if why := await self._in_thread(self._why_no_room):
            raise Unwritable(why)
        packed = await self._in_thread(lambda: [(key, list(pack(events, now_ms)))])
        try:
            return await self._rows.write(
                lambda tx: self._blocks.write_blocks(tx, packed, create=False)
            )
        except Exception:
            self._blocks.forget()
            raise

    async def _run(self) -> None:
        refused = False
        while True:
            await self.wake.wait()
            if not self.urgent.is_set():
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
        """Wait for more to write at once, unless much waits already."""
        timer = self._clock.call_later(LINGER_S, self.urgent.set)
        try:
            await self.urgent.wait()
        finally:
            timer.cancel()

    async def _round(self) -> None:
        async with self._round_lock:
            self.wake.clear()
            self.urgent.clear()
            waiting, held = await self._take_what_fits()
            invocations = self._take_invocations()
            packed, self._unwritten = self._unwritten, []
            if waiting or invocations:
                fresh, counted = await self._in_thread(
                    lambda: (_pack_all(waiting), tally(invocations))
                )
                packed += fresh
                self._add(counted)
            if self.url_requests:
                self.count_url_requests()
            sums = self._meters.take()
            minutes = self.metrics.take()
            if not (packed or sums or minutes):
                return

            def work(tx: Tx) -> None:
                self._blocks.write_blocks(tx, packed)
                write_sums(tx, sums)
                write_minutes(tx, minutes)

            try:
                await self._rows.write(work)
            except (AwsError, PlatformError, OSError):
                # The disk is full, or the like: it may pass.
                self._failing = True
                self._blocks.forget()
                self._unwritten = packed
                self._meters.add(sums)
                self.metrics.put_back(minutes)
                self.wake.set()
                raise
            except Exception:
                # The data is at fault, not the storage: trying again would never end.
                self._blocks.forget()
                self.logs.release(held)
                raise
            else:
                self._failing = False
                self.logs.release(held)
            finally:
                if self._failing or self.logs.bytes <= self._low:
                    self._room.set()

    def _take_invocations(self) -> list[MeteredInvocation]:
        taken, self.invocations = self.invocations, []
        return taken

    def _add(self, counted: Tally) -> None:
        self._meters.add(counted.sums)
        self.metrics.add_counted(counted.minutes)

    async def _take_what_fits(self) -> tuple[dict[StreamKey, WaitingEvents], int]:
        """Take the waiting log events, and their size; drop them if the disk has no room."""
        waiting, held = self.logs.take()
        if not waiting or not (why := await self._in_thread(self._why_no_room)):
            return waiting, held
        for key, one in waiting.items():
            self.logs.lose(key, len(one.events), SHORT)
        self.logs.release(held)
        if not self.logs.closed and not self._stopped:
            self.logs.closed = True
            self._tasks.spawn(self._reopen(), name="telemetry-reopen")
            _log.error("Log events are dropped until the disk has room for them: %s", why)
        return {}, 0

    async def _reopen(self) -> None:
        """Accept log events again once the disk has room."""
        while await self._in_thread(self._why_no_room):
            await self._clock.sleep(RETRY_S)
        self.logs.closed = False
        _log.warning("Log events are kept again; each stream tells how many were dropped")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _pack_all(waiting: Mapping[StreamKey, WaitingEvents]) -> Packed:
    packed: Packed = []
    for key, one in waiting.items():
        blocks: list[LogBlock] = []
        for block in pack(one.events, one.ingested_ms):
            blocks.append(block)
            # Release the interpreter to the event loop now rather than after its interval (5 ms).
            time.sleep(0)
        packed.append((key, blocks))
    return packed
