"""TagResource, UntagResource, ListTags: of functions, event source mappings, code signing
configs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from boda.core.arn import Arn
from boda.core.errors import not_implemented
from boda.gateway.calling.operation import Answer, Context, operation
from boda.services.lambda_.access import on_resource
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import invalid, resource_not_found
from boda.services.lambda_.identifiers import Identifier, other_region
from boda.services.lambda_.settings import rules
from boda.services.lambda_.shelf import Shelf

_CALLED = {
    "event-source-mapping": "Event source mapping",
    "code-signing-config": "Code signing config",
    "capacity-provider": "Capacity provider",
}


class TagOperations:
    """shelves: of the kinds of resources that have tags, beside functions."""

    def __init__(self, core: LambdaCore, shelves: Sequence[Shelf]) -> None:
        self.core = core
        self._shelves = {shelf.kind: shelf for shelf in shelves}
        core.resource_tags = self._known

    @operation("TagResource", authorize=on_resource("lambda:TagResource"))
    async def tag_resource(self, ctx: Context, *, resource: str, tags: Mapping[str, str]) -> Answer:
        self._tags(ctx, resource)
        if not tags:
            raise invalid("An error occurred and the request cannot be processed.")
        await self.core.whole(self._change(ctx, resource, tags, ()))
        return Answer(status=204)

    @operation("UntagResource", authorize=on_resource("lambda:UntagResource"))
    async def untag_resource(self, ctx: Context, *, resource: str, tag_keys: list[str]) -> Answer:
        self._tags(ctx, resource)
        await self.core.whole(self._change(ctx, resource, {}, tag_keys))
        return Answer(status=204)

    @operation("ListTags", authorize=on_resource("lambda:ListTags"))
    async def list_tags(self, ctx: Context, *, resource: str) -> dict[str, Any]:
        return {"Tags": dict(self._tags(ctx, resource))}

    def _tags(self, ctx: Context, resource: str) -> Mapping[str, str]:
        """Return the tags of an ARN's resource. Raises AwsError if it does not exist."""
        kind, place, name = self._parts(ctx, resource)
        if kind == "function":
            return self.core.function(_function(place, name)).tags
        shelf = self._shelves.get(kind)
        document = shelf.find(place, name) if shelf is not None else None
        if document is None:
            raise resource_not_found(f"{_CALLED[kind]} not found: {resource}")
        tags: Mapping[str, str] = document["Tags"]
        return tags

    def _known(self, arn: str) -> Mapping[str, str]:
        """Return the same for condition keys; none if the resource does not exist."""
        found = Arn.read(arn)
        if found is None or len(found.words) != 2:
            return {}
        account, region, (kind, name) = found.account, found.region, found.words
        if kind == "function":
            function = self.core.find((account, region, name))
            return function.tags if function is not None else {}
        shelf = self._shelves.get(kind)
        document = shelf.find((account, region), name) if shelf is not None else None
        return document["Tags"] if document is not None else {}

    async def _change(
        self, ctx: Context, resource: str, add: Mapping[str, str], remove: Sequence[str]
    ) -> None:
        kind, place, name = self._parts(ctx, resource)
        shelf = self._shelves.get(kind)
        lock = self.core.lock((*place, name)) if shelf is None else shelf.lock(place)
        async with lock:
            present = self._tags(ctx, resource)
            allowed = rules.tag_rules(self.core.quotas)
            changed = allowed.remove(allowed.add(present, allowed.read(add.items())), remove)
            if changed == present:
                return
            if shelf is not None:
                document = shelf.find(place, name) or {}
                await shelf.put(place, name, {**document, "Tags": changed})
                return
            function = self.core.function(_function(place, name))
            await self.core.put_whole(function, revise=True, tags=changed)  # recorded

    def _parts(self, ctx: Context, resource: str) -> tuple[str, tuple[str, str], str]:
        """Return kind, account and region, and name of an ARN, which the model has validated."""
        arn = Arn.cut(resource)
        kind, name, *rest = arn.words
        if kind != "function" and kind not in _CALLED:
            raise not_implemented("lambda", ctx.operation, kind)
        if rest:
            raise invalid(
                "Tags on function aliases and versions are not supported. Please specify a "
                "function ARN."
            )
        if arn.region != ctx.region:
            raise other_region(arn.region, ctx.region)
        return kind, (arn.account, arn.region), name


def _function(place: tuple[str, str], name: str) -> Identifier:
    return Identifier(*place, name)
