"""S3 put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from boda.core.clock import Clock
from boda.core.health import log_damage
from boda.core.ids import Ids
from boda.core.policy import Policy
from boda.core.principal import Principal
from boda.delivery.contract import PostOffice
from boda.gateway.asking.need import Need, authorise
from boda.gateway.calling.service import Service
from boda.services.s3 import condition_keys
from boda.services.s3.access.operations import AccessOperations
from boda.services.s3.buckets.cors import CorsOperations
from boda.services.s3.buckets.operations import BucketOperations
from boda.services.s3.buckets.unset import UnsetOperations
from boda.services.s3.core import Core
from boda.services.s3.listing.operations import ListingOperations
from boda.services.s3.names import object_arn
from boda.services.s3.notifications.operations import NotificationOperations
from boda.services.s3.objects.reading import ReadingOperations
from boda.services.s3.objects.writing import WritingOperations
from boda.services.s3.uploads.operations import MultipartOperations
from boda.storage.blobs import BlobStore
from boda.storage.database import Database


class Fetched(NamedTuple):
    """An object on its way to somebody inside the platform. size: bytes."""

    chunks: AsyncIterator[bytes]
    size: int
    etag: str
    version_id: str


class S3:
    """The service and what runs beside it.

    service: for the gateway. Between ``start`` and ``stop`` events are posted and replaced blobs
    deleted in the background.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._reading = ReadingOperations(core)
        cors = CorsOperations(core)
        self.service = Service(
            "s3",
            [
                BucketOperations(core),
                AccessOperations(core),
                NotificationOperations(core),
                ListingOperations(core),
                self._reading,
                WritingOperations(core),
                MultipartOperations(core),
                UnsetOperations(core),
                cors,
            ],
            preflight=cors.preflight,
            decorate=cors.decorate,
            admits=cors.admits,
            condition_keys=condition_keys.CONDITION_KEYS,
            request_keys=condition_keys.of_request,
        )

    async def start(self) -> None:
        await self._core.start()

    async def stop(self) -> None:
        await self._core.stop()

    async def fetch(
        self,
        bucket: str,
        key: str,
        version_id: str | None = None,
        *,
        principal: Principal,
        authorize: Callable[[Need], None],
    ) -> Fetched:
        """An object for another service (a function's code), on behalf of ``principal``.

        authorize: as in Context; asked whether the principal may read the object. Raises
        NoSuchBucket, NoSuchKey, NoSuchVersion, AccessDenied. Close ``chunks`` with ``aclose``.
        """
        found = self._core.bucket(bucket)
        action = "s3:GetObjectVersion" if version_id else "s3:GetObject"
        need = Need(
            action,
            object_arn(bucket, key),
            found.policy_for(principal),
            {**found.keys, "aws:ViaAWSService": "true"},
            found.account,
            late=self._core.object_keys(bucket, key, version_id),
        )
        await authorise(authorize, need)
        chunks, version = await self._reading.fetch(bucket, key, version_id)
        return Fetched(chunks, version.size, version.etag, version.version_id)

    def policy(self, bucket: str, principal: Principal) -> Policy | None:
        """A bucket's policy as it holds for ``principal``; None also where there is no bucket."""
        found = self._core.buckets.find(bucket)
        return found.policy_for(principal) if found is not None else None

    def exists(self, bucket: str) -> bool:
        """Whether there is a bucket of that name."""
        return self._core.buckets.find(bucket) is not None


def build(
    database: Database,
    blobs: BlobStore,
    post: PostOffice,
    clock: Clock,
    ids: Ids,
    *,
    damaged: Callable[[str], None] = log_damage,
) -> S3:
    """Make the service over its rows (``metadata`` of this package) and blobs.

    damaged: called with a sentence that names an object that is not what was put.
    """
    return S3(Core(database, blobs, post, clock, ids, damaged))
