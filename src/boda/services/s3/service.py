"""S3 put together."""

from __future__ import annotations

from collections.abc import Mapping

from boda.core.arn import Arn
from boda.core.policy import Policy
from boda.core.principal import Principal
from boda.gateway.calling.paging import Paging
from boda.gateway.calling.service import Service
from boda.plug import Host, Running
from boda.services.s3 import condition_keys, errors
from boda.services.s3.access.operations import AccessOperations
from boda.services.s3.buckets.cors import CorsOperations
from boda.services.s3.buckets.operations import BucketOperations
from boda.services.s3.buckets.unset import UnsetOperations
from boda.services.s3.core import S3Core
from boda.services.s3.destinations import BucketDestinations
from boda.services.s3.listing.operations import ListingOperations
from boda.services.s3.notifications.operations import NotificationOperations
from boda.services.s3.objects.reading import ReadingOperations
from boda.services.s3.objects.writing import WritingOperations
from boda.services.s3.uploads.operations import MultipartOperations


class S3:
    """S3's parts. service: for the gateway."""

    def __init__(self, core: S3Core) -> None:
        self._core = core
        cors = CorsOperations(core)
        self.service = Service(
            "s3",
            [
                BucketOperations(core),
                AccessOperations(core),
                NotificationOperations(core),
                ListingOperations(core),
                ReadingOperations(core),
                WritingOperations(core),
                MultipartOperations(core),
                UnsetOperations(core),
                cors,
            ],
            preflight=cors.preflight,
            decorate=cors.decorate,
            admits=cors.admits,
            region_of=self._region_of,
            condition_keys=condition_keys.CONDITION_KEYS,
            request_keys=condition_keys.of_request,
            paging=Paging(errors.refused_token, size=1000, most=1000),
        )

    def _region_of(self, labels: Mapping[str, str]) -> str:
        found = self._core.buckets.find(labels.get("Bucket", ""))
        return found.region if found is not None else ""

    def policy_of(self, resource: Arn, principal: Principal) -> Policy | None:
        """Return a bucket's policy as it holds for the principal; None also if there is no
        bucket."""
        found = self._core.buckets.find(resource.path[0])
        return found.policy_for(principal) if found is not None else None


def build(host: Host) -> Running:
    core = S3Core(host)
    s3 = S3(core)
    return Running(
        s3.service,
        adapters={"s3": BucketDestinations(host)},
        policy_of=s3.policy_of,
        start=core.start,
        stop=core.stop,
    )
