"""The recursion guard: a chain of invocations that has become too long is stopped. Pure.

Source: Lambda developer guide, "invocation-recursion".
"""

from __future__ import annotations

import hashlib

from boda.delivery.failure import Reason
from boda.runtime import trace
from boda.runtime.function import FunctionVersion


def refusal(version: FunctionVersion, hops: int) -> Reason | None:
    """Why an event with so many invocations behind it is not run; None when it may be."""
    if hops < trace.MAX_HOPS or version.recursive_loop == "Allow":
        return None
    return Reason(
        "RecursiveInvocation",
        400,
        f"Recursive loop detected: {version.arn} was invoked {hops} times in one chain of events "
        "that the function itself sets off, so this event was not run. Let the source ignore what "
        "the function writes (another bucket, or a prefix filter), or set RecursiveLoop to Allow "
        "with PutFunctionRecursionConfig.",
    )


def stable_root(accepted_at: float, request_id: str) -> str:
    """A trace for an event that came without one, the same over all its attempts."""
    digits = hashlib.sha256(request_id.encode()).hexdigest()
    return f"Root=1-{int(accepted_at):08x}-{digits[:24]};Parent={digits[24:40]};Sampled=0"
