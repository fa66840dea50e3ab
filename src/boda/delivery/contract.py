"""The post office, as services see it.

``deliver`` returns once the event is durable. The post office picks the adapter by the target's
service (``lambda``, ``sqs``, ``sns``, ``events``); without an adapter, ``can_deliver`` is False.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from boda.core.principal import Principal


@dataclass(frozen=True, slots=True)
class EventSource:
    """The source of an event.

    principal: acts for the source (``s3.amazonaws.com`` …), and is checked against the target's
        policy. arn: the source's ARN (a bucket's …), for ``aws:SourceArn``. account: for
        ``aws:SourceAccount``. trace_id: holds the lineage for the recursion guard.
    """

    principal: Principal
    arn: str
    account: str
    region: str
    trace_id: str = ""


class PostOffice(Protocol):
    """Delivers events to targets by ARN."""

    def can_deliver(self, target_arn: str) -> bool:
        """Return whether there is an adapter for the target's service."""

    def may_deliver(self, target_arn: str, source: EventSource) -> bool:
        """Return whether the target exists and its policy allows the source to post to it."""

    async def deliver(self, target_arn: str, event: bytes, source: EventSource) -> str:
        """Deliver an event (JSON); return its request id once it is durable. Raises AwsError."""
