"""What the platform gives to threads, done where it is asked for: a manual clock sees no time pass,
and no test waits for a busy machine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from boda.storage.rows import Tx
from support.delivery_world import PromptRows

T = TypeVar("T")


class _InPlace(ThreadPoolExecutor):
    """Clients, which wait for the loop to answer, get threads as ever."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        if not _asker().startswith("boda."):
            return super().submit(fn, *args, **kwargs)
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


def _asker() -> str:
    """The module that gives work to a thread."""
    frame: Any = sys._getframe(2)
    while frame.f_globals["__name__"].startswith("asyncio."):
        frame = frame.f_back
    name: str = frame.f_globals["__name__"]
    return name


def without_threads() -> None:
    """Let the running loop do by itself what the platform gives to ``asyncio.to_thread``."""
    asyncio.get_running_loop().set_default_executor(_InPlace())


class InPlaceRows(PromptRows):
    """Others get their turn before a transaction and behind it, as they do beside a thread."""

    async def read(self, work: Callable[[Tx], T]) -> T:
        await asyncio.sleep(0)
        found = await super().read(work)
        await asyncio.sleep(0)
        return found

    async def write(self, work: Callable[[Tx], T]) -> T:
        await asyncio.sleep(0)
        found = await super().write(work)
        await asyncio.sleep(0)
        return found
