"""AddPermission, GetPolicy, RemovePermission: the resource policy of a function or a version.

Statements are written as recorded from the service; the policy itself is kept parsed, in memory,
for the invoke path and the post office.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from boda.core import resource_policy
from boda.core.errors import AwsError
from boda.core.policy import MalformedPolicy
from boda.core.policy_principals import UnknownPrincipal
from boda.core.resource_policy import Statement
from boda.gateway.asking.tag_keys import Keys
from boda.gateway.calling.operation import Answer, Context, operation
from boda.invoke.function_table import LATEST
from boda.services.lambda_ import condition_keys
from boda.services.lambda_.access import on_function
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import (
    invalid,
    not_found,
    resource_not_found,
    stale_revision,
)
from boda.services.lambda_.identifiers import Identifier, is_alias, is_version
from boda.services.lambda_.policies.resource_policies import document
from boda.services.lambda_.records import Function
from boda.services.lambda_.statements import statement_rules

_BY_URL = "lambda:InvokeFunctionUrl"


def _of_new(_: Any, identifier: Identifier, params: Mapping[str, Any]) -> Keys:
    return condition_keys.of_grant(params.get("Principal"), params.get("FunctionUrlAuthType"))


def _of_old(group: Any, identifier: Identifier, params: Mapping[str, Any]) -> Keys:
    """Return the condition keys of the statement to be removed."""
    function = group.core.find(identifier.key)
    statements = function.policies.get(identifier.meant, ()) if function is not None else ()
    statement = resource_policy.find(statements, params["StatementId"])
    return condition_keys.of_statement(statement) if statement is not None else {}


class PermissionOperations:
    """The permissions to invoke a function, stored with the function."""

    def __init__(self, core: LambdaCore) -> None:
        self.core = core
        self._rules = statement_rules(core.quotas)

    @operation("AddPermission", authorize=on_function("lambda:AddPermission", _of_new))
    async def add_permission(
        self,
        ctx: Context,
        *,
        function_name: str,
        statement_id: str,
        action: str,
        principal: str,
        source_arn: str | None = None,
        source_account: str | None = None,
        event_source_token: str | None = None,
        function_url_auth_type: str | None = None,
        invoked_via_function_url: bool | None = None,
        principal_org_id: str | None = None,
        qualifier: str | None = None,
        revision_id: str | None = None,
    ) -> dict[str, Any]:
        identifier = self.core.identify(ctx, function_name, qualifier)
        self._refuse_latest(identifier)
        if function_url_auth_type is not None and action != _BY_URL:
            raise invalid(f"FunctionUrlAuthType is only supported for {_BY_URL} action")
        granted = resource_policy.named_principal(principal)
        if granted is None:
            raise _no_principal()
        conditions = {
            "ArnLike": {"AWS:SourceArn": source_arn},
            "StringEquals": {
                "AWS:SourceAccount": source_account,
                "lambda:FunctionUrlAuthType": function_url_auth_type,
                "aws:PrincipalOrgID": principal_org_id,
                "lambda:EventSourceToken": event_source_token,
            },
            "Bool": {
                "lambda:InvokedViaFunctionUrl": None
                if invoked_via_function_url is None
                else str(invoked_via_function_url).lower()
            },
        }
        statement = resource_policy.grant(
            statement_id, granted, action, identifier.named_arn, conditions
        )
        try:
            kept = ctx.policies.kept_document({"Statement": statement})["Statement"]
        except UnknownPrincipal:
            raise _no_principal() from None
        await self.core.whole(self._add(identifier, kept, revision_id))
        return {"Statement": orjson.dumps(statement).decode()}

    async def _add(
        self, identifier: Identifier, statement: Statement, revision_id: str | None
    ) -> None:
        async with self.core.lock(identifier.key):
            function = self.core.function(Identifier(*identifier.key))
            named = self._named(function, identifier)
            if revision_id and revision_id != function.revision_of(named):
                raise stale_revision("GetPolicy")
            statements = self._rules.add(function.policies.get(named, []), statement)
            try:
                await self.core.put_policy(function, named, statements)
            except MalformedPolicy as error:
                raise invalid(str(error)) from None

    @operation("GetPolicy", authorize=on_function("lambda:GetPolicy"))
    async def get_policy(
        self, ctx: Context, *, function_name: str, qualifier: str | None = None
    ) -> dict[str, Any]:
        identifier = self.core.identify(ctx, function_name, qualifier)
        function = self.core.find(identifier.key)
        named = identifier.meant
        statements = function.policies.get(named) if function is not None else None
        if function is None or not statements:
            raise resource_not_found("The resource you requested does not exist.")
        return {
            "Policy": ctx.policies.shown(document(function, named)),
            "RevisionId": function.revision_of(named),
        }

    @operation("RemovePermission", authorize=on_function("lambda:RemovePermission", _of_old))
    async def remove_permission(
        self,
        ctx: Context,
        *,
        function_name: str,
        statement_id: str,
        qualifier: str | None = None,
        revision_id: str | None = None,
    ) -> Answer:
        identifier = self.core.identify(ctx, function_name, qualifier)
        self._refuse_latest(identifier)
        await self.core.whole(self._remove(identifier, statement_id, revision_id))
        return Answer(status=204)

    async def _remove(
        self, identifier: Identifier, statement_id: str, revision_id: str | None
    ) -> None:
        async with self.core.lock(identifier.key):
            function = self.core.find(identifier.key)
            if function is None:
                raise resource_not_found(f"No policy found for: {identifier.arn}")
            named = self._named(function, identifier)
            present = function.policies.get(named, [])
            if not present:
                raise resource_not_found("No policy is associated with the given resource.")
            rest = self._rules.remove(present, statement_id)
            if revision_id and revision_id != function.revision_of(named):
                raise stale_revision()
            await self.core.put_policy(function, named, rest)

    def _named(self, function: Function, identifier: Identifier) -> str:
        """Return the qualifier under which the policy is stored. Raises AwsError if it does not
        exist."""
        named = identifier.meant
        if function.names(named):
            return named
        if is_alias(named) and not is_version(named):
            raise resource_not_found(f"Cannot find alias arn: {identifier.named_arn}")
        raise not_found(identifier.named_arn)

    def _refuse_latest(self, identifier: Identifier) -> None:
        if identifier.qualifier == LATEST:
            raise invalid("We currently do not support adding policies for $LATEST.")


def _no_principal() -> AwsError:
    return invalid("The provided principal was invalid. Please check the principal and try again.")
