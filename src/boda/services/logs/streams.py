"""Log streams: create, delete, describe."""

from __future__ import annotations

from typing import Any

from boda.core.errors import AwsError
from boda.gateway.calling.operation import Context, operation
from boda.gateway.calling.paging import PAGED, Key, Listing, Page
from boda.services.logs.access import on_group, on_stream
from boda.services.logs.names import (
    check_stream_name,
    group_of,
    invalid,
    no_group,
    no_stream,
    stream_arn,
)
from boda.telemetry.contract import StreamKey
from boda.telemetry.log_rows import LogStream
from boda.telemetry.log_store import LogStore


class Streams:
    def __init__(self, store: LogStore) -> None:
        self.store = store

    @operation("CreateLogStream", authorize=on_stream("logs:CreateLogStream"))
    async def create_log_stream(
        self, ctx: Context, *, log_group_name: str, log_stream_name: str
    ) -> None:
        check_stream_name(log_stream_name)
        key = StreamKey(ctx.account, ctx.region, log_group_name, log_stream_name)
        outcome = await self.store.create_stream(key)
        if outcome == "no group":
            raise no_group()
        if outcome == "exists":
            raise AwsError(
                "ResourceAlreadyExistsException", "The specified log stream already exists"
            )

    @operation("DeleteLogStream", authorize=on_stream("logs:DeleteLogStream"))
    async def delete_log_stream(
        self, ctx: Context, *, log_group_name: str, log_stream_name: str
    ) -> None:
        key = StreamKey(ctx.account, ctx.region, log_group_name, log_stream_name)
        outcome = await self.store.delete_stream(key)
        if outcome == "no group":
            raise no_group()
        if outcome == "no stream":
            raise no_stream()

    @operation("DescribeLogStreams", authorize=on_group("logs:DescribeLogStreams"), paged=PAGED)
    async def describe_log_streams(
        self,
        ctx: Context,
        *,
        log_group_name: str | None = None,
        log_group_identifier: str | None = None,
        log_stream_name_prefix: str | None = None,
        order_by: str = "LogStreamName",
        descending: bool = False,
    ) -> Listing:
        name = group_of(ctx.account, ctx.region, log_group_name, log_group_identifier)
        by_time = order_by == "LastEventTime"
        if by_time and log_stream_name_prefix is not None:
            raise invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
        group = await self.store.group(ctx.account, ctx.region, name)
        if group is None:
            raise no_group()
        group_id = group.id

        async def read(key: Key, limit: int) -> Page:
            found, more = await self.store.streams(
                group_id,
                prefix=log_stream_name_prefix or "",
                by_time=by_time,
                descending=descending,
                after=None if key is None else tuple(key),
                limit=limit,
            )
            end = [found[-1].last_ms or 0, found[-1].name] if more else None
            return Page([_described(ctx, name, one) for one in found], end)

        return read


def _described(ctx: Context, group: str, stream: LogStream) -> dict[str, Any]:
    described: dict[str, Any] = {
        "logStreamName": stream.name,
        "creationTime": stream.created_ms,
        "arn": stream_arn(ctx.region, ctx.account, group, stream.name),
        # AWS reports no size of streams any more; it is always zero.
        "storedBytes": 0,
    }
    if stream.first_ms is not None:
        described["firstEventTimestamp"] = stream.first_ms
        described["lastEventTimestamp"] = stream.last_ms
        described["lastIngestionTime"] = stream.ingested_ms
        described["uploadSequenceToken"] = sequence_token(stream.id)
    return described


def sequence_token(stream_id: int) -> str:
    """Return a token, which AWS ignores nowadays and still answers: 56 digits beginning with 49."""
    return f"49{stream_id:054d}"
