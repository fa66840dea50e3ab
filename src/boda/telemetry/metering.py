"""Metering: sums per function version and hour; older ones per day, then per month.

Law of this file: sums are integers (microseconds, milliseconds, megabyte-milliseconds), so that
no addition ever rounds; ``cost.py`` computes money from them. Rolling up changes no sum of a
calendar day or month in UTC; ``hour_s`` is the start of a row's hour, day or month.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from boda.storage.rows import Tx
from boda.telemetry.tables import metering

FREE_EPHEMERAL_MB = 512
DAY_S = 86_400
HOURS_LAST_S = 7 * DAY_S
"""Hours are kept for a week, days for two months, months for as long as AWS's Cost Explorer."""
DAYS_LAST_S = 62 * DAY_S
MONTHS_LAST_S = 38 * 31 * DAY_S
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")

Key = tuple[str, str, str, str, int]


@dataclass(slots=True)
class UsageSums:
    """Sums over invocations. duration_us, init_us: microseconds. billed_mb_ms: billed ms x memory
    in MB. ephemeral_mb_ms: billed ms x ephemeral MB above 512."""

    requests: int = 0
    errors: int = 0
    duration_us: int = 0
    init_us: int = 0
    billed_ms: int = 0
    billed_mb_ms: int = 0
    ephemeral_mb_ms: int = 0
    max_memory_mb: int = 0

    def add(self, other: UsageSums) -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.duration_us += other.duration_us
        self.init_us += other.init_us
        self.billed_ms += other.billed_ms
        self.billed_mb_ms += other.billed_mb_ms
        self.ephemeral_mb_ms += other.ephemeral_mb_ms
        self.max_memory_mb = max(self.max_memory_mb, other.max_memory_mb)


@dataclass(frozen=True, slots=True)
class VersionUsage:
    """The usage of one function version in a month."""

    region: str
    function: str
    version: str
    sums: UsageSums


class MeterBuffer:
    """Sums that wait for the writer, one for each function version that ran since its last
    round."""

    def __init__(self) -> None:
        self._sums: dict[Key, UsageSums] = {}

    def take(self) -> dict[Key, UsageSums]:
        sums, self._sums = self._sums, {}
        return sums

    def add(self, counted: Mapping[Key, UsageSums]) -> None:
        """Add sums, which belong to the buffer from now on."""
        for key, sums in counted.items():
            if (waiting := self._sums.get(key)) is not None:
                waiting.add(sums)
            else:
                self._sums[key] = sums


# Valid in SQLite and in PostgreSQL.
_ADD_UP = """
    INSERT INTO metering (account, region, function, version, hour_s, requests, errors,
        duration_us, init_us, billed_ms, billed_mb_ms, ephemeral_mb_ms, max_memory_mb)
    {values}
    ON CONFLICT (account, hour_s, region, function, version) DO UPDATE SET
        requests = metering.requests + excluded.requests,
        errors = metering.errors + excluded.errors,
        duration_us = metering.duration_us + excluded.duration_us,
        init_us = metering.init_us + excluded.init_us,
        billed_ms = metering.billed_ms + excluded.billed_ms,
        billed_mb_ms = metering.billed_mb_ms + excluded.billed_mb_ms,
        ephemeral_mb_ms = metering.ephemeral_mb_ms + excluded.ephemeral_mb_ms,
        max_memory_mb = CASE WHEN metering.max_memory_mb > excluded.max_memory_mb
            THEN metering.max_memory_mb ELSE excluded.max_memory_mb END
    """
_ADD = sa.text(
    _ADD_UP.format(
        values="""VALUES (:account, :region, :function, :version, :hour_s, :requests, :errors,
        :duration_us, :init_us, :billed_ms, :billed_mb_ms, :ephemeral_mb_ms, :max_memory_mb)"""
    )
)
_ROLL_UP = sa.text(
    _ADD_UP.format(
        values="""SELECT account, region, function, version, CAST(:start AS BIGINT), sum(requests),
        sum(errors), sum(duration_us), sum(init_us), sum(billed_ms), sum(billed_mb_ms),
        sum(ephemeral_mb_ms), max(max_memory_mb)
    FROM metering WHERE account = :account AND hour_s > :start AND hour_s < :end
    GROUP BY account, region, function, version"""
    )
)


