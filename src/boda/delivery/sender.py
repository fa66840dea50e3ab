"""As whom a function's dead letters and records are sent: as its own role."""

from __future__ import annotations

from collections.abc import Callable

from boda.core.arn import Arn
from boda.core.errors import AwsError
from boda.core.principal import Principal
from boda.delivery.contract import Source
from boda.runtime.function import FunctionVersion

Roles = Callable[[FunctionVersion], Principal | None]
"""Who a function version acts as; None when its role is gone."""


def sender(roles: Roles, version: FunctionVersion, target: str, trace_id: str) -> Source:
    """The source of what a function version sends to a target. AwsError where it may not send.

    First-in-first-out queues and topics are no targets (Lambda developer guide,
    "invocation-async-retain-records").
    """
    arn = Arn.read(target)
    if arn is not None and arn.service in ("sqs", "sns") and arn.resource.endswith(".fifo"):
        raise AwsError(
            "InvalidParameterValueException",
            f"{target} is a FIFO target, which asynchronous invocation does not support.",
        )
    role = roles(version)
    if role is None:
        raise AwsError("AccessDeniedException", f"There is no role {version.role_arn}.", 403)
    return Source(role, version.arn, version.account, version.region, trace_id)
