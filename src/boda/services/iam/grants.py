"""The policies of a user, group or role: inline policies, attached policies, the boundary.

The three kinds have the same operations under three names; each is a line here that names it, and
the code is written once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from boda.gateway.calling.operation import Context, operation
from boda.gateway.calling.paging import PAGED, Listing, RowList
from boda.services.iam import rules, shapes
from boda.services.iam.access import IamOperations, change, on
from boda.services.iam.entities import Actor, Group


class InlinePolicies(IamOperations):
    @change("PutUserPolicy", authorize=on("user", "PutUserPolicy"))
    async def put_user_policy(
        self, ctx: Context, *, user_name: str, policy_name: str, policy_document: str
    ) -> None:
        await self._put(ctx, "user", user_name, policy_name, policy_document)

    @change("PutGroupPolicy", authorize=on("group", "PutGroupPolicy"))
    async def put_group_policy(
        self, ctx: Context, *, group_name: str, policy_name: str, policy_document: str
    ) -> None:
        await self._put(ctx, "group", group_name, policy_name, policy_document)

    @change("PutRolePolicy", authorize=on("role", "PutRolePolicy"))
    async def put_role_policy(
        self, ctx: Context, *, role_name: str, policy_name: str, policy_document: str
    ) -> None:
        await self._put(ctx, "role", role_name, policy_name, policy_document)

    async def _put(self, ctx: Context, kind: str, name: str, policy_name: str, text: str) -> None:
        actor = rules.actor(self.store, kind, name)
        document = rules.document(ctx, text, "identity")
        inline = {**actor.inline, policy_name: document}
        limit = rules.INLINE_SIZE[kind]
        if sum(found.size for found in inline.values()) > limit:
            raise rules.exceeded(
                f"Maximum policy size of {limit} bytes exceeded for {kind} {actor.name}"
            )
        await self.store.save(replace(actor, inline=inline))

    @operation("GetUserPolicy", authorize=on("user", "GetUserPolicy"))
    async def get_user_policy(
        self, ctx: Context, *, user_name: str, policy_name: str
    ) -> dict[str, Any]:
        return self._get("user", user_name, policy_name)

    @operation("GetGroupPolicy", authorize=on("group", "GetGroupPolicy"))
    async def get_group_policy(
        self, ctx: Context, *, group_name: str, policy_name: str
    ) -> dict[str, Any]:
        return self._get("group", group_name, policy_name)

    @operation("GetRolePolicy", authorize=on("role", "GetRolePolicy"))
    async def get_role_policy(
        self, ctx: Context, *, role_name: str, policy_name: str
    ) -> dict[str, Any]:
        return self._get("role", role_name, policy_name)

    def _get(self, kind: str, name: str, policy_name: str) -> dict[str, Any]:
        actor = rules.actor(self.store, kind, name)
        if policy_name not in actor.inline:
            raise _no_inline(kind, policy_name)
        return {
            f"{kind.capitalize()}Name": actor.name,
            "PolicyName": policy_name,
            "PolicyDocument": shapes.encoded(actor.inline[policy_name]),
        }

    @operation("ListUserPolicies", authorize=on("user", "ListUserPolicies"), paged=PAGED)
    async def list_user_policies(self, ctx: Context, *, user_name: str) -> Listing:
        return self._list("user", user_name)

    @operation("ListGroupPolicies", authorize=on("group", "ListGroupPolicies"), paged=PAGED)
    async def list_group_policies(self, ctx: Context, *, group_name: str) -> Listing:
        return self._list("group", group_name)

    @operation("ListRolePolicies", authorize=on("role", "ListRolePolicies"), paged=PAGED)
    async def list_role_policies(self, ctx: Context, *, role_name: str) -> Listing:
        return self._list("role", role_name)

    def _list(self, kind: str, name: str) -> Listing:
        return RowList.ordering(rules.actor(self.store, kind, name).inline, str)

    @change("DeleteUserPolicy", authorize=on("user", "DeleteUserPolicy"))
    async def delete_user_policy(self, ctx: Context, *, user_name: str, policy_name: str) -> None:
        await self._delete("user", user_name, policy_name)

    @change("DeleteGroupPolicy", authorize=on("group", "DeleteGroupPolicy"))
    async def delete_group_policy(self, ctx: Context, *, group_name: str, policy_name: str) -> None:
        await self._delete("group", group_name, policy_name)

    @change("DeleteRolePolicy", authorize=on("role", "DeleteRolePolicy"))
    async def delete_role_policy(self, ctx: Context, *, role_name: str, policy_name: str) -> None:
        await self._delete("role", role_name, policy_name)

    async def _delete(self, kind: str, name: str, policy_name: str) -> None:
        actor = rules.actor(self.store, kind, name)
        if policy_name not in actor.inline:
            raise _no_inline(kind, policy_name)
        left = {held: found for held, found in actor.inline.items() if held != policy_name}
        await self.store.save(replace(actor, inline=left))


class Attachments(IamOperations):
    @change("AttachUserPolicy", authorize=on("user", "AttachUserPolicy"))
    async def attach_user_policy(self, ctx: Context, *, user_name: str, policy_arn: str) -> None:
        await self._attach("user", user_name, policy_arn)

    @change("AttachGroupPolicy", authorize=on("group", "AttachGroupPolicy"))
    async def attach_group_policy(self, ctx: Context, *, group_name: str, policy_arn: str) -> None:
        await self._attach("group", group_name, policy_arn)

    @change("AttachRolePolicy", authorize=on("role", "AttachRolePolicy"))
    async def attach_role_policy(self, ctx: Context, *, role_name: str, policy_arn: str) -> None:
        await self._attach("role", role_name, policy_arn)

    async def _attach(self, kind: str, name: str, policy_arn: str) -> None:
        policy = rules.attachable(self.store, policy_arn)
        actor = rules.actor(self.store, kind, name)
        if policy.arn in actor.attached:
            return
        if len(actor.attached) >= rules.ATTACHED_LIMIT:
            raise rules.exceeded(
                f"Cannot exceed quota for PoliciesPer{kind.capitalize()}: {rules.ATTACHED_LIMIT}"
            )
        await self.store.save(replace(actor, attached=(*actor.attached, policy.arn)))

    @change("DetachUserPolicy", authorize=on("user", "DetachUserPolicy"))
    async def detach_user_policy(self, ctx: Context, *, user_name: str, policy_arn: str) -> None:
        await self._detach("user", user_name, policy_arn)

    @change("DetachGroupPolicy", authorize=on("group", "DetachGroupPolicy"))
    async def detach_group_policy(self, ctx: Context, *, group_name: str, policy_arn: str) -> None:
        await self._detach("group", group_name, policy_arn)

    @change("DetachRolePolicy", authorize=on("role", "DetachRolePolicy"))
    async def detach_role_policy(self, ctx: Context, *, role_name: str, policy_arn: str) -> None:
        await self._detach("role", role_name, policy_arn)

    async def _detach(self, kind: str, name: str, policy_arn: str) -> None:
        actor = rules.actor(self.store, kind, name)
        if rules.parsed_arn(policy_arn) not in actor.attached:
            raise rules.no_such(f"Policy {policy_arn} was not found.")
        left = tuple(arn for arn in actor.attached if arn != policy_arn)
        await self.store.save(replace(actor, attached=left))

    @operation(
        "ListAttachedUserPolicies", authorize=on("user", "ListAttachedUserPolicies"), paged=PAGED
    )
    async def list_attached_user_policies(
        self, ctx: Context, *, user_name: str, path_prefix: str = "/"
    ) -> Listing:
        return self._list("user", user_name, path_prefix)

    @operation(
        "ListAttachedGroupPolicies", authorize=on("group", "ListAttachedGroupPolicies"), paged=PAGED
    )
    async def list_attached_group_policies(
        self, ctx: Context, *, group_name: str, path_prefix: str = "/"
    ) -> Listing:
        return self._list("group", group_name, path_prefix)

    @operation(
        "ListAttachedRolePolicies", authorize=on("role", "ListAttachedRolePolicies"), paged=PAGED
    )
    async def list_attached_role_policies(
        self, ctx: Context, *, role_name: str, path_prefix: str = "/"
    ) -> Listing:
        return self._list("role", role_name, path_prefix)

    def _list(self, kind: str, name: str, path_prefix: str) -> Listing:
        actor = rules.actor(self.store, kind, name)
        found = [self.store.policies[arn] for arn in actor.attached if arn in self.store.policies]
        return RowList.ordering(
            [policy for policy in found if policy.path.startswith(path_prefix)],
            lambda policy: policy.arn,
            lambda policy: {"PolicyName": policy.name, "PolicyArn": policy.arn},
        )


class Boundaries(IamOperations):
    @change("PutUserPermissionsBoundary", authorize=on("user", "PutUserPermissionsBoundary"))
    async def put_user_permissions_boundary(
        self, ctx: Context, *, user_name: str, permissions_boundary: str
    ) -> None:
        await self._bound("user", user_name, rules.boundary(self.store, permissions_boundary))

    @change("PutRolePermissionsBoundary", authorize=on("role", "PutRolePermissionsBoundary"))
    async def put_role_permissions_boundary(
        self, ctx: Context, *, role_name: str, permissions_boundary: str
    ) -> None:
        await self._bound("role", role_name, rules.boundary(self.store, permissions_boundary))

    @change("DeleteUserPermissionsBoundary", authorize=on("user", "DeleteUserPermissionsBoundary"))
    async def delete_user_permissions_boundary(self, ctx: Context, *, user_name: str) -> None:
        await self._bound("user", user_name, "")

    @change("DeleteRolePermissionsBoundary", authorize=on("role", "DeleteRolePermissionsBoundary"))
    async def delete_role_permissions_boundary(self, ctx: Context, *, role_name: str) -> None:
        await self._bound("role", role_name, "")

    async def _bound(self, kind: str, name: str, arn: str) -> None:
        actor: Actor = rules.actor(self.store, kind, name)
        assert not isinstance(actor, Group)
        await self.store.save(replace(actor, boundary=arn))


def _no_inline(kind: str, policy_name: str) -> Exception:
    return rules.no_such(f"The {kind} policy with name {policy_name} cannot be found.")
