"""The source of a copy: another object, found and held open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from boda.core.errors import AwsError
from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Context
from boda.services.s3 import condition_keys, errors, names, rows
from boda.services.s3.buckets.store import Bucket
from boda.services.s3.core import S3Core
from boda.services.s3.objects import attributes
from boda.services.s3.objects.contents import Contents, ReplacedContent
from boda.services.s3.objects.preconditions import ReadConditions
from boda.services.s3.rows import ObjectVersion
from boda.storage.blob_reader import BlobMissing


@dataclass(slots=True)
class CopySource:
    """An object to copy from. version_given: the caller named the version."""

    bucket: Bucket
    version: ObjectVersion
    version_given: bool
    contents: Contents
    _open: list[Any] = field(default_factory=list)

    async def chunks(self, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes. Raises InternalError (500) if the object is replaced at this moment."""
        count = self.version.size - start if length is None else length
        try:
            reader = await self.contents.give(self.version, start, count)
        except BlobMissing:
            raise ReplacedContent from None
        self._open.append(reader)
        return reader

    async def aclose(self) -> None:
        for reader in self._open:
            await reader.aclose()


class CopySources:
    """Finds the object that ``x-amz-copy-source`` names."""

    def __init__(self, core: S3Core) -> None:
        self._core = core

    def needs(self, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        bucket, key, version_id = names.parse_copy_source(params["CopySource"])
        action = "s3:GetObjectVersion" if version_id else "s3:GetObject"
        context = condition_keys.of_parameters({"VersionId": version_id})
        yield self._core.need(ctx, action, bucket, key, context, version_id, anywhere=True)

    async def open(
        self,
        ctx: Context,
        copy_source: str,
        conditions: ReadConditions,
        expected_owner: str | None,
    ) -> CopySource:
        name, key, version_id = names.parse_copy_source(copy_source)
        bucket = self._core.bucket(name, expected_owner)
        raw = names.check_key(key)
        if version_id is not None:
            names.check_version_id(version_id, versioned=bucket.versioned)
            version = await self._core.read(
                lambda c: rows.with_crcs(c, rows.named(c, name, raw, version_id))
            )
        else:
            version = await self._core.read(lambda c: rows.with_crcs(c, rows.latest(c, name, raw)))
        if version is None or (version.marker and version_id is None):
            await self._core.hide_missing(ctx, bucket)
            if version_id is not None and bucket.versioned:
                raise errors.no_such_version(key, version_id)
            raise errors.no_such_key(key)
        if version.marker:
            raise errors.invalid_request(
                "The source of a copy request may not specifically refer to a delete marker by "
                "version id."
            )
        if version.storage_class in attributes.ARCHIVED:
            raise AwsError(
                "InvalidObjectState",
                "Operation is not valid for the source object's storage class",
                403,
                StorageClass=version.storage_class,
            )
        conditions.check_copy(version, self._core.clock.now())
        return CopySource(bucket, version, version_id is not None, self._core.contents)
