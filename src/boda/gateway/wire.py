"""A request and a response between the HTTP server and the protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from boda.gateway.service import Body, Stream


@dataclass(slots=True)
class WireRequest:
    """An HTTP request before it is an operation.

    path: raw, still percent-encoded, without the query. query: raw, without ``?``.
    headers: lower-case names; repeated ones joined with ``,`` (cookies with ``; ``).
    body: bytes when the operation's input is not streamed, else a Body.
    host: the ``Host`` header. source_ip: the peer's address.
    environment_id: the execution environment whose endpoint socket it came through, or "".
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes | Body = b""
    host: str = ""
    source_ip: str = "127.0.0.1"
    environment_id: str = ""


@dataclass(slots=True)
class WireResponse:
    """An HTTP response. headers: in order, names as written; body: bytes or a Stream."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | Stream = b""
