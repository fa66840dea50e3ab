"""Many small writes as few large ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy.engine import Connection

from boda.storage.database import Database

T = TypeVar("T")


class Batch(Generic[T]):
    """Collects items while a write is on its way and writes them together with the next.

    write: puts some items into the database; called in the writer's thread.
    stored: called with each item once it is durable, even if whoever added it has gone.
    """

    def __init__(
        self,
        database: Database,
        write: Callable[[Connection, Sequence[T]], None],
        stored: Callable[[T], None] = lambda item: None,
    ) -> None:
        self._database = database
        self._write = write
        self._stored = stored
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def add(self, item: T) -> None:
        """Return once the item is durable; raises what the write raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = loop.create_task(self._drain())
        await future

    async def _drain(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            error = await self._commit([item for item, _ in group])
            for item, future in group:
                if error is None:
                    self._stored(item)
                if future.done():
                    continue
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
        self._task = None

    async def _commit(self, items: Sequence[T]) -> Exception | None:
        try:
            await self._database.write(lambda connection: self._write(connection, items))
        except Exception as error:
            return error
        return None
