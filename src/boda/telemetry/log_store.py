"""Log groups, streams and events in the database, for whoever reads or manages them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Literal

import sqlalchemy as sa

from boda.core.clock import Clock
from boda.storage.rows import Rows, Tx
from boda.telemetry.block_writer import BlockWriter
from boda.telemetry.contract import StreamKey
from boda.telemetry.log_reader import LogPage, LogSearch, read_page
from boda.telemetry.log_rows import (
    LogGroup,
    LogStream,
    begins_with,
    group_row,
    insert_group,
    insert_stream,
    log_group,
    log_stream,
    named,
    stream_row,
)
from boda.telemetry.tables import log_groups, log_streams, log_trash

DAY_MS = 86_400_000
SCAN_S = 1.0


class LogStore:
    """Reads and manages logs.

    writer: forgets deleted groups and streams. settle: writes events that wait in memory, so that
    a reader sees all earlier ones. on_trash: called after a group or stream was deleted, whose
    blocks are then to be removed.
    """

    def __init__(
        self,
        rows: Rows,
        clock: Clock,
        writer: BlockWriter,
        settle: Callable[[], Awaitable[None]],
        on_trash: Callable[[], None] = lambda: None,
    ) -> None:
        self._rows = rows
        self._clock = clock
        self._writer = writer
        self._settle = settle
        self._on_trash = on_trash

    # Groups

    async def create_group(
        self, account: str, region: str, name: str, tags: Mapping[str, str]
    ) -> bool:
        """Create a group; False if it exists already."""

        def work(tx: Tx) -> bool:
            if group_row(tx, account, region, name) is not None:
                return False
            insert_group(tx, account, region, name, tags, self._clock.now())
            return True

        return await self._rows.write(work)

    async def delete_group(self, account: str, region: str, name: str) -> bool:
        """Delete a group; False if there is none. Its events are hidden at once and removed
        later."""
        await self._settle()

        def work(tx: Tx) -> bool:
            row = group_row(tx, account, region, name)
            if row is None:
                return False
            tx.run(sa.delete(log_groups).where(log_groups.c.id == row.id))
            tx.run(sa.insert(log_trash).values(group_id=row.id))
            self._writer.forget()
            return True

        deleted = await self._rows.write(work)
        if deleted:
            self._on_trash()
        return deleted

    async def group(self, account: str, region: str, name: str) -> LogGroup | None:
        await self._settle()
        row = await self._rows.read(lambda tx: group_row(tx, account, region, name))
        return None if row is None else log_group(row)

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
    ) -> tuple[list[LogGroup], bool]:
        """Return groups after ``after`` in the order of names, and whether there are more."""
        await self._settle()
        columns = log_groups.c
        query = sa.select(log_groups).where(columns.account == account, columns.region == region)
        query = query.where(columns.name > after).order_by(columns.name)
        if prefix:
            query = query.where(*begins_with(columns.name, prefix))
        if names is not None:
            query = query.where(columns.name.in_(names))

        def work(tx: Tx) -> tuple[list[LogGroup], bool]:
            found: list[LogGroup] = []
            for row in tx.stream(query):
                if not accept(row.name):
                    continue
                if len(found) == limit:
                    return found, True
                found.append(log_group(row))
            return found, False

        return await self._rows.read(work)

    async def set_retention(self, account: str, region: str, name: str, days: int | None) -> bool:
        """Set the days after which events expire; False if there is no such group."""
        await self._settle()
        statement = (
            sa.update(log_groups).where(named(account, region, name)).values(retention_days=days)
        )
        return await self._rows.write(lambda tx: tx.run(statement).rowcount == 1)

    async def change_tags(
        self,
        account: str,
        region: str,
        name: str,
        change: Callable[[Mapping[str, str]], Mapping[str, str]],
    ) -> bool:
        """Replace the tags by the result of ``change``; False if there is no such group.

        Raises what ``change`` raises.
        """
        await self._settle()

        def work(tx: Tx) -> bool:
            row = group_row(tx, account, region, name)
            if row is None:
                return False
            tags = dict(change(json.loads(row.tags)))
            tx.run(
                sa.update(log_groups)
                .where(log_groups.c.id == row.id)
                .values(tags=json.dumps(tags, sort_keys=True))
            )
            return True

        return await self._rows.write(work)

    # Streams

    async def create_stream(self, key: StreamKey) -> Literal["created", "exists", "no group"]:
        await self._settle()

        def work(tx: Tx) -> Literal["created", "exists", "no group"]:
            group = group_row(tx, key.account, key.region, key.group)
            if group is None:
                return "no group"
            if stream_row(tx, group.id, key.stream) is not None:
                return "exists"
            insert_stream(tx, group.id, key.stream, self._clock.now())
            return "created"

        return await self._rows.write(work)

    async def delete_stream(self, key: StreamKey) -> Literal["deleted", "no group", "no stream"]:
        await self._settle()

        def work(tx: Tx) -> Literal["deleted", "no group", "no stream"]:
            group = group_row(tx, key.account, key.region, key.group)
            if group is None:
                return "no group"
            stream = stream_row(tx, group.id, key.stream)
            if stream is None:
                return "no stream"
            tx.run(sa.delete(log_streams).where(log_streams.c.id == stream.id))
            tx.run(sa.insert(log_trash).values(stream_id=stream.id))
            tx.run(
                sa.update(log_groups)
                .where(log_groups.c.id == group.id)
                .values(stored_bytes=log_groups.c.stored_bytes - stream.stored_bytes)
            )
            self._writer.forget(key)
            return "deleted"

        outcome = await self._rows.write(work)
        if outcome == "deleted":
            self._on_trash()
        return outcome

    async def stream(self, group_id: int, name: str) -> LogStream | None:
        await self._settle()
        row = await self._rows.read(lambda tx: stream_row(tx, group_id, name))
        return None if row is None else log_stream(row)

    async def streams(
        self,
        group_id: int,
        *,
        prefix: str = "",
        by_time: bool = False,
        descending: bool = False,
        after: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> tuple[list[LogStream], bool]:
        """Return a page of streams and whether there are more.

        after: (last_ms, name) of the last one of the page before; the time counts with ``by_time``.
        """
        await self._settle()
        columns = log_streams.c
        # Written as the index is, so that SQLite uses it.
        last: Any = sa.literal_column("coalesce(last_ms, 0)")
        query = sa.select(log_streams).where(columns.group_id == group_id)
        if prefix:
            query = query.where(*begins_with(columns.name, prefix))
        order: list[Any] = [last, columns.name] if by_time else [columns.name]
        if after is not None:
            seen = after if by_time else after[1:]
            place = sa.tuple_(*order)
            query = query.where(place < seen if descending else place > seen)
            if by_time:  # implied by the line above, and used for the index
                query = query.where(last <= seen[0] if descending else last >= seen[0])
        query = query.order_by(*(one.desc() if descending else one for one in order))
        rows = await self._rows.read(lambda tx: tx.run(query.limit(limit + 1)).all())
        return [log_stream(row) for row in rows[:limit]], len(rows) > limit

    # Events

    async def read(self, search: LogSearch) -> LogPage:
        """Return a page; it ends early after a costly ``match`` has taken SCAN_S seconds."""
        await self._settle()

        def work(tx: Tx) -> LogPage:
            end = self._clock.monotonic() + SCAN_S
            return read_page(tx, replace(search, late=lambda: self._clock.monotonic() > end))

        return await self._rows.read(work)

    def oldest_shown_ms(self, group: LogGroup) -> int:
        """Return the time before which events have expired by the group's retention."""
        if group.retention_days is None:
            return 0
        return int(self._clock.now() * 1000) - group.retention_days * DAY_MS
