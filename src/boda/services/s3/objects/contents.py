"""An object's bytes: taken from a request, kept in a row or a blob, given back as a stream.

Law of this file: no byte is given that was not verified. A row's content is held against the
object's checksum, a blob's blocks each against their own.

Small objects stand in a row: a file costs two flushes of its own (itself and its folder), a row
shares the one of its group's commit. Beyond INLINE_LIMIT writing twice (log, then table) would
cost more than the flushes save.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from boda.core.errors import AwsError
from boda.gateway.http.wire import TruncatedStream
from boda.services.s3 import errors, rows
from boda.services.s3.objects.checksums import Digest, encode, of
from boda.services.s3.rows import ObjectVersion, Part
from boda.storage.blob_reader import BlobMissing, BlobReader
from boda.storage.blobs import BlobStore
from boda.storage.block_checksums import Verification
from boda.storage.rows import Rows

INLINE_LIMIT = 16 * 1024
"""Bytes up to which an object stands in a row."""

OBJECT_LIMIT = 5 * 1024**3
"""Bytes of one PutObject or UploadPart (5 GiB)."""


class ContentStream(Protocol):
    """Bytes that arrive; ``Body`` is one."""

    length: int | None

    def __aiter__(self) -> AsyncIterator[bytes]: ...


@dataclass(slots=True)
class StoredContent:
    """What arrived, stored but named by no row yet: in memory (``data``) or as a blob.

    crcs: of the blob's blocks.
    """

    size: int
    digest: Digest
    data: bytes | None = None
    blob: str = ""
    crcs: bytes = b""


@dataclass(slots=True)
class MemoryContent:
    """Bytes in memory with the face of a stream."""

    data: bytes
    length: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.length = len(self.data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.data:
            yield self.data


@dataclass(slots=True)
class IncomingContent:
    """A stream of known length."""

    chunks: AsyncIterable[bytes]
    length: int | None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self.chunks)


class Contents:
    """Takes and gives objects' bytes."""

    def __init__(self, rows: Rows, blobs: BlobStore, report: Callable[[str], None]) -> None:
        self._rows = rows
        self._blobs = blobs
        self._report = report
        self.reading: Counter[str] = Counter()
        """Blobs of multipart objects that somebody reads now; the trash waits for them."""

    async def take(
        self, source: ContentStream, digest: Digest, *, inline: bool = True
    ) -> StoredContent:
        """Store what arrives; ``digest`` has seen all of it afterwards.

        Raises EntityTooLarge, and whatever the source raises; then nothing is left behind.
        inline: whether small contents may stay in memory for a row.
        """
        if source.length is not None and source.length > OBJECT_LIMIT:
            raise errors.too_large(source.length, OBJECT_LIMIT)
        arriving = aiter(source)
        start: list[bytes] = []
        count = 0
        ended = not inline
        while inline and count <= INLINE_LIMIT:
            try:
                chunk = await anext(arriving)
            except StopAsyncIteration:
                ended = True
                break
            start.append(chunk)
            count += len(chunk)
        if inline and ended:
            data = b"".join(start)
            digest.update(data)
            return StoredContent(count, digest, data=data)
        blob = await self._blobs.put(_rejoined(start, arriving), digest.update)
        return StoredContent(blob.size, digest, blob=blob.id, crcs=blob.crcs)

    async def discard(self, taken: StoredContent) -> None:
        """Drop what was taken and will not be named."""
        if taken.blob:
            await self._blobs.delete([taken.blob])

    async def discard_refused(self, taken: StoredContent, error: Exception) -> None:
        """Drop what was taken if ``error`` says that no row can name it.

        A commit that failed on the disk, or whose caller went away, may stand after a restart:
        what it took is left to the sweep at the next start.
        """
        if isinstance(error, AwsError) and error.status < 500:
            await self.discard(taken)

    async def give(self, version: ObjectVersion, start: int, length: int) -> AsyncIterator[bytes]:
        """``length`` bytes from ``start``, to be closed with ``aclose``.

        Every byte is verified before it is given: raises Damaged, here or later, where what is
        stored is not what was put. Raises BlobMissing or Gone when the version was replaced
        meanwhile: look it up again.
        """
        if length == 0 or version.place == rows.NOWHERE:
            return _Pieces(b"")
        damaged = partial(self.damaged, version)
        if version.place == rows.IN_BLOB:
            check = Verification(version.size, version.crcs, damaged)
            return await self._blobs.open(version.content, start, length, check)
        if version.place == rows.IN_PARTS:
            parts = await self._rows.read(lambda tx: rows.parts_to_read(tx, version.content))
            reader = _PartsReader(self._blobs, self.reading, parts, start, length, damaged)
            await reader.open()
            return reader
        data = await self._rows.read(lambda tx: rows.body(tx, version.content))
        if data is None:
            raise ReplacedContent
        return _Pieces(self.verified(version, data)[start : start + length])

    def verified(self, version: ObjectVersion, data: bytes) -> bytes:
        """An object's whole content, if it is what was put; raises Damaged."""
        if not matches(version, data):
            raise self.damaged(version, f"its {version.algorithm} is wrong")
        return data

    def damaged(self, version: ObjectVersion, detail: str) -> DamagedContent:
        """Report that an object cannot be read; what its reader is to be told."""
        self._report(f"object {version.bucket}/{version.name}: {detail}")
        return DamagedContent()


