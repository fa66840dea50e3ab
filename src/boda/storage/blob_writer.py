"""Writes one blob to a temporary file, and moves it to its place once it is on disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from boda.storage.block_checksums import BlockChecksums
from boda.storage.durable import sync_folder


class BlobWriter:
    """Writes one blob; each method runs in a worker thread.

    prepare: makes a folder durable, before a file is moved into it. observe: called with every
    piece in order. blocks: the checksums so far.
    """

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
        self.blocks = BlockChecksums()
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
