"""The Runtime API over HTTP, as official runtime clients and custom runtimes speak it.

One per sandbox, on the listening socket that the platform opened inside it: whoever can connect
is inside, so no token is needed (Lambda developer guide, "runtimes-api"). The requests of a
connection are read in ``api_connection.py`` and answered in ``api_routes.py``.
"""

from __future__ import annotations

import asyncio
import socket

from boda.core.clock import Clock
from boda.core.descriptors import SharedCount
from boda.core.tasks import Tasks
from boda.runtime.api_connection import ApiConnection, HeldBodies
from boda.runtime.api_routes import RuntimeApiRoutes
from boda.runtime.credentials import ContainerCredentials
from boda.runtime.http_session import HttpSession
from boda.runtime.metadata import Metadata
from boda.runtime.session import RuntimeSession
from boda.runtime.turns import RequestTurns

MAX_CONNECTIONS = 32
OWN_CONNECTIONS = 4
"""Connections that every environment may have, whatever others do; clients open one or two."""


class RuntimeApi:
    """Serves the runtime in one sandbox. ``renew`` it with the session of each new process.

    keys: the document of the credentials endpoint, if there is one. metadata: the document of the
    metadata endpoint. clock: of the budget of requests a second; the machine's by default. spare:
    connections that all environments share; each has a few besides.
    """

    def __init__(
        self,
        listener: socket.socket,
        session: RuntimeSession,
        keys: ContainerCredentials | None = None,
        clock: Clock | None = None,
        spare: SharedCount | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        self._keys = keys
        self._metadata = metadata
        self._spare = spare or SharedCount(MAX_CONNECTIONS)
        self._listener = listener
        self._fd = listener.fileno()
        self._session = HttpSession(session)
        self._loop = asyncio.get_running_loop()
        self._connections: set[ApiConnection] = set()
        self._bodies = HeldBodies()
        self._turns = RequestTurns(clock)
        self._accepting = Tasks()
        self._borrowed = 0
        self._open = True
        self._listens = False
        self._listen()

    def hold(self) -> None:
        """Drop all connections, and let new ones wait in the kernel for ``renew``.

        A new runtime process may connect before the platform is informed that it runs.
        """
        self._listens = False
        self._loop.remove_reader(self._fd)
        self._drop()
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            accepted.close()

    def renew(self, session: RuntimeSession) -> None:
        """Serve a new runtime process; the old one's connections are dropped."""
        self._drop()
        self._session = HttpSession(session)
        self._listen()

    def close(self) -> None:
        """Idempotent; the listening socket stays the sandbox's."""
        if self._open:
            self._open = self._listens = False
            self._loop.remove_reader(self._fd)
            self._turns.close()
        self._accepting.abort()
        self._drop()

    def _drop(self) -> None:
        for connection in list(self._connections):
            connection.abort()
        self._connections.clear()
        self._give_back()

    def _lost(self, connection: ApiConnection) -> None:
        self._connections.discard(connection)
        self._give_back()

    def _accepted(self, _: asyncio.Task[None]) -> None:
        self._give_back()

    def _borrow(self) -> bool:
        """Count one more connection; False if there may be none."""
        count = len(self._connections) + len(self._accepting)
        if count < OWN_CONNECTIONS:
            return True
        if count >= MAX_CONNECTIONS or not self._spare.take():
            return False
        self._borrowed += 1
        return True

    def _give_back(self) -> None:
        count = len(self._connections) + len(self._accepting)
        while self._borrowed > max(0, count - OWN_CONNECTIONS):
            self._borrowed -= 1
            self._spare.give_back()

    def _listen(self) -> None:
        if self._open:
            self._listens = True
            self._loop.add_reader(self._fd, self._accept)

    def _listen_again(self) -> None:
        """Accept again, once the budget allows it."""
        if self._listens:
            self._listen()

    def _accept(self) -> None:
        wait_s = self._turns.wait_s()
        if wait_s > 0:  # connections wait in the kernel, which refuses those that are too many
            self._loop.remove_reader(self._fd)
            self._turns.later(wait_s, self._listen_again)
            return
        self._turns.charge()
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            return
        if not self._borrow():
            accepted.close()
            return
        accepted.setblocking(False)
        serving = self._accepting.spawn(self._serve(accepted))
        serving.add_done_callback(self._accepted)

    async def _serve(self, accepted: socket.socket) -> None:
        session = self._session
        routes = RuntimeApiRoutes(session, self._keys, self._metadata)
        connection = ApiConnection(session, routes, self._bodies, self._turns, self._lost)
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError:
            accepted.close()
            return
        if not self._open or session is not self._session:
            connection.abort()
            return
        self._connections.add(connection)
