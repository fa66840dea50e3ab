"""Writing objects: PutObject, CopyObject, DeleteObject, DeleteObjects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from boda.core.errors import AwsError, not_implemented
from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Context, operation
from boda.gateway.http.wire import StreamingBody
from boda.services.s3 import condition_keys, errors, names, tags
from boda.services.s3.access import acls
from boda.services.s3.buckets.store import Bucket
from boda.services.s3.core import S3Core, on_object
from boda.services.s3.notifications.events import Happening
from boda.services.s3.objects import attributes, checksums
from boda.services.s3.objects.checksums import Digest, ObjectChecksum
from boda.services.s3.objects.contents import (
    OBJECT_LIMIT,
    ContentStream,
    IncomingContent,
    MemoryContent,
    StoredContent,
)
from boda.services.s3.objects.copy_source import CopySources
from boda.services.s3.objects.preconditions import COPY_PREFIX, ReadConditions, WriteConditions
from boda.services.s3.objects.versions import DeletionResult, Versions, created, new_version
from boda.services.s3.rows import ObjectVersion
from boda.storage.rows import Tx

_DELETE_LIMIT = 1000


class WritingOperations:
    """What writes one object, or deletes several."""

    def __init__(self, core: S3Core) -> None:
        self.core = core
        self._versions = Versions(core.numbers)
        self._sources = CopySources(core)

    def _put_needs(self, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        bucket, key = params["Bucket"], params["Key"]
        context = condition_keys.of_write(params)
        yield self.core.need(ctx, "s3:PutObject", bucket, key, context)
        if params.get("Tagging"):
            yield self.core.need(ctx, "s3:PutObjectTagging", bucket, key, context)
        if params.get("ACL"):
            yield self.core.need(ctx, "s3:PutObjectAcl", bucket, key, context)

    @operation("PutObject", authorize=_put_needs)
    async def put_object(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        body: StreamingBody | None = None,
        acl: str | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        content_encoding: str | None = None,
        content_language: str | None = None,
        content_length: int | None = None,
        content_md5: str | None = None,
        content_type: str | None = None,
        checksum_algorithm: str | None = None,
        checksum_crc32: str | None = None,
        checksum_crc32_c: str | None = None,
        checksum_crc64_nvme: str | None = None,
        checksum_sha1: str | None = None,
        checksum_sha256: str | None = None,
        expires: datetime | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        server_side_encryption: str | None = None,
        storage_class: str | None = None,
        website_redirect_location: str | None = None,
        tagging: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        raw = names.check_key(key)
        acls.check_object(acl, "PutObject", found, ctx.account)
        attributes.check_encryption("PutObject", server_side_encryption)
        storage_class = attributes.check_storage_class(storage_class)
        conditions = WriteConditions(if_match, if_none_match)
        conditions.check_form()
        details = attributes.details(
            metadata=metadata,
            tags=tags.header_tags(tagging),
            redirect=website_redirect_location,
            expires=expires,
            CacheControl=cache_control,
            ContentDisposition=content_disposition,
            ContentEncoding=content_encoding,
            ContentLanguage=content_language,
            ContentType=content_type,
        )
        claim = checksums.claim_of(
            {
                "CRC32": checksum_crc32,
                "CRC32C": checksum_crc32_c,
                "CRC64NVME": checksum_crc64_nvme,
                "SHA1": checksum_sha1,
                "SHA256": checksum_sha256,
            },
            ctx.headers,
        )
        algorithm = claim.algorithm if claim else checksums.DEFAULT
        source: ContentStream = body if body is not None else MemoryContent(b"")
        taken = await self.core.contents.take(source, Digest([algorithm]))
        checksum = ObjectChecksum(algorithm, taken.digest.checksum(algorithm))
        try:
            checksums.check_md5(content_md5, taken.digest)
            if claim is not None:
                claim.check(checksum.value, body.checksums() if body is not None else {})
        except AwsError:
            await self.core.contents.discard(taken)
            raise
        version = new_version(
            found,
            raw,
            modified=self.core.clock.now(),
            size=taken.size,
            etag=taken.digest.etag,
            blob=taken.blob,
            checksum=checksum,
            storage_class=storage_class,
            details=details,
            crcs=taken.crcs,
        )
        version = await self._store(ctx, found, version, taken, conditions, "Put")
        output = {
            "ETag": names.quoted(version.etag),
            "ServerSideEncryption": "AES256",
            **checksum.members(),
        }
        if found.versioning == "Enabled" and version.version_id != names.NULL_VERSION:
            output["VersionId"] = version.version_id
        return output

    def _copy_needs(self, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        yield from self._sources.needs(ctx, params)
        yield from self._put_needs(ctx, params)

    @operation("CopyObject", authorize=_copy_needs)
    async def copy_object(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        copy_source: str,
        acl: str | None = None,
        cache_control: str | None = None,
        checksum_algorithm: str | None = None,
        content_disposition: str | None = None,
        content_encoding: str | None = None,
        content_language: str | None = None,
        content_type: str | None = None,
        copy_source_if_match: str | None = None,
        copy_source_if_modified_since: datetime | None = None,
        copy_source_if_none_match: str | None = None,
        copy_source_if_unmodified_since: datetime | None = None,
        expires: datetime | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        metadata_directive: str | None = None,
        tagging: str | None = None,
        tagging_directive: str | None = None,
        server_side_encryption: str | None = None,
        storage_class: str | None = None,
        website_redirect_location: str | None = None,
        expected_bucket_owner: str | None = None,
        expected_source_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        raw = names.check_key(key)
        acls.check_object(acl, "CopyObject", found, ctx.account)
        attributes.check_encryption("CopyObject", server_side_encryption)
        wanted_class = attributes.check_storage_class(storage_class)
        conditions = WriteConditions(if_match, if_none_match)
        conditions.check_form()
        _check_directive("x-amz-metadata-directive", metadata_directive)
        _check_directive("x-amz-tagging-directive", tagging_directive)
        if checksum_algorithm is not None:
            checksum_algorithm = checksums.check_algorithm(checksum_algorithm)
        opened = await self._sources.open(
            ctx,
            copy_source,
            ReadConditions(
                copy_source_if_match,
                copy_source_if_none_match,
                copy_source_if_modified_since,
                copy_source_if_unmodified_since,
                COPY_PREFIX,
            ),
            expected_source_bucket_owner,
        )
        source = opened.version
        try:
            if source.size > OBJECT_LIMIT:
                raise errors.invalid_request(
                    "The specified copy source is larger than the maximum allowable size for a "
                    f"copy source: {OBJECT_LIMIT}"
                )
            changes = (
                metadata_directive == "REPLACE",
                storage_class,
                server_side_encryption,
                website_redirect_location,
                opened.version_given,
                found.settings.get("encryption"),
            )
            if (source.bucket, source.key) == (found.name, raw) and not any(changes):
                raise errors.invalid_request(
                    "This copy request is illegal because it is trying to copy an object to "
                    "itself without changing the object's metadata, storage class, website "
                    "redirect location or encryption attributes."
                )
            details = self._copied_details(
                source,
                metadata_directive,
                tagging_directive,
                tagging,
                metadata=metadata,
                redirect=website_redirect_location,
                expires=expires,
                CacheControl=cache_control,
                ContentDisposition=content_disposition,
                ContentEncoding=content_encoding,
                ContentLanguage=content_language,
                ContentType=content_type,
            )
            if source.tags and tagging_directive != "REPLACE":
                action = "s3:GetObjectTagging"
                await ctx.authorize(
                    self.core.need(ctx, action, source.bucket, source.name, anywhere=True)
                )
                given = condition_keys.of_object_tags(source.tags)
                await ctx.authorize(self.core.need(ctx, "s3:PutObjectTagging", bucket, key, given))
            algorithm = checksum_algorithm or source.algorithm or checksums.DEFAULT
            chunks = await opened.chunks()
            taken = await self.core.contents.take(
                IncomingContent(chunks, source.size), Digest([algorithm])
            )
        finally:
            await opened.aclose()
        checksum = ObjectChecksum(algorithm, taken.digest.checksum(algorithm))
        version = new_version(
            found,
            raw,
            modified=self.core.clock.now(),
            size=taken.size,
            etag=taken.digest.etag,
            blob=taken.blob,
            checksum=checksum,
            storage_class=wanted_class,
            details=details,
            crcs=taken.crcs,
        )
        version = await self._store(ctx, found, version, taken, conditions, "Copy")
        output: dict[str, Any] = {
            "CopyObjectResult": {
                "ETag": names.quoted(version.etag),
                "LastModified": attributes.moment(version.modified),
                **checksum.members(),
            },
            "ServerSideEncryption": "AES256",
        }
        if opened.bucket.versioned:
            output["CopySourceVersionId"] = source.version_id
        if found.versioned:
            output["VersionId"] = version.version_id
        return output

    @operation(
        "DeleteObject",
        authorize=on_object(
            "s3:DeleteObject", "s3:DeleteObjectVersion", condition_keys.of_parameters
        ),
    )
    async def delete_object(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        version_id: str | None = None,
        if_match: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        raw = names.check_key(key)
        if version_id is not None:
            names.check_version_id(version_id, versioned=found.versioned)
        fresh_id = names.new_version_id(self.core.ids)
        now = self.core.clock.now()

        def work(tx: Tx) -> tuple[DeletionResult, list[Happening]]:
            return self._versions.delete(tx, found, raw, version_id, fresh_id, now, if_match)

        deleted = await self.core.commit(ctx, found, work)
        if deleted.blobs_freed:
            self.core.trash.filled()
        output: dict[str, Any] = {}
        if deleted.marker:
            output["DeleteMarker"] = True
        if deleted.version_id and found.versioned:
            output["VersionId"] = deleted.version_id
        return output

    def _no_needs(self, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        """Each key is authorised by itself, and refused by itself."""
        return ()

    @operation("DeleteObjects", authorize=_no_needs)
    async def delete_objects(
        self,
        ctx: Context,
        *,
        bucket: str,
        delete: Mapping[str, Any],
        checksum_algorithm: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        wanted = delete.get("Objects") or ()
        if not 1 <= len(wanted) <= _DELETE_LIMIT:
            raise errors.malformed_xml()
        failed: list[dict[str, Any]] = []
        allowed: list[tuple[Mapping[str, Any], bytes, str]] = []
        for entry in wanted:
            try:
                allowed.append(
                    (
                        entry,
                        await self._check_deletion(ctx, found, entry),
                        names.new_version_id(self.core.ids),
                    )
                )
            except AwsError as error:
                failed.append(_failure(entry, error))
        now = self.core.clock.now()

        def work(tx: Tx) -> tuple[list[Any], list[Happening]]:
            outcomes: list[Any] = []
            happenings: list[Happening] = []
            for entry, raw, fresh_id in allowed:
                try:
                    deleted, happened = self._versions.delete(
                        tx,
                        found,
                        raw,
                        entry.get("VersionId"),
                        fresh_id,
                        now,
                        entry.get("ETag"),
                    )
                except AwsError as error:
                    outcomes.append((entry, error))
                else:
                    outcomes.append((entry, deleted))
                    happenings += happened
            return outcomes, happenings

        done: list[dict[str, Any]] = []
        for entry, outcome in await self.core.commit(ctx, found, work) if allowed else ():
            if isinstance(outcome, AwsError):
                failed.append(_failure(entry, outcome))
                continue
            if outcome.blobs_freed:
                self.core.trash.filled()
            done.append(_success(entry, outcome))
        output: dict[str, Any] = {}
        if done and not delete.get("Quiet"):
            output["Deleted"] = done
        if failed:
            output["Errors"] = failed
        return output

    async def _check_deletion(
        self, ctx: Context, bucket: Bucket, entry: Mapping[str, Any]
    ) -> bytes:
        key, version_id = entry["Key"], entry.get("VersionId")
        for member in ("LastModifiedTime", "Size"):
            if entry.get(member) is not None:
                raise not_implemented("s3", "DeleteObjects", f"{member}: directory buckets")
        raw = names.check_key(key)
        action = "s3:DeleteObjectVersion" if version_id else "s3:DeleteObject"
        given = {"VersionId": version_id, "IfMatch": entry.get("ETag")}
        context = condition_keys.of_parameters(given)
        await ctx.authorize(self.core.need(ctx, action, bucket.name, key, context))
        if version_id is not None:
            names.check_version_id(version_id, versioned=bucket.versioned)
        return raw

    async def _store(
        self,
        ctx: Context,
        bucket: Bucket,
        version: ObjectVersion,
        taken: StoredContent,
        conditions: WriteConditions,
        event: str,
    ) -> ObjectVersion:
        fresh_id = names.new_version_id(self.core.ids) if bucket.versioned else ""

        def work(tx: Tx) -> tuple[Any, list[Happening]]:
            name = fresh_id or names.new_version_id(self.core.ids)
            written = self._versions.put(tx, bucket, version, taken.data, name, conditions)
            happenings = []
            if bucket.notifications:
                happenings.append(created(event, written.version, bucket, self.core.clock.now()))
            return written, happenings

        try:
            written = await self.core.commit(ctx, bucket, work)
        except Exception as error:
            await self.core.contents.discard_refused(taken, error)
            raise
        if written.blobs_freed:
            self.core.trash.filled()
        stored: ObjectVersion = written.version
        return stored

    def _copied_details(
        self,
        source: ObjectVersion,
        metadata_directive: str | None,
        tagging_directive: str | None,
        tagging: str | None,
        **given: Any,
    ) -> dict[str, Any]:
        new_tags = tags.header_tags(tagging) if tagging_directive == "REPLACE" else source.tags
        details = attributes.details(tags=new_tags, **given)
        if metadata_directive == "REPLACE":
            return details
        kept: dict[str, Any] = {
            name: source.details[name]
            for name in ("headers", "metadata", "expires")
            if name in source.details
        }
        kept.update({name: details[name] for name in ("redirect", "tags") if name in details})
        return kept


def _check_directive(header: str, value: str | None) -> None:
    if value not in (None, "COPY", "REPLACE"):
        kind = "metadata" if "metadata" in header else "tagging"
        raise errors.invalid_argument(header, value, f"Unknown {kind} directive.")


def _failure(entry: Mapping[str, Any], error: AwsError) -> dict[str, Any]:
    shown = {"Key": entry["Key"], "Code": error.code, "Message": error.message}
    if entry.get("VersionId"):
        shown["VersionId"] = entry["VersionId"]
    return shown


def _success(entry: Mapping[str, Any], deleted: DeletionResult) -> dict[str, Any]:
    shown: dict[str, Any] = {"Key": entry["Key"]}
    if entry.get("VersionId"):
        shown["VersionId"] = entry["VersionId"]
    if deleted.marker:
        shown["DeleteMarker"] = True
        shown["DeleteMarkerVersionId"] = deleted.version_id
    return shown
