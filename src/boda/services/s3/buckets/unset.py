"""Settings that no bucket here can have; they are answered as unset.

Tools read a bucket's whole configuration before they change a part of it (Terraform does); a
setting that boda does not offer is answered as S3 answers for a bucket where it was never set.
"""

from __future__ import annotations

from typing import Any

from boda.gateway.calling.operation import Context, operation
from boda.services.s3 import errors
from boda.services.s3.core import S3Core, on_bucket


class UnsetOperations:
    """Getters of settings that were never set."""

    def __init__(self, core: S3Core) -> None:
        self.core = core

    @operation(
        "GetBucketAccelerateConfiguration", authorize=on_bucket("s3:GetAccelerateConfiguration")
    )
    async def get_bucket_accelerate_configuration(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        self.core.bucket(bucket, expected_bucket_owner)
        return {}

    @operation("GetBucketLogging", authorize=on_bucket("s3:GetBucketLogging"))
    async def get_bucket_logging(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        self.core.bucket(bucket, expected_bucket_owner)
        return {}

    @operation("GetBucketRequestPayment", authorize=on_bucket("s3:GetBucketRequestPayment"))
    async def get_bucket_request_payment(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        self.core.bucket(bucket, expected_bucket_owner)
        return {"Payer": "BucketOwner"}

    @operation(
        "GetBucketLifecycleConfiguration", authorize=on_bucket("s3:GetLifecycleConfiguration")
    )
    async def get_bucket_lifecycle_configuration(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        self.core.bucket(bucket, expected_bucket_owner)
        raise errors.absent(
            "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist", bucket
        )

    @operation("GetBucketWebsite", authorize=on_bucket("s3:GetBucketWebsite"))
    async def get_bucket_website(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        self.core.bucket(bucket, expected_bucket_owner)
        raise errors.absent(
            "NoSuchWebsiteConfiguration",
            "The specified bucket does not have a website configuration",
            bucket,
        )

    @operation("GetBucketReplication", authorize=on_bucket("s3:GetReplicationConfiguration"))
    async def get_bucket_replication(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        self.core.bucket(bucket, expected_bucket_owner)
        raise errors.absent(
            "ReplicationConfigurationNotFoundError",
            "The replication configuration was not found",
            bucket,
        )

    @operation(
        "GetObjectLockConfiguration", authorize=on_bucket("s3:GetBucketObjectLockConfiguration")
    )
    async def get_object_lock_configuration(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        self.core.bucket(bucket, expected_bucket_owner)
        raise errors.absent(
            "ObjectLockConfigurationNotFoundError",
            "Object Lock configuration does not exist for this bucket",
            bucket,
        )
