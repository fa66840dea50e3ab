"""Roles: who may assume them, and for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from boda.core.clock import Clock
from boda.core.ids import Ids
from boda.gateway.calling.operation import Context, operation
from boda.gateway.calling.paging import PAGED, Listing, RowList
from boda.services.iam import rules, shapes
from boda.services.iam.access import IamOperations, change, listing, on
from boda.services.iam.entities import Document, Role
from boda.services.iam.store import IamStore


class RoleOperations(IamOperations):
    def __init__(self, store: IamStore, clock: Clock, ids: Ids) -> None:
        super().__init__(store)
        self._clock = clock
        self._ids = ids

    @change("CreateRole", authorize=on("role", "CreateRole"))
    async def create_role(
        self,
        ctx: Context,
        *,
        role_name: str,
        assume_role_policy_document: str,
        path: str = "/",
        description: str = "",
        max_session_duration: int | None = None,
        permissions_boundary: str | None = None,
        tags: Sequence[Mapping[str, str]] = (),
    ) -> dict[str, Any]:
        given = rules.tag_list(tags)
        rules.fresh_name("Role", role_name, self.store.roles)
        role = Role(
            self.store.account,
            role_name,
            path,
            "AROA" + self._ids.base32(17),
            self._clock.now(),
            rules.trust(ctx, assume_role_policy_document),
            description,
            max_session_duration or 3_600,
            rules.boundary(self.store, permissions_boundary) if permissions_boundary else "",
            tags=given,
        )
        await self.store.save(role)
        shown = _shown(ctx, role)
        return {"Role": shapes.created_role(shown, with_duration=max_session_duration is not None)}

    @operation("GetRole", authorize=on("role", "GetRole"))
    async def get_role(self, ctx: Context, *, role_name: str) -> dict[str, Any]:
        return {"Role": shapes.role(_shown(ctx, rules.role(self.store, role_name)))}

    @operation("ListRoles", authorize=listing("role", "ListRoles"), paged=PAGED)
    async def list_roles(self, ctx: Context, *, path_prefix: str = "/") -> Listing:
        below = [role for role in self.store.roles.values() if role.path.startswith(path_prefix)]
        return RowList.ordering(
            below, lambda role: role.name, lambda role: shapes.listed_role(_shown(ctx, role))
        )

    @change("UpdateRole", authorize=on("role", "UpdateRole"))
    async def update_role(
        self,
        ctx: Context,
        *,
        role_name: str,
        description: str | None = None,
        max_session_duration: int | None = None,
    ) -> dict[str, Any]:
        role = rules.role(self.store, role_name)
        await self.store.save(
            replace(
                role,
                description=role.description if description is None else description,
                max_session_s=max_session_duration or role.max_session_s,
            )
        )
        return {}

    @change("UpdateRoleDescription", authorize=on("role", "UpdateRoleDescription"))
    async def update_role_description(
        self, ctx: Context, *, role_name: str, description: str
    ) -> dict[str, Any]:
        role = replace(rules.role(self.store, role_name), description=description)
        await self.store.save(role)
        return {"Role": shapes.listed_role(_shown(ctx, role))}

    @change("UpdateAssumeRolePolicy", authorize=on("role", "UpdateAssumeRolePolicy"))
    async def update_assume_role_policy(
        self, ctx: Context, *, role_name: str, policy_document: str
    ) -> None:
        role = rules.role(self.store, role_name)
        trust = rules.trust(ctx, policy_document)
        await self.store.save(replace(role, trust_document=trust))

    @change("DeleteRole", authorize=on("role", "DeleteRole"))
    async def delete_role(self, ctx: Context, *, role_name: str) -> None:
        role = rules.role(self.store, role_name)
        if role.attached:
            raise rules.conflict("Cannot delete entity, must detach all policies first.")
        if role.inline:
            raise rules.conflict("Cannot delete entity, must delete policies first.")
        await self.store.save(remove=[role])

    @operation(
        "ListInstanceProfilesForRole",
        authorize=on("role", "ListInstanceProfilesForRole"),
        paged=PAGED,
    )
    async def list_instance_profiles_for_role(self, ctx: Context, *, role_name: str) -> Listing:
        """Return an empty list: instance profiles belong to EC2, and tools list them before they
        delete a role."""
        rules.role(self.store, role_name)
        none: list[str] = []
        return RowList(none, str)


def _shown(ctx: Context, role: Role) -> Role:
    """Return the role with its trust policy as readers see it."""
    kept = role.trust_document
    shown = Document(ctx.policies.shown(kept.text), kept.policy)
    return replace(role, trust_document=shown)
