"""Execution roles: who may give one to a function, its permissions for Lambda, and its credentials.

Lambda acts for a function only as its role, and only while the role trusts Lambda; it checks the
role's policies already when a function is configured to need them. Source: Lambda developer guide,
"lambda-intro-execution-role"; sentences as seen from the service.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

from boda.core.arn import Arn, build
from boda.core.errors import AwsError
from boda.core.policy import Policy
from boda.core.principal import Principal, root_of
from boda.gateway.asking import tag_keys
from boda.gateway.asking.need import Need
from boda.gateway.calling.exchange import RequestKeys
from boda.gateway.calling.operation import Context
from boda.gateway.signing.identities import ServiceRoles
from boda.gateway.signing.identity import Credential
from boda.plug import Host
from boda.runtime.function import FunctionVersion
from boda.services.lambda_.errors import invalid
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.records import Function, FunctionSettings

HOST = "lambda.amazonaws.com"
_NOT_ASSUMED = "The role defined for the function cannot be assumed by Lambda."

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": HOST}, "Action": "sts:AssumeRole"}],
}

Named = Identifier | Function

PROVIDED = "provided execution role"
MAPPED = "function execution role"
"""The words for the role in errors of functions and of event source mappings."""

# Service of a target → the action that sends to it, and the service's name in errors.
_SENDS = {
    "sqs": ("sqs:SendMessage", "SQS"),
    "sns": ("sns:Publish", "SNS"),
    "lambda": ("lambda:InvokeFunction", "Lambda"),
    "events": ("events:PutEvents", "EventBridge"),
    "s3": ("s3:PutObject", "S3"),
}
_QUEUE_ACTIONS = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
_STREAM_ACTIONS = {
    # Further actions that the managed policies for these sources allow.
    "kinesis": ("GetRecords", "GetShardIterator", "DescribeStream", "ListShards"),
    "dynamodb": ("GetRecords", "GetShardIterator", "DescribeStream"),
}


class RoleAuthorizer(Protocol):
    """The authoriser."""

    def allows(self, principal: Principal, need: Need, keys: Any) -> bool: ...


class ExecutionRoles:
    """Roles as Lambda assumes them; answers from memory.

    policy_of: the resource policy of a target (its ARN given) as it holds for a principal.
    duration_s: how long credentials hold.
    """

    def __init__(
        self,
        directory: ServiceRoles,
        authorizer: RoleAuthorizer,
        policy_of: Callable[[Arn, Principal], Policy | None],
        duration_s: float,
    ) -> None:
        self._directory = directory
        self._authorizer = authorizer
        self._policy_of = policy_of
        self._duration_s = duration_s

    def trusts(self, role_arn: str, function_arn: str) -> bool:
        """Return whether the role exists and its trust policy allows Lambda to assume it for the
        function.

        function_arn: without a qualifier.
        """
        return self._directory.role_trusts(role_arn, HOST, {"aws:sourcearn": function_arn})

    def credentials(self, version: FunctionVersion) -> Credential:
        """Return credentials of the role. Raises AwsError AccessDeniedException if Lambda may not
        assume it (any more)."""
        if not self.trusts(version.role_arn, version.arn):
            raise AwsError("AccessDeniedException", _NOT_ASSUMED, 403)
        return self._directory.issue_role_credentials(
            version.role_arn, version.name, self._duration_s, function_arn=version.arn
        )

    def role_tags(self, role_arn: str) -> Mapping[str, str]:
        """Return the role's tags; none if it does not exist."""
        return self._directory.role_tags(role_arn)

    def principal(self, version: FunctionVersion) -> Principal | None:
        """Return the principal of a function, None if Lambda may not assume the role (any more)."""
        return self._principal(version.role_arn, version.arn)

    def may(self, role_arn: str, function_arn: str, action: str, resource: str) -> bool:
        """Return whether a function with the role may carry out an action."""
        principal = self._principal(role_arn, function_arn)
        if principal is None:
            return False
        arn = Arn.read(resource)
        policy = self._policy_of(arn, principal) if arn is not None else None
        # Another account has policies of its own, which cannot be read here.
        keys = RequestKeys(None, arn.region if arn is not None else "")
        return self._authorizer.allows(principal, Need(action, resource, policy), keys)

    def _principal(self, role_arn: str, function_arn: str) -> Principal | None:
        if not self.trusts(role_arn, function_arn):
            return None
        return self._directory.principal_of_role(role_arn, Arn.parse(function_arn).name)


class RoleRules(Protocol):
    """The part of ``ExecutionRoles`` that operations use."""

    def trusts(self, role_arn: str, function_arn: str) -> bool: ...

    def may(self, role_arn: str, function_arn: str, action: str, resource: str) -> bool: ...

    def role_tags(self, role_arn: str) -> Mapping[str, str]: ...


