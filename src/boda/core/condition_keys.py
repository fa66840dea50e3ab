"""The condition keys that the platform supplies, and the policies that deny on any other.

A Deny on a key that is never supplied would have no effect, against the belief of its author. So
such a policy is refused when it is put. A key counts as supplied if the platform supplies it
whenever AWS does. That holds too for keys of circumstances that do not occur here: requests through
a VPC endpoint, members of an organization, second factors. There the key is rightly absent.

Source: IAM User Guide, "AWS global condition context keys".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from boda.core.policy_document import Policy
from boda.core.wildcard import Pattern, Variable, tokens

PER_REQUEST = frozenset(
    {
        "aws:currenttime",
        "aws:epochtime",
        "aws:referer",
        "aws:requestedregion",
        "aws:securetransport",
        "aws:sourceip",
        "aws:useragent",
        "aws:viaawsservice",
        "s3:authtype",
        "s3:signatureage",
        "s3:signatureversion",
        "s3:x-amz-content-sha256",
    }
)
"""Keys that have a value for each request, whatever permission it needs; lower-case."""

_SUPPLIED = """
    aws:CurrentTime aws:EpochTime aws:Referer aws:RequestedRegion aws:SecureTransport aws:SourceIp
    aws:UserAgent aws:ViaAWSService
    aws:PrincipalAccount aws:PrincipalArn aws:PrincipalIsAWSService aws:PrincipalServiceName
    aws:PrincipalServiceNamesList aws:PrincipalTag/ aws:PrincipalType aws:userid aws:username
    aws:MultiFactorAuthPresent aws:TokenIssueTime
    aws:RequestTag/ aws:ResourceAccount aws:ResourceTag/ aws:TagKeys
    aws:SourceAccount aws:SourceArn
"""
_NEVER_PRESENT = """
    aws:PrincipalOrgID aws:PrincipalOrgPaths aws:ResourceOrgID aws:ResourceOrgPaths
    aws:SourceOrgID aws:SourceOrgPaths aws:VpceOrgID aws:VpceOrgPaths
    aws:SourceVpc aws:SourceVpcArn aws:SourceVpce aws:VpcSourceIp aws:VpceAccount
    aws:CalledVia aws:CalledViaFirst aws:CalledViaLast aws:CalledViaAWSMCP aws:ViaAWSMCPService
    aws:ChatbotSourceArn aws:IsMcpServiceAction
    aws:AssumedRoot aws:FederatedProvider aws:MultiFactorAuthAge aws:SourceIdentity
    aws:SignInSessionArn aws:SourceOwner
    aws:Ec2InstanceSourcePrivateIPv4 aws:Ec2InstanceSourceVpc aws:SourceInstanceArn
    ec2:RoleDelivery ec2:SourceInstanceArn glue:CredentialIssuingService glue:RoleAssumedBy
    identitystore:UserId ssm:SourceInstanceArn
"""
GLOBAL_KEYS = frozenset((_SUPPLIED + _NEVER_PRESENT).split())
"""Keys of requests to any service. A name that ends in a slash is a prefix."""

_SERVICE_IN_ACTION = re.compile(r"([^:]*)(:?)")


class Vocabulary:
    """services: the condition keys of each installed service, by its prefix of IAM actions."""

    def __init__(self, services: Mapping[str, Iterable[str]]) -> None:
        known = {key.lower() for key in GLOBAL_KEYS.union(*services.values())}
        self._prefixes = tuple(services)
        self._names = frozenset(key for key in known if not key.endswith("/"))
        self._families = tuple(key for key in known if key.endswith("/"))

    def knows(self, key: str) -> bool:
        name = key.lower()
        return name in self._names or any(
            name.startswith(family) and len(name) > len(family) for family in self._families
        )

    def unknown_in_deny(self, policy: Policy) -> str:
        """Return the first key that a Deny depends on and no service supplies, or "".

        A Deny of other services' actions only is accepted: those actions do not exist here.
        """
        if all(statement.allow for statement in policy.statements):
            return ""
        for statement in _listed(policy.document["Statement"]):
            if statement["Effect"] == "Deny" and self._concerns(statement):
                for key in _keys(statement, policy.document.get("Version")):
                    if not self.knows(key):
                        return key
        return ""

    def _concerns(self, statement: Mapping[str, Any]) -> bool:
        return "NotAction" in statement or any(
            self._has_service_of(action) for action in _listed(statement["Action"])
        )

    def _has_service_of(self, action: str) -> bool:
        service, colon = _SERVICE_IN_ACTION.match(action).groups()  # type: ignore[union-attr]
        if not colon:  # "*", or a pattern that may reach over the colon
            return True
        pattern = Pattern.parse(service, ignore_case=True)
        return any(pattern.matches(prefix) for prefix in self._prefixes)


def _keys(statement: Mapping[str, Any], version: str | None) -> Iterator[str]:
    """Return the keys of a statement's conditions, and those used as variables in its texts."""
    texts = [*_listed(statement.get("Resource")), *_listed(statement.get("NotResource"))]
    for tests in statement.get("Condition", {}).values():
        for key, values in tests.items():
            yield key
            texts += _listed(values)
    if version != "2012-10-17":
        return
    for text in texts:
        for token in tokens(str(text), variables=True):
            if isinstance(token, Variable):
                yield token.name


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
