"""PutBucketNotificationConfiguration and its getter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boda.core.arn import Arn
from boda.core.errors import AwsError, not_implemented
from boda.core.principal import service_principal
from boda.delivery.contract import EventSource
from boda.gateway.calling.operation import Context, operation
from boda.services.s3.buckets.store import Bucket
from boda.services.s3.core import S3Core, on_bucket
from boda.services.s3.notifications import events
from boda.services.s3.notifications import rules as notifications
from boda.services.s3.notifications.outbox import S3_HOST


class NotificationOperations:
    """The notification configuration of buckets."""

    def __init__(self, core: S3Core) -> None:
        self.core = core

    @operation(
        "GetBucketNotificationConfiguration", authorize=on_bucket("s3:GetBucketNotification")
    )
    async def get_bucket_notification_configuration(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        return dict(found.settings.get("notifications") or {})

    @operation(
        "PutBucketNotificationConfiguration", authorize=on_bucket("s3:PutBucketNotification")
    )
    async def put_bucket_notification_configuration(
        self,
        ctx: Context,
        *,
        bucket: str,
        notification_configuration: Mapping[str, Any],
        skip_destination_validation: bool = False,
        expected_bucket_owner: str | None = None,
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        kept = notifications.validated(notification_configuration, self.core.ids)
        bridge = "EventBridgeConfiguration" in kept
        if bridge and not self.core.post.can_deliver(events.event_bus(found)):
            raise not_implemented("s3", ctx.operation, "EventBridge")
        source = _source(found)
        if not skip_destination_validation:
            self._check_destinations(kept, found, source)
        await self.core.configure(found, lambda settings: settings.update(notifications=kept))
        await self._greet(ctx, found, kept, source)

    def _check_destinations(
        self, kept: Mapping[str, Any], bucket: Bucket, source: EventSource
    ) -> None:
        """Raise InvalidArgument naming every destination that S3 may not send to."""
        fields: dict[str, Any] = {}
        for kind, arn in notifications.targets(kept):
            if self._reachable(arn, bucket, source):
                continue
            number = len(fields) // 2 + 1
            if kind == "CloudFunction":
                fields[f"ArgumentName{number}"] = f"{arn}, null"
                fields[f"ArgumentValue{number}"] = f"Not authorized to invoke function [{arn}]"
            else:
                fields[f"ArgumentName{number}"] = arn
                fields[f"ArgumentValue{number}"] = f"The destination {kind.lower()} does not exist"
        if fields:
            raise AwsError(
                "InvalidArgument",
                "Unable to validate the following destination configurations",
                **fields,
            )

    def _reachable(self, arn: str, bucket: Bucket, source: EventSource) -> bool:
        # S3 notifies within the bucket's region only.
        return (
            Arn.parse(arn).region == bucket.region
            and self.core.post.can_deliver(arn)
            and self.core.post.may_deliver(arn, source)
        )

    async def _greet(
        self, ctx: Context, bucket: Bucket, kept: Mapping[str, Any], source: EventSource
    ) -> None:
        """Send a test event to queues and topics, once each."""
        test = events.test_event(bucket, ctx, self.core.clock.now())
        for arn in dict.fromkeys(arn for kind, arn in notifications.targets(kept)):
            if Arn.parse(arn).service == "lambda" or not self._reachable(arn, bucket, source):
                continue
            await self.core.post.deliver(arn, test, source)


def _source(bucket: Bucket) -> EventSource:
    return EventSource(
        service_principal(S3_HOST, bucket.account), bucket.arn, bucket.account, bucket.region
    )
