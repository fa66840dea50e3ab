"""CreateAlias, GetAlias, ListAliases, UpdateAlias, DeleteAlias.

An alias points to a version, and with weights to a second one for a share of the calls; the invoke
path's own table chooses between them for each call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from boda.gateway.calling.operation import Answer, Context, operation
from boda.gateway.calling.paging import READABLE, Listing, Walk
from boda.invoke.function_table import LATEST
from boda.services.lambda_.access import on_function
from boda.services.lambda_.arn_pages import start
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import (
    conflict,
    constraint,
    invalid,
    not_found,
    resource_not_found,
    stale_revision,
)
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.records import Alias, Function
from boda.services.lambda_.scaling import provisioned
from boda.services.lambda_.scaling.provisioning import Provisioning, leaving
from boda.services.lambda_.versions.operations import unqualified


class AliasOperations:
    def __init__(self, core: LambdaCore, provisioning: Provisioning) -> None:
        self.core = core
        self._provisioning = provisioning

    @operation("CreateAlias", authorize=on_function("lambda:CreateAlias"))
    async def create_alias(
        self,
        ctx: Context,
        *,
        function_name: str,
        name: str,
        function_version: str,
        description: str | None = None,
        routing_config: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        identifier = unqualified(self.core, ctx, function_name)
        weights = _weights(routing_config)
        alias = Alias(name, function_version, description or "", weights, self.core.ids.uuid())
        return await self.core.whole(self._create(identifier, alias))

    async def _create(self, identifier: Identifier, alias: Alias) -> dict[str, Any]:
        core = self.core
        async with core.lock(identifier.key):
            function = core.find(identifier.key)
            if function is None:
                raise not_found(f"{identifier.arn}:{alias.version}")
            if alias.name in function.aliases:
                raise conflict(f"Alias already exists: {identifier.arn}:{alias.name}")
            _check(function, alias)
            await core.put_alias(function, alias)
            return _answer(function, alias)

    @operation("GetAlias", authorize=on_function("lambda:GetAlias"))
    async def get_alias(self, ctx: Context, *, function_name: str, name: str) -> dict[str, Any]:
        identifier = unqualified(self.core, ctx, function_name)
        function = self.core.find(identifier.key)
        alias = function.aliases.get(name) if function is not None else None
        if function is None or alias is None:
            raise resource_not_found(f"Cannot find alias arn: {identifier.arn}:{name}")
        return _answer(function, alias)

    @operation("ListAliases", authorize=on_function("lambda:ListAliases"), paged=READABLE)
    async def list_aliases(
        self,
        ctx: Context,
        *,
        function_name: str,
        function_version: str | None = None,
        marker: str | None = None,
    ) -> Listing:
        """Return aliases by name. function_version: only those that point to this version."""
        identifier = unqualified(self.core, ctx, function_name)
        function = self.core.function(identifier)
        first = start(marker, f"{function.arn}:")
        found = (
            alias
            for name, alias in sorted(function.aliases.items())
            if name >= first and function_version in (None, alias.version, *alias.weights)
        )
        return Walk(
            found,
            lambda alias: f"{function.arn}:{alias.name}",
            lambda alias: _answer(function, alias),
        )

    @operation("UpdateAlias", authorize=on_function("lambda:UpdateAlias"))
    async def update_alias(
        self,
        ctx: Context,
        *,
        function_name: str,
        name: str,
        function_version: str | None = None,
        description: str | None = None,
        routing_config: Mapping[str, Any] | None = None,
        revision_id: str | None = None,
    ) -> dict[str, Any]:
        """Replace the given members; the revision changes in any case (recorded)."""
        identifier = unqualified(self.core, ctx, function_name)
        given = {
            "version": function_version,
            "description": description,
            "weights": None if routing_config is None else _weights(routing_config),
        }
        changes = {member: value for member, value in given.items() if value is not None}
        return await self.core.whole(self._update(identifier, name, changes, revision_id))

    async def _update(
        self,
        identifier: Identifier,
        name: str,
        changes: Mapping[str, Any],
        revision_id: str | None,
    ) -> dict[str, Any]:
        core = self.core
        async with core.lock(identifier.key):
            function = core.find(identifier.key)
            alias = function.aliases.get(name) if function is not None else None
            if function is None or alias is None:
                raise resource_not_found(f"Alias not found: {identifier.arn}:{name}")
            if revision_id and revision_id != alias.revision_id:
                raise stale_revision()
            weighed = "weights" in changes
            if not weighed and leaving(function, name):
                alias = dataclasses.replace(alias, weights={})  # which are not the caller's
            alias = dataclasses.replace(alias, revision_id=core.ids.uuid(), **changes)
            _check(function, alias)
            provisioned.refuse_alias(function, alias)
            alias = await self._provisioning.move(function, alias, weighed=weighed)
            return _answer(function, alias)

    @operation("DeleteAlias", authorize=on_function("lambda:DeleteAlias"))
    async def delete_alias(self, ctx: Context, *, function_name: str, name: str) -> Answer:
        """Delete an alias; succeeds if it does not exist (recorded)."""
        identifier = unqualified(self.core, ctx, function_name)
        await self.core.whole(self._delete(identifier, name))
        return Answer(status=204)

    async def _delete(self, identifier: Identifier, name: str) -> None:
        async with self.core.lock(identifier.key):
            function = self.core.function(identifier)
            if name in function.aliases:
                await self.core.drop_alias(function, name)


def _weights(routing: Mapping[str, Any] | None) -> dict[str, float]:
    return dict((routing or {}).get("AdditionalVersionWeights") or {})


def _check(function: Function, alias: Alias) -> None:
    """Raises AwsError unless the alias points to existing versions."""
    if alias.version not in function.versions:
        raise not_found(f"{function.arn}:{alias.version}")
    if len(alias.weights) > 1:
        raise invalid("Number of items in AdditionalVersionWeights cannot be greater than 1")
    for version, weight in alias.weights.items():
        if not 0.0 <= weight <= 1.0:  # within the model's limits, but not a number
            raise constraint(
                f"{{{version}={weight}}}",
                "routingConfig.additionalVersionWeights",
                "Map value must satisfy constraint: [Member must have value less than or equal to "
                "1.0, Member must have value greater than or equal to 0.0, Member must not be "
                "null]",
            )
        if version == alias.version:
            raise invalid(
                f"Invalid function version {version}. Function version {version} is already "
                "included in routing configuration."
            )
        if alias.version == LATEST:
            raise invalid("$LATEST is not supported for an alias pointing to more than 1 version")
        if version not in function.versions:
            raise not_found(f"{function.arn}:{version}")


def _answer(function: Function, alias: Alias) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "AliasArn": f"{function.arn}:{alias.name}",
        "Name": alias.name,
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    }
    if alias.weights:
        answer["RoutingConfig"] = {"AdditionalVersionWeights": dict(alias.weights)}
    return answer
