"""What a call is told that gets no environment.

A throttle is TooManyRequestsException (429) with ``Type`` User and a ``Reason`` (botocore's
model). The words are recorded; "Rate exceeded" without a full stop is what goes with
CallerRateLimitExceeded. ``Retry-After`` is sent where it is known when the next call gets through;
a function at its reserved concurrency was recorded without.
"""

from __future__ import annotations

import math
from typing import Literal

from boda.core.errors import AwsError

Reason = Literal[
    "ConcurrentInvocationLimitExceeded",
    "FunctionInvocationRateLimitExceeded",
    "ReservedFunctionConcurrentInvocationLimitExceeded",
    "ReservedFunctionInvocationRateLimitExceeded",
    "CallerRateLimitExceeded",
]


def too_many(reason: Reason, wait_s: float | None = None) -> AwsError:
    """wait_s: when it may be tried again; told in whole seconds, at least one."""
    words = "Rate exceeded" if reason == "CallerRateLimitExceeded" else "Rate Exceeded."
    headers = None
    if wait_s is not None and math.isfinite(wait_s):
        headers = {"Retry-After": str(max(1, math.ceil(wait_s)))}
    return AwsError(
        "TooManyRequestsException", words, 429, headers=headers, Reason=reason, Type="User"
    )


def could_not_start() -> AwsError:
    """The platform's own failure."""
    return AwsError("ServiceException", "The execution environment could not be started.", 500)


def ended_by_machine() -> AwsError:
    """The kernel took an environment's memory for others: nobody can tell how far the invocation
    came, so it is for the caller, or the queue of events, to try again."""
    return AwsError(
        "ServiceException",
        "The machine ran short of memory and ended the execution environment; try again.",
        500,
        Type="Service",
    )


def shutting_down() -> AwsError:
    return AwsError("ServiceException", "The platform is shutting down.", 500)
