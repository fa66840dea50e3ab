"""One client connection: uvicorn's HTTP/1.1 protocol with limits and deadlines.

Law of this file: whatever a client sends or does not send, its connection costs a bounded amount of
memory and ends after a bounded time unless one of its requests is being answered. Deadlines cost
nothing per request: each connection notes when its phase began, and ``ConnectionSweeper``
(gateway/http/connection_sweeper.py) checks them.

    idle ──first byte──► head ──headers complete──► busy ──answered──► idle
                                                     │ answered before its body had come
                                                     └──► drain ──body complete──► idle

Bytes that arrive between two requests are first offered to the fast path (gateway/fast_path.py): a
request that it takes never meets the parser.

    idle ──a request in one read──► fast ───answer written──► idle
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Literal
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from boda.gateway.http.contract import FastPath
from boda.gateway.http.crowd import Crowd, owner_of
from boda.gateway.http.cycle import COPIED, READY, Cycle, fields_of
from boda.gateway.http.departures import Departures
from boda.gateway.http.limits import Limits
from boda.gateway.http.wire import environment_address

log = logging.getLogger("boda.gateway")

_ASGI = {"version": "3.0", "spec_version": "2.3"}
_PARSED_URL = 65_535
"""The longest target that httptools can parse, in bytes; a head may be longer."""
_REST_S = 0.005
"""Seconds to wait for the rest of a body before its request goes the general way."""
_PIPELINED = 100
"""Requests that may wait on one connection behind the one that is being answered."""
_PHRASES = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


class _RefusedRequest(Exception):
    """Raised inside the parser's callbacks to stop it."""


def _target(url: bytes) -> tuple[bytes, bytes]:
    """Return path and query of a request's target."""
    if len(url) > _PARSED_URL and url.startswith(b"/"):
        path, _, query = url.partition(b"#")[0].partition(b"?")
        return path, query
    parsed = httptools.parse_url(url)
    return parsed.path, parsed.query or b""


class AnswerBatch:
    """Answers of one turn of the event loop, written one after the other at its end.

    A write wakes its reader, which takes the kernel longer than the write itself. If several
    answers are for one reader, only the first of them wakes it.
    """

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def put(self, loop: asyncio.AbstractEventLoop, send: Callable[[], None]) -> None:
        """Call ``send`` at the end of this turn."""
        if not self._waiting:
            loop.call_soon(self._send)
        self._waiting.append(send)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for send in waiting:
            try:
                send()
            except Exception:
                log.exception("an answer could not be written")


