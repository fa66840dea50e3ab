"""Close connections whose clients have left, a few per turn of the event loop.

Law of this file: ten thousand clients that leave at once delay nothing. The event loop reads all
their ends in one turn, and would close all their connections in the next one.
"""

from __future__ import annotations

import asyncio
from collections import deque

AT_ONCE = 64
"""Connections that are closed in one turn."""


class Departures:
    """The connections to be closed, in the order in which their clients left."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Transport] = deque()

    def put(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        """Close the connection in this turn, or in a later one if many wait before it."""
        if not self._waiting:
            loop.call_soon(self._close, loop)
        self._waiting.append(transport)

    def _close(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(AT_ONCE, len(self._waiting))):
            self._waiting.popleft().close()
        if self._waiting:
            loop.call_soon(self._close, loop)
