"""What services post, and who carries it.

``deliver`` returns once the event is durable. The post office picks the carrier by the target's
service (``lambda``, ``sqs``, ``sns``, ``events``); a service that does not exist here yet has no
carrier, which ``can_deliver`` tells beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from boda.core.principal import Principal


@dataclass(frozen=True, slots=True)
class Source:
    """Where an event comes from.

    principal: on whose behalf (``s3.amazonaws.com`` …), checked against the target's policy.
    arn: the source's ARN (a bucket's …) for ``aws:SourceArn``. account: for
        ``aws:SourceAccount``. trace_id: carries the lineage for the recursion guard.
    """

    principal: Principal
    arn: str
    account: str
    region: str
    trace_id: str = ""


class PostOffice(Protocol):
    def can_deliver(self, target_arn: str) -> bool:
        """Whether a carrier for the target's service exists here."""

    def may_deliver(self, target_arn: str, source: Source) -> bool:
        """Whether the target exists and its policy lets the source post to it."""

    async def deliver(self, target_arn: str, event: bytes, source: Source) -> str:
        """Post one event (JSON); returns its request id once it is durable. AwsError."""
