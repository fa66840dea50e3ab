"""TagResource, UntagResource, ListTags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from boda.core.arn import Arn
from boda.core.errors import not_implemented
from boda.gateway.service import Answer, Context, operation
from boda.services.lambda_ import rules
from boda.services.lambda_.access import on_resource
from boda.services.lambda_.core import Core
from boda.services.lambda_.errors import invalid
from boda.services.lambda_.identifiers import Identifier, other_region


class TagOperations:
    """Tags of functions. Other taggable resources are not there yet."""

    def __init__(self, core: Core) -> None:
        self.core = core

    @operation("TagResource", authorize=on_resource("lambda:TagResource"))
    async def tag_resource(self, ctx: Context, *, resource: str, tags: Mapping[str, str]) -> Answer:
        identifier = self._function(ctx, resource, "TagResource")
        self.core.function(identifier)
        if not tags:
            raise invalid("An error occurred and the request cannot be processed.")
        await self.core.whole(self._change(identifier, tags, ()))
        return Answer(status=204)

    @operation("UntagResource", authorize=on_resource("lambda:UntagResource"))
    async def untag_resource(self, ctx: Context, *, resource: str, tag_keys: list[str]) -> Answer:
        identifier = self._function(ctx, resource, "UntagResource")
        await self.core.whole(self._change(identifier, {}, tag_keys))
        return Answer(status=204)

    @operation("ListTags", authorize=on_resource("lambda:ListTags"))
    async def list_tags(self, ctx: Context, *, resource: str) -> dict[str, Any]:
        identifier = self._function(ctx, resource, "ListTags")
        return {"Tags": dict(self.core.function(identifier).tags)}

    async def _change(
        self, identifier: Identifier, add: Mapping[str, str], remove: Sequence[str]
    ) -> None:
        async with self.core.lock(identifier.key):
            function = self.core.function(identifier)
            changed = rules.tags(add, self.core.quotas, function.tags)
            for key in remove:
                changed.pop(key, None)
            if changed != function.tags:
                await self.core.put_whole(function, revise=True, tags=changed)  # recorded

    def _function(self, ctx: Context, resource: str, operation_name: str) -> Identifier:
        """The function an ARN names. AwsError."""
        arn = Arn.parse(resource)  # the model's pattern lets nothing else through
        kind, _, rest = arn.resource.partition(":")
        if kind != "function":
            raise not_implemented("lambda", operation_name, kind)
        name, _, qualifier = rest.partition(":")
        if qualifier:
            raise invalid(
                "Tags on function aliases and versions are not supported. Please specify a "
                "function ARN."
            )
        if arn.region != ctx.region:
            raise other_region(arn.region, ctx.region)
        return Identifier(arn.account, arn.region, name)
