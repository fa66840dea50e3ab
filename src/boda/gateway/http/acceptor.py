"""Accept connections, a few per turn of the event loop.

Law of this file: thousands of new connections wait in the kernel, and do not delay established
ones. The event loop's own servers accept all waiting connections before anything else runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable

from boda.core.tasks import Tasks

AT_ONCE = 16
"""Connections that several listeners accept together in one turn."""
_AGAIN_S = 0.5

log = logging.getLogger("boda.gateway")


class Turn:
    """The number of connections that listeners may still accept before other callbacks run."""

    __slots__ = ("_left", "_loop")

    def __init__(self) -> None:
        self._left = AT_ONCE
        self._loop = asyncio.get_running_loop()

    def take(self) -> bool:
        if self._left == AT_ONCE:
            self._loop.call_soon(self._renew)
        if self._left <= 0:
            return False
        self._left -= 1
        return True

    def _renew(self) -> None:
        self._left = AT_ONCE


class Acceptor:
    """Accepts the connections of a listening socket, which it owns, with one protocol each.

    turn: shared with other listeners.
    """

    def __init__(
        self, listening: socket.socket, make: Callable[[], asyncio.Protocol], turn: Turn
    ) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._fd = listening.fileno()
        self._make = make
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self._connecting = Tasks()
        self._open = True
        self._loop.add_reader(self._fd, self._accept)

    def close(self) -> None:
        """Stop accepting. Idempotent; connections go on."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._fd)
            self._listening.close()

    def _accept(self) -> None:
        while self._open and self._turn.take():
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:  # the client has left already
                continue
            except OSError as error:  # no descriptor is left, or no memory
                log.error("connections cannot be accepted for a moment: %s", error)
                self._loop.remove_reader(self._fd)
                self._loop.call_later(_AGAIN_S, self._resume)
                return
            self._connecting.spawn(self._connect(accepted))

    def _resume(self) -> None:
        if self._open:
            self._loop.add_reader(self._fd, self._accept)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            accepted.setblocking(False)
            with contextlib.suppress(OSError):
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._make, accepted)
        except OSError:
            accepted.close()
