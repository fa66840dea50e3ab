"""Tags of users, roles and policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from boda.gateway.calling.operation import Context, operation
from boda.gateway.calling.paging import PAGED, Listing, RowList
from boda.services.iam import rules, shapes
from boda.services.iam.access import IamOperations, change, on
from boda.services.iam.entities import ManagedPolicy, Role, Tags, User

_TagList = Sequence[Mapping[str, str]]


class Tagging(IamOperations):
    @change("TagUser", authorize=on("user", "TagUser"))
    async def tag_user(self, ctx: Context, *, user_name: str, tags: _TagList) -> None:
        await self._tag(rules.user(self.store, user_name), tags)

    @change("TagRole", authorize=on("role", "TagRole"))
    async def tag_role(self, ctx: Context, *, role_name: str, tags: _TagList) -> None:
        await self._tag(rules.role(self.store, role_name), tags)

    @change("TagPolicy", authorize=on("policy", "TagPolicy"))
    async def tag_policy(self, ctx: Context, *, policy_arn: str, tags: _TagList) -> None:
        await self._tag(rules.own_policy(self.store, policy_arn), tags)

    async def _tag(self, entity: User | Role | ManagedPolicy, tags: _TagList) -> None:
        merged = rules.tagged(entity.tags, rules.tag_list(tags))
        await self.store.save(replace(entity, tags=merged))

    @change("UntagUser", authorize=on("user", "UntagUser"))
    async def untag_user(self, ctx: Context, *, user_name: str, tag_keys: Sequence[str]) -> None:
        await self._untag(rules.user(self.store, user_name), tag_keys)

    @change("UntagRole", authorize=on("role", "UntagRole"))
    async def untag_role(self, ctx: Context, *, role_name: str, tag_keys: Sequence[str]) -> None:
        await self._untag(rules.role(self.store, role_name), tag_keys)

    @change("UntagPolicy", authorize=on("policy", "UntagPolicy"))
    async def untag_policy(self, ctx: Context, *, policy_arn: str, tag_keys: Sequence[str]) -> None:
        await self._untag(rules.own_policy(self.store, policy_arn), tag_keys)

    async def _untag(self, entity: User | Role | ManagedPolicy, keys: Sequence[str]) -> None:
        await self.store.save(replace(entity, tags=rules.untagged(entity.tags, keys)))

    @operation("ListUserTags", authorize=on("user", "ListUserTags"), paged=PAGED)
    async def list_user_tags(self, ctx: Context, *, user_name: str) -> Listing:
        return _listed(rules.user(self.store, user_name).tags)

    @operation("ListRoleTags", authorize=on("role", "ListRoleTags"), paged=PAGED)
    async def list_role_tags(self, ctx: Context, *, role_name: str) -> Listing:
        return _listed(rules.role(self.store, role_name).tags)

    @operation("ListPolicyTags", authorize=on("policy", "ListPolicyTags"), paged=PAGED)
    async def list_policy_tags(self, ctx: Context, *, policy_arn: str) -> Listing:
        return _listed(rules.policy(self.store, policy_arn).tags)


def _listed(tags: Tags) -> Listing:
    return RowList.ordering(shapes.tags(tags), lambda tag: tag["Key"])
