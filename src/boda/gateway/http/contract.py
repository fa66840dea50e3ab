"""What a connection and a fast path are to each other."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal, Protocol

from boda.gateway.http.cycle import Cycle

Verdict = Literal["yes", "no", "awaits"]
"""Whether a request was taken. no: with nothing begun, it is for the general way. awaits: it may be
taken with the rest of its body, which is to come at once, as SDKs send head and body apart."""


class ClientConnection(Protocol):
    """The connection that a request came over."""

    client: tuple[str, int] | None

    @property
    def environment_id(self) -> str:
        """The execution environment that it comes from, or ""."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the work on a request that ends with ``reply``, ``abort`` or a stream."""

    def reply(self, status: bytes, fields: bytes, body: bytes, *, closes: bool) -> None:
        """Write an answer and go on with what comes next.

        fields: whole lines. closes: they say that the connection ends with this answer.
        """

    def begin_stream(self, method: str) -> Cycle:
        """What an answer is written to that comes in pieces, instead of ``reply``."""

    def abort(self) -> None:
        """Close at once: there is no answer."""


class FastPath(Protocol):
    """Takes requests straight from the bytes of a connection (gateway/fast_path.py)."""

    def take(self, client: ClientConnection, data: bytes) -> Verdict:
        """Take a request if it can go this way.

        data: what was read from the client, beginning with a request's first byte.
        """
