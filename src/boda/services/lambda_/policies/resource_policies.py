"""PutResourcePolicy, GetResourcePolicy, DeleteResourcePolicy: a function's policy as a whole.

The same policy that AddPermission adds to, statement by statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boda.core import resource_policy
from boda.core.arn import Arn
from boda.core.policy import MalformedPolicy
from boda.core.policy_principals import UnknownPrincipal
from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Answer, Authorize, Context, operation
from boda.invoke.function_table import LATEST
from boda.services.lambda_.access import CoreUser, need
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import invalid, resource_not_found, stale_revision
from boda.services.lambda_.identifiers import Identifier, no_such_qualifier, other_region
from boda.services.lambda_.records import Function
from boda.services.lambda_.statements import statement_rules

HEAD = "policy-head"
"""Version and Id of a policy that was put as a whole, if they are not the usual ones."""

_ABSENT = "The resource you requested does not exist."


def _on_policy(action: str) -> Authorize:
    def needs(group: CoreUser, ctx: Context, params: Mapping[str, Any]) -> tuple[Need, ...]:
        return (need(group.core, action, _identifier(ctx, params["ResourceArn"])),)

    return needs


class ResourcePolicyOperations:
    def __init__(self, core: LambdaCore) -> None:
        self.core = core

    @operation("PutResourcePolicy", authorize=_on_policy("lambda:PutResourcePolicy"))
    async def put_resource_policy(
        self, ctx: Context, *, resource_arn: str, policy: str, revision_id: str | None = None
    ) -> dict[str, Any]:
        """Replace the whole policy."""
        identifier = _identifier(ctx, resource_arn)
        if identifier.qualifier == LATEST:
            raise invalid("We currently do not support adding policies for $LATEST.")
        head, statements = _parsed(policy, identifier)
        statement_rules(self.core.quotas).check_size(policy)
        try:
            parsed = resource_policy.parsed(statements)
            kept = ctx.policies.kept_document({"Statement": statements})["Statement"]
        except (MalformedPolicy, UnknownPrincipal) as error:
            raise invalid(str(error)) from None
        if parsed is not None:
            ctx.policies.admit(ctx.service, ctx.operation, parsed)
        return await self.core.whole(self._put(ctx, identifier, head, kept, revision_id))

    async def _put(
        self,
        ctx: Context,
        identifier: Identifier,
        head: dict[str, str],
        statements: list[dict[str, Any]],
        revision_id: str | None,
    ) -> dict[str, Any]:
        core, named = self.core, identifier.meant
        async with core.lock(identifier.key):
            function = self._function(identifier)
            if revision_id is not None and revision_id != _revision(function, named):
                raise stale_revision("GetResourcePolicy")
            if function.attached.get(HEAD, {}).get(named) != head:
                await core.attach(function, HEAD, named, head)
            if function.policies.get(named) != statements:
                await core.put_policy(function, named, statements)
            return _answer(ctx, function, named)

    @operation("GetResourcePolicy", authorize=_on_policy("lambda:GetResourcePolicy"))
    async def get_resource_policy(self, ctx: Context, *, resource_arn: str) -> dict[str, Any]:
        identifier = _identifier(ctx, resource_arn)
        function, named = self.core.find(identifier.key), identifier.meant
        if function is None or not function.policies.get(named):
            raise resource_not_found(_ABSENT)
        return _answer(ctx, function, named)

    @operation("DeleteResourcePolicy", authorize=_on_policy("lambda:DeleteResourcePolicy"))
    async def delete_resource_policy(
        self, ctx: Context, *, resource_arn: str, revision_id: str | None = None
    ) -> Answer:
        await self.core.whole(self._delete(_identifier(ctx, resource_arn), revision_id))
        return Answer(status=204)

    async def _delete(self, identifier: Identifier, revision_id: str | None) -> None:
        core, named = self.core, identifier.meant
        async with core.lock(identifier.key):
            function = core.find(identifier.key)
            if function is None or not function.policies.get(named):
                raise resource_not_found(_ABSENT)
            if revision_id is not None and revision_id != _revision(function, named):
                raise stale_revision("GetResourcePolicy")
            await core.put_policy(function, named, [])
            if named in function.attached.get(HEAD, {}):
                await core.attach(function, HEAD, named, None)

    def _function(self, identifier: Identifier) -> Function:
        function = self.core.find(identifier.key)
        if function is None or not function.names(identifier.meant):
            raise no_such_qualifier(identifier)
        return function


def document(function: Function, named: str) -> str:
    """Return the policy of a qualifier as JSON."""
    head = function.attached.get(HEAD, {}).get(named)
    return resource_policy.text(function.policies.get(named, []), head)


def _identifier(ctx: Context, resource: str) -> Identifier:
    """Return the function of an ARN, which the model has validated. Raises AwsError."""
    arn = Arn.cut(resource)
    kind, *rest = arn.words
    if kind != "function":
        raise resource_not_found(_ABSENT)  # there are no custom runtimes here
    if arn.region != ctx.region:
        raise other_region(arn.region, ctx.region)
    qualifier = rest[1] if len(rest) > 1 else None
    return Identifier(arn.account, arn.region, rest[0], qualifier)


def _parsed(text: str, identifier: Identifier) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Return head and statements of a policy about this function. Raises AwsError."""
    content = resource_policy.read(text)
    if content is None:
        raise invalid("The policy is not valid JSON.")
    statements = resource_policy.statements_of(content) if isinstance(content, dict) else []
    if not statements:
        raise invalid("The policy has no statements.")
    if not all(isinstance(each, dict) for each in statements):
        raise invalid("The policy's statements are not objects.")
    head = {name: content[name] for name in ("Version", "Id") if name in content}
    if content.keys() - {"Version", "Id", "Statement"} or not all(
        isinstance(value, str) for value in head.values()
    ):
        raise invalid("The policy has members that are not those of a policy.")
    if head.get("Version", "2012-10-17") not in ("2012-10-17", "2008-10-17"):
        raise invalid("The policy's Version is not one of 2012-10-17 and 2008-10-17.")
    sids = [each["Sid"] for each in statements if "Sid" in each]
    if len(set(map(str, sids))) != len(sids):
        raise invalid("Statement ids of a policy must be unique.")
    for statement in statements:
        if "Principal" not in statement:
            raise invalid("Every statement of a resource policy needs a Principal.")
        _check_resource(statement.get("Resource"), identifier)
    return head, statements


def _check_resource(resource: Any, identifier: Identifier) -> None:
    named = resource if isinstance(resource, list) else [resource]
    if not named or not all(each == identifier.named_arn for each in named):
        raise invalid(f"The Resource of every statement must be {identifier.named_arn}.")


def _revision(function: Function, named: str) -> str:
    alias = function.aliases.get(named)
    return function.versions[named].revision_id if alias is None else alias.revision_id


def _answer(ctx: Context, function: Function, named: str) -> dict[str, Any]:
    return {
        "Policy": ctx.policies.shown(document(function, named)),
        "RevisionId": _revision(function, named),
    }
