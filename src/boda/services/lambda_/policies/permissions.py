"""AddPermission, GetPolicy, RemovePermission: the resource policy of a function or a version.

Statements are written as the service was recorded to write them; the policy itself is kept
parsed, in memory, for the invoke path and the post office.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from boda.core.arn import Arn
from boda.core.errors import AwsError
from boda.core.policy import MalformedPolicy
from boda.core.policy_principals import UnknownPrincipal
from boda.gateway.asking.tag_keys import Keys
from boda.gateway.calling.operation import Answer, Context, operation
from boda.invoke.catalogue import LATEST
from boda.services.lambda_ import condition_keys, records
from boda.services.lambda_.access import on_function
from boda.services.lambda_.core import Core
from boda.services.lambda_.errors import (
    conflict,
    invalid,
    not_found,
    resource_not_found,
    stale_revision,
)
from boda.services.lambda_.identifiers import Identifier, is_alias, is_version
from boda.services.lambda_.policies.resource_policies import document
from boda.services.lambda_.records import Function

_BY_URL = "lambda:InvokeFunctionUrl"
_ACCOUNT = re.compile(r"\d{12}")
_SERVICE = re.compile(r"[a-z0-9][a-z0-9.-]*\.(amazonaws\.com(\.cn)?|amazon\.com)")


def _of_new(_: Any, identifier: Identifier, params: Mapping[str, Any]) -> Keys:
    return condition_keys.of_grant(params.get("Principal"), params.get("FunctionUrlAuthType"))


def _of_old(group: Any, identifier: Identifier, params: Mapping[str, Any]) -> Keys:
    """Of the statement that would go."""
    function = group.core.find(identifier.key)
    statements = function.policies.get(identifier.meant, ()) if function is not None else ()
    for statement in statements:
        if statement.get("Sid") == params["StatementId"]:
            return condition_keys.of_statement(statement)
    return {}


class PermissionOperations:
    """Who may invoke what, said on the function's side."""

    def __init__(self, core: Core) -> None:
        self.core = core

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
        statement: dict[str, Any] = {
            "Sid": statement_id,
            "Effect": "Allow",
            "Principal": _principal(principal),
            "Action": action,
            "Resource": identifier.named_arn,
        }
        conditions = _conditions(
            ArnLike={"AWS:SourceArn": source_arn},
            StringEquals={
                "AWS:SourceAccount": source_account,
                "lambda:FunctionUrlAuthType": function_url_auth_type,
                "aws:PrincipalOrgID": principal_org_id,
                "lambda:EventSourceToken": event_source_token,
            },
            Bool={
                "lambda:InvokedViaFunctionUrl": None
                if invoked_via_function_url is None
                else str(invoked_via_function_url).lower()
            },
        )
        if conditions:
            statement["Condition"] = conditions
        try:
            kept = ctx.policies.kept_document({"Statement": statement})["Statement"]
        except UnknownPrincipal:
            raise _no_principal() from None
        await self.core.whole(self._add(identifier, kept, revision_id))
        return {"Statement": orjson.dumps(statement).decode()}

    async def _add(
        self, identifier: Identifier, statement: dict[str, Any], revision_id: str | None
    ) -> None:
        async with self.core.lock(identifier.key):
            function = self.core.function(Identifier(*identifier.key))
            named = self._named(function, identifier)
            if revision_id and revision_id != function.revision_of(named):
                raise stale_revision("GetPolicy")
            present = function.policies.get(named, [])
            sid = statement["Sid"]
            if any(other.get("Sid") == sid for other in present):
                raise conflict(
                    f"The statement id ({sid}) provided already exists. Please provide a new "
                    "statement id, or remove the existing statement."
                )
            statements = [*present, statement]
            length = len(orjson.dumps(records.document(statements)))
            limit = self.core.quotas.policy_bytes
            if length > limit:
                raise AwsError(
                    "PolicyLengthExceededException",
                    f"The final policy size ({length}) is bigger than the limit ({limit}).",
                    400,
                    Type="User",
                )
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
            rest = [other for other in present if other.get("Sid") != statement_id]
            if len(rest) == len(present):
                raise resource_not_found(
                    f"Statement {statement_id} is not found in resource policy."
                )
            if revision_id and revision_id != function.revision_of(named):
                raise stale_revision()
            await self.core.put_policy(function, named, rest)

    def _named(self, function: Function, identifier: Identifier) -> str:
        """The qualifier under which the policy is kept; AwsError where it names nothing."""
        named = identifier.meant
        if function.names(named):
            return named
        if is_alias(named) and not is_version(named):
            raise resource_not_found(f"Cannot find alias arn: {identifier.named_arn}")
        raise not_found(identifier.named_arn)

    def _refuse_latest(self, identifier: Identifier) -> None:
        if identifier.qualifier == LATEST:
            raise invalid("We currently do not support adding policies for $LATEST.")


def _principal(text: str) -> Any:
    """A principal as it stands in a statement. AwsError where it is none."""
    if text == "*":
        return "*"
    if _ACCOUNT.fullmatch(text):
        return {"AWS": f"arn:aws:iam::{text}:root"}
    if text.startswith("arn:"):
        try:
            arn = Arn.parse(text)
        except ValueError:
            arn = None
        if arn is not None and arn.service in ("iam", "sts") and _ACCOUNT.fullmatch(arn.account):
            return {"AWS": text}
    elif _SERVICE.fullmatch(text):
        return {"Service": text}
    raise _no_principal()


def _no_principal() -> AwsError:
    return invalid("The provided principal was invalid. Please check the principal and try again.")


def _conditions(**operators: dict[str, str | None]) -> dict[str, dict[str, str]]:
    """Operators with their keys, those that were given."""
    given = {
        name: {key: value for key, value in keys.items() if value is not None}
        for name, keys in operators.items()
    }
    return {name: keys for name, keys in given.items() if keys}
