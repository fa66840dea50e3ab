"""Blobs: bytes too big for a row, each one file in one folder.

Law of this file: ``put`` returns only when the bytes and the file's name are on disk. Nothing
here knows what a blob means; a blob exists for its readers once a committed row names it, and a
blob that no row names (the process died between the two) is set aside by ``sweep``.

Memory is bounded: a writer holds at most two pieces, a reader two. Files are touched in worker
threads only, so that a slow disk never holds up the event loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from boda.core.crc import crc64nvme
from boda.core.errors import BodaError
from boda.core.health import Health
from boda.core.ids import Ids
from boda.storage import disk
from boda.storage.durable import sync_folder
from boda.storage.lost import LostAndFound

WRITE_PIECE = 1024 * 1024
"""Bytes gathered before they are handed to a thread: big enough that the hand-over is free."""

READ_PIECE = 512 * 1024
"""Bytes read at a time, whole blocks; one further piece is read ahead."""

BLOCK = 64 * 1024
"""Bytes with a checksum of their own, so that a range is verified without the rest. The checksum
is CRC64NVME, eight bytes: enough against chance, not against whoever can write the file."""

_CRC_BYTES = 8

_NAME_DIGITS = 32
_RUN_DIGITS = 8
_INCOMING = "incoming"
_SWEEP_BATCH = 500


class BlobMissing(BodaError):
    """There is no blob of that id (any more)."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored blob. size: bytes. crcs: of its blocks, for ``Check``."""

    id: str
    size: int
    crcs: bytes


@dataclass(frozen=True, slots=True)
class Check:
    """What a blob is held against while it is read.

    size, crcs: as ``put`` answered them; no crcs for a blob from before they were kept, whose
    size alone is checked. damaged: makes what is raised of what is wrong.
    """

    size: int
    crcs: bytes
    damaged: Callable[[str], Exception]


