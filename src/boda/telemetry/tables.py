"""The rows of telemetry.

Log events are not rows: a row of ``log_blocks`` holds many events of one stream, compressed.
Sums that are billed are integers, so that adding them up is exact.
"""

from __future__ import annotations

import sqlalchemy as sa

from boda.storage.schema import Schema

metadata = Schema("telemetry")

log_groups = sa.Table(
    "log_groups",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("account", sa.String, nullable=False),
    sa.Column("region", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("retention_days", sa.Integer),
    sa.Column("tags", sa.Text, nullable=False, server_default="{}"),
    sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.UniqueConstraint("account", "region", "name"),
    # A number is never given twice: blocks of a deleted group wait for the sweeper.
    sqlite_autoincrement=True,
)

log_streams = sa.Table(
    "log_streams",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("group_id", sa.Integer, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("first_ms", sa.BigInteger),
    sa.Column("last_ms", sa.BigInteger),
    sa.Column("ingested_ms", sa.BigInteger),
    sa.Column("stored_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.UniqueConstraint("group_id", "name"),
    # In the order of a list by time, in which those without events come first.
    sa.Index("log_streams_by_time", "group_id", "last_ms", "name"),
    sa.Index("log_streams_by_last", "group_id", sa.text("coalesce(last_ms, 0)"), "name"),
    sqlite_autoincrement=True,
)

log_blocks = sa.Table(
    "log_blocks",
    metadata,
    # Part of every event's id, therefore never given twice.
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("group_id", sa.Integer, nullable=False),
    sa.Column("stream_id", sa.Integer, nullable=False),
    sa.Column("first_ms", sa.BigInteger, nullable=False),
    sa.Column("last_ms", sa.BigInteger, nullable=False),
    sa.Column("ingested_ms", sa.BigInteger, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Index("log_blocks_group_first", "group_id", "first_ms"),
    sa.Index("log_blocks_group_last", "group_id", "last_ms"),
    sa.Index("log_blocks_stream_first", "stream_id", "first_ms"),
    sa.Index("log_blocks_stream_last", "stream_id", "last_ms"),
    sqlite_autoincrement=True,
)

# Groups and streams whose blocks are still to be removed, a few at a time.
log_trash = sa.Table(
    "log_trash",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("group_id", sa.Integer),
    sa.Column("stream_id", sa.Integer),
)

metering = sa.Table(
    "metering",
    metadata,
    sa.Column("account", sa.String, primary_key=True),
    sa.Column("hour_s", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("region", sa.String, primary_key=True),
    sa.Column("function", sa.String, primary_key=True),
    sa.Column("version", sa.String, primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("duration_us", sa.BigInteger, nullable=False),
    sa.Column("init_us", sa.BigInteger, nullable=False),
    sa.Column("billed_ms", sa.BigInteger, nullable=False),
    # billed milliseconds x megabytes; / 1,024,000 gives GB-seconds.
    sa.Column("billed_mb_ms", sa.BigInteger, nullable=False),
    # the same for ephemeral storage above the 512 MB that cost nothing.
    sa.Column("ephemeral_mb_ms", sa.BigInteger, nullable=False),
    sa.Column("max_memory_mb", sa.Integer, nullable=False),
)

metric_minutes = sa.Table(
    "metric_minutes",
    metadata,
    sa.Column("account", sa.String, primary_key=True),
    sa.Column("region", sa.String, primary_key=True),
    sa.Column("namespace", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    # JSON object with sorted keys.
    sa.Column("dimensions", sa.String, primary_key=True),
    sa.Column("unit", sa.String, primary_key=True),
    sa.Column("minute_s", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("samples", sa.BigInteger, nullable=False),
    sa.Column("sum", sa.Float, nullable=False),
    sa.Column("minimum", sa.Float, nullable=False),
    sa.Column("maximum", sa.Float, nullable=False),
    sa.Index("metric_minutes_by_age", "minute_s"),
)
