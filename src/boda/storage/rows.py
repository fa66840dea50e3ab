"""The contract of storage for rows: what every engine offers, and all that other rooms may use.

    found = await rows.read(lambda tx: tx.run(sa.select(queues)).all())

    def work(tx: Tx) -> int:
        tx.lock("queue", name)
        number = tx.number("messages")
        tx.upsert(queues, {"name": name, "last": number})
        tx.changed("queues", name)
        return number

    number = await rows.write(work)

Laws of this contract:
- A rule is decided inside the transaction that writes its result.
- The function given to ``read`` or ``write`` may run more than once, and in another thread; it
  changes nothing but rows, or only things that a second run sets again.
- What a transaction reads is one state of the database, without the commits of others meanwhile.
- Statements are SQLAlchemy Core, valid on every engine; text is compared by its code points, and
  bytes by their values.
- Memory is a cache: whoever keeps rows in memory follows the changes of a topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from boda.core.clock import Clock
from boda.core.errors import BodaError
from boda.storage.prepared import PreparedStatement

T = TypeVar("T")

Statement = sa.Executable | PreparedStatement
"""A prepared statement is compiled once and runs on the driver: for what runs often."""

Values = Mapping[str, Any]

Followed = Callable[[Sequence[str] | None], None]
"""Called on the event loop with the keys that changed, or with None if any key may have."""


class RowsError(BodaError):
    """The database failed on a statement: a constraint, a damaged file, a lost connection."""


class Result(Protocol):
    """The rows that a statement found: tuples whose members are also attributes, by column."""

    @property
    def rowcount(self) -> int:
        """The number of rows that an insert, update or delete touched."""

    def __iter__(self) -> Iterator[Any]: ...

    def all(self) -> Sequence[Any]:
        """Return all rows."""

    def first(self) -> Any:
        """Return the first row, or None."""

    def scalar(self) -> Any:
        """Return the first column of the first row, or None."""


class Tx(Protocol):
    """A transaction; the only way to rows. Valid until the function it was given to returns."""

    def run(self, statement: Statement, values: Values | None = None) -> Result:
        """Run a statement with the values of its parameters, or the columns of an insert."""

    def run_many(self, statement: Statement, many: Iterable[Values]) -> int:
        """Run an insert, update or delete once for each mapping of values.

        Returns the number of rows that it touched.
        """

    def stream(self, statement: Statement, values: Values | None = None) -> Iterator[Any]:
        """Run a query whose rows are read from the database only as they are asked for."""

    def upsert(self, table: sa.Table, row: Values) -> None:
        """Insert a row, or replace the given columns of the row with the same primary key."""

    def add(self, table: sa.Table, row: Values) -> bool:
        """Insert a row; return False, and change nothing, if its key is taken."""

    def lock(self, *key: str) -> None:
        """Make other writers of this key wait until this transaction has ended.

        Take it before reading what is decided on. Nothing is to be done for it on an engine with
        one writer.
        """

    def number(self, name: str, count: int = 1) -> int:
        """Return the first of ``count`` consecutive numbers of a sequence, which begins at 1.

        Numbers grow, and none of a committed transaction is ever given again.
        """

    def changed(self, topic: str, key: str) -> None:
        """Tell the followers of a topic, here and in other processes, after the commit."""

    def then(self, told: Callable[[], None]) -> None:
        """Call ``told`` on the writer's event loop once the write is durable.

        It is called before the write is answered, and never if the write fails.
        """

    def lease(self, name: str, owner: str, for_s: float) -> bool:
        """Take or renew a lease; return False if it is another owner's and has not expired.

        for_s: seconds from now, by the database's clock; 0 gives the owner's lease back.
        """

    def stored(self, table: sa.Table) -> Iterator[Sequence[tuple[bytes | None, str]]]:
        """Yield each row as it is stored: every column's bytes and kind, for an inspection.

        The kind is ``null``, ``integer``, ``real``, ``text`` or ``blob``. Yields nothing if there
        is no such table.
        """


class Rows(Protocol):
    """The rows of a platform. Every method may be called from any thread, unless async."""

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run ``work`` in a transaction that changes nothing and return its result.

        Raises Unreadable while the database cannot be reached, and RowsError if a statement fails.
        """

    def read_now(self, work: Callable[[Tx], T]) -> T:
        """Read in the calling thread; for start-up and worker threads."""

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run ``work`` in a transaction and return its result once it is durable.

        Many writes share one commit; one that raises is rolled back alone. Writes of one process
        run in the order of their calls. Raises Unwritable if the database refuses the commit;
        nothing was changed then, unless the sentence says that it is unknown.
        """

    def write_now(self, work: Callable[[Tx], T]) -> T:
        """Write, and block the calling thread meanwhile."""

    def write_along(self, work: Callable[[Tx], T]) -> asyncio.Future[T]:
        """Run ``work`` in the next transaction, without causing one.

        The future has its result once that transaction is durable, and never if there is none.
        """

    def follow(self, topic: str, told: Followed) -> Callable[[], None]:
        """Call ``told`` with the keys of each commit that changed some of the topic.

        It is called on this event loop, before a write of this process returns. Returns a function
        that ends it.
        """

    async def try_to_write(self) -> None:
        """Write an unchanged value, to see whether the database accepts it. Raises Unwritable."""

    async def upkeep(self, clock: Clock) -> None:
        """Give back space that is no longer needed, in small steps, until cancelled."""

    def close(self) -> None:
        """Finish the writes that wait, then close. Idempotent."""
