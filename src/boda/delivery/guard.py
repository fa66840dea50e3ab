"""The recursion guard: a chain of invocations that has become too long is stopped. Pure.

Source: Lambda developer guide, "invocation-recursion".
"""

from __future__ import annotations

from boda.core.ids import Ids
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


def stable_root(now_s: float, ids: Ids) -> str:
    """A trace for an event that came without one, the same over all its attempts."""
    return f"Root=1-{int(now_s):08x}-{ids.hex(24)};Parent={ids.hex(16)};Sampled=0"
