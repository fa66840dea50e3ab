"""Request bodies as operations read them: decoded, counted and checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from boda.core.errors import AwsError
from boda.gateway.calling.checksums import Check
from boda.gateway.http.body import Inbound, incomplete_body, joined
from boda.gateway.signing.chunked import AwsChunks


class StreamedBody:
    """A StreamingBody over the wire: decoded, counted and checked while it passes.

    length: decoded length if known. limit: the most bytes it may have. chunks: the ``aws-chunked``
    decoder, or None. checks: fed with the decoded content.
    """

    def __init__(
        self,
        inbound: Inbound,
        *,
        length: int | None,
        limit: int,
        too_large: Callable[[int], AwsError],
        chunks: AwsChunks | None = None,
        checks: Sequence[Check] = (),
    ) -> None:
        if length is not None and length > limit:
            raise too_large(length)
        self.length = length
        self._inbound = inbound
        self._limit = limit
        self._too_large = too_large
        self._chunks = chunks
        self._checks = checks
        self._trailers: Mapping[str, str] = {}

    async def __aiter__(self) -> AsyncIterator[bytes]:
        inbound, chunks, checks = self._inbound, self._chunks, self._checks
        size = 0
        while not inbound.ended:
            data = await inbound.next()
            if not data:
                continue
            for piece in chunks.feed(data) if chunks is not None else (data,):
                size += len(piece)
                if size > self._limit:
                    raise self._too_large(size)
                for check in checks:
                    check.update(piece)
                yield piece
        if chunks is not None:
            self._trailers = chunks.finish()
        if self.length is not None and size != self.length:
            raise incomplete_body()
        for check in checks:
            check.finish(self._trailers)

    async def read(self, limit: int | None = None) -> bytes:
        pieces = []
        size = 0
        inbound = self._inbound
        try:
            async for piece in self:
                size += len(piece)
                if limit is not None and size > limit:
                    raise _too_large_to_read(limit)
                pieces.append(piece)
                if not inbound.ended:
                    inbound.hold(len(piece))
        finally:
            inbound.release()
        inbound.passed(size)
        return await joined(pieces)

    def checksums(self) -> Mapping[str, str]:
        return self._trailers


class BytesBody:
    """A StreamingBody over bytes in memory.

    data: all of them, whether or not they were read.
    """

    __slots__ = ("_read", "data", "length")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.length: int | None = len(data)
        self._read = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        data = self._rest()
        if data:
            yield data

    async def read(self, limit: int | None = None) -> bytes:
        data = self._rest()
        if limit is not None and len(data) > limit:
            raise _too_large_to_read(limit)
        return data

    def checksums(self) -> Mapping[str, str]:
        return {}

    def _rest(self) -> bytes:
        rest = b"" if self._read else self.data
        self._read = True
        return rest


def _too_large_to_read(limit: int) -> AwsError:
    return AwsError("RequestTooLarge", f"The request body is larger than {limit} bytes.", 413)
