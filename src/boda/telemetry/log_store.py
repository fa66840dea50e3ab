"""Log groups, streams and blocks in the database.

Law of this file: names lead to rows only inside a write or a read; a number kept longer (the
cache of streams) is checked against the rows by the write that uses it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from boda.core.clock import Clock
from boda.storage.database import Database
from boda.telemetry.block import Block
from boda.telemetry.contract import StreamKey
from boda.telemetry.log_reader import Page, Search, read_page
from boda.telemetry.tables import log_blocks, log_groups, log_streams, log_trash

DAY_MS = 86_400_000
SCAN_S = 1.0
_CACHE_LIMIT = 10_000
_IDS_PER_QUERY = 500

_ALIVE = sa.select(log_streams.c.id).where(
    log_streams.c.id.in_(sa.bindparam("ids", expanding=True))
)
_INSERT_BLOCK = sa.insert(log_blocks)
_TOUCH_STREAM = (
    sa.update(log_streams)
    .where(log_streams.c.id == sa.bindparam("stream"))
    .values(
        first_ms=sa.case(
            (log_streams.c.first_ms < sa.bindparam("first"), log_streams.c.first_ms),
            else_=sa.bindparam("first"),
        ),
        last_ms=sa.case(
            (log_streams.c.last_ms > sa.bindparam("last"), log_streams.c.last_ms),
            else_=sa.bindparam("last"),
        ),
        ingested_ms=sa.bindparam("ingested"),
        stored_bytes=log_streams.c.stored_bytes + sa.bindparam("added"),
    )
)
_GROW_GROUP = (
    sa.update(log_groups)
    .where(log_groups.c.id == sa.bindparam("group"))
    .values(stored_bytes=log_groups.c.stored_bytes + sa.bindparam("added"))
)


@dataclass(frozen=True, slots=True)
class Group:
    """A log group. retention_days: None keeps events for ever."""

    id: int
    name: str
    created_ms: int
    retention_days: int | None
    tags: Mapping[str, str]
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Stream:
    """A log stream. Times are of the events in it, None while there are none."""

    id: int
    name: str
    created_ms: int
    first_ms: int | None
    last_ms: int | None
    ingested_ms: int | None


class LogStore:
    """The log part of the database.

    settle: makes durable what still waits in memory, so that a reader sees what came before it.
    on_trash: told when a group or stream was deleted and its blocks wait to be removed.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        settle: Callable[[], Awaitable[None]],
        on_trash: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._settle = settle
        self._on_trash = on_trash
        self._known: dict[StreamKey, tuple[int, int]] = {}

    # Groups

    async def create_group(
        self, account: str, region: str, name: str, tags: Mapping[str, str]
    ) -> bool:
        """False when it exists already."""

        def work(connection: Connection) -> bool:
            if _group_row(connection, account, region, name) is not None:
                return False
            self._insert_group(connection, account, region, name, tags)
            return True

        return await self._database.write(work)

    async def delete_group(self, account: str, region: str, name: str) -> bool:
        """False when there is none. Its events are gone at once, their space a little later."""
        await self._settle()

        def work(connection: Connection) -> bool:
            row = _group_row(connection, account, region, name)
            if row is None:
                return False
            connection.execute(sa.delete(log_groups).where(log_groups.c.id == row.id))
            connection.execute(sa.insert(log_trash).values(group_id=row.id))
            self._known.clear()
            return True

        deleted = await self._database.write(work)
        if deleted:
            self._on_trash()
        return deleted

    async def group(self, account: str, region: str, name: str) -> Group | None:
        await self._settle()
        row = await self._database.read(lambda c: _group_row(c, account, region, name))
        return None if row is None else _group(row)

    async def groups(
        self,
        account: str,
        region: str,
        *,
        prefix: str = "",
        accept: Callable[[str], bool] = lambda _: True,
        names: Collection[str] | None = None,
        after: str = "",
        limit: int = 50,
    ) -> tuple[list[Group], bool]:
        """In the order of names, those after ``after``; and whether there are more."""
        await self._settle()
        columns = log_groups.c
        query = sa.select(log_groups).where(columns.account == account, columns.region == region)
        query = query.where(columns.name > after).order_by(columns.name)
        if prefix:
            query = query.where(*_begins(columns.name, prefix))
        if names is not None:
            query = query.where(columns.name.in_(names))

        def work(connection: Connection) -> tuple[list[Group], bool]:
            found: list[Group] = []
            for row in connection.execution_options(stream_results=True).execute(query):
                if not accept(row.name):
                    continue
                if len(found) == limit:
                    return found, True
                found.append(_group(row))
            return found, False

        return await self._database.read(work)

    async def set_retention(self, account: str, region: str, name: str, days: int | None) -> bool:
        """False when there is no such group."""
        await self._settle()
        statement = (
            sa.update(log_groups).where(_named(account, region, name)).values(retention_days=days)
        )
        return await self._database.write(lambda c: c.execute(statement).rowcount == 1)

    async def change_tags(
        self,
        account: str,
        region: str,
        name: str,
        change: Callable[[Mapping[str, str]], Mapping[str, str]],
    ) -> bool:
        """False when there is no such group; what ``change`` raises reaches the caller."""
        await self._settle()

        def work(connection: Connection) -> bool:
            row = _group_row(connection, account, region, name)
            if row is None:
                return False
            tags = dict(change(json.loads(row.tags)))
            connection.execute(
                sa.update(log_groups)
                .where(log_groups.c.id == row.id)
                .values(tags=json.dumps(tags, sort_keys=True))
            )
            return True

        return await self._database.write(work)

    # Streams

    async def create_stream(self, key: StreamKey) -> Literal["created", "exists", "no group"]:
        await self._settle()

        def work(connection: Connection) -> Literal["created", "exists", "no group"]:
            group = _group_row(connection, key.account, key.region, key.group)
            if group is None:
                return "no group"
            if _stream_row(connection, group.id, key.stream) is not None:
                return "exists"
            self._insert_stream(connection, group.id, key.stream)
            return "created"

        return await self._database.write(work)

    async def delete_stream(self, key: StreamKey) -> Literal["deleted", "no group", "no stream"]:
        await self._settle()

        def work(connection: Connection) -> Literal["deleted", "no group", "no stream"]:
            group = _group_row(connection, key.account, key.region, key.group)
            if group is None:
                return "no group"
            stream = _stream_row(connection, group.id, key.stream)
            if stream is None:
                return "no stream"
            connection.execute(sa.delete(log_streams).where(log_streams.c.id == stream.id))
            connection.execute(sa.insert(log_trash).values(stream_id=stream.id))
            connection.execute(
                sa.update(log_groups)
                .where(log_groups.c.id == group.id)
                .values(stored_bytes=log_groups.c.stored_bytes - stream.stored_bytes)
            )
            self._known.pop(key, None)
            return "deleted"

        outcome = await self._database.write(work)
        if outcome == "deleted":
            self._on_trash()
        return outcome

    async def stream(self, group_id: int, name: str) -> Stream | None:
        await self._settle()
        row = await self._database.read(lambda c: _stream_row(c, group_id, name))
        return None if row is None else _stream(row)

    async def streams(
        self,
        group_id: int,
        *,
        prefix: str = "",
        by_time: bool = False,
        descending: bool = False,
        after: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> tuple[list[Stream], bool]:
        """A page of streams and whether there are more.

        after: (last_ms, name) of the last one seen; the time counts only with ``by_time``.
        """
        await self._settle()
        columns = log_streams.c
        # In the words of the index, so that it serves.
        last: Any = sa.literal_column("coalesce(last_ms, 0)")
        query = sa.select(log_streams).where(columns.group_id == group_id)
        if prefix:
            query = query.where(*_begins(columns.name, prefix))
        order: list[Any] = [last, columns.name] if by_time else [columns.name]
        if after is not None:
            seen = after if by_time else after[1:]
            place = sa.tuple_(*order)
            query = query.where(place < seen if descending else place > seen)
            if by_time:  # said once more, for the index
                query = query.where(last <= seen[0] if descending else last >= seen[0])
        query = query.order_by(*(one.desc() if descending else one for one in order))
        rows = await self._database.read(lambda c: c.execute(query.limit(limit + 1)).all())
        return [_stream(row) for row in rows[:limit]], len(rows) > limit

    # Events

    def write_blocks(
        self,
        connection: Connection,
        packed: Iterable[tuple[StreamKey, Sequence[Block]]],
        *,
        create: bool = True,
    ) -> bool:
        """In a transaction: store blocks. False (and nothing stored of that stream) where the
        stream does not exist and ``create`` is not allowed.

        A handful of statements whatever the number of streams: this runs several times a second.
        """
        wanted = [(key, blocks) for key, blocks in packed if blocks]
        numbers = self._numbers(connection, [key for key, _ in wanted], create)
        streams: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        sizes: dict[int, int] = {}
        for key, blocks in wanted:
            if key not in numbers:
                continue
            group_id, stream_id = numbers[key]
            size = sum(block.size for block in blocks)
            sizes[group_id] = sizes.get(group_id, 0) + size
            streams.append(
                {
                    "stream": stream_id,
                    "first": min(block.first_ms for block in blocks),
                    "last": max(block.last_ms for block in blocks),
                    "ingested": max(block.ingested_ms for block in blocks),
                    "added": size,
                }
            )
            rows.extend(
                {
                    "group_id": group_id,
                    "stream_id": stream_id,
                    "first_ms": block.first_ms,
                    "last_ms": block.last_ms,
                    "ingested_ms": block.ingested_ms,
                    "events": block.events,
                    "size": block.size,
                    "data": block.data,
                }
                for block in blocks
            )
        if rows:
            connection.execute(_TOUCH_STREAM, streams)
            connection.execute(_INSERT_BLOCK, rows)
            connection.execute(
                _GROW_GROUP, [{"group": one, "added": size} for one, size in sizes.items()]
            )
        return len(numbers) == len({key for key, _ in wanted})

    def forget(self) -> None:
        """A transaction was rolled back: numbers learnt in it mean nothing."""
        self._known.clear()

    async def read(self, search: Search) -> Page:
        """A page; it ends early when a costly ``match`` has taken SCAN_S seconds."""
        await self._settle()

        def work(connection: Connection) -> Page:
            end = self._clock.monotonic() + SCAN_S
            return read_page(
                connection, replace(search, late=lambda: self._clock.monotonic() > end)
            )

        return await self._database.read(work)

    def oldest_shown_ms(self, group: Group) -> int:
        """Events before this time have outlived the group's retention."""
        if group.retention_days is None:
            return 0
        return int(self._clock.now() * 1000) - group.retention_days * DAY_MS

    def _numbers(
        self, connection: Connection, keys: Sequence[StreamKey], create: bool
    ) -> dict[StreamKey, tuple[int, int]]:
        """Group and stream numbers of those streams that exist, or are made where that is
        wanted."""
        numbers = {key: self._known[key] for key in keys if key in self._known}
        remembered = [stream_id for _, stream_id in numbers.values()]
        alive: set[int] = set()
        for start in range(0, len(remembered), _IDS_PER_QUERY):
            some = remembered[start : start + _IDS_PER_QUERY]
            alive.update(connection.scalars(_ALIVE, {"ids": some}))
        for key in keys:
            known = numbers.get(key)
            if known is not None and known[1] in alive:
                continue
            found = self._find(connection, key, create)
            if found is None:
                numbers.pop(key, None)
                continue
            numbers[key] = found
            alive.add(found[1])
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            self._known[key] = found
        return numbers

    def _find(self, connection: Connection, key: StreamKey, create: bool) -> tuple[int, int] | None:
        group = _group_row(connection, key.account, key.region, key.group)
        if group is not None:
            group_id = group.id
        elif create:
            group_id = self._insert_group(connection, key.account, key.region, key.group, {})
        else:
            return None
        stream = _stream_row(connection, group_id, key.stream)
        if stream is not None:
            return group_id, stream.id
        return (group_id, self._insert_stream(connection, group_id, key.stream)) if create else None

    def _insert_group(
        self, connection: Connection, account: str, region: str, name: str, tags: Mapping[str, str]
    ) -> int:
        return _new_id(
            connection.execute(
                sa.insert(log_groups).values(
                    account=account,
                    region=region,
                    name=name,
                    created_ms=int(self._clock.now() * 1000),
                    tags=json.dumps(dict(tags), sort_keys=True),
                )
            )
        )

    def _insert_stream(self, connection: Connection, group_id: int, name: str) -> int:
        return _new_id(
            connection.execute(
                sa.insert(log_streams).values(
                    group_id=group_id, name=name, created_ms=int(self._clock.now() * 1000)
                )
            )
        )


def _begins(name: Any, prefix: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Conditions for names with a prefix: a range for the index, and the rule itself."""
    last = "\U0010ffff"
    return (
        name >= prefix,
        name <= prefix + last * 512,
        sa.func.substr(name, 1, len(prefix)) == prefix,
    )


def _new_id(result: sa.CursorResult[Any]) -> int:
    key = result.inserted_primary_key
    assert key is not None
    return int(key[0])


def _named(account: str, region: str, name: str) -> sa.ColumnElement[bool]:
    columns = log_groups.c
    return sa.and_(columns.account == account, columns.region == region, columns.name == name)


def _group_row(connection: Connection, account: str, region: str, name: str) -> Any:
    return connection.execute(sa.select(log_groups).where(_named(account, region, name))).first()


def _stream_row(connection: Connection, group_id: int, name: str) -> Any:
    columns = log_streams.c
    return connection.execute(
        sa.select(log_streams).where(columns.group_id == group_id, columns.name == name)
    ).first()


def _group(row: Any) -> Group:
    return Group(
        row.id,
        row.name,
        row.created_ms,
        row.retention_days,
        json.loads(row.tags),
        max(0, row.stored_bytes),
    )


def _stream(row: Any) -> Stream:
    return Stream(row.id, row.name, row.created_ms, row.first_ms, row.last_ms, row.ingested_ms)
