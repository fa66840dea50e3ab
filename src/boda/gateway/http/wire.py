"""A request and a response between the HTTP server and the protocols."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

ENVIRONMENTS = ipaddress.IPv6Network("fd62:6f64:6100::/48")
"""The addresses that execution environments call from, as ``aws:SourceIp`` shows them: unique local
ones, since any other could be that of a machine which a policy allows."""


class StreamingBody(Protocol):
    """A request body that is read as it arrives, never held in memory whole.

    Iterating yields chunks and raises AwsError if a checksum, a signature or the length is wrong; a
    consumer must therefore commit only after the iteration has ended.
    """

    length: int | None
    """Decoded length in bytes if the client announced it."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def read(self, limit: int | None = None) -> bytes:
        """Return the whole rest. Raises AwsError ``RequestTooLarge`` past ``limit`` bytes."""
        ...

    def checksums(self) -> Mapping[str, str]:
        """Return, after the end, the checksums sent in trailers, by lower-case header name."""
        ...


class TruncatedStream(Exception):
    """A stream ends before it is whole; its client finds the connection closed."""


@dataclass(slots=True)
class Stream:
    """A response body that is sent as it is made.

    chunks: yields bytes, or raises TruncatedStream; closed (aclose) when the client leaves. length:
    total bytes if known, for Content-Length; chunked transfer otherwise.
    """

    chunks: AsyncIterator[bytes]
    length: int | None = None


@lru_cache(maxsize=4096)
def environment_address(environment_id: str) -> str:
    """Return the address of ``ENVIRONMENTS`` that stands for one environment for its whole life."""
    size = (ENVIRONMENTS.max_prefixlen - ENVIRONMENTS.prefixlen) // 8
    digest = hashlib.blake2s(environment_id.encode(), digest_size=size).digest()
    return str(ENVIRONMENTS[int.from_bytes(digest)])


@dataclass(slots=True)
class WireRequest:
    """An HTTP request before it is an operation.

    path: raw, still percent-encoded, without the query. query: raw, without ``?``.
    headers: lower-case names; repeated ones joined with ``,`` (cookies with ``; ``).
    body: bytes if the operation's input is not streamed, else a StreamingBody.
    host: the ``Host`` header. source_ip: the peer's address; for requests through the endpoint
    socket of an execution environment, its own (``environment_address``).
    environment_id: the execution environment whose endpoint socket it came through, or "".
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes | StreamingBody = b""
    host: str = ""
    source_ip: str = "127.0.0.1"
    environment_id: str = ""


@dataclass(slots=True)
class WireResponse:
    """An HTTP response. headers: in order, names as written; body: bytes or a Stream."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | Stream = b""
