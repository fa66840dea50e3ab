"""AddLayerVersionPermission, GetLayerVersionPolicy, RemoveLayerVersionPermission."""

from __future__ import annotations

from typing import Any

import orjson

from boda.core.errors import AwsError
from boda.gateway.calling.operation import Answer, Context, operation
from boda.services.lambda_ import records
from boda.services.lambda_.core import Core
from boda.services.lambda_.errors import conflict, resource_not_found, stale_revision
from boda.services.lambda_.layers.operations import on_layer
from boda.services.lambda_.layers.records import LayerVersion
from boda.services.lambda_.layers.store import Layers, layer_key, version_arn
from boda.services.lambda_.records import Key


class LayerPermissionOperations:
    """Who may use a layer version, said on the layer's side."""

    def __init__(self, core: Core, layers: Layers) -> None:
        self.core = core
        self.layers = layers

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
        statement: dict[str, Any] = {
            "Sid": statement_id,
            "Effect": "Allow",
            "Principal": _principal(principal),
            "Action": action,
            "Resource": version_arn(key, version_number),
        }
        if organization_id:
            statement["Condition"] = {"StringEquals": {"aws:PrincipalOrgID": organization_id}}
        revision = await self.core.whole(self._add(key, version_number, statement, revision_id))
        return {"Statement": orjson.dumps(statement).decode(), "RevisionId": revision}

    async def _add(
        self, key: Key, number: int, statement: dict[str, Any], revision_id: str | None
    ) -> str:
        async with self.layers.lock(key):
            version = self._version(key, number)
            sid = statement["Sid"]
            if any(other["Sid"] == sid for other in version.statements):
                raise conflict(
                    f"The statement id ({sid}) provided already exists. Please provide a new "
                    "statement id, or remove the existing statement."
                )
            self._check_revision(version, revision_id)
            statements = [*map(dict, version.statements), statement]
            length = len(orjson.dumps(records.document(statements)))
            limit = self.core.quotas.policy_bytes
            if length > limit:
                raise AwsError(
                    "PolicyLengthExceededException",
                    f"The final policy size ({length}) is bigger than the limit ({limit}).",
                    400,
                    Type="User",
                )
            return (await self.layers.set_policy(version, statements)).policy_revision

    @operation("GetLayerVersionPolicy", authorize=on_layer("lambda:GetLayerVersionPolicy"))
    async def get_layer_version_policy(
        self, ctx: Context, *, layer_name: str, version_number: int
    ) -> dict[str, Any]:
        key = layer_key(layer_name, ctx.account, ctx.region)
        version = self._version(key, version_number)
        if not version.statements:
            raise _no_policy()
        document = records.document([dict(statement) for statement in version.statements])
        return {
            "Policy": orjson.dumps(document).decode(),
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
            rest = [dict(other) for other in version.statements if other["Sid"] != statement_id]
            if len(rest) == len(version.statements):
                raise resource_not_found(
                    f"Statement {statement_id} is not found in resource policy."
                )
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


def _principal(text: str) -> Any:
    """As it stands in a statement; the model's pattern lets only accounts and all pass."""
    if text == "*":
        return "*"
    return {"AWS": f"arn:aws:iam::{text}:root" if text.isdigit() else text}


def _no_policy() -> AwsError:
    return resource_not_found("No policy is associated with the given resource.")
