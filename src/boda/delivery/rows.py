"""The rows of the asynchronous queue, one sentence per access.

Each function with events has a lane, a number for its ARN. A lane's events are read in the order in
which they are due, by one index; nothing here reads more than it returns. Events are written and
removed thousands of times a second, so the statements are prepared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from boda.delivery.queue_time import StoredTime
from boda.storage.prepared import PreparedStatement
from boda.storage.rows import Tx
from boda.storage.schema import Schema

metadata = Schema("delivery")

lanes = sa.Table(
    "async_lanes",
    metadata,
    sa.Column("lane", sa.Integer, primary_key=True),
    sa.Column("arn", sa.Text, nullable=False, unique=True),
)

events = sa.Table(
    "async_events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("lane", sa.Integer, nullable=False),
    sa.Column("due_at", sa.Float, nullable=False),
    sa.Column("accepted_at", sa.Float, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("throttles", sa.Integer, nullable=False),
    sa.Column("qualifier", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("invoked_arn", sa.Text, nullable=False),
    sa.Column("trace_id", sa.Text, nullable=False),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Index("async_events_by_due", "lane", "due_at", "id"),
)

queue_time = sa.Table(
    "async_time",
    metadata,
    sa.Column("one", sa.Integer, primary_key=True),
    sa.Column("boot", sa.Text, nullable=False),
    sa.Column("origin", sa.Float, nullable=False),
    sa.Column("ahead", sa.Float, nullable=False),
)

Position = tuple[float, int]
"""The place of an event in its lane: when it is due, and its id."""

START: Position = (float("-inf"), 0)


@dataclass(slots=True)
class QueuedEvent:
    """An accepted event. Times are epoch seconds; ids grow in the order of acceptance.

    arn: the function's, without qualifier; lane: its number. failures: attempts that ended in a
    function error. throttles: attempts that could not be run. payload: None while it is only on
    disk.
    """

    id: int
    lane: int
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

    @property
    def position(self) -> Position:
        return (self.due_at, self.id)


@dataclass(frozen=True, slots=True)
class LaneBacklog:
    """The events of a lane on disk. first_due, last_due: None if it has none."""

    lane: int
    arn: str
    first_due: float | None
    last_due: float | None


_lane: sa.BindParameter[int] = sa.bindparam("of_lane")
_now: sa.BindParameter[float] = sa.bindparam("now")
_LATER = sa.tuple_(events.c.due_at, events.c.id) > sa.tuple_(
    sa.bindparam("after_due", type_=sa.Float), sa.bindparam("after_id", type_=sa.Integer)
)

_ADD = PreparedStatement(sa.insert(events))
_DEFER = PreparedStatement(
    sa.update(events)
    .where(events.c.id == sa.bindparam("event"))
    .values(
        due_at=sa.bindparam("due"),
        failures=sa.bindparam("failed"),
        throttles=sa.bindparam("throttled"),
    )
)
_REMOVE = PreparedStatement(sa.delete(events).where(events.c.id == sa.bindparam("event")))
_PAGE = PreparedStatement(
    sa.select(
        *(events.c.id, events.c.due_at, events.c.accepted_at, events.c.failures),
        *(events.c.throttles, events.c.qualifier, events.c.request_id, events.c.invoked_arn),
        *(events.c.trace_id, events.c.tenant),
        sa.case(
            (sa.func.length(events.c.payload) <= sa.bindparam("bytes"), events.c.payload)
        ).label("payload"),
    )
    .where(events.c.lane == _lane, _LATER, events.c.due_at <= _now)
    .order_by(events.c.due_at, events.c.id)
    .limit(sa.bindparam("most"))
)
_NEXT_DUE = PreparedStatement(
    sa.select(sa.func.min(events.c.due_at)).where(events.c.lane == _lane, events.c.due_at > _now)
)
_PAYLOAD = PreparedStatement(
    sa.select(events.c.payload).where(events.c.id == sa.bindparam("event"))
)
_of_lane = events.c.lane == lanes.c.lane
_BACKLOGS = PreparedStatement(
    sa.select(
        lanes.c.lane,
        lanes.c.arn,
        sa.select(sa.func.min(events.c.due_at)).where(_of_lane).scalar_subquery().label("first"),
        sa.select(sa.func.max(events.c.due_at)).where(_of_lane).scalar_subquery().label("last"),
    )
)
_HIGHEST = PreparedStatement(sa.select(sa.func.max(events.c.id)))
_HASTEN = PreparedStatement(
    sa.update(events)
    .where(events.c.lane == _lane, events.c.due_at > sa.bindparam("beyond"))
    .values(
        due_at=_now,
        accepted_at=sa.case((events.c.accepted_at > _now, _now), else_=events.c.accepted_at),
    )
)
_DROP_LANE = PreparedStatement(
    sa.delete(lanes).where(
        lanes.c.lane == _lane, ~sa.select(events.c.id).where(events.c.lane == _lane).exists()
    )
)
_TIME = sa.select(queue_time.c.boot, queue_time.c.origin, queue_time.c.ahead)


def add(tx: Tx, some: Iterable[QueuedEvent]) -> None:
    """Insert accepted events, with their payloads."""
    tx.run_many(
        _ADD,
        [
            {
                "id": one.id,
                "lane": one.lane,
                "due_at": one.due_at,
                "accepted_at": one.accepted_at,
                "failures": one.failures,
                "throttles": one.throttles,
                "qualifier": one.qualifier,
                "request_id": one.request_id,
                "invoked_arn": "" if one.invoked_arn == one.arn else one.invoked_arn,
                "trace_id": one.trace_id,
                "tenant": one.tenant,
                "payload": one.payload,
            }
            for one in some
        ],
    )


def add_lanes(tx: Tx, some: Iterable[tuple[int, str]]) -> None:
    """Store the numbers of ARNs."""
    for lane, arn in some:
        tx.add(lanes, {"lane": lane, "arn": arn})


def defer(tx: Tx, some: Iterable[QueuedEvent]) -> None:
    """Store when events are due again, and why."""
    tx.run_many(
        _DEFER,
        [
            {
                "due": one.due_at,
                "failed": one.failures,
                "throttled": one.throttles,
                "event": one.id,
            }
            for one in some
        ],
    )


def remove(tx: Tx, ids: Iterable[int]) -> None:
    """Delete finished events."""
    tx.run_many(_REMOVE, [{"event": each} for each in ids])


def page(
    tx: Tx,
    lane: int,
    arn: str,
    after: Position,
    now: float,
    limit: int,
    payload_bytes: int,
) -> tuple[list[QueuedEvent], float | None]:
    """Return a lane's next due events after a position, and when the next one after them is due.

    Payloads of up to ``payload_bytes`` are read as well. The time is None if no event is left, and
    may be too early.
    """
    asked = {
        "of_lane": lane,
        "after_due": after[0],
        "after_id": after[1],
        "now": now,
        "most": limit,
        "bytes": payload_bytes,
    }
    found = [
        QueuedEvent(
            row[0],
            lane,
            arn,
            row[5],
            row[6],
            row[7] or arn,
            row[8],
            row[2],
            row[1],
            row[9],
            row[3],
            row[4],
            row[10],
        )
        for row in tx.run(_PAGE, asked)
    ]
    if len(found) == limit:
        return found, found[-1].due_at
    return found, tx.run(_NEXT_DUE, {"of_lane": lane, "now": now}).scalar()


def payload(tx: Tx, event_id: int) -> bytes | None:
    """Return the payload of an event, or None if the event was deleted."""
    found: bytes | None = tx.run(_PAYLOAD, {"event": event_id}).scalar()
    return found


def backlogs(tx: Tx) -> tuple[Sequence[LaneBacklog], int]:
    """Return every lane's backlog, and the highest id of all events."""
    found = [LaneBacklog(*row) for row in tx.run(_BACKLOGS)]
    return found, tx.run(_HIGHEST).scalar() or 0


def read_time(tx: Tx) -> StoredTime | None:
    """Return the queue's time as an earlier process stored it."""
    row = tx.run(_TIME).first()
    return None if row is None else StoredTime(*row)


def store_time(tx: Tx, time: StoredTime) -> None:
    """Store the queue's time, for the next process to continue."""
    tx.upsert(queue_time, {"one": 1, **time._asdict()})


def hasten(tx: Tx, lane: int, beyond: float, now: float) -> None:
    """Make events due now that are due after ``beyond``, as only a clock set back explains."""
    tx.run(_HASTEN, {"of_lane": lane, "beyond": beyond, "now": now})


def drop_lanes(tx: Tx, some: Iterable[int]) -> None:
    """Delete lanes that have no events."""
    tx.run_many(_DROP_LANE, [{"of_lane": each} for each in some])


def count(tx: Tx) -> int:
    """Count the unfinished events; reads an index from end to end."""
    return int(tx.run(sa.select(sa.func.count()).select_from(events)).scalar())