class BlobStore:
    """The blobs below one folder.

    root: made when absent; what an earlier run left half-written is removed.
    ids: chance for the names; names of one run share a prefix, so that ``sweep`` never touches
        what is being written now.
    health: where refused writes are reported.
    """

    def __init__(
        self,
        root: Path,
        ids: Ids | None = None,
        *,
        threads: int = 8,
        health: Health | None = None,
    ) -> None:
        self.root = root
        self._ids = ids or Ids()
        self._health = health or Health(time.monotonic, lambda _: None)
        self._run = self._ids.hex(_RUN_DIGITS)
        self._incoming = root / _INCOMING
        self._incoming.mkdir(parents=True, exist_ok=True)
        for leftover in self._incoming.iterdir():
            leftover.unlink(missing_ok=True)
        self._folders = {entry.name for entry in root.iterdir() if entry.is_dir()}
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="boda-blob")

    async def put(
        self, chunks: AsyncIterable[bytes], observe: Callable[[bytes], None] | None = None
    ) -> Blob:
        """Store what ``chunks`` yields and return once it is on disk.

        observe: sees every piece in order, in a worker thread (for hashes of big objects).
        Whatever ``chunks`` raises passes through, and nothing is left behind. A full disk raises
        Unwritable (503).
        """
        name = self._run + self._ids.hex(_NAME_DIGITS - _RUN_DIGITS)
        writer = _Writer(self._incoming / name, self._path(name), self._prepare, observe)
        loop = asyncio.get_running_loop()
        busy: asyncio.Future[None] | None = None
        held: list[bytes] = []
        count = 0
        try:
            async for chunk in chunks:
                held.append(chunk)
                count += len(chunk)
                if count >= WRITE_PIECE:
                    if busy is not None:
                        await busy
                    busy = loop.run_in_executor(self._threads, writer.write, held)
                    held, count = [], 0
            if busy is not None:
                await busy
            size = await loop.run_in_executor(self._threads, writer.finish, held)
        except BaseException as error:
            if busy is not None:
                busy.add_done_callback(_heard)
            await asyncio.shield(loop.run_in_executor(self._threads, writer.abandon))
            # FileNotFoundError: the folder was removed while boda runs on it.
            if isinstance(error, FileNotFoundError) or disk.refused(error):
                refusal = disk.unwritable(error)
                self._health.report("disk", refusal.why)
                raise refusal from error
            raise
        return Blob(name, size, writer.blocks.crcs())

    async def open(
        self, blob_id: str, start: int = 0, length: int | None = None, check: Check | None = None
    ) -> BlobReader:
        """The bytes from ``start``, ``length`` of them or all; raises BlobMissing.

        check: every block is verified before any of its bytes are given; what ``check.damaged``
        makes is raised. The first piece is read before this returns. The reader survives the
        blob's deletion; close it with ``aclose``.
        """
        loop = asyncio.get_running_loop()
        try:
            path = self._path(blob_id)
            begin = partial(_begin, path, start, length, check, self._threads)
            return await loop.run_in_executor(self._threads, begin)
        except (FileNotFoundError, ValueError):
            raise BlobMissing(f"There is no blob {blob_id}.") from None

    async def delete(self, blob_ids: Iterable[str]) -> None:
        """Delete these blobs; those that are gone already are fine."""
        paths = [self._path(blob_id) for blob_id in blob_ids]
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, _unlink_all, paths)

    async def sweep(
        self,
        known: Callable[[list[str]], Awaitable[Collection[str]]],
        lost: LostAndFound,
    ) -> int:
        """Move the blobs of earlier runs that ``known`` does not give back to ``lost``; how many.

        known: of a batch of ids, those that a row names.
        """
        loop = asyncio.get_running_loop()
        moved = 0
        for folder in sorted(self._folders - {_INCOMING}):
            names = await loop.run_in_executor(self._threads, os.listdir, self.root / folder)
            old = [name for name in names if _is_id(name) and not name.startswith(self._run)]
            for index in range(0, len(old), _SWEEP_BATCH):
                batch = old[index : index + _SWEEP_BATCH]
                orphans = set(batch) - set(await known(batch))
                for name in orphans:
                    moved += await loop.run_in_executor(
                        self._threads, lost.keep, self._path(name), "blobs"
                    )
        return moved

    def holds_nothing(self) -> bool:
        """Whether not even a folder of blobs is there: a new store, or one that was taken away."""
        return not self._folders - {_INCOMING}

    def close(self) -> None:
        """Let what runs end; safe to call twice."""
        self._threads.shutdown()

    def _path(self, blob_id: str) -> Path:
        return blob_path(self.root, blob_id)

    def _prepare(self, folder: Path) -> None:
        if folder.name not in self._folders:
            folder.mkdir(exist_ok=True)
            sync_folder(self.root)
            self._folders.add(folder.name)


class BlobReader:
    """Yields a blob's bytes, one piece ahead of its consumer. ``begin`` first."""

    def __init__(self, opened: _File, start: int, length: int, threads: ThreadPoolExecutor) -> None:
        self._file = opened
        self._offset = start
        self._left = length
        self._threads = threads
        self._first = b""
        self._next: asyncio.Future[bytes] | None = None

    def begin(self) -> None:
        """Read the first piece, in the calling thread: a small blob costs one hand-over."""
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
        """The next piece: its offset and its length. After the first one, pieces begin where
        blocks begin, so that none is read twice."""
        offset = self._offset
        count = min(READ_PIECE - offset % BLOCK, self._left)
        self._offset += count
        self._left -= count
        return offset, count

    def _read(self) -> asyncio.Future[bytes]:
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, self._file.read, *self._advance())
        future.add_done_callback(_heard)
        return future


def _begin(
    path: Path, start: int, length: int | None, check: Check | None, threads: ThreadPoolExecutor
) -> BlobReader:
    """In a worker thread: open a blob and read its first piece."""
    opened = _File(path, check)
    reader = BlobReader(
        opened, start, max(0, opened.size - start) if length is None else length, threads
    )
    try:
        reader.begin()
    except BaseException:
        opened.close()
        raise
    return reader


