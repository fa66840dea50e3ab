"""The rows of the asynchronous queue, one sentence per access.

Each function with events has a lane, a number that stands for its ARN. A lane's events come in
the order in which they are due, found by one index; nothing here reads more than it returns.
Events are written and dropped thousands of times a second, so this file speaks to the driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from boda.delivery.queue_time import Kept
from boda.storage.database import driver

metadata = sa.MetaData()

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
"""Where an event stands in its lane: when it is due, and its id."""

START: Position = (float("-inf"), 0)


@dataclass(slots=True)
class Event:
    """An accepted event. Times are epoch seconds; ids grow in the order of acceptance.

    arn: the function's, without qualifier; lane stands for it. failures: attempts that ended in a
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
class Backlog:
    """What a lane holds. first_due, last_due: None when nothing."""

    lane: int
    arn: str
    first_due: float | None
    last_due: float | None


_ADD = """
    INSERT INTO async_events (id, lane, due_at, accepted_at, failures, throttles, qualifier,
        request_id, invoked_arn, trace_id, tenant, payload)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    """


def add(connection: Connection, some: Iterable[Event]) -> None:
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
    """Let numbers stand for ARNs."""
    driver(connection).executemany(
        "INSERT OR IGNORE INTO async_lanes (lane, arn) VALUES (?, ?)", list(some)
    )


def defer(connection: Connection, some: Iterable[Event]) -> None:
    """Store when events are due again, and why."""
    driver(connection).executemany(
        "UPDATE async_events SET due_at = ?, failures = ?, throttles = ? WHERE id = ?",
        [(one.due_at, one.failures, one.throttles, one.id) for one in some],
    )


def remove(connection: Connection, ids: Iterable[int]) -> None:
    """Forget events that are done with."""
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
) -> tuple[list[Event], float | None]:
    """A lane's next events that are due, after a position, and when the one after them is due.

    Payloads of up to ``payload_bytes`` come along. The time is None when nothing is left, and may
    be early by what was just read.
    """
    raw = driver(connection)
    found = [
        Event(
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
    """What the event says; None when it is gone."""
    row = (
        driver(connection)
        .execute("SELECT payload FROM async_events WHERE id = ?", (event_id,))
        .fetchone()
    )
    return None if row is None else row[0]


def backlogs(connection: Connection) -> tuple[Sequence[Backlog], int]:
    """Every lane with what it holds, and the highest id of all events."""
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
    return [Backlog(*row) for row in found], highest or 0


def read_time(connection: Connection) -> Kept | None:
    """The time that an earlier process kept."""
    row = driver(connection).execute("SELECT boot, origin, ahead FROM async_time").fetchone()
    return None if row is None else Kept(*row)


def keep_time(connection: Connection, kept: Kept) -> None:
    """Store the queue's time, for the next process to go on with."""
    driver(connection).execute(
        "INSERT OR REPLACE INTO async_time (one, boot, origin, ahead) VALUES (1, ?, ?, ?)", kept
    )


def hasten(connection: Connection, lane: int, beyond: float, now: float) -> None:
    """Make due now what is due later than ``beyond``, which only a clock set back explains."""
    driver(connection).execute(
        "UPDATE async_events SET due_at = ?, accepted_at = min(accepted_at, ?) "
        "WHERE lane = ? AND due_at > ?",
        (now, now, lane, beyond),
    )


def drop_lanes(connection: Connection, some: Iterable[int]) -> None:
    """Forget lanes that hold nothing."""
    driver(connection).executemany(
        "DELETE FROM async_lanes WHERE lane = ? AND NOT EXISTS "
        "(SELECT 1 FROM async_events WHERE async_events.lane = async_lanes.lane)",
        [(each,) for each in some],
    )


def count(connection: Connection) -> int:
    """Events that are not done with; reads an index from end to end."""
    return int(driver(connection).execute("SELECT count(*) FROM async_events").fetchone()[0])
