"""Request bodies as they arrive.

Law of this file: a body is pulled, never pushed; the server reads from the socket only while a
reader waits. A body that ends early, stalls or breaks its announced length raises; it never hangs
and never ends as if it were whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from boda.core.errors import AwsError
from boda.gateway.http.intake import Intake

Receive = Callable[[], Awaitable[Any]]
_LARGE = 1024 * 1024


def incomplete_body() -> AwsError:
    return AwsError(
        "IncompleteBody",
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
        400,
    )


def stalled_body() -> AwsError:
    return AwsError(
        "RequestTimeout",
        "Your socket connection to the server was not read from or written to within the timeout "
        "period. Idle connections will be closed.",
        400,
        headers={"Connection": "close"},
    )


def given_up_body() -> AwsError:
    return AwsError(
        "ServiceUnavailable",
        "Too many requests are being sent at once; try again.",
        503,
        headers={"Connection": "close"},
    )


async def joined(pieces: Sequence[bytes]) -> bytes:
    """Join many bytes; more than ``_LARGE`` are copied in a thread, where that holds no lock."""
    if sum(map(len, pieces)) > _LARGE:
        return await asyncio.to_thread(b"".join, pieces)
    return b"".join(pieces)


class Inbound:
    """The bytes of one request's body on the wire, before any decoding.

    announced: Content-Length, or None for chunked transfer. empty: there is no body.
    begun, ended: whether reading has begun (and with it the ``100 Continue``), and has ended.
    intake: bounds it in time, and together with all others in memory.
    ready: returns the whole body if it is there already, else None.
    """

    __slots__ = (
        "_given_up",
        "_intake",
        "_patience_s",
        "_ready",
        "_receive",
        "_timer",
        "announced",
        "begun",
        "empty",
        "ended",
    )

    def __init__(
        self,
        receive: Receive,
        announced: int | None,
        *,
        empty: bool,
        intake: Intake,
        ready: Callable[[], bytes | None] | None = None,
    ) -> None:
        self._receive = receive
        self._ready = ready
        self._intake = intake
        self._patience_s = intake.patience_s
        self._timer: asyncio.Timeout | None = None
        self._given_up = False
        self.announced = announced
        self.empty = empty
        self.begun = False
        self.ended = empty

    async def next(self) -> bytes:
        """Return the next piece; check ``ended`` after it.

        Raises AwsError if the client left, is too slow, or its body was given up for others.
        """
        self.begun = True
        if self._ready is not None and (whole := self._ready()) is not None:
            self.ended = True
            return whole
        if self._given_up:
            raise given_up_body()
        intake = self._intake
        now = asyncio.get_running_loop().time
        began = now()
        try:
            async with asyncio.timeout(self._patience_s) as self._timer:
                message = await self._receive()
        except TimeoutError:
            raise (given_up_body() if self._given_up else stalled_body()) from None
        finally:
            self._timer = None
        if message["type"] != "http.request":
            raise incomplete_body()
        if not message.get("more_body", False):
            self.ended = True
        data: bytes = message.get("body", b"")
        # Only the client's time counts, not that of the body's reader.
        left = self._patience_s - (now() - began) + len(data) * intake.regained_s
        self._patience_s = min(intake.patience_s, left)
        return data

    def hold(self, size: int) -> None:
        """Count a piece that is kept while the rest is on its way; ``release`` after the last."""
        self._intake.hold(self, size)

    def release(self) -> None:
        self._intake.release(self)

    def passed(self, size: int) -> None:
        """Report that the whole body has come. size: of its content."""
        self._intake.passed(size)

    @contextmanager
    def keeping(self, size: int) -> Iterator[None]:
        """Count a whole body as kept while it waits for its turn; call ``check_kept`` then."""
        self.hold(size)
        try:
            yield
        finally:
            self.release()

    def check_kept(self) -> None:
        """Raises AwsError if the body was given up for others meanwhile."""
        if self._given_up:
            raise given_up_body()

    def give_up(self) -> None:
        """Implement ``intake.HeldBody``."""
        self._given_up = True
        if self._timer is not None:
            self._timer.reschedule(0.0)

    async def read(self, limit: int, too_large: Callable[[int], AwsError]) -> bytes:
        """Return the whole body. Raises ``too_large(size)`` as soon as it exceeds the limit."""
        if self.empty:
            return b""
        if self.announced is not None and self.announced > limit:
            raise too_large(self.announced)
        data = await self.next()
        if self.ended:
            if len(data) > limit:
                raise too_large(len(data))
            self.passed(len(data))
            return data
        pieces = [data]
        size = len(data)
        try:
            while not self.ended:
                self.hold(len(data))
                data = await self.next()
                size += len(data)
                if size > limit:
                    raise too_large(size)
                pieces.append(data)
        finally:
            self.release()
        self.passed(size)
        return await joined(pieces)
