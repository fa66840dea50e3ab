"""IAM's rules: names that must exist, documents, tags, limits; in AWS's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from boda.core import tags
from boda.core.arn import components
from boda.core.errors import AwsError
from boda.core.policy import MalformedPolicy, Policy
from boda.core.policy_document import PolicyKind
from boda.core.policy_principals import UnknownPrincipal
from boda.gateway.calling.operation import Context
from boda.services.iam.entities import (
    AccessKey,
    Actor,
    Document,
    Group,
    ManagedPolicy,
    Role,
    Tags,
    User,
)
from boda.services.iam.store import IamStore

T = TypeVar("T")

ATTACHED_LIMIT = 10
GROUPS_PER_USER = 10
KEYS_PER_USER = 2
VERSIONS_PER_POLICY = 5
MANAGED_SIZE = 6_144
TRUST_SIZE = 2_048
INLINE_SIZE: Mapping[str, int] = {"user": 2_048, "group": 5_120, "role": 10_240}


def no_such(message: str) -> AwsError:
    return AwsError("NoSuchEntity", message, 404)


def invalid(message: str) -> AwsError:
    return AwsError("ValidationError", message, 400)


def refused_marker(_name: str, _marker: str) -> AwsError:
    return invalid("Invalid Marker.")


def conflict(message: str) -> AwsError:
    return AwsError("DeleteConflict", message, 409)


def exceeded(message: str) -> AwsError:
    return AwsError("LimitExceeded", message, 409)


def exists(message: str) -> AwsError:
    return AwsError("EntityAlreadyExists", message, 409)


def user(store: IamStore, name: str) -> User:
    return _named(store.users, "user", name)


def group(store: IamStore, name: str) -> Group:
    return _named(store.groups, "group", name)


def role(store: IamStore, name: str) -> Role:
    return _named(store.roles, "role", name)


def actor(store: IamStore, kind: str, name: str) -> Actor:
    """Return the user, group or role of that name."""
    if kind == "user":
        return user(store, name)
    return group(store, name) if kind == "group" else role(store, name)


def _named(found: Mapping[str, T], kind: str, name: str) -> T:
    entity = found.get(name)
    if entity is None:
        raise no_such(f"The {kind} with name {name} cannot be found.")
    return entity


def fresh_name(kind: str, name: str, taken: Iterable[str]) -> None:
    """Refuse a name that differs from an existing one in case only."""
    if name.lower() in (other.lower() for other in taken):
        raise exists(f"{kind} with name {name} already exists.")


def parsed_arn(arn: str) -> str:
    """Return a policy's ARN. Raises AwsError ValidationError."""
    parts = components(arn)
    if len(parts) != 6 or parts[0] != "arn":
        raise invalid("Invalid ARN:  Could not be parsed!")
    if parts[2] != "iam" or not parts[5].startswith("policy/"):
        raise invalid(f"ARN {arn} is not valid.")
    return arn


def policy(store: IamStore, arn: str) -> ManagedPolicy:
    found = store.policies.get(parsed_arn(arn))
    if found is None:
        raise no_such(f"Policy {arn} was not found.")
    return found


def attachable(store: IamStore, arn: str) -> ManagedPolicy:
    found = store.policies.get(parsed_arn(arn))
    if found is None:
        raise no_such(f"Policy {arn} does not exist or is not attachable.")
    return found


def boundary(store: IamStore, arn: str) -> str:
    """Return the ARN of a policy that may be a permissions boundary."""
    if parsed_arn(arn) not in store.policies:
        raise no_such(f"Scope ARN: {arn} does not exist or is not attachable.")
    return arn


def own_policy(store: IamStore, arn: str) -> ManagedPolicy:
    """Return a policy that the account may change."""
    found = policy(store, arn)
    if found.account != store.account:
        raise AwsError(
            "AccessDenied", f"{arn} is managed by AWS and cannot be changed or deleted.", 403
        )
    return found


def access_key(store: IamStore, owner: str, access_key_id: str) -> AccessKey:
    key = store.keys.get(access_key_id)
    if key is None or key.owner != owner:
        raise no_such(f"The Access Key with id {access_key_id} cannot be found.")
    return key


def document(ctx: Context, text: str, kind: PolicyKind) -> Document:
    try:
        policy = Policy.parse(text, kind)
    except MalformedPolicy as error:
        raise AwsError("MalformedPolicyDocument", str(error), 400) from None
    ctx.policies.admit(ctx.service, ctx.operation, policy)
    return Document(text, policy)


def trust(ctx: Context, text: str) -> Document:
    """Return the stored form of a role trust policy: its principals exist, the account's own by
    their ids."""
    given = document(ctx, text, "trust")
    try:
        kept = ctx.policies.kept(text)
    except UnknownPrincipal as error:
        raise AwsError("MalformedPolicyDocument", str(error), 400) from None
    if given.size > TRUST_SIZE:
        raise exceeded(f"Cannot exceed quota for ACLSizePerRole: {TRUST_SIZE}")
    return Document.read(kept)


_TAGS = tags.TagRules(
    reserved=lambda _key, _value: AwsError(
        "InvalidInput", "aws: prefixed tag key names are not allowed for external use."
    ),
    too_many=lambda: exceeded("The number of tags has reached the maximum limit."),
    repeated=lambda _key, _value: AwsError(
        "InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive."
    ),
    same=str.lower,
)


def tag_list(given: Sequence[Mapping[str, str]] | None) -> Tags:
    """Return the tags of a request, each key once."""
    return tuple(_TAGS.read(tags.pairs(given or ())).items())


def tagged(former: Tags, given: Tags) -> Tags:
    """Return the tags after adding: a key in another case replaces the old one."""
    return tuple(_TAGS.add(dict(former), dict(given)).items())


def untagged(former: Tags, keys: Sequence[str]) -> Tags:
    return tuple(_TAGS.remove(dict(former), keys).items())
