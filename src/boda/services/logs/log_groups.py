"""Log groups: create, delete, describe, retention, tags."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from boda.core.errors import AwsError, not_implemented
from boda.gateway.calling.operation import Context, operation
from boda.gateway.calling.paging import PAGED, Key, Listing, Page, Paged
from boda.services.logs.access import on_created_group, on_group, on_tagged
from boda.services.logs.names import (
    TAGS,
    check_group_name,
    check_retention,
    group_arn,
    group_in_arn,
    group_in_identifier,
    invalid,
    no_group,
)
from boda.telemetry.log_rows import LogGroup
from boda.telemetry.log_store import LogStore

_CLASS = "STANDARD"
_LIST_PATTERN = re.compile(r"\^?[.\-_/#A-Za-z0-9]{3,24}(\|\^?[.\-_/#A-Za-z0-9]{3,24}){0,4}")

_LIST_LOG_GROUPS = Paged(
    paginator={
        "input_token": "nextToken",
        "output_token": "nextToken",
        "limit_key": "limit",
        "result_key": "logGroups",
    }
)


class LogGroupOperations:
    def __init__(self, store: LogStore) -> None:
        self.store = store

    @operation("CreateLogGroup", authorize=on_created_group)
    async def create_log_group(
        self,
        ctx: Context,
        *,
        log_group_name: str,
        tags: Mapping[str, str] | None = None,
        log_group_class: str = _CLASS,
    ) -> None:
        check_group_name(log_group_name)
        if log_group_class != _CLASS:
            raise not_implemented("logs", "CreateLogGroup", f"logGroupClass {log_group_class}")
        given = TAGS.read((tags or {}).items())
        if not await self.store.create_group(ctx.account, ctx.region, log_group_name, given):
            raise AwsError(
                "ResourceAlreadyExistsException", "The specified log group already exists"
            )

    @operation("DeleteLogGroup", authorize=on_group("logs:DeleteLogGroup"))
    async def delete_log_group(self, ctx: Context, *, log_group_name: str) -> None:
        if not await self.store.delete_group(ctx.account, ctx.region, log_group_name):
            raise no_group()

    @operation("DescribeLogGroups", authorize=on_group("logs:DescribeLogGroups"), paged=PAGED)
    async def describe_log_groups(
        self,
        ctx: Context,
        *,
        log_group_name_prefix: str | None = None,
        log_group_name_pattern: str | None = None,
        log_group_identifiers: Sequence[str] | None = None,
        log_group_class: str | None = None,
        include_linked_accounts: bool = False,
    ) -> Listing:
        """Return groups. include_linked_accounts: no account is linked here, so it adds none."""
        if log_group_name_prefix is not None and log_group_name_pattern is not None:
            raise invalid(
                "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters."
            )
        if log_group_identifiers is not None and (
            log_group_name_prefix is not None
            or log_group_name_pattern is not None
            or log_group_class is not None
        ):
            raise invalid("LogGroup identifiers and other filters are mutually exclusive.")
        pattern = log_group_name_pattern
        names = None
        if log_group_identifiers is not None:
            names = {
                group_in_identifier(ctx.account, ctx.region, one) for one in log_group_identifiers
            }
        return self._listed(
            ctx,
            _summary if pattern is not None else _full,
            prefix=log_group_name_prefix or "",
            accept=lambda name: not pattern or pattern in name,
            names=names if log_group_class in (None, _CLASS) else (),
        )

    @operation("ListLogGroups", authorize=on_group("logs:ListLogGroups"), paged=_LIST_LOG_GROUPS)
    async def list_log_groups(
        self,
        ctx: Context,
        *,
        log_group_name_pattern: str | None = None,
        log_group_class: str | None = None,
        include_linked_accounts: bool = False,
    ) -> Listing:
        """Return groups by up to five parts of names, separated by ``|``; ``^`` before one means
        the beginning."""
        if log_group_name_pattern and _LIST_PATTERN.fullmatch(log_group_name_pattern) is None:
            raise invalid("The specified logGroupNamePattern is invalid.")
        parts = (log_group_name_pattern or "").split("|")

        def accept(name: str) -> bool:
            return any(
                name.startswith(part[1:]) if part.startswith("^") else part in name
                for part in parts
            )

        return self._listed(
            ctx, _listed, accept=accept, names=None if log_group_class in (None, _CLASS) else ()
        )

    @operation("PutRetentionPolicy", authorize=on_group("logs:PutRetentionPolicy"))
    async def put_retention_policy(
        self, ctx: Context, *, log_group_name: str, retention_in_days: int
    ) -> None:
        check_retention(retention_in_days)
        if not await self.store.set_retention(
            ctx.account, ctx.region, log_group_name, retention_in_days
        ):
            raise no_group()

    @operation("DeleteRetentionPolicy", authorize=on_group("logs:DeleteRetentionPolicy"))
    async def delete_retention_policy(self, ctx: Context, *, log_group_name: str) -> None:
        if not await self.store.set_retention(ctx.account, ctx.region, log_group_name, None):
            raise no_group()

    # Tags, under their old names and their new ones

    @operation("TagLogGroup", authorize=on_tagged("logs:TagLogGroup"))
    async def tag_log_group(
        self, ctx: Context, *, log_group_name: str, tags: Mapping[str, str]
    ) -> None:
        await self._add_tags(ctx, log_group_name, tags)

    @operation("UntagLogGroup", authorize=on_tagged("logs:UntagLogGroup"))
    async def untag_log_group(
        self, ctx: Context, *, log_group_name: str, tags: Sequence[str]
    ) -> None:
        await self._remove_tags(ctx, log_group_name, tags)

    @operation("ListTagsLogGroup", authorize=on_tagged("logs:ListTagsLogGroup"))
    async def list_tags_log_group(self, ctx: Context, *, log_group_name: str) -> dict[str, Any]:
        return await self._list_tags(ctx, log_group_name)

    @operation("TagResource", authorize=on_tagged("logs:TagResource"))
    async def tag_resource(
        self, ctx: Context, *, resource_arn: str, tags: Mapping[str, str]
    ) -> None:
        await self._add_tags(ctx, group_in_arn(ctx.account, ctx.region, resource_arn), tags)

    @operation("UntagResource", authorize=on_tagged("logs:UntagResource"))
    async def untag_resource(
        self, ctx: Context, *, resource_arn: str, tag_keys: Sequence[str]
    ) -> None:
        await self._remove_tags(ctx, group_in_arn(ctx.account, ctx.region, resource_arn), tag_keys)

    @operation("ListTagsForResource", authorize=on_tagged("logs:ListTagsForResource"))
    async def list_tags_for_resource(self, ctx: Context, *, resource_arn: str) -> dict[str, Any]:
        return await self._list_tags(ctx, group_in_arn(ctx.account, ctx.region, resource_arn))

    async def _add_tags(self, ctx: Context, group: str, tags: Mapping[str, str]) -> None:
        given = TAGS.read(tags.items())
        if not await self.store.change_tags(
            ctx.account, ctx.region, group, lambda old: TAGS.add(old, given)
        ):
            raise no_group()

    async def _remove_tags(self, ctx: Context, group: str, keys: Sequence[str]) -> None:
        if not await self.store.change_tags(
            ctx.account, ctx.region, group, lambda old: TAGS.remove(old, keys)
        ):
            raise no_group()

    async def _list_tags(self, ctx: Context, name: str) -> dict[str, Any]:
        group = await self.store.group(ctx.account, ctx.region, name)
        if group is None:
            raise no_group()
        return {"tags": dict(group.tags)}

    def _listed(
        self,
        ctx: Context,
        show: Callable[[Context, LogGroup], dict[str, Any]],
        *,
        accept: Callable[[str], bool],
        prefix: str = "",
        names: Any = None,
    ) -> Listing:
        async def read(key: Key, limit: int) -> Page:
            found, more = await self.store.groups(
                ctx.account,
                ctx.region,
                prefix=prefix,
                accept=accept,
                names=names,
                after=key or "",
                limit=limit,
            )
            return Page([show(ctx, group) for group in found], found[-1].name if more else None)

        return read


def _listed(ctx: Context, group: LogGroup) -> dict[str, Any]:
    """Return a group as in ListLogGroups."""
    return {
        "logGroupName": group.name,
        "logGroupArn": group_arn(ctx.region, ctx.account, group.name),
        "logGroupClass": _CLASS,
    }


def _summary(ctx: Context, group: LogGroup) -> dict[str, Any]:
    """Return a group found by a pattern, as in DescribeLogGroups."""
    arn = group_arn(ctx.region, ctx.account, group.name)
    return {
        "logGroupName": group.name,
        "creationTime": group.created_ms,
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "logGroupClass": _CLASS,
        "logGroupArn": arn,
    }


def _full(ctx: Context, group: LogGroup) -> dict[str, Any]:
    described = {**_summary(ctx, group), "storedBytes": group.stored_bytes}
    if group.retention_days is not None:
        described["retentionInDays"] = group.retention_days
    return described
