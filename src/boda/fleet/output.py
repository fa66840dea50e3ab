"""Reads the pipes of a sandbox, and hands the log events to telemetry in order.

Law: reading never blocks the loop for longer than one chunk takes, and is never faster than
telemetry or BYTES_PER_S: meanwhile the pipe stays full and the function waits, so that nothing is
lost. Only the contents of the pipes at the end of an invocation are read in any case; if the
function has written much more than it may, they are counted and dropped.
"""

from __future__ import annotations

import asyncio
import math
import mmap
import os
import select
from collections.abc import Iterable

from boda.core.clock import Clock
from boda.core.rate import TokenBucket
from boda.fleet.levels import LevelFilter
from boda.fleet.lines import ConsoleLines, Events, LogFrames
from boda.telemetry.contract import StreamKey, Telemetry

TAIL_BYTES = 4096
BYTES_PER_S = 1 << 20
"""The rate of one environment's output, after BURST_BYTES."""
BURST_BYTES = 1 << 24
EVENT_BYTES = 128
"""Charged for a line besides its bytes; without that, empty lines would cost the platform most."""
_DEBT_S = 1.0
_PAUSE_S = 0.05
_TELL_EVERY_S = 60.0
SLOWED = (
    f"boda reads {BYTES_PER_S >> 20} MiB a second of this environment's output and no more: "
    "whoever writes more waits."
)
FAST = f"this environment writes more than {BYTES_PER_S >> 20} MiB a second"
_CHUNK = 16384
_DRAIN_BYTES = 16 * mmap.PAGESIZE
"""The capacity of a pipe of the usual size: output that was written before an answer is read before
the answer counts."""
_ROOM_EVERY_BYTES = 1 << 18


class Output:
    """Reads the output of one environment. ``attach`` for each runtime process.

    levels: filters the function's lines; None: all are logged.
    """

    def __init__(
        self, key: StreamKey, telemetry: Telemetry, clock: Clock, levels: LevelFilter | None = None
    ) -> None:
        self._levels = levels
        self._key = key
        self._telemetry = telemetry
        self._log_events = telemetry.log
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._console = -1
        self._log = -1
        self._poll = select.poll()
        self._console_lines = ConsoleLines()
        self._log_frames = LogFrames()
        self._reading: set[int] = set()
        self._since_room = 0
        self._budget = TokenBucket(BYTES_PER_S, BURST_BYTES)
        self._told_at = -math.inf
        self._waiting: asyncio.Task[None] | None = None
        self._tail: bytearray | None = None

    def attach(self, console: int, log: int) -> None:
        """Start to read these descriptors, which stay the sandbox's."""
        self._console, self._log = console, log
        self._poll = select.poll()
        self._poll.register(log, select.POLLIN)
        self._poll.register(console, select.POLLIN)
        self._console_lines = ConsoleLines()
        self._log_frames = LogFrames()
        self._resume()

    def detach(self) -> None:
        """Read the pipes once more, then stop. Idempotent."""
        if self._console < 0:
            return
        self.drain()
        events: Events = []
        now = self._clock.now()
        self._log_frames.flush(now, events)
        self._console_lines.flush(int(now * 1000), events)
        self._pause()
        self._console = self._log = -1
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self._append_own(events)

    def write(self, lines: Iterable[str], now_s: float) -> None:
        """Append the platform's own lines. now_s: epoch seconds."""
        now_ms = int(now_s * 1000)
        events: Events = []
        for line in lines:
            events.append((now_ms, line))
        if self._tail is not None:
            self._append(events)
        elif events:
            self._log_events(self._key, events)

    def begin_tail(self) -> None:
        """Keep the end of the log from now on."""
        self._tail = bytearray()

    def end_tail(self) -> bytes:
        """Return the last 4 KiB since ``begin_tail``."""
        tail, self._tail = self._tail, None
        return bytes(tail[-TAIL_BYTES:]) if tail is not None else b""

    def drain(self) -> None:
        """Read the output so far, as much as a pipe can hold."""
        if self._console < 0:
            return
        # One system call for both pipes: most invocations write nothing.
        if not (self._poll.poll(0) or self._log_frames.begun or self._console_lines.begun):
            return
        events: Events = []
        keeps = self._wait_s() <= _DEBT_S
        for fd, is_log in ((self._log, True), (self._console, False)):
            left = _DRAIN_BYTES
            while left > 0:
                count = self._read(fd, is_log, events, keeps)
                if count < _CHUNK:
                    break
                left -= count
        self._log_frames.end_line(events)
        self._console_lines.flush(int(self._clock.now() * 1000), events)
        if not keeps:
            self._telemetry.log_dropped(self._key, len(events), FAST)
        elif events:
            self._append_own(events)

    def _readable(self, fd: int, is_log: bool) -> None:
        events: Events = []
        count = self._read(fd, is_log, events)
        if events:
            self._append_own(events)
        self._since_room += count
        wait_s = self._wait_s()
        if (wait_s or self._since_room >= _ROOM_EVERY_BYTES) and self._waiting is None:
            self._since_room = 0
            self._pause()
            self._waiting = self._loop.create_task(self._wait(wait_s))

    def _wait_s(self) -> float:
        """Return the seconds until the environment may write more."""
        return self._budget.wait_s(self._clock.monotonic())

    async def _wait(self, seconds: float) -> None:
        """Wait for the environment's own rate, then for room in telemetry; then resume."""
        if seconds:
            now_s = self._clock.monotonic()
            if now_s - self._told_at >= _TELL_EVERY_S:
                self._told_at = now_s
                self._log_events(self._key, [(int(self._clock.now() * 1000), SLOWED)])
            await self._clock.sleep(max(seconds, _PAUSE_S))
        await self._telemetry.log_room()
        self._waiting = None
        self._resume()

    def _read(self, fd: int, is_log: bool, events: Events, keeps: bool = True) -> int:
        """Read one chunk and return its size.

        keeps: whether lines of the console become events, or are only counted.
        """
        try:
            data = os.read(fd, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            data = b""
        if not data:
            if fd in self._reading:
                self._reading.discard(fd)
                self._loop.remove_reader(fd)
            return 0
        now = self._clock.now()
        before = len(events)
        if is_log:
            self._log_frames.feed(data, now, events)
        elif keeps:
            self._console_lines.feed(data, int(now * 1000), events)
        else:
            skipped = self._console_lines.skip(data)
            self._telemetry.log_dropped(self._key, skipped, FAST)
        if keeps:
            cost = len(data) + EVENT_BYTES * (len(events) - before)
            self._budget.spend(self._clock.monotonic(), cost)
        return len(data)

    def _resume(self) -> None:
        if self._console < 0:
            return
        for fd, is_log in ((self._log, True), (self._console, False)):
            if fd not in self._reading:
                self._reading.add(fd)
                self._loop.add_reader(fd, self._readable, fd, is_log)

    def _pause(self) -> None:
        for fd in self._reading:
            self._loop.remove_reader(fd)
        self._reading.clear()

    def _append_own(self, events: Events) -> None:
        """Append the function's own events that are logged by their level."""
        levels = self._levels
        if levels is not None:
            events = [event for event in events if levels.keeps(event[1])]
        self._append(events)

    def _append(self, events: Events) -> None:
        if not events:
            return
        self._log_events(self._key, events)
        tail = self._tail
        if tail is None:
            return
        for _, message in events:
            tail += message.encode("utf-8", "replace")[-TAIL_BYTES:]
            if not message.endswith("\n"):
                tail += b"\n"
            if len(tail) > 4 * TAIL_BYTES:
                del tail[:-TAIL_BYTES]
