"""The permission that each operation needs, and the running of changes.

Source of actions, resources and condition keys: Service Authorization Reference, "Actions,
resources, and condition keys for AWS Identity and Access Management (IAM)".
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from boda.core.arn import iam_arn
from boda.core.errors import AwsError
from boda.gateway.asking import tag_keys
from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Authorize, Context, operation
from boda.services.iam.entities import Group, ManagedPolicy, Role, User
from boda.services.iam.store import IamStore

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

CONDITION_KEYS = [
    "iam:AssociatedResourceArn",
    "iam:PassedToService",
    "iam:PermissionsBoundary",
    "iam:PolicyARN",
    "iam:ResourceTag/",
    "iam:AWSServiceName",
    "iam:DelegationDuration",
    "iam:DelegationRequestOwner",
    "iam:FIDO-FIPS-140-2-certification",
    "iam:FIDO-FIPS-140-3-certification",
    "iam:FIDO-certification",
    "iam:NotificationChannel",
    "iam:OrganizationsPolicyId",
    "iam:RegisterSecurityKey",
    "iam:ServiceSpecificCredentialAgeDays",
    "iam:ServiceSpecificCredentialServiceName",
    "iam:TemplateArn",
]
"""Those from ``iam:AWSServiceName`` on are never present: no operation of boda supplies them."""

_NAME = {"user": "UserName", "group": "GroupName", "role": "RoleName"}


class IamOperations:
    """The base of every group of operations."""

    def __init__(self, store: IamStore) -> None:
        self.store = store


def change(name: str, *, authorize: Authorize | None = None) -> Callable[[F], F]:
    """Mark an operation that writes: it runs alone and to its end (IamStore.exclusively)."""

    def mark(method: F) -> F:
        @functools.wraps(method)
        async def run(self: IamOperations, ctx: Context, **given: Any) -> Any:
            return await self.store.exclusively(cast(Any, method)(self, ctx, **given))

        return cast(F, operation(name, authorize=authorize)(run))

    return mark


def on(kind: str, action: str) -> Authorize:
    """Authorise ``iam:<action>`` on the user, group, role or policy the call names.

    A call that names no user means the caller's own.
    """

    def needs(room: IamOperations, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        _no_lent_identity(room.store, ctx)
        yield _need(room.store, ctx, kind, action, params)

    return needs


def on_account(action: str) -> Authorize:
    """Authorise ``iam:<action>`` on the account as a whole."""

    def needs(room: IamOperations, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        _no_lent_identity(room.store, ctx)
        yield Need(f"iam:{action}")

    return needs


def listing(kind: str, action: str) -> Authorize:
    """Authorise a list of one kind of entity below a path."""

    def needs(room: IamOperations, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        _no_lent_identity(room.store, ctx)
        path = params.get("PathPrefix", "/")
        yield Need(f"iam:{action}", iam_arn(room.store.account, kind + path))

    return needs


def renaming(kind: str, action: str) -> Authorize:
    """Authorise a change of name or path for the old and for the new ARN."""

    def needs(room: IamOperations, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        _no_lent_identity(room.store, ctx)
        yield _need(room.store, ctx, kind, action, params)
        name = params.get(_NAME[kind], "")
        entity = _found(room.store, kind, name)
        path = params.get("NewPath", entity.path if entity is not None else "/")
        new = f"{kind}{path}{params.get(f'New{_NAME[kind]}', name)}"
        yield Need(f"iam:{action}", iam_arn(room.store.account, new))

    return needs


def _no_lent_identity(store: IamStore, ctx: Context) -> None:
    """Refuse credentials of GetSessionToken and GetFederationToken, as AWS does: temporary
    credentials must not make permanent ones."""
    if ctx.principal.kind in ("user", "root") and ctx.principal.access_key_id in store.sessions:
        raise AwsError(
            "InvalidClientTokenId", "The security token included in the request is invalid", 403
        )


def _need(store: IamStore, ctx: Context, kind: str, action: str, params: Mapping[str, Any]) -> Need:
    context: dict[str, str | Sequence[str]] = {}
    entity: User | Group | Role | ManagedPolicy | None
    if kind == "policy":
        name = params.get("PolicyName", "")
        made = f"policy{params.get('Path', '/')}{name}"
        arn = params.get("PolicyArn") or iam_arn(store.account, made)
        entity = store.policies.get(arn)
    else:
        name = params.get(_NAME[kind], "")
        entity = _found(store, kind, name)
        arn = iam_arn(store.account, f"{kind}{params.get('Path', '/')}{name}")
        if entity is not None:
            arn = entity.arn
        elif not name and kind == "user":
            arn = ctx.principal.policy_source or ctx.principal.arn
        if "PolicyArn" in params:
            context["iam:policyarn"] = params["PolicyArn"]
    bound = params.get("PermissionsBoundary") or getattr(entity, "boundary", "")
    if bound:
        context["iam:permissionsboundary"] = bound
    tags = dict(getattr(entity, "tags", ()))
    context.update({f"iam:ResourceTag/{key}": value for key, value in tags.items()})
    context.update(tag_keys.of_resource(tags))
    given = {tag["Key"]: tag["Value"] for tag in params.get("Tags", ())}
    context.update(tag_keys.of_request(given, params.get("TagKeys", ())))
    return Need(f"iam:{action}", arn, context=context)


def _found(store: IamStore, kind: str, name: str) -> User | Group | Role | None:
    entities: Mapping[str, User | Group | Role] = {
        "user": store.users,
        "group": store.groups,
        "role": store.roles,
    }[kind]  # type: ignore[assignment]
    return entities.get(name)
