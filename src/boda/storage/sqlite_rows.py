"""Rows in SQLite, in one file of the data folder.

Law of this file: a write is answered only after its transaction is durable. The writer thread runs
each write of a group in its own savepoint and commits once; a write that raises is rolled back
alone. Readers have connections of their own (SQLite's WAL lets them and the writer work in
parallel). Nothing here is called on the synchronous invoke path.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from boda.core.clock import Clock
from boda.core.errors import PlatformError, Unwritable
from boda.core.health import Health
from boda.storage import disk
from boda.storage.generation import Generation
from boda.storage.group_commit import GroupedRows, WaitingWrite
from boda.storage.migrations import NewerDatabase, bring_forward
from boda.storage.own_tables import metadata as storage_tables
from boda.storage.rewrite import let_shrink, make_shrinkable
from boda.storage.rows import RowsError, Tx
from boda.storage.schema import Schema
from boda.storage.sqlite_tx import SqliteTx, driver_of, rows_errors, translated
from boda.storage.transaction import Statements, Transaction
from boda.storage.vacuum import Vacuum

T = TypeVar("T")

_FORMAT = 2
"""The number that SQLite keeps in the file: 2 since ``boda_schemas`` says what the tables are."""
_CHECK_S = 0.2
_CHECK_STEPS = 2_000


class SqliteRows(GroupedRows):
    """The rows of one data folder.

    path: the database file; made if absent.
    schemas: the tables of every room: made if absent, brought forward if older. A database that a
    newer version wrote raises PlatformError.
    now: epoch seconds, for leases.
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
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(readers)
        self._path = path
        self._health = health or Health(time.monotonic, lambda _: None)
        self._failing = False
        self._generation = generation
        self._now = now
        if generation is not None:
            try:
                generation.check()
            except RowsError as error:
                raise self._unusable(error, error) from None
        _make_private(path)
        self._file = _identity(path)
        self._engine = _engine(path)
        self._statements = Statements(self._engine.dialect)
        try:
            let_shrink(path)
            self._prepare(schemas)
        except sqlite3.DatabaseError as error:
            raise self._unusable(error, error) from None
        except sa.exc.DatabaseError as error:
            self._engine.dispose()
            raise self._unusable(error, error.orig) from None
        make_shrinkable(path)
        self._begin_to_write()

    def _unusable(self, error: Exception, cause: BaseException | None) -> PlatformError:
        remedy = "free some space" if disk.refused(error) else "restore it from a backup"
        return PlatformError(
            f"The database {self._path} cannot be used ({cause}); {remedy} or choose another "
            "--data-dir."
        )

    def _prepare(self, schemas: Sequence[Schema]) -> None:
        schemas = (storage_tables, *schemas)
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
    def _starting(self) -> Iterator[Transaction]:
        """Run a transaction of the start."""
        generation = self._generation
        with self._engine.begin() as connection:
            tx = self._tx(connection)
            yield tx
            _rewrite_format(tx)
            if generation is not None:
                generation.prepare(tx.raw)
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
        raw = driver_of(connection)
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

    def read_now(self, work: Callable[[Tx], T]) -> T:
        """Read in the calling thread; for start-up and worker threads."""
        with self._engine.connect() as connection, rows_errors():
            return work(self._tx(connection))

    def _tx(self, connection: Connection) -> SqliteTx:
        return SqliteTx(connection, self._statements, self._now)

    async def try_to_write(self) -> None:
        """Write an unchanged value, to see whether the disk accepts it. Raises Unwritable."""
        await self.write(_rewrite_format)

    async def upkeep(self, clock: Clock) -> None:
        """Shrink the file in small steps, until cancelled."""
        await Vacuum(self, clock).run()

    def close(self) -> None:
        """Finish the writes that wait, then close. Idempotent."""
        if self._end_to_write():
            self._engine.dispose()
            if self._generation is not None:
                self._generation.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            yield connection

    def _commit(self, held: Connection, group: list[WaitingWrite]) -> None:
        self._take_riders(group)
        generation = self._generation
        tx = self._tx(held)
        try:
            if _identity(self._path) != self._file:
                # SQLite would go on in files without a name.
                raise Unwritable(f"{self._path} was removed while boda was running")
            with held.begin():
                if len(group) == 1:  # a single write is rolled back with the transaction
                    group[0].run(tx)
                else:
                    for write in group:
                        _run_apart(tx, write)
                if generation is not None:
                    generation.advance(tx.raw)
        except Exception as error:
            # The transaction itself failed (disk full, for example), and with it every write.
            # After a COMMIT that failed SQLAlchemy regards it as ended; SQLite may not, and the
            # refused writes would then be committed with the next group.
            if tx.raw.in_transaction:
                tx.raw.rollback()
            tx.changes.clear()
            failure = translated(error)
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
        self._answer(group, tx.changes)


def _rewrite_format(tx: Tx) -> None:
    assert isinstance(tx, SqliteTx)
    tx.raw.execute(f"PRAGMA user_version={_FORMAT}")


def _run_apart(tx: SqliteTx, write: WaitingWrite) -> None:
    """Run one of several writes; a write that raises is rolled back alone.

    The savepoint is the driver's own: SQLAlchemy compiles those of its nested transactions anew
    each time.
    """
    raw, told = tx.raw, len(tx.changes)
    raw.execute("SAVEPOINT one")
    try:
        write.run(tx)
    except Exception as error:
        del tx.changes[told:]
        raw.execute("ROLLBACK TO SAVEPOINT one")
        raw.execute("RELEASE SAVEPOINT one")
        if disk.refused(error):
            raise
        write.error = translated(error)
    else:
        raw.execute("RELEASE SAVEPOINT one")


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
