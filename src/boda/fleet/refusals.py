"""The errors of calls that get no environment.

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
    """Return a throttle. wait_s: until a retry gets through; sent in seconds, at least 1."""
    words = "Rate exceeded" if reason == "CallerRateLimitExceeded" else "Rate Exceeded."
    headers = None
    if wait_s is not None and math.isfinite(wait_s):
        headers = {"Retry-After": str(max(1, math.ceil(wait_s)))}
    return AwsError(
        "TooManyRequestsException", words, 429, headers=headers, Reason=reason, Type="User"
    )


def could_not_start() -> AwsError:
    """Return the error for a failure of the platform's own."""
    return AwsError("ServiceException", "The execution environment could not be started.", 500)


def ended_by_machine() -> AwsError:
    """Return the error of an invocation whose environment was killed for the machine's memory.

    It is unknown how far the invocation came, so the caller, or the queue of events, decides
    whether to try again.
    """
    return AwsError(
        "ServiceException",
        "The machine ran short of memory and ended the execution environment; try again.",
        500,
        Type="Service",
    )


def shutting_down() -> AwsError:
    return AwsError("ServiceException", "The platform is shutting down.", 500)


def restore_failed() -> AwsError:
    """Return the error of the call for which an environment was restored, if a hook failed."""
    return AwsError(
        "SnapStartException",
        "The afterRestore() runtime hook encountered an error. For more information, check the "
        "Amazon CloudWatch logs.",
        400,
        Type="User",
    )


def restore_timed_out() -> AwsError:
    return AwsError(
        "SnapStartTimeoutException",
        "Lambda couldn't restore the snapshot within the timeout limit.",
        408,
        Type="User",
    )
