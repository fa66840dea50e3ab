"""The permission that each operation needs. Pure, but for the tags of a group, which are read from
its row if a policy depends on them.

AWS checks operations on a group's content against ``…:log-group:NAME:log-stream:``, so that
policies are written with ``log-group:NAME:*``; operations on one stream against its ARN; tags and
live tail against the group's own ARN (IAM service authorization reference, "logs").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Protocol

from boda.gateway.asking import tag_keys
from boda.gateway.asking.need import LateKeys, Need
from boda.gateway.asking.tag_keys import Keys
from boda.gateway.calling.operation import Authorize, Context
from boda.services.logs.names import group_arn, group_in_identifier, stream_arn
from boda.telemetry.log_store import LogStore

CONDITION_KEYS = ("logs:DeliveryDestinationResourceArn", "logs:LogGeneratingResourceArns")
"""Never present: they come with deliveries of other services' logs."""

_RESOURCE_TAGS = ("aws:resourcetag/",)


class LogGroupUser(Protocol):
    store: LogStore


def on_group(action: str) -> Authorize:
    """Authorise an action on the group of ``logGroupName`` or ``logGroupIdentifier``; on all groups
    if none is named."""

    def needs(group: LogGroupUser, ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
        yield _stream_need(group, ctx, action, _named(ctx, params), "")
        yield from _unmask(group, ctx, params)

    return needs


def on_stream(action: str) -> Authorize:
    """Authorise an action on the stream of ``logStreamName`` in that group."""

    def needs(group: LogGroupUser, ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
        stream = params.get("logStreamName", "")
        yield _stream_need(group, ctx, action, _named(ctx, params), stream)
        yield from _unmask(group, ctx, params)

    return needs


def on_created_group(_: Any, ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
    """Yield the needs of CreateLogGroup: logs:TagResource, too, if it is given tags."""
    group, keys = params.get("logGroupName", ""), _of_request(params)
    yield Need("logs:CreateLogGroup", stream_arn(ctx.region, ctx.account, group, ""), context=keys)
    if keys:
        yield Need("logs:TagResource", group_arn(ctx.region, ctx.account, group), context=keys)


def on_tagged(action: str) -> Authorize:
    """Authorise an action on the group of ``logGroupName`` or ``resourceArn``."""

    def needs(group: LogGroupUser, ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
        named = params.get("resourceArn") or params.get("logGroupName", "")
        name = group_in_identifier(ctx.account, ctx.region, named)
        yield _group_need(group, ctx, action, name, _of_request(params))

    return needs


def on_tailed(group: LogGroupUser, ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
    """Yield the need of StartLiveTail for each of its groups."""
    for identifier in params.get("logGroupIdentifiers", ()):
        name = group_in_identifier(ctx.account, ctx.region, identifier)
        yield _group_need(group, ctx, "logs:StartLiveTail", name, {})


def _group_need(group: LogGroupUser, ctx: Context, action: str, name: str, keys: Keys) -> Need:
    late = _tags_of(group, ctx, name)
    return Need(action, group_arn(ctx.region, ctx.account, name), context=keys, late=late)


def _stream_need(group: LogGroupUser, ctx: Context, action: str, name: str, stream: str) -> Need:
    late = _tags_of(group, ctx, name) if name else None
    return Need(action, stream_arn(ctx.region, ctx.account, name, stream), late=late)


def _tags_of(group: LogGroupUser, ctx: Context, name: str) -> LateKeys:
    return LateKeys(_RESOURCE_TAGS, partial(_read_tags, group.store, ctx, name))


async def _read_tags(store: LogStore, ctx: Context, name: str) -> Keys:
    found = await store.group(ctx.account, ctx.region, name)
    return tag_keys.of_resource(found.tags) if found is not None else {}


def _of_request(params: Mapping[str, Any]) -> Keys:
    """Return the keys of the request's tags: TagLogGroup gives tags, UntagLogGroup their keys under
    the same name."""
    tags = params.get("tags") or {}
    if isinstance(tags, Mapping):
        return tag_keys.of_request(tags, params.get("tagKeys") or ())
    return tag_keys.of_request({}, tags)


def _named(ctx: Context, params: Mapping[str, Any]) -> str:
    identifier = params.get("logGroupIdentifier")
    if identifier is not None:
        return group_in_identifier(ctx.account, ctx.region, identifier)
    return str(params.get("logGroupName", ""))


def _unmask(group: LogGroupUser, ctx: Context, params: Mapping[str, Any]) -> Iterator[Need]:
    if params.get("unmask"):
        yield _stream_need(group, ctx, "logs:Unmask", _named(ctx, params), "")
