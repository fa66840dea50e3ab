"""Writes blocks of log events, and makes the groups and streams that they belong to.

Law of this file: a number that is kept longer than a transaction (the cache of streams) is checked
against the rows by the write that uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from boda.core.clock import Clock
from boda.storage.rows import Tx
from boda.telemetry.block import LogBlock
from boda.telemetry.contract import StreamKey
from boda.telemetry.log_rows import group_row, insert_group, insert_stream, stream_row
from boda.telemetry.tables import log_blocks, log_groups, log_streams

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


class BlockWriter:
    """Stores blocks in transactions of the database."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[StreamKey, tuple[int, int]] = {}

    def write_blocks(
        self,
        tx: Tx,
        packed: Iterable[tuple[StreamKey, Sequence[LogBlock]]],
        *,
        create: bool = True,
    ) -> bool:
        """Store blocks, in a transaction.

        Returns False, and stores nothing of that stream, if a stream does not exist and ``create``
        is False. Takes a handful of statements for any number of streams, since it runs several
        times a second.
        """
        wanted = [(key, blocks) for key, blocks in packed if blocks]
        numbers = self._numbers(tx, [key for key, _ in wanted], create)
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
            tx.run_many(_TOUCH_STREAM, streams)
            tx.run_many(_INSERT_BLOCK, rows)
            tx.run_many(_GROW_GROUP, [{"group": one, "added": size} for one, size in sizes.items()])
        return len(numbers) == len({key for key, _ in wanted})

    def forget(self, key: StreamKey | None = None) -> None:
        """Forget the numbers of a deleted stream; or of all streams, after a group was deleted or a
        transaction was rolled back."""
        if key is None:
            self._known.clear()
        else:
            self._known.pop(key, None)

    def _numbers(
        self, tx: Tx, keys: Sequence[StreamKey], create: bool
    ) -> dict[StreamKey, tuple[int, int]]:
        """Return the group and stream numbers of streams that exist, or that are made now."""
        numbers = {key: self._known[key] for key in keys if key in self._known}
        remembered = [stream_id for _, stream_id in numbers.values()]
        alive: set[int] = set()
        for start in range(0, len(remembered), _IDS_PER_QUERY):
            some = remembered[start : start + _IDS_PER_QUERY]
            alive.update(row.id for row in tx.run(_ALIVE, {"ids": some}))
        for key in keys:
            known = numbers.get(key)
            if known is not None and known[1] in alive:
                continue
            found = self._find(tx, key, create)
            if found is None:
                numbers.pop(key, None)
                continue
            numbers[key] = found
            alive.add(found[1])
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            self._known[key] = found
        return numbers

    def _find(self, tx: Tx, key: StreamKey, create: bool) -> tuple[int, int] | None:
        group = group_row(tx, key.account, key.region, key.group)
        if group is not None:
            group_id = group.id
        elif create:
            group_id = insert_group(tx, key.account, key.region, key.group, {}, self._clock.now())
        else:
            return None
        stream = stream_row(tx, group_id, key.stream)
        if stream is not None:
            return group_id, stream.id
        if not create:
            return None
        return group_id, insert_stream(tx, group_id, key.stream, self._clock.now())
