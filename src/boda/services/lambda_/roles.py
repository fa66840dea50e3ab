"""Whether a function may have a role: the caller may pass it, and it trusts Lambda."""

from __future__ import annotations

from typing import Protocol

from boda.core.arn import Arn
from boda.core.errors import AwsError
from boda.gateway.service import Context, Need
from boda.services.lambda_.errors import invalid

HOST = "lambda.amazonaws.com"


class Roles(Protocol):
    """What is known of roles, in memory."""

    def role_trusts(self, role_arn: str, service: str) -> bool:
        """Whether the role exists and its trust policy lets the service assume it."""


class RoleCheck:
    def __init__(self, roles: Roles) -> None:
        self._roles = roles

    def check(self, ctx: Context, role_arn: str, account: str) -> None:
        """Raises AwsError: AccessDeniedException, InvalidParameterValueException."""
        arn = Arn.read(role_arn)
        if arn is None or arn.account != account:
            raise AwsError("AccessDeniedException", "Cross-account pass role is not allowed.", 403)
        ctx.authorize(Need("iam:PassRole", role_arn, context={"iam:PassedToService": HOST}))
        if not self._roles.role_trusts(role_arn, HOST):
            raise invalid("The role defined for the function cannot be assumed by Lambda.")
