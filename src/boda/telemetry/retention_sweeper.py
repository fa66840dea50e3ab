"""Deletes expired data from the database, a few rows per transaction.

Whole blocks are deleted: an event past its retention may stay on disk as long as a younger one
of its block, but readers never see it. A stream of a group with a retention is deleted with its
last event: every environment has a stream of its own, so that their number would grow for ever.
"""

from __future__ import annotations

from functools import partial

import sqlalchemy as sa

from boda.core.clock import Clock
from boda.storage.rows import Rows, Tx
from boda.telemetry import metering
from boda.telemetry.log_store import DAY_MS
from boda.telemetry.tables import log_blocks, log_groups, log_streams, log_trash, metric_minutes

METRIC_DAYS = 15  # how long CloudWatch keeps one-minute data
_ROWS_PER_WRITE = 500


class RetentionSweeper:
    """Deletes expired log events, metrics and metering."""

    def __init__(self, rows: Rows, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock

    async def sweep(self) -> None:
        """Delete all that has expired by now."""
        now_ms = int(self._clock.now() * 1000)
        await self._empty_trash()
        limited = await self._rows.read(
            lambda tx: tx.run(
                sa.select(log_groups.c.id, log_groups.c.retention_days).where(
                    log_groups.c.retention_days.is_not(None)
                )
            ).all()
        )
        for group_id, days in limited:
            oldest = now_ms - days * DAY_MS
            while await self._rows.write(partial(_expire, group_id, oldest)):
                pass
            while await self._rows.write(partial(_drop_empty, group_id, oldest)):
                pass
        await self._roll_up()
        too_old = now_ms // 1000 - METRIC_DAYS * 86_400
        await self._rows.write(
            lambda tx: (
                tx.run(
                    sa.delete(metric_minutes).where(metric_minutes.c.minute_s < too_old)
                ).rowcount
            )
        )

    async def _roll_up(self) -> None:
        """Add metering by the hour up by the day, and by the month."""
        now_s = self._clock.now()
        for span in await self._rows.read(lambda tx: metering.past_spans(tx, now_s)):
            await self._rows.write(partial(metering.roll_up, span=span))
        await self._rows.write(partial(metering.forget, now_s=now_s))

    async def _empty_trash(self) -> None:
        trash = await self._rows.read(lambda tx: tx.run(sa.select(log_trash)).all())
        for row in trash:
            discard = partial(_discard, row.id, row.group_id, row.stream_id)
            while await self._rows.write(discard):
                pass


def _expire(group_id: int, oldest_ms: int, tx: Tx) -> bool:
    """Delete some expired blocks of a group; return whether there may be more."""
    blocks = log_blocks.c
    rows = tx.run(
        sa.select(blocks.id, blocks.stream_id, blocks.size)
        .where(blocks.group_id == group_id, blocks.last_ms < oldest_ms)
        .limit(_ROWS_PER_WRITE)
    ).all()
    if not rows:
        return False
    tx.run(sa.delete(log_blocks).where(blocks.id.in_([row.id for row in rows])))
    sizes: dict[int, int] = {}
    for row in rows:
        sizes[row.stream_id] = sizes.get(row.stream_id, 0) + row.size
    for stream_id, size in sizes.items():
        tx.run(
            sa.update(log_streams)
            .where(log_streams.c.id == stream_id)
            .values(stored_bytes=log_streams.c.stored_bytes - size)
        )
    tx.run(
        sa.update(log_groups)
        .where(log_groups.c.id == group_id)
        .values(stored_bytes=log_groups.c.stored_bytes - sum(sizes.values()))
    )
    return len(rows) == _ROWS_PER_WRITE


def _drop_empty(group_id: int, oldest_ms: int, tx: Tx) -> bool:
    """Delete some streams of a group whose events have all expired, or that are as old and never
    had any; return whether there may be more."""
    streams, blocks = log_streams.c, log_blocks.c
    holds = sa.select(blocks.id).where(blocks.stream_id == streams.id).exists()
    deleted = 0
    for expired in (
        streams.last_ms < oldest_ms,
        sa.and_(streams.last_ms.is_(None), streams.created_ms < oldest_ms),
    ):
        some = (
            sa.select(streams.id)
            .where(streams.group_id == group_id, expired, ~holds)
            .limit(_ROWS_PER_WRITE)
        )
        found = tx.run(sa.delete(log_streams).where(streams.id.in_(some)))
        deleted += found.rowcount
    return deleted >= _ROWS_PER_WRITE


def _discard(trash_id: int, group_id: int | None, stream_id: int | None, tx: Tx) -> bool:
    """Delete some rows of a deleted group or stream; return whether there may be more."""
    if group_id is not None:
        mine = log_blocks.c.group_id == group_id
    else:
        mine = log_blocks.c.stream_id == stream_id
    some = sa.select(log_blocks.c.id).where(mine).limit(_ROWS_PER_WRITE)
    if tx.run(sa.delete(log_blocks).where(log_blocks.c.id.in_(some))).rowcount:
        return True
    if group_id is not None:
        streams = log_streams.c
        few = sa.select(streams.id).where(streams.group_id == group_id).limit(_ROWS_PER_WRITE)
        if tx.run(sa.delete(log_streams).where(streams.id.in_(few))).rowcount:
            return True
    tx.run(sa.delete(log_trash).where(log_trash.c.id == trash_id))
    return False