def matches(version: ObjectVersion, data: bytes) -> bool:
    """Whether a whole content has the object's checksum; a damaged row may hold text instead."""
    return isinstance(data, bytes) and encode(of(version.algorithm, data)) == version.checksum


class DamagedContent(AwsError, TruncatedStream):
    """What is stored is not what was put: an error while nothing was answered yet, and the end
    of the connection afterwards."""

    def __init__(self) -> None:
        super().__init__(
            "InternalError", "We encountered an internal error. Please try again.", 500
        )


class ReplacedContent(AwsError):
    """The row's bytes went while they were looked for: the object was replaced; look again."""

    def __init__(self) -> None:
        super().__init__(
            "InternalError", "We encountered an internal error. Please try again.", 500
        )


class _PartsReader:
    """Reads a multipart object across its parts' blobs."""

    def __init__(
        self,
        blobs: BlobStore,
        reading: Counter[str],
        parts: Sequence[Part],
        start: int,
        length: int,
        damaged: Callable[[str], Exception],
    ) -> None:
        self._blobs = blobs
        self._reading = reading
        self._damaged = damaged
        self._spans: list[tuple[str, int, int, Verification]] = []
        self._open: BlobReader | None = None
        for part in parts:
            if start >= part.size:
                start -= part.size
                continue
            if length <= 0:
                break
            count = min(length, part.size - start)
            self._spans.append((part.content, start, count, self._check(part)))
            length -= count
            start = 0
        if length > 0:
            raise ReplacedContent
        self._held = [span[0] for span in self._spans]
        self._reading.update(self._held)
        self._spans.reverse()

    def _check(self, part: Part) -> Verification:
        def damaged(detail: str) -> Exception:
            return self._damaged(f"part {part.number}: {detail}")

        return Verification(part.size, part.crcs, damaged)

    async def open(self) -> None:
        """Open the first part; raises BlobMissing."""
        try:
            self._open = await self._blobs.open(*self._spans.pop())
        except BaseException:
            self._release()
            raise

    def __aiter__(self) -> _PartsReader:
        return self

    async def __anext__(self) -> bytes:
        while self._open is not None:
            try:
                return await anext(self._open)
            except StopAsyncIteration:
                self._open = None
                if self._spans:
                    try:
                        self._open = await self._blobs.open(*self._spans.pop())
                    except BlobMissing:
                        # Those of a multipart object stay while somebody reads them.
                        raise self._damaged("the blob of a part is missing") from None
        self._release()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._spans = []
        self._release()
        if self._open is not None:
            await self._open.aclose()
            self._open = None

    def _release(self) -> None:
        held, self._held = self._held, []
        self._reading.subtract(held)
        for blob in held:
            if self._reading[blob] <= 0:
                del self._reading[blob]

    def __del__(self) -> None:
        self._release()


class _Pieces:
    """One piece of bytes as a stream."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> bytes:
        if not self._data:
            raise StopAsyncIteration
        data, self._data = self._data, b""
        return data

    async def aclose(self) -> None:
        self._data = b""


async def _rejoined(start: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks read ahead, then the rest; never more than one object may hold."""
    count = 0
    for chunk in start:
        count += len(chunk)
        yield chunk
    start.clear()
    async for chunk in rest:
        count += len(chunk)
        if count > OBJECT_LIMIT:
            raise errors.too_large(count, OBJECT_LIMIT)
        yield chunk