class HttpConnection(HttpToolsProtocol):
    """limits: sizes and deadlines. state: the ASGI state of every request (its environment).

    outbox, departures: the server's. crowd: the connections among which this one is counted. owner:
    the environment that it comes from; "" for the client's address.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        state: dict[str, Any],
        limits: Limits,
        fast_path: FastPath,
        outbox: AnswerBatch,
        departures: Departures,
        crowd: Crowd,
        owner: str = "",
    ) -> None:
        super().__init__(config, server_state, state, asyncio.get_running_loop())
        self._limits = limits
        self._now = self.loop.time
        self._fast_path = fast_path
        self._outbox = outbox
        self._departures = departures
        self._crowd = crowd
        self.owner = owner
        self._phase: Literal["new", "idle", "head", "busy", "drain", "fast"] = "new"
        self._held = b""
        self._part = b""
        self._rest: asyncio.TimerHandle | None = None
        self._last = False
        self._date_header: list[tuple[bytes, bytes]] = []
        self._date = b""
        self._since = self._now()
        self._silent = 0
        self._drained = 0
        self._in_head = True
        self._refusal = (400, "Bad Request")
        self._stalled_since: float | None = None
        self._heard = self._since  # the last piece of a body

    # The transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        environment_id = self.app_state.get("environment_id")
        if environment_id and self.client is not None:
            # The client's loopback is not the platform's, although both are called 127.0.0.1.
            self.client = (environment_address(environment_id), self.client[1])
        self._since = self._now()
        if not self.owner and self.client is not None:
            self.owner = owner_of(self.client[0])
        if not self._crowd.enter(self):
            self._answer(503, "Too many connections.")

    def eof_received(self) -> bool:  # type: ignore[override]
        self._departures.put(self.loop, self.transport)
        return True  # else the loop would close it

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.leave(self)
        self._held = b""
        self._take_part()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self._phase == "fast":
            self._last = True
            return
        if self._part:
            self._feed(self._take_part())
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase == "fast":
            self._held += data
            self.flow.pause_reading()
            return
        if (phase == "idle" or phase == "new") and not self.flow.write_paused:
            if self._part:
                data = self._part + data
            self._phase = "fast"
            begun = self._fast_path.take(self, data)
            if begun == "yes":
                if self._part:
                    self._take_part()
                return
            self._phase = phase
            if begun == "awaits":
                self._await_rest(data)
                return
            self._take_part()
            self._feed(data)
            return
        self._feed(self._take_part() + data)

    def _await_rest(self, data: bytes) -> None:
        """Hold a part of a request for a limited time, which further parts do not extend."""
        self._part = data
        if self._rest is None:
            self._since = self._now()
            self._rest = self.loop.call_later(_REST_S, self._rest_is_late)

    def _rest_is_late(self) -> None:
        self._feed(self._take_part())

    def _take_part(self) -> bytes:
        """Return and clear the held bytes."""
        part, self._part = self._part, b""
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.cancel()
        return part

    def _feed(self, data: bytes) -> None:
        """Give bytes to the parser of the general way."""
        # Bytes without progress: an endless header, trailer or chunk extension.
        self._silent += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Upgrades are not supported; the bytes that follow on this connection are not HTTP.
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.keep_alive = False
                self.flow.pause_reading()
            else:
                self.transport.close()
        except httptools.HttpParserError:
            self._refuse(*self._refusal)
        else:
            if self._silent > self._limits.head_bytes:
                self._refuse(431, "The request's headers are too large.")

    def reply(self, status: bytes, fields: bytes, body: bytes, *, closes: bool) -> None:
        """Implement ``contract.ClientConnection``."""
        self.server_state.total_requests += 1
        self._outbox.put(self.loop, partial(self._reply, status, fields, body, closes))

    def _reply(self, status: bytes, fields: bytes, body: bytes, closes: bool) -> None:
        transport = self.transport
        if transport.is_closing():
            return
        dated = self.server_state.default_headers
        if dated is not self._date_header:
            self._date_header, self._date = dated, fields_of(dated)
        ends = b"connection: close\r\n\r\n" if self._last and not closes else b"\r\n"
        if len(body) > COPIED:
            transport.write(b"".join((status, self._date, fields, ends)))
            transport.write(body)
        else:
            transport.write(b"".join((status, self._date, fields, ends, body)))
        if closes or self._last:
            transport.close()
            return
        self._phase = "idle"
        self._since = self._now()
        if self._held:
            held, self._held = self._held, b""
            self.flow.resume_reading()
            self.data_received(held)

    @property
    def environment_id(self) -> str:
        """Implement ``contract.ClientConnection``."""
        found: str = self.app_state.get("environment_id", "")
        return found

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Implement ``contract.ClientConnection``."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def begin_stream(self, method: str) -> Cycle:
        """Implement ``contract.ClientConnection``."""
        cycle = self.cycle = Cycle(
            {"method": method, "http_version": "1.1"},  # type: ignore[typeddict-item]
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            False,
            self.server_state.default_headers,
            asyncio.Event(),
            False,
            not self._last,
            self.on_response_complete,
        )
        cycle.more_body = False
        cycle.disconnected = self.transport.is_closing()
        self._phase = "busy"
        held, self._held = self._held, b""
        if held:
            self._feed(held)
        return cycle

    def abort(self) -> None:
        """Implement ``contract.ClientConnection``."""
        self.transport.abort()

    def pause_writing(self) -> None:
        self._stalled_since = self._now()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stalled_since = None
        super().resume_writing()

    # The parser

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._in_head = True
        self._since = self._now()
        self._phase = "head"

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            # A trailer after a chunked body is no header: it was not there when the request was
            # routed and its signature checked.
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > self._limits.headers:
            self._refusal = (431, "The request has too many headers.")
            raise _RefusedRequest

    def on_headers_complete(self) -> None:
        if self._silent > self._limits.head_bytes // 2:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self._limits.head_bytes:
                self._refusal = (431, "The request's headers are too large.")
                raise _RefusedRequest
        if sum([name == b"host" for name, _ in self.headers]) > 1:
            raise _RefusedRequest
        self._silent = 0
        self._drained = 0
        self._begin()
        self._in_head = False
        self._phase = "busy"

    def _begin(self) -> None:
        """Start the application on the request whose headers are complete, or queue it."""
        parser = self.parser
        http_version = parser.get_http_version()
        path, query = _target(self.url)
        scope: Any = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": http_version,
            "method": parser.get_method().decode("ascii"),
            "scheme": self.scheme,
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": self.headers,
            "server": self.server,
            "client": self.client,
            "state": self.app_state,
        }
        before = self.cycle
        cycle = self.cycle = Cycle(
            scope,
            self.transport,
            self.flow,
            self.logger,
            self.access_logger,
            False,
            self.server_state.default_headers,
            asyncio.Event(),
            self.expect_100_continue,
            http_version != "1.0" and parser.should_keep_alive(),
            self.on_response_complete,
        )
        scope[READY] = cycle.ready
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
            if len(self.pipeline) > _PIPELINED:
                raise _RefusedRequest

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        self._heard = self._now()
        cycle = self.cycle
        if cycle.response_complete:
            self._drained += len(body)
            if self._drained > self._limits.drain_bytes:
                raise _RefusedRequest
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._silent = 0
        cycle = self.cycle
        cycle.more_body = False
        if cycle.response_complete:
            self._phase = "idle"
            self._since = self._now()
            return
        cycle.message_event.set()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:  # and no more is read until its turn comes
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self.flow.resume_reading()
        if self._phase == "busy":
            self._phase = "drain" if self.cycle.more_body else "idle"
        self._since = self._now()

    # Deadlines and refusals

    def sweep(self, now: float) -> None:
        """Close the connection if its phase has taken too long."""
        if self.transport is None or self.transport.is_closing():
            if self._stalled_since is not None and self._stalled(now):
                self.transport.abort()
            return
        waited = now - self._since
        limits = self._limits
        if self._stalled(now):
            self.transport.abort()
        elif self._phase == "idle":
            if waited > limits.keep_alive_s:
                self.transport.close()
        elif self._phase in ("head", "new"):
            if waited > limits.head_timeout_s:
                self._refuse(408, "The request's headers took too long.")
        elif self._phase == "drain" and waited > limits.drain_s:
            self.transport.close()

    def waits_since(self) -> float | None:
        """Implement ``crowd.Member``."""
        if self._stalled_since is not None:
            return self._stalled_since
        if self._phase == "fast":
            return None
        if self._phase == "busy":
            comes = self.cycle.more_body and not self.flow.read_paused
            return max(self._since, self._heard) if comes else None
        return self._since

    def half_read(self) -> tuple[float, int]:
        """Return when the phase began, and how many bytes are held of requests that have not
        started: incomplete heads, and bytes read ahead."""
        size = len(self._part) + len(self._held)
        return self._since, size + (self._silent if self._in_head else 0)

    def unread(self) -> tuple[float, int]:
        """Return since when its client leaves an answer unread, and how many bytes of it are
        held."""
        if self._stalled_since is None:
            return 0.0, 0
        return self._stalled_since, self.transport.get_write_buffer_size()

    def _stalled(self, now: float) -> bool:
        since = self._stalled_since
        return since is not None and now - since > self._limits.write_stall_s

    def _refuse(self, status: int, message: str) -> None:
        """Answer a request that cannot be read, unless that would break into another answer."""
        cycle = self.cycle
        if cycle is None:
            self._answer(status, message)
        elif self.pipeline:  # another one is being answered
            self.transport.close()
        elif cycle.response_complete:
            # The rest of a body that was answered already gets no second answer.
            if self._in_head:
                self._answer(status, message)
            else:
                self.transport.close()
        elif cycle.more_body and not cycle.response_started:
            self._answer(status, message)
        else:
            self.transport.close()

    def _answer(self, status: int, message: str) -> None:
        body = message.encode()
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%s"
            % (status, _PHRASES[status], len(body), body)
        )
        self.transport.close()
