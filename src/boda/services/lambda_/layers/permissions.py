"""AddLayerVersionPermission, GetLayerVersionPolicy, RemoveLayerVersionPermission."""

from __future__ import annotations

from typing import Any

import orjson

from boda.core import resource_policy
from boda.core.errors import AwsError
from boda.core.resource_policy import Statement
from boda.gateway.calling.operation import Answer, Context, operation
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import resource_not_found, stale_revision
from boda.services.lambda_.layers.operations import on_layer
from boda.services.lambda_.layers.records import LayerVersion
from boda.services.lambda_.layers.store import Layers, layer_key, version_arn
from boda.services.lambda_.records import Key
from boda.services.lambda_.statements import statement_rules


class LayerPermissionOperations:
    """The permissions to use a layer version, stored with the layer."""

    def __init__(self, core: LambdaCore, layers: Layers) -> None:
        self.core = core
        self.layers = layers
        self._rules = statement_rules(core.quotas)

    @operation("AddLayerVersionPermission", authorize=on_layer("lambda:AddLayerVersionPermission"))
    async def add_layer_version_permission(
        self,
        ctx: Context,
        *,
        layer_name: str,
        version_number: int,
        statement_id: str,
        action: str,
        principal: str,
        organization_id: str | None = None,
        revision_id: str | None = None,
    ) -> dict[str, Any]:
        key = layer_key(layer_name, ctx.account, ctx.region)
        statement = resource_policy.grant(
            statement_id,
            resource_policy.named_principal(principal),
            action,
            version_arn(key, version_number),
            {"StringEquals": {"aws:PrincipalOrgID": organization_id or None}},
        )
        revision = await self.core.whole(self._add(key, version_number, statement, revision_id))
        return {"Statement": orjson.dumps(statement).decode(), "RevisionId": revision}

    async def _add(
        self, key: Key, number: int, statement: Statement, revision_id: str | None
    ) -> str:
        async with self.layers.lock(key):
            version = self._version(key, number)
            statements = self._rules.add(version.statements, statement)
            self._check_revision(version, revision_id)
            return (await self.layers.set_policy(version, statements)).policy_revision

    @operation("GetLayerVersionPolicy", authorize=on_layer("lambda:GetLayerVersionPolicy"))
    async def get_layer_version_policy(
        self, ctx: Context, *, layer_name: str, version_number: int
    ) -> dict[str, Any]:
        key = layer_key(layer_name, ctx.account, ctx.region)
        version = self._version(key, version_number)
        if not version.statements:
            raise _no_policy()
        return {
            "Policy": resource_policy.text(version.statements),
            "RevisionId": version.policy_revision,
        }

    @operation(
        "RemoveLayerVersionPermission", authorize=on_layer("lambda:RemoveLayerVersionPermission")
    )
    async def remove_layer_version_permission(
        self,
        ctx: Context,
        *,
        layer_name: str,
        version_number: int,
        statement_id: str,
        revision_id: str | None = None,
    ) -> Answer:
        key = layer_key(layer_name, ctx.account, ctx.region)
        await self.core.whole(self._remove(key, version_number, statement_id, revision_id))
        return Answer(status=204)

    async def _remove(
        self, key: Key, number: int, statement_id: str, revision_id: str | None
    ) -> None:
        async with self.layers.lock(key):
            version = self._version(key, number)
            if not version.statements:
                raise _no_policy()
            rest = self._rules.remove(version.statements, statement_id)
            self._check_revision(version, revision_id)
            await self.layers.set_policy(version, rest)

    def _version(self, key: Key, number: int) -> LayerVersion:
        version = self.layers.version(key, number)
        if version is None:
            raise resource_not_found(f"Layer version {version_arn(key, number)} does not exist.")
        return version

    def _check_revision(self, version: LayerVersion, revision_id: str | None) -> None:
        if revision_id and revision_id != version.policy_revision:
            raise stale_revision("GetLayerPolicy")


def _no_policy() -> AwsError:
    return resource_not_found("No policy is associated with the given resource.")
