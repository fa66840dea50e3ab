"""The contract between a connection and a fast path."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal, Protocol

from boda.gateway.http.cycle import Cycle

Verdict = Literal["yes", "no", "awaits"]
"""Whether a request was taken. no: it was not touched, and is for the general way. awaits: it may
be taken with the rest of its body, which is about to come, as SDKs send head and body apart."""


class ClientConnection(Protocol):
    """The connection that a request came over."""

    client: tuple[str, int] | None

    @property
    def environment_id(self) -> str:
        """The id of the execution environment that it comes from, or ""."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start the work on a request, which ends with ``reply``, ``abort`` or a stream."""

    def reply(self, status: bytes, fields: bytes, body: bytes, *, closes: bool) -> None:
        """Write an answer and go on with the next request.

        fields: whole lines. closes: they end the connection with this answer.
        """

    def begin_stream(self, method: str) -> Cycle:
        """Return the Cycle that writes an answer in pieces, instead of ``reply``."""

    def abort(self) -> None:
        """Close without an answer."""


class FastPath(Protocol):
    """Takes requests straight from the bytes of a connection (gateway/fast_path.py)."""

    def take(self, client: ClientConnection, data: bytes) -> Verdict:
        """Take a request if it is one for the fast path.

        data: the bytes read from the client, beginning with a request's first byte.
        """
