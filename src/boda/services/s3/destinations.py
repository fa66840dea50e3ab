"""Records of asynchronous invocations, kept in buckets by the function's own role."""

from __future__ import annotations

from boda.core.arn import Arn
from boda.delivery.contract import Source
from boda.delivery.post import Letter
from boda.plug import Host


class BucketDestinations:
    def __init__(self, host: Host) -> None:
        self._host = host

    def may_deliver(self, target_arn: str, source: Source) -> bool:
        """S3 itself refuses what the role may not do."""
        return True

    async def carry(self, target_arn: str, letter: Letter) -> str:
        params = {
            "Bucket": Arn.parse(target_arn).resource,
            "Key": letter.name,
            "Body": letter.event,
        }
        await self._host.call("s3", "PutObject", params, letter.source.principal)
        return letter.name