def write_sums(tx: Tx, taken: Mapping[Key, UsageSums]) -> None:
    """Add sums to the rows, in a transaction."""
    if taken:
        names = ("account", "region", "function", "version", "hour_s")
        tx.run_many(
            _ADD,
            [
                {
                    **dict(zip(names, key, strict=True)),
                    **{name: getattr(sums, name) for name in UsageSums.__slots__},
                }
                for key, sums in taken.items()
            ],
        )


def read_usage(tx: Tx, account: str, start_s: int, end_s: int) -> list[VersionUsage]:
    """Return sums per region, function and version of the hours in [start_s, end_s)."""
    columns = metering.c
    rows = tx.run(
        sa.select(
            columns.region,
            columns.function,
            columns.version,
            *(
                (sa.func.max if name == "max_memory_mb" else sa.func.sum)(columns[name]).label(name)
                for name in UsageSums.__slots__
            ),
        )
        .where(columns.account == account, columns.hour_s >= start_s, columns.hour_s < end_s)
        .group_by(columns.region, columns.function, columns.version)
        .order_by(columns.function, columns.region, columns.version)
    )
    return [
        VersionUsage(
            row.region,
            row.function,
            row.version,
            UsageSums(**{name: int(row._mapping[name]) for name in UsageSums.__slots__}),
        )
        for row in rows
    ]


class RollUpSpan(NamedTuple):
    """An account's rows in [start_s, end_s), to become one row for each function version."""

    account: str
    start_s: int
    end_s: int


def past_spans(tx: Tx, now_s: float) -> list[RollUpSpan]:
    """Return past days and months that are to be rolled up."""
    columns = metering.c
    days_end = int(now_s - HOURS_LAST_S) // DAY_S * DAY_S
    held = tx.run(
        sa.select(columns.account, columns.hour_s).where(columns.hour_s < days_end).distinct()
    )
    spans: dict[RollUpSpan, None] = {}
    for account, hour_s in held:
        month_start, month_end = month_bounds(month_of(hour_s))
        if month_end <= now_s - DAYS_LAST_S:
            span = RollUpSpan(account, month_start, month_end)
        else:
            day_s = hour_s // DAY_S * DAY_S
            span = RollUpSpan(account, day_s, day_s + DAY_S)
        if hour_s != span.start_s:
            spans[span] = None
    return list(spans)


def roll_up(tx: Tx, span: RollUpSpan) -> None:
    """Add a span's rows up into those at its start, in a transaction."""
    later = {"account": span.account, "start": span.start_s, "end": span.end_s}
    tx.run(_ROLL_UP, later)
    columns = metering.c
    tx.run(
        sa.delete(metering).where(
            columns.account == span.account,
            columns.hour_s > span.start_s,
            columns.hour_s < span.end_s,
        )
    )


def forget(tx: Tx, now_s: float) -> None:
    """Delete rows older than MONTHS_LAST_S, in a transaction."""
    tx.run(sa.delete(metering).where(metering.c.hour_s < now_s - MONTHS_LAST_S))


def month_bounds(month: str) -> tuple[int, int]:
    """Return the start and end of a ``YYYY-MM`` month in epoch seconds, UTC. Raises ValueError."""
    found = _MONTH.fullmatch(month)
    if found is None or not 1970 <= int(found[1]) <= 9998:
        raise ValueError(f"{month!r} is not a month; write it as YYYY-MM.")
    year, number = int(found[1]), int(found[2])
    start = calendar.timegm((year, number, 1, 0, 0, 0))
    end = calendar.timegm((year + number // 12, number % 12 + 1, 1, 0, 0, 0))
    return start, end


def month_of(now_s: float) -> str:
    return time.strftime("%Y-%m", time.gmtime(now_s))


def by_function(usages: Iterable[VersionUsage]) -> dict[tuple[str, str], UsageSums]:
    """Add up the versions of each (function, region), in the order given."""
    totals: dict[tuple[str, str], UsageSums] = {}
    for usage in usages:
        totals.setdefault((usage.function, usage.region), UsageSums()).add(usage.sums)
    return totals
