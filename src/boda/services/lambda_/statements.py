"""The limit of the resource policies of functions and layers, in Lambda's words."""

from __future__ import annotations

from boda.core.errors import AwsError
from boda.core.resource_policy import StatementRules
from boda.services.lambda_.errors import conflict, resource_not_found
from boda.services.lambda_.quotas import Quotas


def statement_rules(quotas: Quotas) -> StatementRules:
    return StatementRules(
        limit_bytes=quotas.policy_bytes,
        too_large=_too_large,
        absent=lambda sid: resource_not_found(f"Statement {sid} is not found in resource policy."),
        exists=lambda sid: conflict(
            f"The statement id ({sid}) provided already exists. Please provide a new statement "
            "id, or remove the existing statement."
        ),
    )


def _too_large(size: int, limit: int) -> AwsError:
    return AwsError(
        "PolicyLengthExceededException",
        f"The final policy size ({size}) is bigger than the limit ({limit}).",
        400,
        Type="User",
    )
