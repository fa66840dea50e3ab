"""Identity in memory, and its rows.

Law of this file: memory shows only what is on disk. A change is written first and shown after;
changes run one after the other, each to its end even when the caller has gone away.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from boda.core.tasks import Tasks
from boda.services.iam import rows
from boda.services.iam.entities import (
    AccessKey,
    Actor,
    Entity,
    Group,
    ManagedPolicy,
    Role,
    Session,
    User,
    from_row,
    to_row,
)
from boda.storage.rows import Rows, Tx

T = TypeVar("T")

TABLES: Mapping[type[Entity], sa.Table] = {
    User: rows.users,
    Group: rows.groups,
    Role: rows.roles,
    ManagedPolicy: rows.policies,
    AccessKey: rows.access_keys,
    Session: rows.sessions,
}


class IamStore:
    """All entities of one account.

    account: twelve digits. managed: AWS's own policies, which have no rows.
    generation: grows with every change of users, groups, roles, policies or keys.
    """

    def __init__(self, rows: Rows, account: str, managed: Sequence[ManagedPolicy]) -> None:
        self.account = account
        self.generation = 0
        self.users: dict[str, User] = {}
        self.groups: dict[str, Group] = {}
        self.roles: dict[str, Role] = {}
        self.policies: dict[str, ManagedPolicy] = {policy.arn: policy for policy in managed}
        """By ARN; the others by name."""
        self.keys: dict[str, AccessKey] = {}
        self.sessions: dict[str, Session] = {}
        self.actors: dict[str, User | Role] = {}
        """Users and roles by ARN."""
        self.owners: dict[str, User | Role] = {}
        """Users and roles by unique id."""
        self._rows = rows
        self._turn = asyncio.Lock()
        self._changes = Tasks()

    async def load(self) -> None:
        """Read every row of the account."""

        def work(tx: Tx) -> list[Any]:
            found = []
            for kind, table in TABLES.items():
                query = sa.select(table).where(table.c.account == self.account)
                for row in tx.run(query):
                    found.append(from_row(kind, row._asdict()))
            return found

        for entity in await self._rows.read(work):
            self._show(entity)

    async def accounts(self) -> list[str]:
        """The numbers of all accounts that have rows."""

        def work(tx: Tx) -> set[str]:
            return {
                account
                for table in TABLES.values()
                for (account,) in tx.run(sa.select(table.c.account).distinct())
            }

        return sorted(await self._rows.read(work))

    async def exclusively(self, change: Coroutine[Any, Any, T]) -> T:
        """Run a change alone and to its end, whatever becomes of the caller."""

        async def run() -> T:
            async with self._turn:
                return await change

        return await self._changes.finish(run())

    async def save(self, *put: Entity, remove: Sequence[Entity] = ()) -> None:
        """Write entities in the place of their former selves, durably, then show them."""

        def work(tx: Tx) -> None:
            for entity in remove:
                table = TABLES[type(entity)]
                row = to_row(entity)
                same = [column == row[column.name] for column in table.primary_key.columns]
                tx.run(sa.delete(table).where(*same))
            for entity in put:
                tx.upsert(TABLES[type(entity)], to_row(entity))

        await self._rows.write(work)
        for entity in remove:
            self._hide(entity)
        for entity in put:
            self._show(entity)
        if any(not isinstance(entity, Session) for entity in (*remove, *put)):
            self.generation += 1

    def usage(self) -> tuple[Counter[str], Counter[str]]:
        """How often each policy is attached, and how often it is a boundary, by ARN."""
        attached: Counter[str] = Counter()
        bounding: Counter[str] = Counter()
        actors: list[Actor] = [
            *self.users.values(),
            *self.groups.values(),
            *self.roles.values(),
        ]
        for actor in actors:
            attached.update(actor.attached)
            if not isinstance(actor, Group) and actor.boundary:
                bounding[actor.boundary] += 1
        return attached, bounding

    def groups_of(self, user: User) -> list[Group]:
        return [group for group in self.groups.values() if user.unique_id in group.members]

    def keys_of(self, owner: str) -> list[AccessKey]:
        """owner: a user's unique id, or the account for the root user."""
        return [key for key in self.keys.values() if key.owner == owner]

    def _show(self, entity: Entity) -> None:
        match entity:
            case User():
                former = self.users.get(entity.name)
                if former is not None:
                    self.actors.pop(former.arn, None)
                self.users[entity.name] = entity
                self.actors[entity.arn] = entity
                self.owners[entity.unique_id] = entity
            case Role():
                self.roles[entity.name] = entity
                self.actors[entity.arn] = entity
                self.owners[entity.unique_id] = entity
            case Group():
                self.groups[entity.name] = entity
            case ManagedPolicy():
                self.policies[entity.arn] = entity
            case AccessKey():
                self.keys[entity.access_key_id] = entity
            case Session():
                self.sessions[entity.access_key_id] = entity

    def _hide(self, entity: Entity) -> None:
        match entity:
            case User():
                self.users.pop(entity.name, None)
                self.actors.pop(entity.arn, None)
                self.owners.pop(entity.unique_id, None)
            case Role():
                self.roles.pop(entity.name, None)
                self.actors.pop(entity.arn, None)
                self.owners.pop(entity.unique_id, None)
            case Group():
                self.groups.pop(entity.name, None)
            case ManagedPolicy():
                self.policies.pop(entity.arn, None)
            case AccessKey():
                self.keys.pop(entity.access_key_id, None)
            case Session():
                self.sessions.pop(entity.access_key_id, None)
