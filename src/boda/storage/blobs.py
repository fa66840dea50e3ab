"""Blobs: bytes too big for a row, each one file in one folder.

Law of this file: ``put`` returns only after the bytes and the file's name are on disk. Nothing
here knows the meaning of a blob; a blob exists for its readers once a committed row names it, and a
blob that no row names (the process died between the two) is set aside by ``sweep``.

Memory is bounded: a writer holds at most two pieces, a reader two. Files are accessed in worker
threads only, so that a slow disk never holds up the event loop.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from boda.core.health import Health
from boda.core.ids import Ids
from boda.storage import disk
from boda.storage.blob_reader import BlobMissing, BlobReader, open_reader, retrieve_exception
from boda.storage.blob_writer import BlobWriter
from boda.storage.block_checksums import Verification
from boda.storage.durable import sync_folder
from boda.storage.lost import LostAndFound

WRITE_PIECE = 1024 * 1024
"""Bytes gathered before they are handed to a thread: so many that the hand-over costs little."""

_NAME_DIGITS = 32
_RUN_DIGITS = 8
_INCOMING = "incoming"
_SWEEP_BATCH = 500


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored blob. size: bytes. crcs: of its blocks, for ``Verification``."""

    id: str
    size: int
    crcs: bytes


class BlobStore:
    """The blobs below one folder.

    root: made if absent; files that an earlier run left half-written are removed. ids: makes the
    names; those of one run share a prefix, so that ``sweep`` never touches a blob that is being
    written.
    health: refused writes are reported to it.
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
        """Store the bytes that ``chunks`` yields; return once they are on disk.

        observe: called with every piece in order, in a worker thread (for hashes of big objects).
        Raises what ``chunks`` raises, and then leaves nothing; raises Unwritable (503) if the disk
        is full.
        """
        name = self._run + self._ids.hex(_NAME_DIGITS - _RUN_DIGITS)
        writer = BlobWriter(self._incoming / name, self._path(name), self._prepare, observe)
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
                busy.add_done_callback(retrieve_exception)
            await asyncio.shield(loop.run_in_executor(self._threads, writer.abandon))
            # FileNotFoundError: the folder was removed while boda runs on it.
            if isinstance(error, FileNotFoundError) or disk.refused(error):
                refusal = disk.unwritable(error)
                self._health.report("disk", refusal.why)
                raise refusal from error
            raise
        return Blob(name, size, writer.blocks.crcs())

    async def open(
        self,
        blob_id: str,
        start: int = 0,
        length: int | None = None,
        check: Verification | None = None,
    ) -> BlobReader:
        """Return a reader of ``length`` bytes from ``start``, or of all. Raises BlobMissing.

        check: every block is verified before any of its bytes are yielded. The first piece is read
        before this returns. The reader survives the blob's deletion; close it with ``aclose``.
        """
        loop = asyncio.get_running_loop()
        try:
            path = self._path(blob_id)
            work = partial(open_reader, path, start, length, check, self._threads)
            return await loop.run_in_executor(self._threads, work)
        except (FileNotFoundError, ValueError):
            raise BlobMissing(f"There is no blob {blob_id}.") from None

    async def delete(self, blob_ids: Iterable[str]) -> None:
        """Delete these blobs; those that do not exist are ignored."""
        paths = [self._path(blob_id) for blob_id in blob_ids]
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, _unlink_all, paths)

    async def sweep(
        self,
        known: Callable[[list[str]], Awaitable[Collection[str]]],
        lost: LostAndFound,
    ) -> int:
        """Move the blobs of earlier runs that no row names to ``lost``; return how many.

        known: called with a batch of ids, returns those that a row names.
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
        """Whether there is no folder of blobs: the store is new, or was taken away."""
        return not self._folders - {_INCOMING}

    def close(self) -> None:
        """Wait for what runs. Idempotent."""
        self._threads.shutdown()

    def _path(self, blob_id: str) -> Path:
        return blob_path(self.root, blob_id)

    def _prepare(self, folder: Path) -> None:
        if folder.name not in self._folders:
            folder.mkdir(exist_ok=True)
            sync_folder(self.root)
            self._folders.add(folder.name)


def blob_path(root: Path, blob_id: str) -> Path:
    """Return the path of a blob. Raises ValueError unless blob_id has the form of an id, since no
    other text may become a path."""
    if not _is_id(blob_id):
        raise ValueError(f"not a blob id: {blob_id!r}")
    return root / blob_id[-2:] / blob_id


def _is_id(name: str) -> bool:
    return len(name) == _NAME_DIGITS and name.isalnum()


def _unlink_all(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
