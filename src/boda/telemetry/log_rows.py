"""The rows of log groups and log streams. All functions run in a transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from boda.storage.rows import Tx
from boda.telemetry.tables import log_groups, log_streams

_NEW_GROUP = sa.insert(log_groups).returning(log_groups.c.id)
_NEW_STREAM = sa.insert(log_streams).returning(log_streams.c.id)


@dataclass(frozen=True, slots=True)
class LogGroup:
    """A log group. retention_days: None keeps events for ever."""

    id: int
    name: str
    created_ms: int
    retention_days: int | None
    tags: Mapping[str, str]
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class LogStream:
    """A log stream. Times are of its events, None while it has none."""

    id: int
    name: str
    created_ms: int
    first_ms: int | None
    last_ms: int | None
    ingested_ms: int | None


def group_row(tx: Tx, account: str, region: str, name: str) -> Any:
    return tx.run(sa.select(log_groups).where(named(account, region, name))).first()


def stream_row(tx: Tx, group_id: int, name: str) -> Any:
    columns = log_streams.c
    return tx.run(
        sa.select(log_streams).where(columns.group_id == group_id, columns.name == name)
    ).first()


def log_group(row: Any) -> LogGroup:
    return LogGroup(
        row.id,
        row.name,
        row.created_ms,
        row.retention_days,
        json.loads(row.tags),
        max(0, row.stored_bytes),
    )


def log_stream(row: Any) -> LogStream:
    return LogStream(row.id, row.name, row.created_ms, row.first_ms, row.last_ms, row.ingested_ms)


def insert_group(
    tx: Tx,
    account: str,
    region: str,
    name: str,
    tags: Mapping[str, str],
    now_s: float,
) -> int:
    """Insert a group and return its number. now_s: epoch seconds."""
    row = {
        "account": account,
        "region": region,
        "name": name,
        "created_ms": int(now_s * 1000),
        "tags": json.dumps(dict(tags), sort_keys=True),
    }
    return int(tx.run(_NEW_GROUP, row).scalar())


def insert_stream(tx: Tx, group_id: int, name: str, now_s: float) -> int:
    """Insert a stream and return its number. now_s: epoch seconds."""
    row = {"group_id": group_id, "name": name, "created_ms": int(now_s * 1000)}
    return int(tx.run(_NEW_STREAM, row).scalar())


def named(account: str, region: str, name: str) -> sa.ColumnElement[bool]:
    columns = log_groups.c
    return sa.and_(columns.account == account, columns.region == region, columns.name == name)


def begins_with(name: Any, prefix: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Return conditions for names with a prefix: a range for the index, and the rule itself."""
    last = "\U0010ffff"
    return (
        name >= prefix,
        name <= prefix + last * 512,
        sa.func.substr(name, 1, len(prefix)) == prefix,
    )
