"""Tasks that go on when their caller leaves: kept until they end, and waited for at a stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from boda.core.clock import Clock
from boda.core.errors import BodaError

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Tasks:
    """The tasks of one owner.

    asyncio itself keeps no task alive; this does. A failure that is not awaited is logged once: as
    a sentence if it has words for users, else with its traceback.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run work in the background, and log its failure."""
        task = self._begin(work, name)
        task.add_done_callback(_report)
        return task

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Run work to its end even if the caller is cancelled meanwhile, and return its result.

        Raises what the work raises; if the caller has left, the failure is logged.
        """
        task = self._begin(work, None)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_report)
            raise

    async def drain(self, timeout_s: float | None = None) -> None:
        """Wait until no task is left, those that begin meanwhile included.

        Cancels what is left after the timeout, and waits for its end.
        """
        if timeout_s is None:
            while self._running:
                await asyncio.wait(list(self._running))
        elif self._running:
            await asyncio.wait(list(self._running), timeout=timeout_s)
            await self.cancel()

    def abort(self) -> None:
        """Cancel all tasks without waiting for their end."""
        for task in list(self._running):
            task.cancel()

    async def cancel(self) -> None:
        """Cancel all tasks and wait for their end."""
        self.abort()
        await self.drain()

    def _begin(self, work: Coroutine[Any, Any, T], name: str | None) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(
            work, name=name or getattr(work, "__qualname__", None)
        )
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task


async def repeat(
    work: Callable[[], Awaitable[object]],
    what: str,
    clock: Clock,
    every_s: float,
    *,
    first_s: float | None = None,
) -> None:
    """Run work again and again until cancelled, ``every_s`` after its last end.

    first_s: when it is run first, if not after ``every_s``. what: the work's name in the log, if
        it fails; it is run again all the same.
    """
    await clock.sleep(every_s if first_s is None else first_s)
    while True:
        try:
            await work()
        except Exception:
            _log.exception("%s failed; it is tried again in %.0f s", what, every_s)
        await clock.sleep(every_s)


def _report(task: asyncio.Task[Any]) -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    if isinstance(error, BodaError):
        _log.warning("%s failed: %s", task.get_name(), error)
    else:
        _log.error("%s failed", task.get_name(), exc_info=error)
