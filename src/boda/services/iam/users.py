"""Users and their access keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from boda.core.arn import last_name, root_arn
from boda.core.clock import Clock
from boda.core.ids import Ids
from boda.gateway.calling.operation import Answer, Context, operation
from boda.gateway.calling.paging import PAGED, Listing, RowList
from boda.services.iam import rules, shapes
from boda.services.iam.access import IamOperations, change, listing, on, renaming
from boda.services.iam.entities import User
from boda.services.iam.identity import Identity
from boda.services.iam.store import IamStore


class UserOperations(IamOperations):
    def __init__(self, store: IamStore, clock: Clock, ids: Ids) -> None:
        super().__init__(store)
        self._clock = clock
        self._ids = ids

    @change("CreateUser", authorize=on("user", "CreateUser"))
    async def create_user(
        self,
        ctx: Context,
        *,
        user_name: str,
        path: str = "/",
        permissions_boundary: str | None = None,
        tags: Sequence[Mapping[str, str]] = (),
    ) -> dict[str, Any]:
        given = rules.tag_list(tags)
        rules.fresh_name("User", user_name, self.store.users)
        user = User(
            self.store.account,
            user_name,
            path,
            "AIDA" + self._ids.base32(17),
            self._clock.now(),
            rules.boundary(self.store, permissions_boundary) if permissions_boundary else "",
            tags=given,
        )
        await self.store.save(user)
        return {"User": shapes.user(user)}

    @operation("GetUser", authorize=on("user", "GetUser"))
    async def get_user(self, ctx: Context, *, user_name: str | None = None) -> dict[str, Any]:
        if user_name is None and ctx.principal.kind == "root":
            return {
                "User": {
                    "UserId": self.store.account,
                    "Arn": root_arn(self.store.account),
                    "CreateDate": shapes.moment(
                        min(
                            (key.created_at for key in self.store.keys_of(self.store.account)),
                            default=self._clock.now(),
                        )
                    ),
                }
            }
        return {"User": shapes.user(rules.user(self.store, named_user(ctx, user_name)))}

    @operation("ListUsers", authorize=listing("user", "ListUsers"), paged=PAGED)
    async def list_users(self, ctx: Context, *, path_prefix: str = "/") -> Listing:
        below = [user for user in self.store.users.values() if user.path.startswith(path_prefix)]
        return RowList.ordering(below, lambda user: user.name, shapes.listed_user)

    @change("UpdateUser", authorize=renaming("user", "UpdateUser"))
    async def update_user(
        self,
        ctx: Context,
        *,
        user_name: str,
        new_path: str | None = None,
        new_user_name: str | None = None,
    ) -> None:
        user = rules.user(self.store, user_name)
        if new_user_name is not None and new_user_name != user_name:
            others = self.store.users.keys() - {user_name}
            rules.fresh_name("User", new_user_name, others)
        changed = replace(user, name=new_user_name or user.name, path=new_path or user.path)
        await self.store.save(changed, remove=[user])

    @change("DeleteUser", authorize=on("user", "DeleteUser"))
    async def delete_user(self, ctx: Context, *, user_name: str) -> None:
        user = rules.user(self.store, user_name)
        if user.attached:
            raise rules.conflict("Cannot delete entity, must detach all policies first.")
        if user.inline:
            raise rules.conflict("Cannot delete entity, must delete policies first.")
        if self.store.groups_of(user):
            raise rules.conflict("Cannot delete entity, must remove users from group first.")
        if self.store.keys_of(user.unique_id):
            raise rules.conflict("Cannot delete entity, must delete access keys first.")
        await self.store.save(remove=[user])

    @operation("ListGroupsForUser", authorize=on("user", "ListGroupsForUser"), paged=PAGED)
    async def list_groups_for_user(self, ctx: Context, *, user_name: str) -> Listing:
        found = self.store.groups_of(rules.user(self.store, user_name))
        return RowList.ordering(found, lambda group: group.name, shapes.group)


class AccessKeys(IamOperations):
    """Key pairs of users, and of the root user if it names no user."""

    def __init__(self, store: IamStore, identity: Identity) -> None:
        super().__init__(store)
        self._identity = identity

    @change("CreateAccessKey", authorize=on("user", "CreateAccessKey"))
    async def create_access_key(
        self, ctx: Context, *, user_name: str | None = None
    ) -> dict[str, Any]:
        owner, name = self._owner(ctx, user_name)
        if len(self.store.keys_of(owner)) >= rules.KEYS_PER_USER:
            raise rules.exceeded(
                f"Cannot exceed quota for AccessKeysPerUser: {rules.KEYS_PER_USER}"
            )
        key = self._identity.new_key(owner)
        await self.store.save(key)
        return {"AccessKey": {**shapes.listed_key(key, name), "SecretAccessKey": key.secret}}

    @operation("ListAccessKeys", authorize=on("user", "ListAccessKeys"), paged=PAGED)
    async def list_access_keys(self, ctx: Context, *, user_name: str | None = None) -> Answer:
        owner, name = self._owner(ctx, user_name)
        keys = RowList.ordering(
            self.store.keys_of(owner),
            lambda key: key.access_key_id,
            lambda key: shapes.listed_key(key, name),
        )
        return Answer({"UserName": name} if name else {}, listing=keys)

    @change("UpdateAccessKey", authorize=on("user", "UpdateAccessKey"))
    async def update_access_key(
        self, ctx: Context, *, access_key_id: str, status: str, user_name: str | None = None
    ) -> None:
        owner, _ = self._owner(ctx, user_name)
        key = rules.access_key(self.store, owner, access_key_id)
        if status not in ("Active", "Inactive"):
            raise rules.invalid(
                f"1 validation error detected: Value '{status}' at 'status' failed to satisfy "
                "constraint: Member must satisfy enum value set: [Active, Inactive]"
            )
        await self.store.save(replace(key, active=status == "Active"))

    @change("DeleteAccessKey", authorize=on("user", "DeleteAccessKey"))
    async def delete_access_key(
        self, ctx: Context, *, access_key_id: str, user_name: str | None = None
    ) -> None:
        owner, _ = self._owner(ctx, user_name)
        await self.store.save(remove=[rules.access_key(self.store, owner, access_key_id)])

    def _owner(self, ctx: Context, user_name: str | None) -> tuple[str, str]:
        if user_name is None and ctx.principal.kind == "root":
            return self.store.account, ""
        user = rules.user(self.store, named_user(ctx, user_name))
        return user.unique_id, user.name


def named_user(ctx: Context, user_name: str | None) -> str:
    """Return the user that a call is about: the one it names, or the caller."""
    if user_name is not None:
        return user_name
    if ctx.principal.kind != "user" or ctx.principal.arn != ctx.principal.policy_source:
        raise rules.invalid("Must specify userName when calling with non-User credentials")
    return last_name(ctx.principal.arn)