Adopt = Callable[[Arn], Awaitable[None]]
"""Makes a role that Lambda may assume, unless one of that name exists."""


class RoleCheck:
    """Checks a function's role against the function's settings.

    adopt: in open mode (``--auth open``), makes named roles that do not exist, as tools for local
    endpoints expect; None refuses them.
    """

    def __init__(self, roles: RoleRules, adopt: Adopt | None = None) -> None:
        self._roles = roles
        self._adopt = adopt

    async def check(self, ctx: Context, role_arn: str, function: Identifier) -> None:
        """Raises AwsError (AccessDeniedException, InvalidParameterValueException) unless the caller
        may pass the role and Lambda may assume it."""
        arn = Arn.read(role_arn)
        if arn is None or arn.account != function.account:
            raise AwsError("AccessDeniedException", "Cross-account pass role is not allowed.", 403)
        tags = self._roles.role_tags(role_arn)
        keys = {
            **tag_keys.of_resource(tags),
            **{f"iam:ResourceTag/{key}": value for key, value in tags.items()},
            "iam:PassedToService": HOST,
            "iam:AssociatedResourceArn": function.arn,
        }
        await ctx.authorize(Need("iam:PassRole", role_arn, context=keys))
        if self._adopt is not None and not self._roles.trusts(role_arn, function.arn):
            await self._adopt(arn)
        if not self._roles.trusts(role_arn, function.arn):
            raise invalid(_NOT_ASSUMED)

    def settings(self, function: Named, settings: FunctionSettings) -> None:
        """Raises AwsError if the role lacks the permissions for the function's dead-letter target
        or network interfaces."""
        if settings.dead_letter_arn:
            self.sends(function, settings.role, settings.dead_letter_arn)
        vpc = settings.vpc or {}
        if not vpc.get("SubnetIds"):
            return
        here = build("ec2", function.region, function.account, "")
        # A network interface is made in a subnet and of security groups, each checked; there is no
        # interface yet, so actions on one must be allowed on any.
        made_of = [
            f"{here}network-interface/*",
            *(f"{here}subnet/{id_}" for id_ in vpc["SubnetIds"]),
            *(f"{here}security-group/{id_}" for id_ in vpc["SecurityGroupIds"]),
        ]
        asked = [("ec2:CreateNetworkInterface", resource) for resource in made_of]
        for action in ("ec2:DescribeNetworkInterfaces", "ec2:DeleteNetworkInterface"):
            asked.append((action, f"{here}*/*"))
        self._require(function, settings.role, asked, "EC2")

    def sends(self, function: Named, role_arn: str, target: str, who: str = PROVIDED) -> None:
        """Raises AwsError if the role may not send to a target. Targets of unknown services need no
        permission."""
        arn = Arn.read(target)
        found = _SENDS.get(arn.service) if arn is not None else None
        if found is None:
            return
        action, service = found
        if service == "S3":
            target = f"{target}/aws/lambda/async/{function.name}/record"
        self._require(function, role_arn, [(action, target)], service, who)

    def reads(self, function: Named, role_arn: str, source: str) -> None:
        """Raises AwsError if the role may not read from a queue or stream."""
        arn = Arn.read(source)
        if arn is None:
            return
        if arn.service == "sqs":
            asked = [(f"sqs:{action}", source) for action in _QUEUE_ACTIONS]
            self._require(function, role_arn, asked, "SQS", MAPPED)
        for action in _STREAM_ACTIONS.get(arn.service, ()):
            if not self._may(function, role_arn, f"{arn.service}:{action}", source):
                raise invalid(
                    f"Cannot access stream {source}. Please ensure the role can perform the "
                    "GetRecords, GetShardIterator, DescribeStream, ListShards, and ListStreams "
                    "Actions on your stream in IAM."
                )

    def _require(
        self,
        function: Named,
        role_arn: str,
        asked: Iterable[tuple[str, str]],
        service: str,
        who: str = PROVIDED,
    ) -> None:
        for action, resource in asked:
            if not self._may(function, role_arn, action, resource):
                verb = action.partition(":")[2]
                raise invalid(f"The {who} does not have permissions to call {verb} on {service}")

    def _may(self, function: Named, role_arn: str, action: str, resource: str) -> bool:
        return self._roles.may(role_arn, function.arn, action, resource)


async def adopt(host: Host, role: Arn) -> None:
    """Make a role that Lambda may assume. In open mode it may do everything, as every caller may;
    elsewhere it has no policies."""
    path, slash, name = role.path[1].rpartition("/")
    params = {
        "RoleName": name,
        "Path": f"/{path}{slash}",
        "AssumeRolePolicyDocument": json.dumps(_TRUST),
        "Description": "Made when a function first named it.",
    }
    with contextlib.suppress(AwsError):  # it exists without trust, or the name is invalid
        await host.call("iam", "CreateRole", params, root_of(role.account))
