"""Reads a blob, one piece ahead of the consumer, and verifies it."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from boda.core.errors import BodaError
from boda.storage.block_checksums import BLOCK, Verification, wrong_block

READ_PIECE = 512 * 1024
"""Bytes read at a time, whole blocks; one further piece is read ahead."""


class BlobMissing(BodaError):
    """There is no blob of that id, or no longer."""


def open_reader(
    path: Path,
    start: int,
    length: int | None,
    check: Verification | None,
    threads: ThreadPoolExecutor,
) -> BlobReader:
    """Open a blob and read its first piece, in the calling thread: a small blob costs one hand-over
    to a thread. Raises OSError, BlobMissing or what the verification makes."""
    opened = _BlobFile(path, check)
    reader = BlobReader(
        opened, start, max(0, opened.size - start) if length is None else length, threads
    )
    try:
        reader.prefetch()
    except BaseException:
        opened.close()
        raise
    return reader


class BlobReader:
    """Yields a blob's bytes, one piece ahead of its consumer. ``prefetch`` first."""

    def __init__(
        self, opened: _BlobFile, start: int, length: int, threads: ThreadPoolExecutor
    ) -> None:
        self._file = opened
        self._offset = start
        self._left = length
        self._threads = threads
        self._first = b""
        self._next: asyncio.Future[bytes] | None = None

    def prefetch(self) -> None:
        """Read the first piece, in the calling thread."""
        if self._left > 0:
            self._first = _whole(self._file.read(*self._advance()))

    def __aiter__(self) -> BlobReader:
        return self

    async def __anext__(self) -> bytes:
        if self._first:
            piece, self._first = self._first, b""
        elif self._next is not None:
            try:
                piece = _whole(await self._next)
            except BlobMissing:
                await self.aclose()
                raise
        else:
            await self.aclose()
            raise StopAsyncIteration
        self._next = self._read() if self._left > 0 else None
        return piece

    async def aclose(self) -> None:
        """Close the file; safe to call twice."""
        self._left = 0
        self._first = b""
        self._next = None
        self._file.close_soon(self._threads)

    def _advance(self) -> tuple[int, int]:
        """Return the offset and the length of the next piece.

        After the first one, pieces begin where blocks begin, so that no block is read twice.
        """
        offset = self._offset
        count = min(READ_PIECE - offset % BLOCK, self._left)
        self._offset += count
        self._left -= count
        return offset, count

    def _read(self) -> asyncio.Future[bytes]:
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, self._file.read, *self._advance())
        future.add_done_callback(retrieve_exception)
        return future


def _whole(piece: bytes) -> bytes:
    if not piece:
        raise BlobMissing("A blob is shorter than its row says.")
    return piece


class _BlobFile:
    """An open file whose descriptor is never closed under a running read."""

    def __init__(self, path: Path, check: Verification | None = None) -> None:
        self._lock = threading.Lock()
        self._check = check
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size
        if check is not None and self.size != check.size:
            self.close()
            raise check.damaged(f"it has {self.size} bytes instead of {check.size}")

    def read(self, offset: int, count: int) -> bytes:
        """Return count bytes, or b"" if the file is shorter or closed. Raises what the verification
        makes."""
        check = self._check
        if check is None or not check.crcs:
            return self._read(offset, count)
        first = offset // BLOCK
        begin, end = first * BLOCK, min(-(-(offset + count) // BLOCK) * BLOCK, self.size)
        blocks = self._read(begin, end - begin)
        if blocks:
            bad = wrong_block(blocks, check.crcs, first)
            if bad is not None:
                raise check.damaged(f"the checksum of its block {bad} is wrong")
        if (begin, end) == (offset, offset + count):
            return blocks
        return blocks[offset - begin : offset - begin + count]

    def _read(self, offset: int, count: int) -> bytes:
        with self._lock:
            if self._descriptor < 0:
                return b""
            piece = os.pread(self._descriptor, count, offset)
            while 0 < len(piece) < count:
                more = os.pread(self._descriptor, count - len(piece), offset + len(piece))
                if not more:
                    return b""
                piece += more
            return piece

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def close_soon(self, threads: ThreadPoolExecutor) -> None:
        if self._lock.locked():
            try:
                threads.submit(self.close)
                return
            except RuntimeError:
                pass
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)


def retrieve_exception(future: asyncio.Future[bytes] | asyncio.Future[None]) -> None:
    """Retrieve the exception of a future that is not awaited, so that asyncio logs nothing."""
    if not future.cancelled():
        future.exception()
