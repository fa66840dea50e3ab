"""Which permission each operation needs. Pure.

AWS checks operations on a group's content against ``…:log-group:NAME:log-stream:``, so that
policies are written with ``log-group:NAME:*``; operations on one stream against its ARN; tags
and live tail against the group's own ARN (IAM service authorization reference, "logs").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from boda.gateway.service import Authorize, Context, Need
from boda.services.logs.names import group_arn, group_in_identifier, stream_arn


def on_group(action: str) -> Authorize:
    """The group of ``logGroupName`` or ``logGroupIdentifier``; all groups when none is named."""

    def needs(_: Any, ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
        yield Need(action, stream_arn(ctx.region, ctx.account, _named(ctx, params), ""))
        yield from _unmask(ctx, params)

    return needs


def on_stream(action: str) -> Authorize:
    """The stream of ``logStreamName`` in that group."""

    def needs(_: Any, ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
        stream = params.get("logStreamName", "")
        yield Need(action, stream_arn(ctx.region, ctx.account, _named(ctx, params), stream))
        yield from _unmask(ctx, params)

    return needs


def on_created_group(_: Any, ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
    """CreateLogGroup, with logs:TagResource when it is given tags."""
    group = params.get("logGroupName", "")
    yield Need("logs:CreateLogGroup", stream_arn(ctx.region, ctx.account, group, ""))
    if params.get("tags"):
        yield Need("logs:TagResource", group_arn(ctx.region, ctx.account, group))


def on_tagged(action: str) -> Authorize:
    """The group of ``logGroupName`` or ``resourceArn``."""

    def needs(_: Any, ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
        named = params.get("resourceArn") or params.get("logGroupName", "")
        group = group_in_identifier(ctx.account, ctx.region, named)
        yield Need(action, group_arn(ctx.region, ctx.account, group))

    return needs


def on_tailed(_: Any, ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
    """StartLiveTail on each of its groups."""
    for identifier in params.get("logGroupIdentifiers", ()):
        group = group_in_identifier(ctx.account, ctx.region, identifier)
        yield Need("logs:StartLiveTail", group_arn(ctx.region, ctx.account, group))


def _named(ctx: Context, params: Mapping[str, Any]) -> str:
    identifier = params.get("logGroupIdentifier")
    if identifier is not None:
        return group_in_identifier(ctx.account, ctx.region, identifier)
    return str(params.get("logGroupName", ""))


def _unmask(ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
    if params.get("unmask"):
        group = _named(ctx, params)
        yield Need("logs:Unmask", stream_arn(ctx.region, ctx.account, group, ""))
