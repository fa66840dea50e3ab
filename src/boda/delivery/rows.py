"""The rows of the asynchronous queue, one sentence per access.

An event belongs to an owner (a running platform) from the moment it is accepted or taken; an
owner that has not been heard of for a while loses what it holds to whoever asks next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

metadata = sa.MetaData()

events = sa.Table(
    "async_events",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("arn", sa.Text, nullable=False),
    sa.Column("qualifier", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("invoked_arn", sa.Text, nullable=False),
    sa.Column("trace_id", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("accepted_at", sa.Float, nullable=False),
    sa.Column("due_at", sa.Float, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("throttles", sa.Integer, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Index("async_events_by_due", "arn", "due_at", "id"),
)

owners = sa.Table(
    "async_owners",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),
    sa.Column("alive_until", sa.Float, nullable=False),
)

_LIGHT = [column for column in events.columns if column.name not in ("payload", "owner")]


@dataclass(slots=True)
class Event:
    """An accepted event. Times are epoch seconds.

    arn: the function's, without qualifier. failures: attempts that ended in a function error.
    throttles: attempts that could not be run. payload: None while it stays on disk.
    """

    id: str
    arn: str
    qualifier: str
    request_id: str
    invoked_arn: str
    trace_id: str
    accepted_at: float
    due_at: float
    tenant: str = ""
    failures: int = 0
    throttles: int = 0
    payload: bytes | None = None


def add(connection: Connection, some: Iterable[Event], owner: str) -> None:
    """Insert accepted events."""
    connection.execute(sa.insert(events), [_values(event, owner) for event in some])


def defer(connection: Connection, some: Iterable[Event]) -> None:
    """Store when events are due again, and why."""
    statement = (
        sa.update(events)
        .where(events.c.id == sa.bindparam("of"))
        .values(
            due_at=sa.bindparam("due"),
            failures=sa.bindparam("failed"),
            throttles=sa.bindparam("throttled"),
        )
    )
    connection.execute(
        statement,
        [
            {
                "of": event.id,
                "due": event.due_at,
                "failed": event.failures,
                "throttled": event.throttles,
            }
            for event in some
        ],
    )


def remove(connection: Connection, ids: Iterable[str]) -> None:
    """Forget events that are done with."""
    statement = sa.delete(events).where(events.c.id == sa.bindparam("of"))
    connection.execute(statement, [{"of": each} for each in ids])


def take(
    connection: Connection, arn: str, limit: int, owner: str, now: float
) -> tuple[list[Event], float | None]:
    """A function's next events, now the owner's, and when the one after them is due.

    Only what is due is taken; the time is None when nothing is left.
    """
    alive = sa.select(owners.c.owner).where(owners.c.alive_until > now, owners.c.owner != owner)
    rows = connection.execute(
        sa.select(*_LIGHT)
        .where(events.c.arn == arn, events.c.owner.not_in(alive))
        .order_by(events.c.due_at, events.c.id)
        .limit(limit + 1)
    ).all()
    due = [row for row in rows[:limit] if row.due_at <= now]
    rest = rows[len(due)].due_at if len(rows) > len(due) else None
    if due:
        connection.execute(
            sa.update(events)
            .where(events.c.id.in_([row.id for row in due]), events.c.owner != owner)
            .values(owner=owner)
        )
    return [Event(**row._mapping) for row in due], rest


def payload(connection: Connection, event_id: str) -> bytes | None:
    """What the event says; None when it is gone."""
    found: bytes | None = connection.execute(
        sa.select(events.c.payload).where(events.c.id == event_id)
    ).scalar()
    return found


def waiting(connection: Connection) -> Sequence[tuple[str, float]]:
    """Every function that has events, and when its first is due."""
    rows = connection.execute(
        sa.select(events.c.arn, sa.func.min(events.c.due_at)).group_by(events.c.arn)
    )
    return [(row[0], row[1]) for row in rows]


def count(connection: Connection) -> int:
    """Events that are not done with."""
    return connection.execute(sa.select(sa.func.count()).select_from(events)).scalar() or 0


def beat(connection: Connection, owner: str, alive_until: float) -> None:
    """Say that the owner lives."""
    statement = insert(owners).values(owner=owner, alive_until=alive_until)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["owner"], set_={"alive_until": alive_until})
    )


def bury(connection: Connection, owner: str | None = None) -> None:
    """Forget one owner, or all: what they held is free."""
    statement = sa.delete(owners)
    connection.execute(statement if owner is None else statement.where(owners.c.owner == owner))


def _values(event: Event, owner: str) -> dict[str, Any]:
    values = {column.name: getattr(event, column.name) for column in _LIGHT}
    return {**values, "payload": event.payload, "owner": owner}
