"""Group commit: many writes share one transaction, whatever the engine.

Law of this file: a write is answered only after its transaction is durable. A single writer thread
takes all writes that wait, has the engine run them in one transaction, and then resolves all their
futures. Followers hear of a commit before its writers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, TypeVar

from boda.core.errors import PlatformError
from boda.storage.rows import Followed, Tx

T = TypeVar("T")

_log = logging.getLogger("boda.storage")

GROUP_LIMIT = 512


class WaitingWrite:
    """A write that waits. loop: of the future; None for a thread's future."""

    __slots__ = ("after", "error", "future", "loop", "value", "work")

    def __init__(
        self,
        work: Callable[[Any], Any],
        loop: asyncio.AbstractEventLoop | None,
        future: asyncio.Future[Any] | futures.Future[Any],
    ) -> None:
        self.work = work
        self.loop = loop
        self.future = future
        self.value: Any = None
        self.error: BaseException | None = None
        self.after: Sequence[Callable[[], None]] = ()

    def run(self, tx: Any) -> None:
        """Run the work in a transaction."""
        tx.after = []
        self.value = self.work(tx)
        self.after = tx.after
        assert self.loop is not None or not self.after, "a thread has no loop to call back on"

    def settle(self) -> None:
        if self.error is None:
            for told in self.after:
                try:
                    told()
                except Exception:
                    _log.exception("what follows a write failed")
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.value)


class GroupedRows:
    """The writer thread, the threads of readers, and the followers. Engines derive from it."""

    def __init__(self, readers: int) -> None:
        self._queue: queue.SimpleQueue[WaitingWrite | None] = queue.SimpleQueue()
        self._riders: deque[WaitingWrite] = deque()
        self._readers = futures.ThreadPoolExecutor(readers, thread_name_prefix="boda-read")
        self._followers: dict[str, list[tuple[asyncio.AbstractEventLoop, Followed]]] = {}
        self._closed = False

    def _begin_to_write(self) -> None:
        """Start the writer thread; called when the engine is ready."""
        self._writer = threading.Thread(target=self._run_writer, name="boda-write", daemon=True)
        self._writer.start()

    def _end_to_write(self) -> bool:
        """Finish the writes that wait; return False if that was done before."""
        if self._closed:
            return False
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown()
        return True

    # What an engine does

    def read_now(self, work: Callable[[Tx], T]) -> T:
        raise NotImplementedError

    @contextlib.contextmanager
    def _writing(self) -> Any:
        """Yield what ``_commit`` needs of the writer thread."""
        yield None

    def _commit(self, held: Any, group: list[WaitingWrite]) -> None:
        """Run a group in one transaction, set the outcome of each write and ``_answer``."""
        raise NotImplementedError

    # The contract

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run ``work`` on a thread of the readers and return its result."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self.read_now, work)

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run ``work`` in a transaction and return its result once it is durable."""
        if self._closed:
            raise PlatformError("The database is closed.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.put(WaitingWrite(work, loop, future))
        # A cancelled caller cancels the future, but not the write, which has been handed over.
        result: T = await future
        return result

    def write_along(self, work: Callable[[Tx], T]) -> asyncio.Future[T]:
        """Run ``work`` in the next transaction, without causing one.

        The future has its result once that transaction is durable, and never if there is none.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._riders.append(WaitingWrite(work, loop, future))
        return future

    def write_now(self, work: Callable[[Tx], T]) -> T:
        """Write, and block the calling thread meanwhile."""
        if self._closed:
            raise PlatformError("The database is closed.")
        done: futures.Future[T] = futures.Future()
        self._queue.put(WaitingWrite(work, None, done))
        return done.result()

    def follow(self, topic: str, told: Followed) -> Callable[[], None]:
        """Call ``told`` on this event loop with the keys of each commit that changed some."""
        followers = self._followers.setdefault(topic, [])
        one = (asyncio.get_running_loop(), told)
        followers.append(one)

        def end() -> None:
            with contextlib.suppress(ValueError):
                followers.remove(one)

        return end

    # The writer thread

    def _run_writer(self) -> None:
        with self._writing() as held:
            while True:
                first = self._queue.get()
                if first is None:
                    return
                group = [first]
                stop = False
                while len(group) < GROUP_LIMIT:
                    try:
                        item = self._queue.get_nowait()
                    except queue.Empty:
                        break
                    if item is None:
                        stop = True
                        break
                    group.append(item)
                self._commit(held, group)
                if stop:
                    return

    def _take_riders(self, group: list[WaitingWrite]) -> None:
        while self._riders:
            group.append(self._riders.popleft())

    def _answer(
        self, group: Sequence[WaitingWrite], changes: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Tell the followers of changes and resolve all futures, with one wake-up for each event
        loop."""
        tellings: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]] = {}
        if changes:
            self._tell(changes, tellings)
        by_loop: dict[asyncio.AbstractEventLoop, list[WaitingWrite]] = {one: [] for one in tellings}
        for write in group:
            if write.loop is None:
                write.settle()
            else:
                by_loop.setdefault(write.loop, []).append(write)
        for loop, writes in by_loop.items():
            # RuntimeError: the loop was closed, as the platform was stopped meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle_all, tellings.get(loop, ()), writes)

    def _tell(
        self,
        changes: Sequence[tuple[str, str]],
        tellings: dict[asyncio.AbstractEventLoop, list[Callable[[], None]]],
    ) -> None:
        """Collect what is to be called on each event loop for some changes."""
        keys: dict[str, dict[str, None]] = {}
        for topic, key in changes:
            keys.setdefault(topic, {})[key] = None
        for topic, changed in keys.items():
            for loop, told in self._followers.get(topic, ()):
                tellings.setdefault(loop, []).append(_telling(told, list(changed)))


def _telling(told: Followed, keys: Sequence[str] | None) -> Callable[[], None]:
    return lambda: told(keys)


def _settle_all(tellings: Sequence[Callable[[], None]], writes: Sequence[WaitingWrite]) -> None:
    for tell in tellings:
        try:
            tell()
        except Exception:
            _log.exception("a follower of changes failed")
    for write in writes:
        write.settle()
