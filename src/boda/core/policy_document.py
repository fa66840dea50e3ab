"""IAM policy documents: parsing, validation, compilation.

A malformed document never becomes a Policy. The messages are AWS's (``400 MalformedPolicyDocument``
of IAM; S3's for resource policies).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

from boda.core.arn import Arn, components, root_arn
from boda.core.conditions import Condition, Reader, parse_conditions
from boda.core.principal import Principal
from boda.core.wildcard import Pattern, VariablePattern

PolicyKind = Literal["identity", "managed", "resource", "trust"]

TRUST_ACTIONS = frozenset(
    {
        "sts:assumerole",
        "sts:assumerolewithsaml",
        "sts:assumerolewithwebidentity",
        "sts:setcontext",
        "sts:setsourceidentity",
        "sts:tagsession",
    }
)
"""The actions of a role's trust policy. It must allow them itself, in the same account too."""

_VERSIONS = ("2008-10-17", "2012-10-17")
_STATEMENT_KEYS = {
    "Sid",
    "Effect",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Principal",
    "NotPrincipal",
    "Condition",
}
_ACTION = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9*?_-]+")
_ACCOUNT = re.compile(r"\d{12}")
_UNIQUE_ID = re.compile(r"A(?:ID|RO)A[A-Z0-9]{12,}(?::.+)?")
_IAM_RESOURCES = (
    "user/",
    "federated-user/",
    "role/",
    "group/",
    "instance-profile/",
    "mfa/",
    "server-certificate/",
    "policy/",
    "sms-mfa/",
    "saml-provider/",
    "oidc-provider/",
    "report/",
    "access-report/",
)


class MalformedPolicy(ValueError):
    """The document is not a policy; the message is AWS's, fit for any protocol."""

    def __init__(self, message: str) -> None:
        # Messages quote the document, which may hold escaped control characters and half
        # surrogate pairs that neither XML nor UTF-8 can carry.
        super().__init__("".join(c if c.isprintable() else "?" for c in message))


class Grant(IntEnum):
    """How closely a resource policy's Principal names the caller."""

    NONE = 0
    ACCOUNT = 1
    """Only the account: its administrators decide by identity policies."""
    EVERYONE = 2
    IDENTITY = 3
    """The user, the role or the service."""
    SESSION = 4
    """The role session itself."""


