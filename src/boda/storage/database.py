"""Rows, with group commit.

Law of this file: ``write`` returns only after its transaction is durable. Many writes share one
commit: a single writer thread takes all that wait, runs each in its own savepoint, commits once
and then resolves all their futures. A write that raises is rolled back alone.

``read`` runs on a thread pool with connections of its own (SQLite's WAL lets readers and the
writer work in parallel). Nothing here is called on the synchronous invoke path.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from boda.core.errors import PlatformError, Unwritable
from boda.core.health import Health
from boda.storage import disk
from boda.storage.generation import Generation
from boda.storage.migrations import NewerDatabase, Schema, bring_forward
from boda.storage.rewrite import let_shrink, make_shrinkable

T = TypeVar("T")

_FORMAT = 2
"""The number that SQLite keeps in the file: 2 since ``boda_schemas`` says what the tables are."""
_GROUP_LIMIT = 512
_CHECK_S = 0.2
_CHECK_STEPS = 2_000


class Database:
    """The rows of one data folder in SQLite.

    path: the database file; made if absent.
    schemas: the tables of every room: made if absent, brought forward if older. A database that a
    newer version wrote raises PlatformError.
    health: refused writes are reported to it.
    generation: raises PlatformError for a database that lost commits; counts the commits.
    """

    def __init__(
        self,
        path: Path,
        schemas: Sequence[Schema],
        *,
        readers: int = 4,
        generation: Generation | None = None,
        health: Health | None = None,
    ) -> None:
        self._path = path
        self._health = health or Health(time.monotonic, lambda _: None)
        self._failing = False
        self._generation = generation
        if generation is not None:
            try:
                generation.check()
            except sqlite3.DatabaseError as error:
                raise self._unusable(error, error) from None
        _make_private(path)
        self._file = _identity(path)
        self._engine = _engine(path)
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._riders: deque[_Write] = deque()
        self._readers = futures.ThreadPoolExecutor(readers, thread_name_prefix="boda-read")
        self._closed = False
        try:
            let_shrink(path)
            self._prepare(schemas)
        except sqlite3.DatabaseError as error:
            raise self._unusable(error, error) from None
        except sa.exc.DatabaseError as error:
            self._engine.dispose()
            raise self._unusable(error, error.orig) from None
        make_shrinkable(path)
        self._writer = threading.Thread(target=self._run_writer, name="boda-write", daemon=True)
        self._writer.start()

    def _unusable(self, error: Exception, cause: BaseException | None) -> PlatformError:
        remedy = "free some space" if disk.refused(error) else "restore it from a backup"
        return PlatformError(
            f"The database {self._path} cannot be used ({cause}); {remedy} or choose another "
            "--data-dir."
        )

    def _prepare(self, schemas: Sequence[Schema]) -> None:
        with self._engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA user_version").scalar() or 0
            if found > _FORMAT:
                raise self._newer(f"it has format {found}, this one knows {_FORMAT}")
            self._check_pages(connection)
        try:
            bring_forward(schemas, self._starting)
        except NewerDatabase as error:
            raise self._newer(str(error)) from None
        with self._engine.connect() as connection:
            for schema in schemas:
                self._check_columns(connection, schema)

    @contextlib.contextmanager
    def _starting(self) -> Iterator[Connection]:
        """Run a transaction of the start."""
        generation = self._generation
        with self._engine.begin() as connection:
            yield connection
            connection.exec_driver_sql(f"PRAGMA user_version={_FORMAT}")
            if generation is not None:
                generation.prepare(driver(connection))
        if generation is not None:
            generation.committed()

    def _newer(self, why: str) -> PlatformError:
        return PlatformError(
            f"The data folder {self._path.parent} was written by a newer boda ({why}); upgrade "
            "boda or choose another --data-dir."
        )

    def _check_columns(self, connection: Connection, schema: Schema) -> None:
        """Raise PlatformError for tables of another shape, rather than fail on rows later."""
        looks = sa.inspect(connection)
        for table in schema.sorted_tables:
            there = {column["name"] for column in looks.get_columns(table.name)}
            missing = sorted(set(table.columns.keys()) - there)
            if missing:
                raise PlatformError(
                    f"The data folder {self._path.parent} was written by another version of boda "
                    f"(its table {table.name} has no {missing[0]}); start that version on it or "
                    "choose another --data-dir."
                )

    def _check_pages(self, connection: Connection) -> None:
        """Raise PlatformError for a damaged file; of a big one only a part is checked, for the time
        that a start may take."""
        raw = driver(connection)
        until = time.perf_counter() + _CHECK_S
        raw.set_progress_handler(lambda: time.perf_counter() > until, _CHECK_STEPS)
        try:
            found = raw.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise sa.exc.OperationalError("PRAGMA quick_check", None, error) from error
            found = "ok"
        finally:
            raw.set_progress_handler(None, 0)
        if found != "ok":
            problem = " ".join(str(found).split())
            raise PlatformError(
                f"The database {self._path} is damaged ({problem}); restore it from a backup or "
                "choose another --data-dir."
            )

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on a read connection and return its result."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self.read_now, work)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """Read in the calling thread; for start-up and worker threads."""
        with self._engine.connect() as connection:
            return work(connection)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction and return its result once it is durable."""
        if self._closed:
            raise PlatformError("The database is closed.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._queue.put(_Write(work, loop, future))
        # A cancelled caller cancels the future, but not the write, which has been handed over.
        result: T = await future
        return result

    def write_along(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Run ``work`` in the next transaction, without causing one.

        The future has its result once that transaction is durable, and never if there is none.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._riders.append(_Write(work, loop, future))
        return future

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """Write, and block the calling thread meanwhile."""
        done: futures.Future[T] = futures.Future()
        self._queue.put(_Write(work, None, done))
        return done.result()

    async def try_to_write(self) -> None:
        """Write an unchanged value, to see whether the disk accepts it. Raises Unwritable."""
        await self.write(lambda c: c.exec_driver_sql(f"PRAGMA user_version={_FORMAT}"))

    def close(self) -> None:
        """Finish the writes that wait, then close. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown()
        self._engine.dispose()
        if self._generation is not None:
            self._generation.close()

    def _run_writer(self) -> None:
        with self._engine.connect() as connection:
            while True:
                first = self._queue.get()
                if first is None:
                    return
                group = [first]
                stop = False
                while len(group) < _GROUP_LIMIT:
                    try:
                        item = self._queue.get_nowait()
                    except queue.Empty:
                        break
                    if item is None:
                        stop = True
                        break
                    group.append(item)
                self._commit(connection, group)
                if stop:
                    return

    def _commit(self, connection: Connection, group: list[_Write]) -> None:
        while self._riders:
            group.append(self._riders.popleft())
        generation = self._generation
        try:
            if _identity(self._path) != self._file:
                # SQLite would go on in files without a name.
                raise Unwritable(f"{self._path} was removed while boda was running")
            with connection.begin():
                raw = driver(connection)
                if len(group) == 1:  # a single write is rolled back with the transaction
                    group[0].value = group[0].work(connection)
                else:
                    for write in group:
                        _run_apart(connection, raw, write)
                if generation is not None:
                    generation.advance(raw)
        except Exception as error:
            # The transaction itself failed (disk full, for example), and with it every write.
            # After a COMMIT that failed SQLAlchemy regards it as ended; SQLite may not, and the
            # refused writes would then be committed with the next group.
            raw = driver(connection)
            if raw.in_transaction:
                raw.rollback()
            failure: Exception = error
            if disk.refused(error):
                failure = refusal = disk.unwritable(error)
                self._failing = True
                self._health.report("database", refusal.why)
            for write in group:
                write.error = failure
        else:
            if generation is not None:
                generation.committed()
            if self._failing:
                self._failing = False
                self._health.clear("database")
        _answer(group)


def driver(connection: Connection) -> sqlite3.Connection:
    """Return the connection below SQLAlchemy's, in the same transaction.

    It is for statements that run thousands of times a second. Its values are SQLite's own: text,
    bytes, integers and floats.
    """
    below = connection.connection.driver_connection
    assert isinstance(below, sqlite3.Connection)
    return below


def _run_apart(connection: Connection, raw: sqlite3.Connection, write: _Write) -> None:
    """Run one of several writes; a write that raises is rolled back alone.

    The savepoint is the driver's own: SQLAlchemy compiles those of its nested transactions anew
    each time.
    """
    raw.execute("SAVEPOINT one")
    try:
        write.value = write.work(connection)
    except Exception as error:
        raw.execute("ROLLBACK TO SAVEPOINT one")
        raw.execute("RELEASE SAVEPOINT one")
        if disk.refused(error):
            raise
        write.error = error
    else:
        raw.execute("RELEASE SAVEPOINT one")


def _answer(group: list[_Write]) -> None:
    """Resolve all futures, with one wake-up for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Write]] = {}
    for write in group:
        if write.loop is None:
            write.settle()
        else:
            by_loop.setdefault(write.loop, []).append(write)
    for loop, writes in by_loop.items():
        # RuntimeError: the loop was closed, as the platform was stopped meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle_all, writes)


def _settle_all(writes: list[_Write]) -> None:
    for write in writes:
        write.settle()


def _make_private(path: Path) -> None:
    """Rows hold secret keys. SQLite gives its log and index the mode of the database itself."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _identity(path: Path) -> tuple[int, int]:
    """Which file stands at a path; (0, 0) if none."""
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


class _Write:
    """A write that waits. loop: of the future; None for a thread's future."""

    __slots__ = ("error", "future", "loop", "value", "work")

    def __init__(
        self,
        work: Callable[[Connection], Any],
        loop: asyncio.AbstractEventLoop | None,
        future: asyncio.Future[Any] | futures.Future[Any],
    ) -> None:
        self.work = work
        self.loop = loop
        self.future = future
        self.value: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.value)


def _engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(
        f"sqlite:///{path}", connect_args={"timeout": 30, "check_same_thread": False}
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # SQLAlchemy begins transactions itself, so that savepoints work as written.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        # FULL makes every commit reach the disk before it is answered, power loss included.
        cursor.execute("PRAGMA synchronous=FULL")
        # The log shrinks again after a large transaction.
        cursor.execute("PRAGMA journal_size_limit=67108864")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cache_size=-8000")
        cursor.execute("PRAGMA temp_store=MEMORY")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine
