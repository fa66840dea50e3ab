"""A real database on a disk that may be slow, refuse writes, and lose its process.

Transactions are the database's own, in groups as the writer makes them; only that a thread does
it is left away, so that a seed decides when. What the disk refuses fails where SQLite's would: at
the beginning, or at the commit, after the statements ran.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import sqlalchemy as sa

from boda.storage.group_commit import GROUP_LIMIT
from boda.storage.rows import Tx
from boda.storage.schema import Schema
from boda.storage.sqlite_rows import SqliteRows
from support.delivery_world import _careless_engine
from support.simulated_loop import SimulatedLoop

T = TypeVar("T")


class SimulatedRows(SqliteRows):
    """refuses: asked at each transaction: "" or "begin" or "commit". slow: seconds until the next
    one, and until its answer is heard. unreadable: asked at each read."""

    def __init__(
        self,
        path: Path,
        metadata: list[Schema],
        loop: SimulatedLoop,
        *,
        refuses: Callable[[], str] = lambda: "",
        slow: Callable[[], float] = lambda: 0.0,
        unreadable: Callable[[], bool] = lambda: False,
    ) -> None:
        with patch("boda.storage.sqlite_rows._engine", _careless_engine):
            super().__init__(path, metadata)
        self._loop = loop
        self._refuses = refuses
        self._slow = slow
        self._unreadable = unreadable
        self._waiting: list[Any] = []
        self._due = False
        self._cut = False
        self._refused = ""
        self._queue = self  # type: ignore[assignment]
        sa.event.listen(self._engine, "begin", lambda _: self._fail("begin"), insert=True)
        sa.event.listen(self._engine, "commit", lambda _: self._fail("commit"))
        self._writing = self._engine.connect()

    def _run_writer(self) -> None:
        """No thread: ``put`` is told of each write."""

    def put(self, write: Any) -> None:
        if write is None or self._cut:
            return
        write.loop = self  # it is told by way of ``call_soon_threadsafe``
        self._waiting.append(write)
        self._wake()

    def write_along(self, work: Callable[[Tx], T]) -> asyncio.Future[T]:
        future = super().write_along(work)
        self._riders[-1].loop = self  # type: ignore[assignment]
        return future

    def _wake(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_later(self._slow(), self._write)

    def _write(self) -> None:
        self._due = False
        if self._cut:
            return
        group, self._waiting = self._waiting[:GROUP_LIMIT], self._waiting[GROUP_LIMIT:]
        self._refused = self._refuses()
        try:
            self._commit(self._writing, group)
        finally:
            self._refused = ""
        if self._waiting:
            self._wake()

    def call_soon_threadsafe(self, settle: Callable[..., None], *what: Any) -> None:
        """It is on the disk, or not; whoever waits hears of it a moment later."""
        self._loop.call_later(self._slow(), lambda: self._cut or settle(*what))

    def _fail(self, at: str) -> None:
        if self._refused == at:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    async def read(self, work: Callable[[Tx], T]) -> T:
        if self._cut:  # the process is no more; what still unwinds learns nothing
            raise OSError("there is no process that could read")
        if self._unreadable():
            raise sqlite3.OperationalError("disk I/O error")
        return await super().read(work)

    def cut(self) -> None:
        """Nothing of this process reaches the disk any more."""
        self._cut = True
        self._waiting.clear()
        self._riders.clear()

    def close(self) -> None:
        self._writing.close()
        super().close()