def _whole(piece: bytes) -> bytes:
    if not piece:
        raise BlobMissing("A blob is shorter than its row says.")
    return piece


class _File:
    """An open file whose descriptor is never closed under a running read."""

    def __init__(self, path: Path, check: Check | None = None) -> None:
        self._lock = threading.Lock()
        self._check = check
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size
        if check is not None and self.size != check.size:
            self.close()
            raise check.damaged(f"it has {self.size} bytes instead of {check.size}")

    def read(self, offset: int, count: int) -> bytes:
        """So many bytes, none where the file is shorter or closed; raises what is damaged."""
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


class Blocks:
    """The checksums of a stream's blocks."""

    def __init__(self) -> None:
        self._done = bytearray()
        self._crc = 0
        self._filled = 0

    def update(self, data: bytes) -> None:
        view = memoryview(data)
        at = 0
        while at < len(view):
            part = view[at : at + BLOCK - self._filled]
            self._crc = crc64nvme(part, self._crc)
            self._filled += len(part)
            at += len(part)
            if self._filled == BLOCK:
                self._end()

    def _end(self) -> None:
        self._done += self._crc.to_bytes(_CRC_BYTES, "big")
        self._crc, self._filled = 0, 0

    def crcs(self) -> bytes:
        """Of all blocks; the last one may be shorter than the others. After the end."""
        if self._filled:
            self._end()
        return bytes(self._done)


def wrong_block(data: bytes, crcs: bytes, first: int) -> int | None:
    """The number of the first block of ``data`` that does not have its checksum, if any.

    data: whole blocks, but the blob's last one; first: the number of the first of them.
    """
    view = memoryview(data)
    for at in range(0, len(view), BLOCK):
        number = first + at // BLOCK
        kept = crcs[number * _CRC_BYTES : (number + 1) * _CRC_BYTES]
        if crc64nvme(view[at : at + BLOCK], 0) != int.from_bytes(kept, "big"):
            return number
    return None


class _Writer:
    """One blob on its way to the disk; each method runs in a worker thread."""

    def __init__(
        self,
        temporary: Path,
        final: Path,
        prepare: Callable[[Path], None],
        observe: Callable[[bytes], None] | None,
    ) -> None:
        self._temporary = temporary
        self._final = final
        self._prepare = prepare
        self._observe = observe
        self._lock = threading.Lock()
        self._descriptor = -1
        self._size = 0
        self.blocks = Blocks()
        self._given_up = False

    def write(self, chunks: list[bytes]) -> None:
        with self._lock:
            if not self._given_up:
                self._append(chunks)

    def finish(self, chunks: list[bytes]) -> int:
        with self._lock:
            if self._given_up:
                return 0
            self._append(chunks)
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            self._prepare(self._final.parent)
            os.rename(self._temporary, self._final)
            sync_folder(self._final.parent)
            return self._size

    def abandon(self) -> None:
        with self._lock:
            self._given_up = True
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            self._temporary.unlink(missing_ok=True)
            self._final.unlink(missing_ok=True)

    def _append(self, chunks: list[bytes]) -> None:
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._temporary, flags, 0o600)
        piece = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if self._observe is not None:
            self._observe(piece)
        self.blocks.update(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._size += len(piece)


def blob_path(root: Path, blob_id: str) -> Path:
    """Where a blob is. Raises ValueError for what is no blob's id: ids come from rows of ours, and
    no other text is to become a path."""
    if not _is_id(blob_id):
        raise ValueError(f"not a blob id: {blob_id!r}")
    return root / blob_id[-2:] / blob_id


def _is_id(name: str) -> bool:
    return len(name) == _NAME_DIGITS and name.isalnum()


def _unlink_all(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _heard(future: asyncio.Future[bytes] | asyncio.Future[None]) -> None:
    """Take the exception of a future whose owner is gone, so that asyncio does not complain."""
    if not future.cancelled():
        future.exception()
