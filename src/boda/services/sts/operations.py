"""The operations of STS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from boda.core.arn import Arn, build
from boda.core.errors import AwsError
from boda.gateway.asking import tag_keys
from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Context, operation
from boda.gateway.signing.identities import Sessions
from boda.gateway.signing.identity import Credential
from boda.services.sts import rules


def _anybody(_group: Any, ctx: Context, _params: Mapping[str, Any]) -> Iterable[Need]:
    """Require no permission, only an identity."""
    if ctx.principal.kind == "anonymous":
        raise AwsError("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
    return ()


def _role(group: TokenOperations, _ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
    """Yield the needs of AssumeRole: the caller's permission, with the role's trust policy. A
    missing role is refused in the same words, so that its absence is not revealed."""
    arn = rules.role_arn(params["RoleArn"])
    role = group.sessions.role(arn)
    context: dict[str, str | Sequence[str]] = {"sts:rolesessionname": params["RoleSessionName"]}
    if "ExternalId" in params:
        context["sts:externalid"] = params["ExternalId"]
    tags = rules.session_tags(params.get("Tags", ()))
    context.update(tag_keys.of_request(dict(tags)))
    if params.get("TransitiveTagKeys"):
        context["sts:transitivetagkeys"] = list(params["TransitiveTagKeys"])
    owned = dict(role.tags) if role is not None else {}
    context.update({f"iam:ResourceTag/{key}": value for key, value in owned.items()})
    context.update(tag_keys.of_resource(owned))
    trust = role.trust if role is not None else None
    owner = Arn.parse(arn).account
    yield Need("sts:AssumeRole", arn, trust, context, owner)
    if tags:
        yield Need("sts:TagSession", arn, trust, context, owner)


def _federated(group: TokenOperations, _ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
    arn = build("sts", "", group.sessions.account, f"federated-user/{params['Name']}")
    tags = tag_keys.of_request(dict(rules.session_tags(params.get("Tags", ()))))
    yield Need("sts:GetFederationToken", arn, context=tags)
    if tags:
        yield Need("sts:TagSession", arn, context=tags)


class TokenOperations:
    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    @operation("GetCallerIdentity", authorize=_anybody)
    async def get_caller_identity(self, ctx: Context) -> dict[str, Any]:
        principal = ctx.principal
        return {
            "UserId": principal.unique_id,
            "Account": principal.account,
            "Arn": principal.arn,
        }

    @operation("GetAccessKeyInfo")
    async def get_access_key_info(self, ctx: Context, *, access_key_id: str) -> dict[str, Any]:
        account = self.sessions.account_of_key(access_key_id)
        if account is None:
            raise rules.invalid(f"The access key {access_key_id} is not known here.")
        return {"Account": account}

    @operation("AssumeRole", authorize=_role)
    async def assume_role(
        self,
        ctx: Context,
        *,
        role_arn: str,
        role_session_name: str,
        policy_arns: Sequence[Mapping[str, str]] = (),
        policy: str | None = None,
        duration_seconds: int | None = None,
        tags: Sequence[Mapping[str, str]] = (),
        transitive_tag_keys: Sequence[str] = (),
        external_id: str | None = None,
    ) -> dict[str, Any]:
        """Return credentials of a role. external_id is decided by the trust policy (``_role``)."""
        role = self.sessions.role(role_arn)
        if role is None or ":federated-user/" in ctx.principal.arn:
            # Federated users cannot assume roles, whatever their policies allow.
            raise _refused(ctx, role_arn)
        former = self.sessions.session(ctx.principal.access_key_id)
        chained = ctx.principal.kind == "assumed-role"
        duration_s = rules.role_duration(duration_seconds, role.max_session_s, chained=chained)
        texts, arns = rules.session_policies(ctx, self.sessions, policy, policy_arns)
        given, transitive = rules.inherited(
            rules.session_tags(tags),
            transitive_tag_keys,
            former.tags if former else (),
            former.transitive if former else (),
        )
        packed = rules.packed_size(texts, arns, given)
        try:
            credential = await self.sessions.open_role_session(
                role_arn,
                role_session_name,
                duration_s,
                policies=texts,
                policy_arns=arns,
                tags=given,
                transitive=transitive,
            )
        except LookupError:
            raise _refused(ctx, role_arn) from None
        return {
            "Credentials": _shown(credential),
            "AssumedRoleUser": {
                "AssumedRoleId": credential.principal.unique_id,
                "Arn": credential.principal.arn,
            },
            **({"PackedPolicySize": packed} if texts or arns or given else {}),
        }

    @operation("GetSessionToken", authorize=_anybody)
    async def get_session_token(
        self, ctx: Context, *, duration_seconds: int | None = None
    ) -> dict[str, Any]:
        _long_lived(self.sessions, ctx, "GetSessionToken")
        root = ctx.principal.kind == "root"
        duration_s = rules.token_duration(duration_seconds, root=root)
        return {
            "Credentials": _shown(await self.sessions.open_user_session(ctx.principal, duration_s))
        }

    @operation("GetFederationToken", authorize=_federated)
    async def get_federation_token(
        self,
        ctx: Context,
        *,
        name: str,
        policy: str | None = None,
        policy_arns: Sequence[Mapping[str, str]] = (),
        duration_seconds: int | None = None,
        tags: Sequence[Mapping[str, str]] = (),
    ) -> dict[str, Any]:
        _long_lived(self.sessions, ctx, "GetFederationToken")
        root = ctx.principal.kind == "root"
        duration_s = rules.token_duration(duration_seconds, root=root)
        texts, arns = rules.session_policies(ctx, self.sessions, policy, policy_arns)
        given = rules.session_tags(tags)
        packed = rules.packed_size(texts, arns, given)
        credential = await self.sessions.open_federated_session(
            ctx.principal, name, duration_s, policies=texts, policy_arns=arns, tags=given
        )
        return {
            "Credentials": _shown(credential),
            "FederatedUser": {
                "FederatedUserId": credential.principal.unique_id,
                "Arn": credential.principal.arn,
            },
            "PackedPolicySize": packed,
        }


def _long_lived(sessions: Sessions, ctx: Context, operation_name: str) -> None:
    principal = ctx.principal
    session = principal.kind not in ("root", "user") or sessions.session(principal.access_key_id)
    if session:
        raise AwsError(
            "AccessDenied", f"Cannot call {operation_name} with session credentials", 403
        )


def _refused(ctx: Context, role_arn: str) -> AwsError:
    return AwsError(
        "AccessDenied",
        f"User: {ctx.principal.arn} is not authorized to perform: sts:AssumeRole on resource: "
        f"{role_arn}",
        403,
    )


def _shown(credential: Credential) -> dict[str, Any]:
    assert credential.expires_at is not None
    return {
        "AccessKeyId": credential.access_key_id,
        "SecretAccessKey": credential.secret,
        "SessionToken": credential.session_token,
        "Expiration": datetime.fromtimestamp(credential.expires_at, UTC),
    }
