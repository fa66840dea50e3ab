"""The HTTP server: uvicorn's protocol on httptools, on a port and on sockets of environments.

Run the event loop with uvloop (``uvloop.run``); any loop works.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from boda.core.errors import PlatformError
from boda.gateway.gateway import Gateway
from boda.gateway.http.acceptor import Acceptor, Turn
from boda.gateway.http.connection import AnswerBatch, HttpConnection
from boda.gateway.http.connection_sweeper import ConnectionSweeper
from boda.gateway.http.crowd import Crowd
from boda.gateway.http.departures import Departures
from boda.gateway.http.limits import Limits

_BACKLOG = 2048


class Endpoint:
    """The gateway on one listening socket inside an execution environment's network."""

    def __init__(self, server: HttpServer, listening: socket.socket, environment_id: str) -> None:
        self.state = ServerState()
        self._server = server
        self._acceptor = server.listen_inside(
            listening, self.state, {"environment_id": environment_id}
        )
        self._closed = False

    async def ready(self) -> None:
        """Return once connections are accepted, as they are from the beginning."""

    def close(self) -> None:
        """Stop accepting and drop the connections; the calls that they started go on."""
        if self._closed:
            return
        self._closed = True
        self._server.forget(self)
        self._acceptor.close()
        _abort(self.state)


class HttpServer:
    """Serves a gateway on ``host:port`` and on further sockets.

    port: 0 takes a free one; ``port`` has its number after ``start``.
    """

    def __init__(
        self,
        gateway: Gateway,
        host: str,
        port: int,
        *,
        limits: Limits | None = None,
        bound: list[socket.socket] | None = None,
    ) -> None:
        self._gateway = gateway
        self._host = host
        self._port = port
        self._bound = bound
        self._limits = limits or gateway.limits
        self._config = Config(
            gateway,
            interface="asgi3",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=logging.WARNING,  # below it, uvicorn logs each connection
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self._config.load()
        self._state = ServerState()
        self._endpoints: set[Endpoint] = set()
        self._acceptors: list[Acceptor] = []
        self._outbox = AnswerBatch()
        self._departures = Departures()
        self._outside = Crowd(self._limits.connections)
        self._inside = Crowd(self._limits.endpoints_connections)
        self._turn_inside: Turn | None = None
        self._sweeper = ConnectionSweeper(self._states, self._limits)

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        """Bind and serve. Raises PlatformError, with one sentence, if the address cannot be had."""
        sockets = self._listening(self._bound or bind(self._host, self._port))
        self._port = sockets[0].getsockname()[1]
        self._sweeper.start()
        for one in sockets:
            turn = Turn()
            self._acceptors.append(self._listen(one, self._state, {}, self._outside, "", turn))

    def _listening(self, bound: list[socket.socket]) -> list[socket.socket]:
        """Return the sockets that may listen, the first one among them.

        Of two sockets that are bound to one port only one may. Raises PlatformError.
        """
        first, *rest = bound
        try:
            first.listen(_BACKLOG)
        except OSError as error:
            for one in bound:
                one.close()
            raise _cannot_bind(self._host, self._port, error) from None
        found = [first]
        for one in rest:
            try:
                one.listen(_BACKLOG)
                found.append(one)
            except OSError:
                one.close()
        return found

    def serve_socket(self, listening: socket.socket, environment_id: str) -> Endpoint:
        """Serve the same gateway on a socket that was bound inside an environment's network.

        Requests that come through it carry the environment's id. The endpoint owns the socket;
        ``Endpoint.close`` ends both.
        """
        endpoint = Endpoint(self, listening, environment_id)
        endpoint.state.default_headers = self._sweeper.date_header
        self._endpoints.add(endpoint)
        return endpoint

    async def stop(self, grace_s: float) -> bool:
        """Stop accepting, let running requests finish, then close. Return whether all finished in
        time.

        Environments keep their endpoints until the last request has ended, since a running function
        may need an answer to return its own.
        """
        for acceptor in self._acceptors:
            acceptor.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        finished = await self._gateway.drain(grace_s)
        tasks = [task for state in self._states() for task in state.tasks]
        for endpoint in list(self._endpoints):
            endpoint.close()
        await self._flush()
        _abort(self._state)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sweeper.stop()
        return finished

    def listen_inside(
        self, listening: socket.socket, state: ServerState, tags: dict[str, Any]
    ) -> Acceptor:
        """Accept connections on an endpoint's socket."""
        if self._turn_inside is None:
            self._turn_inside = Turn()
        crowd = Crowd(self._limits.endpoint_connections, self._inside)
        owner = tags["environment_id"]
        return self._listen(listening, state, tags, crowd, owner, self._turn_inside)

    def _listen(
        self,
        listening: socket.socket,
        state: ServerState,
        tags: dict[str, Any],
        crowd: Crowd,
        owner: str,
        turn: Turn,
    ) -> Acceptor:
        """Accept connections. owner: of every connection; "" for each client's address."""
        listening.listen(_BACKLOG)
        return Acceptor(
            listening,
            lambda: HttpConnection(
                self._config,
                state,
                tags,
                self._limits,
                self._gateway.fast_path,
                self._outbox,
                self._departures,
                crowd,
                owner,
            ),
            turn,
        )

    def forget(self, endpoint: Endpoint) -> None:
        self._endpoints.discard(endpoint)

    def _states(self) -> list[ServerState]:
        return [self._state, *(endpoint.state for endpoint in self._endpoints)]

    async def _flush(self) -> None:
        """Give the last answers a moment to leave."""
        for connection in list(self._state.connections):
            connection.shutdown()
        for _ in range(50):
            if not self._state.connections:
                return
            await asyncio.sleep(0.01)


def _abort(state: ServerState) -> None:
    for connection in list(state.connections):
        transport = getattr(connection, "transport", None)
        if transport is not None:
            transport.abort()


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind one socket for each address of the host, all to the same port; at least the first.

    They do not listen yet: the port is known before requests can be answered. Raises PlatformError,
    with one sentence, if the address cannot be had.
    """
    try:
        if not 0 <= port < 65_536:
            # getaddrinfo would take it modulo 65,536.
            raise OverflowError("there is no such port")
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE, proto=socket.IPPROTO_TCP
        )
    except (OSError, OverflowError, UnicodeError) as error:
        raise PlatformError(
            f"boda cannot listen on {host} port {port} ({_reason(error)}); choose an address of "
            "this machine with --host and a port below 65536 with --port."
        ) from None
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in found:
        if sockets:
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        try:
            sockets.append(_bound(family, kind, protocol, address))
        except (OSError, OverflowError) as error:
            if not sockets:
                raise _cannot_bind(host, port, error) from None
    return sockets


def _bound(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
    except BaseException:
        one.close()
        raise
    return one


def _cannot_bind(host: str, port: int, error: Exception) -> PlatformError:
    code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        return PlatformError(
            f"Port {port} on {host} is in use by another program; stop that program or choose "
            "another port with --port."
        )
    if code == errno.EACCES:
        return PlatformError(
            f"Port {port} on {host} needs more rights than this user has; choose a port of 1024 "
            "or above with --port."
        )
    return PlatformError(
        f"boda cannot listen on {host} port {port} ({_reason(error)}); choose an address of this "
        "machine with --host and a port below 65536 with --port."
    )


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