@dataclass(frozen=True, slots=True)
class Principals:
    """The Principal element. aws: ARNs, account ids, unique ids; everyone: ``*`` among them.
    canonical: canonical ids of S3, which grant nothing here."""

    everyone: bool = False
    aws: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    federated: frozenset[str] = frozenset()
    canonical: frozenset[str] = frozenset()

    def grant(self, principal: Principal) -> Grant:
        if principal.kind == "service":
            if principal.arn in self.services:
                return Grant.IDENTITY
            return Grant.EVERYONE if self.everyone else Grant.NONE
        if principal.kind in ("user", "assumed-role"):
            session = principal.kind == "assumed-role"
            if principal.arn in self.aws or (session and principal.unique_id in self.aws):
                return Grant.SESSION if session else Grant.IDENTITY
            if principal.policy_source in self.aws or principal.owner_id in self.aws:
                return Grant.IDENTITY
        if self.everyone:
            return Grant.EVERYONE
        return Grant.ACCOUNT if self._names_account(principal) else Grant.NONE

    def exempts(self, principal: Principal) -> bool:
        """Return whether a Deny with these as its NotPrincipal exempts the principal.

        An account among them means its root user alone. Source: IAM User Guide, "AWS JSON policy
        elements: NotPrincipal".
        """
        grant = self.grant(principal)
        return grant > Grant.ACCOUNT or (grant is Grant.ACCOUNT and principal.kind == "root")

    def _names_account(self, principal: Principal) -> bool:
        account = principal.account
        return account in self.aws or root_arn(account) in self.aws


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, compiled.

    principals: None in identity policies. The ``not_`` flags turn an element into its Not form.
    """

    sid: str
    allow: bool
    actions: tuple[Pattern, ...]
    not_action: bool = False
    resources: tuple[VariablePattern, ...] | None = None
    not_resource: bool = False
    principals: Principals | None = None
    not_principal: bool = False
    conditions: tuple[Condition, ...] = ()

    def names(self, action: str) -> bool:
        """Return whether the statement covers the action. action: lower-case."""
        return any(pattern.matches(action) for pattern in self.actions) != self.not_action

    def applies(self, action: str, resource: str, reader: Reader) -> bool:
        """Return whether the statement applies to a request. action: lower-case."""
        if not self.names(action):
            return False
        if self.resources is not None and not self._covers(resource, reader):
            return False
        return all(condition.holds(reader) for condition in self.conditions)

    def _covers(self, resource: str, reader: Reader) -> bool:
        assert self.resources is not None
        answers = [template.matches(resource, reader.variable) for template in self.resources]
        if not self.not_resource:
            return any(answers)
        # A variable without a value must neither widen an Allow nor narrow a Deny.
        return not any((answer is None and self.allow) or answer for answer in answers)

    def grant(self, principal: Principal) -> Grant:
        if self.principals is None:
            return Grant.NONE
        if not self.not_principal:
            return self.principals.grant(principal)
        if self.allow:
            excepted = self.principals.grant(principal) is not Grant.NONE
        else:
            excepted = self.principals.exempts(principal)
        return Grant.NONE if excepted else Grant.EVERYONE


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """A parsed policy document. Two policies are equal only when they are the same object."""

    document: Mapping[str, Any]
    statements: tuple[Statement, ...] = ()

    @classmethod
    def parse(cls, document: str | Mapping[str, Any], kind: PolicyKind | None = None) -> Policy:
        """Parse a document. Raises MalformedPolicy with AWS's words.

        kind: adds the rules of identity policies (no Principal, a Resource), managed ones (also the
        current version of the language), resource policies (a Principal, a Resource) or role trust
        policies (a Principal, no Resource).
        """
        content = _decoded(document, kind)
        return cls(content, tuple(_DocumentParser(content, kind).statements()))

    @classmethod
    def stored(cls, document: str | Mapping[str, Any]) -> Policy:
        """Return a policy that was valid when it was stored.

        If a part of it is known only to another version of boda, it denies everything: the platform
        starts, and no permission is gained. Raises MalformedPolicy if it is no JSON.
        """
        content = _decoded(document, None)
        try:
            return cls.parse(content)
        except MalformedPolicy:
            return cls(content, cls.parse(_DENY_EVERYTHING).statements)


_DENY_EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"},
}
_SYNTAX = "Syntax errors in policy."
_NOT_JSON: Mapping[PolicyKind | None, str] = {
    None: _SYNTAX,
    "identity": _SYNTAX,
    "managed": _SYNTAX,
    "trust": "This policy contains invalid Json",
    "resource": "Policies must be valid JSON and the first byte must be '{'",
}


def _decoded(document: str | Mapping[str, Any], kind: PolicyKind | None) -> Mapping[str, Any]:
    content: Any = document
    if isinstance(document, str):
        try:
            content = json.loads(document)
        except (ValueError, RecursionError):
            raise MalformedPolicy(_NOT_JSON[kind]) from None
    if not isinstance(content, Mapping):
        raise MalformedPolicy(_NOT_JSON[kind])
    return content


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class _DocumentParser:
    def __init__(self, document: Mapping[str, Any], kind: PolicyKind | None) -> None:
        self._document = document
        self._managed = kind == "managed"
        self._kind = "identity" if self._managed else kind
        self._version = document.get("Version", _VERSIONS[0])

    def statements(self) -> Iterable[Statement]:
        document = self._document
        if set(document) - {"Version", "Id", "Statement"} or "Statement" not in document:
            raise MalformedPolicy(_SYNTAX)
        if not isinstance(self._version, str) or not isinstance(document.get("Id", ""), str):
            raise MalformedPolicy(_SYNTAX)
        if self._version not in _VERSIONS:
            raise MalformedPolicy(_SYNTAX)
        if self._managed and self._version != _VERSIONS[1]:
            raise MalformedPolicy("Policy document must be version 2012-10-17 or greater.")
        found = _listed(document["Statement"])
        if not found and self._kind == "resource":
            raise MalformedPolicy("Could not parse the policy: Statement is empty!")
        if not found or not all(isinstance(statement, dict) for statement in found):
            raise MalformedPolicy(_SYNTAX)
        parsed = [self._statement(statement) for statement in found]
        sids = [statement.sid for statement in parsed if statement.sid]
        if len(sids) != len(set(sids)):
            raise MalformedPolicy("Statement IDs (SID) in a single policy must be unique.")
        return parsed

    def _statement(self, raw: dict[str, Any]) -> Statement:
        if set(raw) - _STATEMENT_KEYS:
            raise MalformedPolicy(_SYNTAX)
        sid = raw.get("Sid", "")
        if not isinstance(sid, str):
            raise MalformedPolicy(_SYNTAX)
        if self._kind in ("identity", "trust") and not re.fullmatch("[0-9A-Za-z]*", sid):
            raise MalformedPolicy(
                "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the "
                "regular expression [0-9A-Za-z]*"
            )
        if raw.get("Effect") not in ("Allow", "Deny"):
            missing = self._kind == "resource" and "Effect" not in raw
            raise MalformedPolicy("Missing required field Effect" if missing else _SYNTAX)
        for element in ("Action", "Resource", "Principal"):
            if element in raw and f"Not{element}" in raw:
                raise MalformedPolicy(_SYNTAX)
        variables = self._version == _VERSIONS[1]
        return Statement(
            sid,
            raw["Effect"] == "Allow",
            tuple(self._actions(raw)),
            "NotAction" in raw,
            self._resources(raw, variables),
            "NotResource" in raw,
            self._principals(raw),
            "NotPrincipal" in raw,
            self._conditions(raw, variables),
        )

    def _actions(self, raw: dict[str, Any]) -> Iterable[Pattern]:
        actions = self._texts(raw, "Action")
        if not actions:
            raise MalformedPolicy(
                "Policy statement must contain actions."
                if self._kind != "resource"
                else "Missing required field Action"
            )
        for action in actions:
            if action != "*" and self._kind is not None:
                _check_action(action)
            if self._kind == "trust" and action.lower() not in TRUST_ACTIONS:
                raise MalformedPolicy("AssumeRole policy may only specify STS AssumeRole actions.")
            yield Pattern.parse(action, ignore_case=True)

    def _resources(
        self, raw: dict[str, Any], variables: bool
    ) -> tuple[VariablePattern, ...] | None:
        resources = self._texts(raw, "Resource")
        if self._kind == "trust":
            if resources is not None:
                raise MalformedPolicy("Has prohibited field Resource")
            return None
        if not resources:
            if self._kind == "resource":
                raise MalformedPolicy("Missing required field Resource")
            if self._kind == "identity" or resources is not None:
                raise MalformedPolicy("Policy statement must contain resources.")
            return None
        if self._kind == "identity":
            for resource in resources:
                _check_resource(resource)
        return tuple(VariablePattern(resource, variables=variables) for resource in resources)

    def _principals(self, raw: dict[str, Any]) -> Principals | None:
        value = raw.get("Principal", raw.get("NotPrincipal"))
        if "Principal" not in raw and "NotPrincipal" not in raw:
            if self._kind in ("trust", "resource"):
                raise MalformedPolicy("Missing required field Principal")
            return None
        if self._kind == "identity":
            raise MalformedPolicy("Policy document should not specify a principal.")
        if self._kind == "trust" and "NotPrincipal" in raw and raw["Effect"] == "Allow":
            raise MalformedPolicy("Allow with NotPrincipal is not allowed.")
        if value == "*":
            return Principals(everyone=True)
        if not isinstance(value, dict) or not value:
            raise MalformedPolicy(_SYNTAX)
        named: dict[str, frozenset[str]] = {}
        for kind, names in value.items():
            if kind not in ("AWS", "Service", "Federated", "CanonicalUser"):
                raise MalformedPolicy(_SYNTAX)
            listed = _listed(names)
            if not listed or not all(isinstance(name, str) and name for name in listed):
                raise MalformedPolicy(_SYNTAX)
            named[kind] = frozenset(listed)
        aws = named.get("AWS", frozenset())
        for name in aws:
            if name != "*" and not _is_aws_principal(name):
                raise MalformedPolicy(f'Invalid principal in policy: "AWS":"{name}"')
        return Principals(
            "*" in aws,
            aws - {"*"},
            named.get("Service", frozenset()),
            named.get("Federated", frozenset()),
            named.get("CanonicalUser", frozenset()),
        )

    def _conditions(self, raw: dict[str, Any], variables: bool) -> tuple[Condition, ...]:
        block = raw.get("Condition", {})
        if not isinstance(block, dict):
            raise MalformedPolicy(_SYNTAX)
        try:
            return tuple(parse_conditions(block, variables=variables))
        except ValueError:
            raise MalformedPolicy(_SYNTAX) from None

    @staticmethod
    def _texts(raw: dict[str, Any], element: str) -> list[str] | None:
        value = raw.get(element, raw.get(f"Not{element}"))
        if value is None:
            return None
        listed = _listed(value)
        if not all(isinstance(text, str) for text in listed):
            raise MalformedPolicy(_SYNTAX)
        return listed


def _check_action(action: str) -> None:
    if _ACTION.fullmatch(action):
        return
    if ":" not in action:
        raise MalformedPolicy(
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
        )
    if action.count(":") > 1:
        raise MalformedPolicy("Actions/Condition can contain only one colon.")
    vendor = action.partition(":")[0]
    if not re.fullmatch("[A-Za-z0-9-]+", vendor):
        raise MalformedPolicy(f"Vendor {vendor} is not valid")
    raise MalformedPolicy(_SYNTAX)


def _check_resource(resource: str) -> None:
    if resource == "*":
        return
    parts = components(resource)
    if parts[0] != "arn" or len(parts) == 1:
        raise MalformedPolicy(f'Resource {resource} must be in ARN format or "*".')
    partition = parts[1]
    if partition not in ("aws", "aws-cn", "aws-us-gov", "*") and "${" not in partition:
        raise MalformedPolicy(f'Partition "{partition}" is not valid for resource "{resource}".')
    if len(parts) < 6 and not resource.endswith("*"):
        raise MalformedPolicy("The policy failed legacy parsing")
    if len(parts) == 6 and parts[2] == "iam":
        if parts[3] not in ("", "*"):
            raise MalformedPolicy(f"IAM resource {resource} cannot contain region information.")
        path = parts[5]
        known = any(path.startswith(prefix) for prefix in _IAM_RESOURCES)
        if (
            not known
            and not path.startswith(("*", "$"))
            and path not in ("root",)
            and "*" not in (path.partition("/")[0])
        ):
            listed = ", ".join(_IAM_RESOURCES)
            raise MalformedPolicy(f'IAM resource path must either be "*" or start with {listed}.')


def _is_aws_principal(name: str) -> bool:
    if _ACCOUNT.fullmatch(name) or _UNIQUE_ID.fullmatch(name):
        return True
    arn = Arn.read(name)
    if arn is None or not _ACCOUNT.fullmatch(arn.account):
        return False
    if arn.service == "iam":
        return arn.resource == "root" or arn.resource.startswith(("user/", "role/"))
    return arn.service == "sts" and arn.resource.startswith(("assumed-role/", "federated-user/"))
