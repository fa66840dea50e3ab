"""Groups and their members."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from boda.core.clock import Clock
from boda.core.ids import Ids
from boda.gateway.calling.operation import Answer, Context, operation
from boda.gateway.calling.paging import PAGED, Listing, RowList
from boda.services.iam import rules, shapes
from boda.services.iam.access import IamOperations, change, listing, on, renaming
from boda.services.iam.entities import Group
from boda.services.iam.store import IamStore


class GroupOperations(IamOperations):
    def __init__(self, store: IamStore, clock: Clock, ids: Ids) -> None:
        super().__init__(store)
        self._clock = clock
        self._ids = ids

    @change("CreateGroup", authorize=on("group", "CreateGroup"))
    async def create_group(
        self, ctx: Context, *, group_name: str, path: str = "/"
    ) -> dict[str, Any]:
        rules.fresh_name("Group", group_name, self.store.groups)
        group = Group(
            self.store.account,
            group_name,
            path,
            "AGPA" + self._ids.base32(17),
            self._clock.now(),
        )
        await self.store.save(group)
        return {"Group": shapes.group(group)}

    @operation("GetGroup", authorize=on("group", "GetGroup"), paged=PAGED)
    async def get_group(self, ctx: Context, *, group_name: str) -> Answer:
        group = rules.group(self.store, group_name)
        members = [user for user in self.store.users.values() if user.unique_id in group.members]
        users = RowList.ordering(members, lambda user: user.name, shapes.listed_user)
        return Answer({"Group": shapes.group(group)}, listing=users)

    @operation("ListGroups", authorize=listing("group", "ListGroups"), paged=PAGED)
    async def list_groups(self, ctx: Context, *, path_prefix: str = "/") -> Listing:
        below = [
            group for group in self.store.groups.values() if group.path.startswith(path_prefix)
        ]
        return RowList.ordering(below, lambda group: group.name, shapes.group)

    @change("UpdateGroup", authorize=renaming("group", "UpdateGroup"))
    async def update_group(
        self,
        ctx: Context,
        *,
        group_name: str,
        new_path: str | None = None,
        new_group_name: str | None = None,
    ) -> None:
        group = rules.group(self.store, group_name)
        if new_group_name is not None and new_group_name != group_name:
            rules.fresh_name("Group", new_group_name, self.store.groups.keys() - {group_name})
        changed = replace(group, name=new_group_name or group.name, path=new_path or group.path)
        await self.store.save(changed, remove=[group])

    @change("DeleteGroup", authorize=on("group", "DeleteGroup"))
    async def delete_group(self, ctx: Context, *, group_name: str) -> None:
        group = rules.group(self.store, group_name)
        if group.members:
            raise rules.conflict("Cannot delete entity, must remove users from group first.")
        if group.attached:
            raise rules.conflict("Cannot delete entity, must detach all policies first.")
        if group.inline:
            raise rules.conflict("Cannot delete entity, must delete policies first.")
        await self.store.save(remove=[group])

    @change("AddUserToGroup", authorize=on("group", "AddUserToGroup"))
    async def add_user_to_group(self, ctx: Context, *, group_name: str, user_name: str) -> None:
        group = rules.group(self.store, group_name)
        user = rules.user(self.store, user_name)
        if user.unique_id in group.members:
            return
        if len(self.store.groups_of(user)) >= rules.GROUPS_PER_USER:
            raise rules.exceeded(f"Cannot exceed quota for GroupsPerUser: {rules.GROUPS_PER_USER}")
        await self.store.save(replace(group, members=(*group.members, user.unique_id)))

    @change("RemoveUserFromGroup", authorize=on("group", "RemoveUserFromGroup"))
    async def remove_user_from_group(
        self, ctx: Context, *, group_name: str, user_name: str
    ) -> None:
        group = rules.group(self.store, group_name)
        user = rules.user(self.store, user_name)
        if user.unique_id not in group.members:
            raise rules.no_such(f"User {user_name} not in group {group_name}")
        left = tuple(member for member in group.members if member != user.unique_id)
        await self.store.save(replace(group, members=left))
