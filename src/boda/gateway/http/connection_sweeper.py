"""Check every connection at intervals: its deadlines, and the bytes that all together hold.

Law of this file: no turn of the event loop checks more than ``_AT_ONCE`` connections, so that ten
thousand of them delay nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import formatdate

from uvicorn.server import ServerState

from boda.core.tasks import Tasks
from boda.gateway.http.connection import HttpConnection
from boda.gateway.http.limits import Limits

_AT_ONCE = 1_000


class ConnectionSweeper:
    """Closes connections that take too long or hold too much, and renews the servers' Date header.

    states: returns the servers' shared states.
    """

    def __init__(self, states: Callable[[], list[ServerState]], limits: Limits) -> None:
        self._states = states
        shortest = min(
            limits.head_timeout_s, limits.keep_alive_s, limits.drain_s, limits.write_stall_s
        )
        self._period_s = min(1.0, max(0.01, shortest / 4))
        self._held_bytes = limits.held_bytes
        self._unread_bytes = limits.unread_bytes
        self._tasks = Tasks()
        self.date_header: list[tuple[bytes, bytes]] = []

    def start(self) -> None:
        self._set_date()
        self._tasks.spawn(self._run(), "boda-http-sweeper")

    async def stop(self) -> None:
        await self._tasks.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            self._set_date()
            await self._sweep()

    def _set_date(self) -> None:
        self.date_header = [(b"date", formatdate(usegmt=True).encode())]
        for state in self._states():
            state.default_headers = self.date_header

    async def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        connections = [
            connection
            for state in self._states()
            for connection in state.connections
            if isinstance(connection, HttpConnection)
        ]
        half_read = unread = 0
        for count, connection in enumerate(connections, 1):
            connection.sweep(now)
            half_read += connection.half_read()[1]
            unread += connection.unread()[1]
            if count % _AT_ONCE == 0:
                await asyncio.sleep(0)
        if half_read > self._held_bytes:
            hoards = [(*one.half_read(), one) for one in connections]
            _relieve(hoards, half_read - self._held_bytes)
        if unread > self._unread_bytes:
            hoards = [(*one.unread(), one) for one in connections]
            _relieve(hoards, unread - self._unread_bytes)


def _relieve(hoards: list[tuple[float, int, HttpConnection]], excess: int) -> None:
    """Give up connections until ``excess`` fewer bytes are held, the longest holding first.

    hoards: since when each connection holds how many bytes.
    """
    for _, size, connection in sorted(hoards, key=lambda one: one[0]):
        if size and excess > 0:
            connection.abort()
            excess -= size
