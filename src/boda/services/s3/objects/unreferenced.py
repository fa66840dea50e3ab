"""Deletes the blobs that no object names any more, in the background.

What a row says was replaced is deleted; what no row names at all goes to lost+found.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from boda.core.clock import Clock
from boda.core.tasks import Tasks
from boda.services.s3 import rows
from boda.services.s3.objects.contents import Contents
from boda.storage.blobs import BlobStore
from boda.storage.deletion_lock import DeletionLock
from boda.storage.lost import LostAndFound
from boda.storage.rows import Rows

_log = logging.getLogger(__name__)

_BATCH = 200
_PAUSE_S = 5.0


class UnreferencedBlobs:
    """The blobs in the trash's rows, and the orphans of an earlier run.

    A blob is in the trash from the commit that replaced its object, so that a crash forgets
    none. Deleting is nobody's wait: it happens in the background.
    """

    def __init__(
        self,
        rows: Rows,
        blobs: BlobStore,
        contents: Contents,
        clock: Clock,
        lost: LostAndFound,
    ) -> None:
        self._rows = rows
        self._blobs = blobs
        self._contents = contents
        self._clock = clock
        self._lost = lost
        self._deletions = DeletionLock.beside(blobs.root)
        self._full = asyncio.Event()
        self._tasks = Tasks()

    def start(self) -> None:
        self._full.set()
        self._tasks.spawn(self._run(), "emptying the trash")

    async def stop(self) -> None:
        await self._tasks.cancel()

    def filled(self) -> None:
        """Something was thrown away."""
        self._full.set()

    async def _run(self) -> None:
        try:
            moved = await self._blobs.sweep(self._known, self._lost)
            if moved:
                _log.info("%d blobs that no object names were moved to lost+found", moved)
        except Exception:
            _log.exception("blobs of an earlier run could not be swept")
        while True:
            await self._full.wait()
            self._full.clear()
            try:
                left = await self.empty()
            except Exception:
                _log.exception("replaced blobs could not be deleted now")
                left = True
            if left:
                await self._clock.sleep(_PAUSE_S)
                self._full.set()

    async def empty(self) -> bool:
        """Delete what nobody reads; return whether something is left, as during a backup."""
        while True:
            waiting = await self._rows.read(partial(rows.some_trash, limit=_BATCH))
            free = [blob for blob in waiting if blob not in self._contents.reading]
            if free:
                with self._deletions.deleting() as allowed:
                    if not allowed:
                        return True
                    await self._blobs.delete(free)
                await self._rows.write(partial(rows.forget_trash, contents=free))
            if len(free) < len(waiting):
                return True
            if not waiting:
                return False

    async def _known(self, blobs: list[str]) -> set[str]:
        return await self._rows.read(partial(rows.known_blobs, contents=blobs))
