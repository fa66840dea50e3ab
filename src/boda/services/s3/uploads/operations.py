"""Multipart uploads: parts arrive one by one and become one object without being copied.

A finished object points at its upload's parts; reading it walks them in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from boda.core.arn import last_name
from boda.core.errors import AwsError
from boda.gateway.asking.need import LateKeys, Need
from boda.gateway.asking.tag_keys import Keys
from boda.gateway.calling.operation import Answer, Context, operation
from boda.gateway.calling.paging import READABLE, Key, Page
from boda.gateway.http.wire import StreamingBody
from boda.services.s3 import condition_keys, errors, names, rows, tags
from boda.services.s3.access import acls
from boda.services.s3.buckets.store import Bucket
from boda.services.s3.core import S3Core, on_object
from boda.services.s3.notifications.events import Happening
from boda.services.s3.objects import attributes, checksums, ranges
from boda.services.s3.objects.checksums import ClaimedChecksum, Digest
from boda.services.s3.objects.contents import (
    ContentStream,
    IncomingContent,
    MemoryContent,
    StoredContent,
)
from boda.services.s3.objects.copy_source import CopySources
from boda.services.s3.objects.preconditions import COPY_PREFIX, ReadConditions, WriteConditions
from boda.services.s3.objects.versions import Versions, WriteResult, created, new_version
from boda.services.s3.rows import Part, Upload
from boda.services.s3.uploads.completion import Completion
from boda.storage.rows import Tx

_PART_LIMIT = 10_000


class MultipartOperations:
    """CreateMultipartUpload … CompleteMultipartUpload, and the lists of parts."""

    def __init__(self, core: S3Core) -> None:
        self.core = core
        self._versions = Versions(core.numbers)
        self._sources = CopySources(core)

    def _create_needs(self, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        bucket, key = params["Bucket"], params["Key"]
        keys = condition_keys.of_write(params, creates=False)
        yield self.core.need(ctx, "s3:PutObject", bucket, key, keys)
        if params.get("Tagging"):
            yield self.core.need(ctx, "s3:PutObjectTagging", bucket, key, keys)
        if params.get("ACL"):
            yield self.core.need(ctx, "s3:PutObjectAcl", bucket, key, keys)

    def _part_needs(self, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        yield self._step(ctx, params, creates=False)

    def _completion_needs(self, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        yield self._step(ctx, params, creates=True)

    def _step(self, ctx: Context, params: Mapping[str, Any], *, creates: bool) -> Need:
        """A step of an upload: what the upload asked for at its start is asked for by each."""
        bucket, key = params["Bucket"], params["Key"]
        keys = condition_keys.of_write(params, creates=creates)
        read = partial(self._asked, bucket, key, params["UploadId"])
        need = self.core.need(ctx, "s3:PutObject", bucket, key, keys)
        return replace(need, late=LateKeys(condition_keys.OF_UPLOAD, read))

    async def _asked(self, bucket: str, key: str, upload_id: str) -> Keys:
        raw = key.encode(errors="replace")
        found = await self.core.read(lambda tx: rows.upload(tx, bucket, raw, upload_id))
        return condition_keys.of_attributes(found.details.get("asked", {})) if found else {}

    @operation("CreateMultipartUpload", authorize=_create_needs)
    async def create_multipart_upload(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        acl: str | None = None,
        cache_control: str | None = None,
        content_disposition: str | None = None,
        content_encoding: str | None = None,
        content_language: str | None = None,
        content_type: str | None = None,
        expires: datetime | None = None,
        metadata: Mapping[str, str] | None = None,
        server_side_encryption: str | None = None,
        storage_class: str | None = None,
        website_redirect_location: str | None = None,
        tagging: str | None = None,
        checksum_algorithm: str | None = None,
        checksum_type: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        raw = names.check_key(key)
        acls.check_object(acl, "CreateMultipartUpload", found, ctx.account)
        attributes.check_encryption("CreateMultipartUpload", server_side_encryption)
        wanted_class = attributes.check_storage_class(storage_class)
        if checksum_algorithm is not None:
            checksum_algorithm = checksums.check_algorithm(checksum_algorithm)
            checksum_type = checksums.multipart_type(checksum_algorithm, checksum_type)
        elif checksum_type is not None:
            raise errors.invalid_request(
                "The x-amz-checksum-type header can only be used with the "
                "x-amz-checksum-algorithm header."
            )
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
        attributes_asked = {
            "ACL": acl,
            "ServerSideEncryption": server_side_encryption,
            "StorageClass": storage_class,
            "Tagging": tagging,
            "WebsiteRedirectLocation": website_redirect_location,
        }
        asked = {name: value for name, value in attributes_asked.items() if value}
        upload = Upload(
            names.new_upload_id(self.core.ids),
            found.name,
            raw,
            0,
            int(self.core.clock.now()),
            _initiator(ctx),
            checksum_algorithm or "",
            checksum_type or "",
            wanted_class,
            {**details, "asked": asked} if asked else details,
        )

        def work(tx: Tx) -> None:
            found.check()
            upload.seq = self.core.numbers.next()
            rows.insert_upload(tx, upload)
            found.open_uploads += 1

        await self.core.write(work)
        output: dict[str, Any] = {
            "Bucket": found.name,
            "Key": key,
            "UploadId": upload.id,
            "ServerSideEncryption": "AES256",
        }
        if checksum_algorithm:
            output["ChecksumAlgorithm"] = checksum_algorithm
            output["ChecksumType"] = checksum_type
        return output

    @operation("UploadPart", authorize=_part_needs)
    async def upload_part(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        part_number: int,
        upload_id: str,
        body: StreamingBody | None = None,
        content_length: int | None = None,
        content_md5: str | None = None,
        checksum_algorithm: str | None = None,
        checksum_crc32: str | None = None,
        checksum_crc32_c: str | None = None,
        checksum_crc64_nvme: str | None = None,
        checksum_sha1: str | None = None,
        checksum_sha256: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        _check_number(part_number)
        upload = await self._upload(found, key, upload_id)
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
        _check_claim(claim, upload)
        algorithm = upload.algorithm or checksums.DEFAULT
        wanted = {algorithm, claim.algorithm if claim else algorithm}
        source: ContentStream = body if body is not None else MemoryContent(b"")
        taken = await self.core.contents.take(source, Digest(sorted(wanted)), inline=False)
        try:
            checksums.check_md5(content_md5, taken.digest)
            if claim is not None:
                trailers = body.checksums() if body is not None else {}
                claim.check(taken.digest.checksum(claim.algorithm), trailers)
        except AwsError:
            await self.core.contents.discard(taken)
            raise
        part = await self._keep(found, upload, part_number, taken, algorithm)
        output: dict[str, Any] = {
            "ETag": names.quoted(part.etag),
            "ServerSideEncryption": "AES256",
        }
        shown = claim.algorithm if claim else upload.algorithm
        if shown:
            output[f"Checksum{shown}"] = taken.digest.checksum(shown)
        return output

    def _copy_needs(self, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        yield from self._sources.needs(ctx, params)
        yield from self._part_needs(ctx, params)

    @operation("UploadPartCopy", authorize=_copy_needs)
    async def upload_part_copy(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        part_number: int,
        upload_id: str,
        copy_source: str,
        copy_source_range: str | None = None,
        copy_source_if_match: str | None = None,
        copy_source_if_modified_since: datetime | None = None,
        copy_source_if_none_match: str | None = None,
        copy_source_if_unmodified_since: datetime | None = None,
        expected_bucket_owner: str | None = None,
        expected_source_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        _check_number(part_number)
        upload = await self._upload(found, key, upload_id)
        conditions = ReadConditions(
            copy_source_if_match,
            copy_source_if_none_match,
            copy_source_if_modified_since,
            copy_source_if_unmodified_since,
            COPY_PREFIX,
        )
        opened = await self._sources.open(
            ctx, copy_source, conditions, expected_source_bucket_owner
        )
        size = opened.version.size
        span = ranges.Span(0, size, size)
        if copy_source_range is not None:
            span = ranges.parse_copy(copy_source_range, size)
        algorithm = upload.algorithm or checksums.DEFAULT
        try:
            chunks = await opened.chunks(span.start, span.length)
            taken = await self.core.contents.take(
                IncomingContent(chunks, span.length), Digest([algorithm]), inline=False
            )
        finally:
            await opened.aclose()
        part = await self._keep(found, upload, part_number, taken, algorithm)
        result: dict[str, Any] = {
            "ETag": names.quoted(part.etag),
            "LastModified": attributes.moment(part.modified),
        }
        if upload.algorithm:
            result[f"Checksum{upload.algorithm}"] = part.checksum
        output: dict[str, Any] = {"CopyPartResult": result, "ServerSideEncryption": "AES256"}
        if opened.bucket.versioned:
            output["CopySourceVersionId"] = opened.version.version_id
        return output

    @operation(
        "CompleteMultipartUpload",
        authorize=_completion_needs,
    )
    async def complete_multipart_upload(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        upload_id: str,
        multipart_upload: Mapping[str, Any] | None = None,
        checksum_crc32: str | None = None,
        checksum_crc32_c: str | None = None,
        checksum_crc64_nvme: str | None = None,
        checksum_sha1: str | None = None,
        checksum_sha256: str | None = None,
        checksum_type: str | None = None,
        mpu_object_size: int | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        raw = names.check_key(key)
        names.check_upload_id(upload_id)
        conditions = WriteConditions(if_match, if_none_match)
        conditions.check_form()
        completion = Completion(
            upload_id,
            (multipart_upload or {}).get("Parts") or (),
            {
                "CRC32": checksum_crc32,
                "CRC32C": checksum_crc32_c,
                "CRC64NVME": checksum_crc64_nvme,
                "SHA1": checksum_sha1,
                "SHA256": checksum_sha256,
            },
            checksum_type,
            mpu_object_size,
        )
        fresh_id = names.new_version_id(self.core.ids)
        now = self.core.clock.now()

        def work(tx: Tx) -> tuple[WriteResult, list[Happening]]:
            found.check()
            upload = rows.upload(tx, found.name, raw, upload_id)
            if upload is None:
                again = rows.version_of_upload(tx, found.name, raw, upload_id)
                if again is None or not completion.repeats(rows.parts_of(tx, upload_id)):
                    raise errors.no_such_upload(upload_id)
                return WriteResult(again, repeated=True), []
            parts = rows.parts_of(tx, upload_id)
            whole = completion.checked(upload, parts)
            chosen = {part.number for part in whole.parts}
            left_out = [part.number for part in parts if part.number not in chosen]
            if left_out:
                rows.drop_parts(tx, upload_id, left_out)
            version = new_version(
                found,
                raw,
                modified=now,
                size=whole.size,
                etag=whole.etag,
                blob="",
                checksum=whole.checksum,
                storage_class=upload.storage_class,
                details=_completed_details(upload, len(whole.parts)),
            )
            version.place, version.content = rows.IN_PARTS, upload_id
            rows.drop_upload(tx, upload_id)
            written = self._versions.put(
                tx,
                found,
                version,
                None,
                fresh_id,
                conditions,
                disturbed=upload.disturbed,
            )
            written.blobs_freed = written.blobs_freed or bool(left_out)
            happening = created("CompleteMultipartUpload", version, found, now)
            return written, [happening]

        written = await self.core.commit(ctx, found, work)
        if not written.repeated:
            found.open_uploads -= 1
        if written.blobs_freed:
            self.core.trash.filled()
        version = written.version
        output: dict[str, Any] = {
            "Bucket": found.name,
            "Key": key,
            "Location": f"{ctx.endpoint}/{found.name}/{quote(key)}",
            "ETag": names.quoted(version.etag),
            "ServerSideEncryption": "AES256",
            f"Checksum{version.algorithm}": version.checksum,
            "ChecksumType": version.checksum_type,
        }
        if version.version_id != names.NULL_VERSION:
            output["VersionId"] = version.version_id
        return output

    @operation("AbortMultipartUpload", authorize=on_object("s3:AbortMultipartUpload"))
    async def abort_multipart_upload(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        upload_id: str,
        expected_bucket_owner: str | None = None,
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        raw = names.check_key(key)
        names.check_upload_id(upload_id)

        def work(tx: Tx) -> None:
            if rows.upload(tx, found.name, raw, upload_id) is None:
                raise errors.no_such_upload(upload_id)
            rows.drop_parts(tx, upload_id)
            rows.drop_upload(tx, upload_id)

        await self.core.write(work)
        found.open_uploads -= 1
        self.core.trash.filled()

    @operation("ListParts", authorize=on_object("s3:ListMultipartUploadParts"), paged=READABLE)
    async def list_parts(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        upload_id: str,
        max_parts: int | None = None,
        part_number_marker: int | None = None,
        expected_bucket_owner: str | None = None,
    ) -> Answer:
        found = self.core.bucket(bucket, expected_bucket_owner)
        upload = await self._upload(found, key, upload_id)
        if max_parts is not None and max_parts < 0:
            raise errors.invalid_argument(
                "max-parts",
                str(max_parts),
                "Argument max-parts must be an integer between 0 and 2147483647",
            )
        marker = part_number_marker or 0

        async def read(_key: Key, limit: int) -> Page:
            parts = await self.core.read(lambda tx: rows.parts_of(tx, upload_id, marker, limit + 1))
            shown = [_part_shown(part, upload) for part in parts[:limit]]
            last = shown[-1]["PartNumber"] if shown else 0
            more = len(parts) > limit
            return Page(shown, {} if more else None, {"NextPartNumberMarker": last})

        output: dict[str, Any] = {
            "Bucket": found.name,
            "Key": key,
            "UploadId": upload_id,
            "PartNumberMarker": marker,
            "Initiator": upload.initiator,
            "Owner": {"ID": names.canonical_id(found.account)},
            "StorageClass": upload.storage_class,
        }
        if upload.algorithm:
            output["ChecksumAlgorithm"] = upload.algorithm
            output["ChecksumType"] = upload.checksum_type
        return Answer(output, listing=read)

    async def _upload(self, bucket: Bucket, key: str, upload_id: str) -> Upload:
        raw = names.check_key(key)
        names.check_upload_id(upload_id)
        found = await self.core.read(lambda tx: rows.upload(tx, bucket.name, raw, upload_id))
        if found is None:
            raise errors.no_such_upload(upload_id)
        return found

    async def _keep(
        self, bucket: Bucket, upload: Upload, number: int, taken: StoredContent, algorithm: str
    ) -> Part:
        part = Part(
            number,
            taken.size,
            taken.digest.etag,
            int(self.core.clock.now()),
            taken.digest.checksum(algorithm),
            taken.blob,
            taken.crcs,
        )

        def work(tx: Tx) -> bool:
            # The upload may have been completed or aborted while the part arrived.
            if rows.upload(tx, bucket.name, upload.key, upload.id) is None:
                raise errors.no_such_upload(upload.id)
            return rows.put_part(tx, upload.id, part)

        try:
            replaced = await self.core.write(work)
        except Exception as error:
            await self.core.contents.discard_refused(taken, error)
            raise
        if replaced:
            self.core.trash.filled()
        return part


def _completed_details(upload: Upload, count: int) -> dict[str, Any]:
    details = {**upload.details, "parts": count}
    details.pop("asked", None)
    if upload.algorithm:
        details["part_checksums"] = True
    return details


def _check_number(number: int) -> None:
    if not 1 <= number <= _PART_LIMIT:
        raise errors.invalid_argument(
            "partNumber",
            str(number),
            "Part number must be an integer between 1 and 10000, inclusive",
        )


def _check_claim(claim: ClaimedChecksum | None, upload: Upload) -> None:
    if claim is not None and upload.algorithm and claim.algorithm != upload.algorithm:
        raise errors.invalid_request(
            f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm.lower()},"
            f" actual checksum Type: {claim.algorithm.lower()}"
        )


def _initiator(ctx: Context) -> dict[str, str]:
    if ctx.principal.kind in ("user", "assumed-role"):
        return {
            "ID": ctx.principal.arn,
            "DisplayName": last_name(ctx.principal.arn),
        }
    return {"ID": names.canonical_id(ctx.account), "DisplayName": ctx.principal.kind}


def _part_shown(part: Part, upload: Upload) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "PartNumber": part.number,
        "LastModified": attributes.moment(part.modified),
        "ETag": names.quoted(part.etag),
        "Size": part.size,
    }
    if upload.algorithm:
        shown[f"Checksum{upload.algorithm}"] = part.checksum
    return shown
