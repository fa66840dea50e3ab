"""Events that are never run. Pure.

A chain of invocations that has become too long is stopped (Lambda developer guide,
"invocation-recursion"), and a function with tenant isolation runs for no event without a tenant,
such as those of S3.
"""

from __future__ import annotations

import hashlib

from boda.core.ids import Ids
from boda.delivery.dead_letters import NEVER_RUN, DiscardReason
from boda.delivery.rows import QueuedEvent
from boda.invoke.tenancy import wrong_tenancy
from boda.runtime import trace
from boda.runtime.function import FunctionVersion


def refusal(version: FunctionVersion, tenant: str, hops: int) -> DiscardReason | None:
    """Return why an event is not run, or None. hops: how many invocations led to it."""
    if version.tenant_isolation != bool(tenant):
        error = wrong_tenancy(version.tenant_isolation)
        return DiscardReason("RetriesExhausted", NEVER_RUN, error.message)
    if hops < trace.MAX_HOPS or version.recursive_loop == "Allow":
        return None
    return DiscardReason(
        "RecursiveInvocation",
        NEVER_RUN,
        f"Recursive loop detected: {version.arn} was invoked {hops} times in one chain of events "
        "that the function itself sets off, so this event was not run. Let the source ignore what "
        "the function writes (another bucket, or a prefix filter), or set RecursiveLoop to Allow "
        "with PutFunctionRecursionConfig.",
    )


def runs_under(event: QueuedEvent, now_s: float, ids: Ids) -> tuple[str, int]:
    """Return the trace of an attempt, and how many invocations led to it.

    An event that came without a trace has one of its own, the same over all its attempts.
    """
    if event.trace_id:
        return trace.next_hop(event.trace_id, event.arn, now_s, ids.hex)
    root = hashlib.sha256(event.request_id.encode()).hexdigest()[:24]

    def chance(digits: int) -> str:
        """Return random digits after the digits of the root, which are asked for first."""
        return (root + ids.hex(16))[:digits]

    return trace.next_hop("", event.arn, event.accepted_at, chance)
