"""When an asynchronous event is tried again, and when it is given up. Pure.

Source: Lambda developer guide, "invocation-async-error-handling": function errors are tried again
after one and two minutes; throttles and system errors back off from 1 second to 5 minutes, do not
count as attempts, and end only with the event's age.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Condition = Literal[
    "RetriesExhausted",
    "EventAgeExceeded",
    "ZeroReservedConcurrency",
    "RecursiveInvocation",
    "FunctionNotFound",
]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """max_retries: tries after the first that failed. max_age_s: from acceptance."""

    max_retries: int = 2
    max_age_s: float = 21_600.0
    error_first_s: float = 60.0
    throttle_first_s: float = 1.0
    throttle_longest_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Again:
    """Try again at this time, epoch seconds."""

    at: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    condition: Condition


def after_error(
    policy: RetryPolicy, failures: int, accepted_at: float, now: float
) -> Again | GiveUp:
    """After the function failed. failures: how often by now, this one counted."""
    if failures > policy.max_retries:
        return GiveUp("RetriesExhausted")
    at = now + policy.error_first_s * 2 ** (failures - 1)
    if too_old(policy, accepted_at, at):
        return GiveUp("EventAgeExceeded")
    return Again(at)


def after_throttle(policy: RetryPolicy, throttles: int, accepted_at: float, now: float) -> Again:
    """After it could not be run. throttles: how often by now, this one counted.

    Never later than the end of the event's age, when it is given up.
    """
    steps = min(throttles - 1, 32)
    delay = min(policy.throttle_first_s * 2**steps, policy.throttle_longest_s)
    return Again(min(now + delay, max(now, accepted_at + policy.max_age_s)))


def too_old(policy: RetryPolicy, accepted_at: float, now: float) -> bool:
    return now >= accepted_at + policy.max_age_s
