"""Decisions of the IAM policy language. Pure.

    Policy.parse(document)  -> Policy, raises MalformedPolicy (in policy_document.py)
    decide(question, identity=…, resource=…) -> Decision

Laws of this file:
  1. An explicit deny anywhere wins.
  2. Nothing is allowed unless a statement allows it.
  3. A decision names the condition keys it has read (``reads``), for a cache of decisions.

Source: IAM User Guide, "Policy evaluation logic".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from boda.core.arn import last_name
from boda.core.conditions import Reader
from boda.core.policy_document import TRUST_ACTIONS, Grant, MalformedPolicy, Policy
from boda.core.principal import Principal

__all__ = [
    "PRINCIPAL_KEY_PREFIXES",
    "TRUST_ACTIONS",
    "Decision",
    "MalformedPolicy",
    "Policy",
    "Question",
    "decide",
    "ever_allow",
    "principal_keys",
    "time_keys",
]


@dataclass(frozen=True, slots=True)
class Question:
    """Whether a principal may carry out an action on a resource.

    context: condition keys and their values, by lower-case names.
    """

    principal: Principal
    action: str
    resource: str
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)


Blocker = Literal["", "identity", "boundary", "session", "resource"]


@dataclass(frozen=True, slots=True)
class Decision:
    """explicit: a Deny statement applied. blocker: the kind of policy that denied, or that did not
    allow. reads: the condition keys that were read, lower-case."""

    allowed: bool
    explicit: bool = False
    blocker: Blocker = ""
    reads: frozenset[str] = frozenset()


def decide(
    question: Question,
    *,
    identity: Sequence[Policy] = (),
    boundary: Policy | None = None,
    session: Sequence[Policy] = (),
    resource: Policy | None = None,
    account: str = "",
) -> Decision:
    """Decide whether the principal is allowed.

    account: the account that owns the resource; the principal's own if empty. Across accounts both
    the identity side and the resource policy must allow.
    """
    reader = Reader(question.context)
    allowed, explicit, blocker = _decide(
        question, reader, identity, boundary, session, resource, account
    )
    return Decision(allowed, explicit, blocker, frozenset(reader.reads))


def ever_allow(policies: Iterable[Policy], action: str) -> bool:
    """Return whether identity policies allow the action on any resource, under any conditions."""
    lowered = action.lower()
    return any(
        statement.allow and statement.names(lowered)
        for policy in policies
        for statement in policy.statements
    )


def _decide(
    question: Question,
    reader: Reader,
    identity: Sequence[Policy],
    boundary: Policy | None,
    session: Sequence[Policy],
    resource: Policy | None,
    account: str,
) -> tuple[bool, bool, Blocker]:
    principal = question.principal
    action = question.action.lower()

    by_identity = _verdict(identity, action, question.resource, reader)
    if by_identity is False:
        return False, True, "identity"
    grant = _granted(resource, principal, action, question.resource, reader)
    if grant is None:
        return False, True, "resource"
    by_boundary = _verdict([boundary], action, question.resource, reader) if boundary else True
    if by_boundary is False:
        return False, True, "boundary"
    by_session = _verdict(session, action, question.resource, reader) if session else True
    if by_session is False:
        return False, True, "session"

    trust = action in TRUST_ACTIONS
    if principal.kind in ("anonymous", "service"):
        allowed = grant is not Grant.NONE and not (trust and principal.kind == "anonymous")
        return allowed, False, "" if allowed else "resource"

    missing: Blocker = ""
    if not by_identity and principal.kind != "root":
        missing = "identity"
    elif not by_boundary:
        missing = "boundary"
    elif not by_session:
        missing = "session"

    if (account or principal.account) != principal.account:
        if missing == "" and grant is Grant.NONE:
            missing = "resource"
        return missing == "", False, missing
    if trust and grant is Grant.NONE:
        return False, False, "resource"
    if missing == "" or grant is Grant.SESSION:
        return True, False, ""
    if grant in (Grant.IDENTITY, Grant.EVERYONE):
        # A grant to a user's ARN stands by itself. One to a role's ARN is bounded by the boundary,
        # and any grant to a caller with a session by the session's policies.
        bounded = by_session and (by_boundary or principal.kind == "user")
        if bounded:
            return True, False, ""
        if missing == "identity":
            missing = "boundary" if by_session else "session"
    return False, False, missing


def _verdict(policies: Iterable[Policy], action: str, resource: str, reader: Reader) -> bool | None:
    """Return False if denied, True if allowed, None if no statement applies."""
    verdict = None
    for policy in policies:
        for statement in policy.statements:
            if verdict and statement.allow:
                continue
            if statement.applies(action, resource, reader):
                if not statement.allow:
                    return False
                verdict = True
    return verdict


def _granted(
    policy: Policy | None, principal: Principal, action: str, resource: str, reader: Reader
) -> Grant | None:
    """Return the closest grant of a resource policy; None if it denies."""
    best = Grant.NONE
    if policy is None:
        return best
    for statement in policy.statements:
        grant = statement.grant(principal)
        if grant <= best and statement.allow:
            continue
        if grant is not Grant.NONE and statement.applies(action, resource, reader):
            if not statement.allow:
                return None
            best = grant
    return best


def principal_keys(principal: Principal) -> dict[str, str]:
    """Return the condition keys that follow from the caller alone, by lower-case names.

    Source: IAM User Guide, "AWS global condition context keys".
    """
    if principal.kind == "anonymous":
        return {
            "aws:principaltype": "Anonymous",
            "aws:principalaccount": "anonymous",
            "aws:userid": "anonymous",
        }
    if principal.kind == "service":
        return {
            "aws:principalisawsservice": "true",
            "aws:principalservicename": principal.arn,
            "aws:principalservicenameslist": principal.arn,
        }
    keys = {
        "aws:principalisawsservice": "false",
        "aws:principalaccount": principal.account,
        "aws:userid": principal.unique_id,
        # The role's ARN, not the session's, as on AWS.
        "aws:principalarn": principal.policy_source or principal.arn,
        "aws:principaltype": _PRINCIPAL_TYPES[principal.kind],
    }
    if principal.is_federated:
        keys["aws:principalarn"] = principal.arn
        keys["aws:principaltype"] = "FederatedUser"
    elif principal.kind == "user":
        keys["aws:username"] = last_name(principal.arn)
    if principal.issued_at is not None:
        issued = datetime.fromtimestamp(principal.issued_at, UTC)
        keys["aws:tokenissuetime"] = issued.strftime("%Y-%m-%dT%H:%M:%SZ")
        # There are no second factors here; long-lived keys have no such key at all.
        keys["aws:multifactorauthpresent"] = "false"
    if principal.function_arn:
        keys["lambda:sourcefunctionarn"] = principal.function_arn
    for key, value in principal.tags:
        keys[f"aws:principaltag/{key.lower()}"] = value
    return keys


def time_keys(now: float) -> dict[str, str]:
    """Return the condition keys of the time, by lower-case names. now: epoch seconds."""
    return {
        "aws:currenttime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aws:epochtime": str(int(now)),
    }


_PRINCIPAL_TYPES: Mapping[str, str] = {
    "root": "Account",
    "user": "User",
    "assumed-role": "AssumedRole",
}

PRINCIPAL_KEY_PREFIXES = (
    "aws:multifactorauth",
    "aws:principal",
    "aws:tokenissuetime",
    "aws:userid",
    "aws:username",
    "lambda:sourcefunctionarn",
)
"""Keys with these prefixes come from ``principal_keys`` only, never from a request."""
