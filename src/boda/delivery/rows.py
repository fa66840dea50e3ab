"""The rows of the asynchronous queue, one sentence per access.

Each function with events has a lane, a number for its ARN. A lane's events are read in the order in
which they are due, by one index; nothing here reads more than it returns. Events are written and
removed thousands of times a second, so this file uses the driver directly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from boda.delivery.queue_time import StoredTime
from boda.storage.database import driver
from boda.storage.migrations import Schema

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


_ADD = """
    INSERT INTO async_events (id, lane, due_at, accepted_at, failures, throttles, qualifier,
        request_id, invoked_arn, trace_id, tenant, payload)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    """


def add(connection: Connection, some: Iterable[QueuedEvent]) -> None:
    """Insert accepted events, with their payloads."""
    driver(connection).executemany(
        _ADD,
        [
            (
                one.id,
                one.lane,
                one.due_at,
                one.accepted_at,
                one.failures,
                one.throttles,
                one.qualifier,
                one.request_id,
                "" if one.invoked_arn == one.arn else one.invoked_arn,
                one.trace_id,
                one.tenant,
                one.payload,
            )
            for one in some
        ],
    )


def add_lanes(connection: Connection, some: Iterable[tuple[int, str]]) -> None:
    """Store the numbers of ARNs."""
    driver(connection).executemany(
        "INSERT OR IGNORE INTO async_lanes (lane, arn) VALUES (?, ?)", list(some)
    )


def defer(connection: Connection, some: Iterable[QueuedEvent]) -> None:
    """Store when events are due again, and why."""
    driver(connection).executemany(
        "UPDATE async_events SET due_at = ?, failures = ?, throttles = ? WHERE id = ?",
        [(one.due_at, one.failures, one.throttles, one.id) for one in some],
    )


def remove(connection: Connection, ids: Iterable[int]) -> None:
    """Delete finished events."""
    driver(connection).executemany(
        "DELETE FROM async_events WHERE id = ?", [(each,) for each in ids]
    )


_PAGE = """
    SELECT id, due_at, accepted_at, failures, throttles, qualifier, request_id, invoked_arn,
        trace_id, tenant, CASE WHEN length(payload) <= ? THEN payload END
    FROM async_events
    WHERE lane = ? AND (due_at, id) > (?, ?) AND due_at <= ?
    ORDER BY due_at, id LIMIT ?
    """


def page(
    connection: Connection,
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
    raw = driver(connection)
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
        for row in raw.execute(_PAGE, (payload_bytes, lane, *after, now, limit))
    ]
    if len(found) == limit:
        return found, found[-1].due_at
    later = raw.execute(
        "SELECT min(due_at) FROM async_events WHERE lane = ? AND due_at > ?", (lane, now)
    ).fetchone()
    return found, later[0]


def payload(connection: Connection, event_id: int) -> bytes | None:
    """Return the payload of an event, or None if the event was deleted."""
    row = (
        driver(connection)
        .execute("SELECT payload FROM async_events WHERE id = ?", (event_id,))
        .fetchone()
    )
    return None if row is None else row[0]


def backlogs(connection: Connection) -> tuple[Sequence[LaneBacklog], int]:
    """Return every lane's backlog, and the highest id of all events."""
    raw = driver(connection)
    found = raw.execute(
        """
        SELECT lane, arn,
            (SELECT min(due_at) FROM async_events WHERE lane = async_lanes.lane),
            (SELECT max(due_at) FROM async_events WHERE lane = async_lanes.lane)
        FROM async_lanes
        """
    ).fetchall()
    (highest,) = raw.execute("SELECT max(id) FROM async_events").fetchone()
    return [LaneBacklog(*row) for row in found], highest or 0


def read_time(connection: Connection) -> StoredTime | None:
    """Return the queue's time as an earlier process stored it."""
    row = driver(connection).execute("SELECT boot, origin, ahead FROM async_time").fetchone()
    return None if row is None else StoredTime(*row)


def store_time(connection: Connection, time: StoredTime) -> None:
    """Store the queue's time, for the next process to continue."""
    driver(connection).execute(
        "INSERT OR REPLACE INTO async_time (one, boot, origin, ahead) VALUES (1, ?, ?, ?)", time
    )


def hasten(connection: Connection, lane: int, beyond: float, now: float) -> None:
    """Make events due now that are due after ``beyond``, as only a clock set back explains."""
    driver(connection).execute(
        "UPDATE async_events SET due_at = ?, accepted_at = min(accepted_at, ?) "
        "WHERE lane = ? AND due_at > ?",
        (now, now, lane, beyond),
    )


def drop_lanes(connection: Connection, some: Iterable[int]) -> None:
    """Delete lanes that have no events."""
    driver(connection).executemany(
        "DELETE FROM async_lanes WHERE lane = ? AND NOT EXISTS "
        "(SELECT 1 FROM async_events WHERE async_events.lane = async_lanes.lane)",
        [(each,) for each in some],
    )


def count(connection: Connection) -> int:
    """Count the unfinished events; reads an index from end to end."""
    return int(driver(connection).execute("SELECT count(*) FROM async_events").fetchone()[0])
