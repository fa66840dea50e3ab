"""When an asynchronous event is tried again, and when it is discarded. Pure.

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
    """max_retries: attempts after the first one. max_age_s: since acceptance."""

    max_retries: int = 2
    max_age_s: float = 21_600.0
    error_first_s: float = 60.0
    throttle_first_s: float = 1.0
    throttle_longest_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Retry:
    """The next attempt. at: epoch seconds."""

    at: float


@dataclass(frozen=True, slots=True)
class Discard:
    """No further attempt."""

    condition: Condition


def after_error(
    policy: RetryPolicy, failures: int, accepted_at: float, now: float
) -> Retry | Discard:
    """Decide after a function error. failures: how many so far, this one included."""
    if failures > policy.max_retries:
        return Discard("RetriesExhausted")
    at = now + policy.error_first_s * 2 ** (failures - 1)
    if too_old(policy, accepted_at, at):
        return Discard("EventAgeExceeded")
    return Retry(at)


def after_throttle(policy: RetryPolicy, throttles: int, accepted_at: float, now: float) -> Retry:
    """Decide after the event could not be run. throttles: how often so far, this one included.

    The retry is never later than the end of the event's age, when the event is discarded.
    """
    steps = min(throttles - 1, 32)
    delay = min(policy.throttle_first_s * 2**steps, policy.throttle_longest_s)
    return Retry(min(now + delay, max(now, accepted_at + policy.max_age_s)))


def too_old(policy: RetryPolicy, accepted_at: float, now: float) -> bool:
    return now >= accepted_at + policy.max_age_s
