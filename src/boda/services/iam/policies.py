"""Managed policies and their versions."""

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
from boda.services.iam.entities import Actor, Document, Group, ManagedPolicy, PolicyVersion
from boda.services.iam.store import IamStore


class PolicyOperations(IamOperations):
    def __init__(self, store: IamStore, clock: Clock, ids: Ids) -> None:
        super().__init__(store)
        self._clock = clock
        self._ids = ids

    @change("CreatePolicy", authorize=on("policy", "CreatePolicy"))
    async def create_policy(
        self,
        ctx: Context,
        *,
        policy_name: str,
        policy_document: str,
        path: str = "/",
        description: str = "",
        tags: Sequence[Mapping[str, str]] = (),
    ) -> dict[str, Any]:
        given = rules.tag_list(tags)
        document = _document(ctx, policy_document)
        owned = [p.name for p in self.store.policies.values() if p.account == self.store.account]
        if policy_name.lower() in (name.lower() for name in owned):
            raise rules.exists(
                f"A policy called {policy_name} already exists. Duplicate names are not allowed."
            )
        now = self._clock.now()
        policy = ManagedPolicy(
            self.store.account,
            policy_name,
            path,
            "ANPA" + self._ids.base32(17),
            now,
            now,
            (PolicyVersion(1, document, now),),
            description=description,
            tags=given,
        )
        await self.store.save(policy)
        shown = shapes.listed_policy(policy, {}, {})
        return {"Policy": {**shown, **({"Tags": shapes.tags(given)} if given else {})}}

    @operation("GetPolicy", authorize=on("policy", "GetPolicy"))
    async def get_policy(self, ctx: Context, *, policy_arn: str) -> dict[str, Any]:
        policy = rules.policy(self.store, policy_arn)
        return {"Policy": shapes.policy(policy, *self.store.usage())}

    @operation("ListPolicies", authorize=listing("policy", "ListPolicies"), paged=PAGED)
    async def list_policies(
        self,
        ctx: Context,
        *,
        scope: str = "All",
        only_attached: bool = False,
        path_prefix: str = "/",
        policy_usage_filter: str | None = None,
    ) -> Listing:
        attached, bounding = self.store.usage()

        def wanted(policy: ManagedPolicy) -> bool:
            own = policy.account == self.store.account
            if (scope == "Local" and not own) or (scope == "AWS" and own):
                return False
            if policy_usage_filter == "PermissionsPolicy" and not attached[policy.arn]:
                return False
            if policy_usage_filter == "PermissionsBoundary" and not bounding[policy.arn]:
                return False
            used = attached[policy.arn] or bounding[policy.arn]
            return policy.path.startswith(path_prefix) and bool(used or not only_attached)

        return RowList.ordering(
            filter(wanted, self.store.policies.values()),
            lambda policy: policy.arn,
            lambda policy: shapes.listed_policy(policy, attached, bounding),
        )

    @change("DeletePolicy", authorize=on("policy", "DeletePolicy"))
    async def delete_policy(self, ctx: Context, *, policy_arn: str) -> None:
        policy = rules.own_policy(self.store, policy_arn)
        attached, bounding = self.store.usage()
        if attached[policy.arn] or bounding[policy.arn]:
            raise rules.conflict("Cannot delete a policy attached to entities.")
        if len(policy.versions) > 1:
            raise rules.conflict(
                "This policy has more than one version. Before you delete a policy, you must "
                "delete the policy's versions. The default version is deleted with the policy."
            )
        await self.store.save(remove=[policy])

    @change("CreatePolicyVersion", authorize=on("policy", "CreatePolicyVersion"))
    async def create_policy_version(
        self, ctx: Context, *, policy_arn: str, policy_document: str, set_as_default: bool = False
    ) -> dict[str, Any]:
        policy = rules.own_policy(self.store, policy_arn)
        document = _document(ctx, policy_document)
        if len(policy.versions) >= rules.VERSIONS_PER_POLICY:
            raise rules.exceeded(
                "A managed policy can have up to 5 versions. Before you create a new version, you "
                "must delete an existing version."
            )
        now = self._clock.now()
        version = PolicyVersion(policy.last_version + 1, document, now)
        changed = replace(
            policy,
            versions=(*policy.versions, version),
            last_version=version.number,
            default_version=version.name if set_as_default else policy.default_version,
            updated_at=now,
        )
        await self.store.save(changed)
        return {"PolicyVersion": shapes.listed_version(changed, version)}

    @operation("GetPolicyVersion", authorize=on("policy", "GetPolicyVersion"))
    async def get_policy_version(
        self, ctx: Context, *, policy_arn: str, version_id: str
    ) -> dict[str, Any]:
        policy = rules.policy(self.store, policy_arn)
        return {"PolicyVersion": shapes.version(policy, _version(policy, version_id))}

    @operation("ListPolicyVersions", authorize=on("policy", "ListPolicyVersions"), paged=PAGED)
    async def list_policy_versions(self, ctx: Context, *, policy_arn: str) -> Listing:
        """Return the versions, newest first."""
        policy = rules.policy(self.store, policy_arn)
        return RowList.ordering(
            policy.versions,
            lambda version: -version.number,
            lambda version: shapes.listed_version(policy, version),
        )

    @change("SetDefaultPolicyVersion", authorize=on("policy", "SetDefaultPolicyVersion"))
    async def set_default_policy_version(
        self, ctx: Context, *, policy_arn: str, version_id: str
    ) -> None:
        policy = rules.own_policy(self.store, policy_arn)
        version = _version(policy, version_id)
        await self.store.save(
            replace(policy, default_version=version.name, updated_at=self._clock.now())
        )

    @change("DeletePolicyVersion", authorize=on("policy", "DeletePolicyVersion"))
    async def delete_policy_version(
        self, ctx: Context, *, policy_arn: str, version_id: str
    ) -> None:
        policy = rules.own_policy(self.store, policy_arn)
        version = _version(policy, version_id)
        if version.name == policy.default_version:
            raise rules.conflict("Cannot delete the default version of a policy.")
        left = tuple(found for found in policy.versions if found is not version)
        await self.store.save(replace(policy, versions=left))

    @operation(
        "ListEntitiesForPolicy", authorize=on("policy", "ListEntitiesForPolicy"), paged=PAGED
    )
    async def list_entities_for_policy(
        self,
        ctx: Context,
        *,
        policy_arn: str,
        entity_filter: str | None = None,
        path_prefix: str = "/",
        policy_usage_filter: str | None = None,
    ) -> Listing:
        policy = rules.policy(self.store, policy_arn)
        store = self.store
        actors: list[Actor] = [
            *store.users.values(),
            *store.groups.values(),
            *store.roles.values(),
        ]

        def wanted(actor: Actor) -> bool:
            used = policy_usage_filter != "PermissionsBoundary" and policy.arn in actor.attached
            if policy_usage_filter != "PermissionsPolicy" and not isinstance(actor, Group):
                used = used or actor.boundary == policy.arn
            fits = entity_filter in (None, actor.kind.capitalize())
            return used and fits and actor.path.startswith(path_prefix)

        def shown(actor: Actor) -> tuple[str, dict[str, str]]:
            kind = actor.kind.capitalize()
            return f"Policy{kind}s", {f"{kind}Name": actor.name, f"{kind}Id": actor.unique_id}

        return RowList.ordering(
            filter(wanted, actors), lambda actor: f"{actor.kind}/{actor.name}", shown
        )


def _document(ctx: Context, text: str) -> Document:
    document = rules.document(ctx, text, "managed")
    if document.size > rules.MANAGED_SIZE:
        raise rules.exceeded(f"Cannot exceed quota for PolicySize: {rules.MANAGED_SIZE}")
    return document


def _version(policy: ManagedPolicy, version_id: str) -> PolicyVersion:
    for version in policy.versions:
        if version.name == version_id:
            return version
    raise rules.no_such(
        f"Policy {policy.arn} version {version_id} does not exist or is not attachable."
    )
