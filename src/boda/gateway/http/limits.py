"""Limits of the sizes that a caller may send, and of the time that it may take.

Sizes of the HTTP envelope follow AWS Lambda's quota of 1 MB for request line and headers; sizes of
bodies are AWS's if it has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from boda.core.errors import AwsError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """head_bytes: request line and headers together. headers: their number.
    query_parameters: their number; reading many more would delay other requests.

    head_timeout_s: from a request's first byte (or the connection's start) to the end of its
    headers. body_idle_s: how long a body is waited for, in all; every ``body_bytes_s`` bytes that
    come give back a second of it, up to the whole.
    held_bytes: of all bodies together that are held in memory and have not come whole, and once
    more of all heads and read-ahead; beyond that those which began first are given up.
    keep_alive_s: how long an idle connection is kept. drain_s, drain_bytes: how long, and for how
    much, an unneeded body is read so that the answer gets through.
    write_stall_s: how long a client may leave its answer unread. unread_bytes: of all answers
    together that wait for their clients; beyond that the longest waiting are given up.
    connections: open at once from outside. endpoint_connections: open at once from one execution
    environment, whose processes may be as many as their descriptors. endpoints_connections: from
    all environments together.
    body_bytes: a body that is held in memory, if its service has no rule for it.
    parsed_at_once_bytes: a body that is parsed on the event loop; larger ones are parsed in a
    thread. parsers: how many of those at a time.
    stream_bytes: a body that is streamed; the largest single upload to a bucket.
    """

    head_bytes: int = MIB
    headers: int = 512
    query_parameters: int = 1_000
    head_timeout_s: float = 30.0
    body_idle_s: float = 60.0
    body_bytes_s: int = 1024
    held_bytes: int = 256 * MIB
    keep_alive_s: float = 75.0
    drain_s: float = 10.0
    drain_bytes: int = 128 * MIB
    write_stall_s: float = 120.0
    unread_bytes: int = 256 * MIB
    connections: int = 10_000
    endpoint_connections: int = 1_000
    endpoints_connections: int = 5_000
    body_bytes: int = 4 * MIB
    parsed_at_once_bytes: int = 64 * 1024
    parsers: int = 2
    stream_bytes: int = 5 * 1024 * MIB


@dataclass(frozen=True, slots=True)
class BodyRule:
    """The largest body of an operation, in bytes, and AWS's error for a larger one.

    typed: the error has ``Type: User``.
    """

    limit: int
    code: str
    message: str
    status: int = 413
    typed: bool = False

    def error(self) -> AwsError:
        fields: dict[str, Any] = {"Type": "User"} if self.typed else {}
        return AwsError(self.code, self.message, self.status, **fields)


def too_large_upload(size: int, limit: int) -> AwsError:
    """Return AWS's error for a streamed body past the limit."""
    return AwsError(
        "EntityTooLarge",
        "Your proposed upload exceeds the maximum allowed size",
        400,
        ProposedSize=str(size),
        MaxSizeAllowed=str(limit),
    )
