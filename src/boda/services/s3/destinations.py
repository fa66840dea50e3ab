"""Records of asynchronous invocations, stored in buckets by the function's own role."""

from __future__ import annotations

from boda.core.arn import Arn
from boda.delivery.contract import EventSource
from boda.delivery.post_office import Message
from boda.plug import Host


class BucketDestinations:
    def __init__(self, host: Host) -> None:
        self._host = host

    def may_deliver(self, target_arn: str, source: EventSource) -> bool:
        """Return True: the write itself checks the role's permission."""
        return True

    async def deliver(self, target_arn: str, message: Message) -> str:
        params = {
            "Bucket": Arn.parse(target_arn).resource,
            "Key": message.name,
            "Body": message.event,
        }
        await self._host.call("s3", "PutObject", params, message.source.principal)
        return message.name
