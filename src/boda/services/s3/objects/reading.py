"""Reading objects: GetObject, HeadObject, GetObjectAttributes, and their tags."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from boda.core.errors import AwsError
from boda.core.tags import as_list
from boda.gateway.asking.need import ConditionKeys, LateKeys, Need
from boda.gateway.calling.operation import Answer, Context, operation
from boda.gateway.http.wire import Stream
from boda.services.s3 import condition_keys, errors, names, rows, tags
from boda.services.s3.buckets.store import Bucket
from boda.services.s3.core import S3Core, on_object
from boda.services.s3.notifications.events import Happening
from boda.services.s3.objects import attributes, ranges
from boda.services.s3.objects.checksums import COMPOSITE
from boda.services.s3.objects.contents import MemoryContent, ReplacedContent
from boda.services.s3.objects.preconditions import ReadConditions
from boda.services.s3.objects.ranges import Span
from boda.services.s3.rows import ObjectVersion, Part
from boda.storage.blob_reader import BlobMissing
from boda.storage.rows import Tx

_TRIES = 5
_MAX_PARTS = 1000


def _attribute_needs(group: Any, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
    """What the attributes tell, GetObject tells too: both permissions are needed."""
    for name in ("ObjectAttributes", "Object"):
        versioned = name.replace("Object", "ObjectVersion", 1)
        yield from on_object(f"s3:Get{name}", f"s3:Get{versioned}")(group, ctx, params)


def _put_tags(group: Any, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
    """By the tags that the object has, and by those that it would get."""
    on_tags = on_object("s3:PutObjectTagging", "s3:PutObjectVersionTagging")
    for need in on_tags(group, ctx, params):
        existing = need.late
        assert existing is not None

        async def read(existing: LateKeys = existing) -> ConditionKeys:
            return {**condition_keys.of_tag_set(params), **await existing.read()}

        prefixes = (*existing.prefixes, condition_keys.REQUEST_TAG)
        yield replace(need, late=LateKeys(prefixes, read))


class ReadingOperations:
    """What reads one object."""

    def __init__(self, core: S3Core) -> None:
        self.core = core

    @operation("GetObject", authorize=on_object("s3:GetObject", "s3:GetObjectVersion"))
    async def get_object(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        version_id: str | None = None,
        part_number: int | None = None,
        range: str | None = None,  # noqa: A002 - the header's own name
        checksum_mode: str | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        if_modified_since: datetime | None = None,
        if_unmodified_since: datetime | None = None,
        response_cache_control: str | None = None,
        response_content_disposition: str | None = None,
        response_content_encoding: str | None = None,
        response_content_language: str | None = None,
        response_content_type: str | None = None,
        response_expires: datetime | None = None,
        expected_bucket_owner: str | None = None,
    ) -> Answer:
        found = self.core.bucket(bucket, expected_bucket_owner)
        conditions = ReadConditions(if_match, if_none_match, if_modified_since, if_unmodified_since)
        overrides = {
            "CacheControl": response_cache_control,
            "ContentDisposition": response_content_disposition,
            "ContentEncoding": response_content_encoding,
            "ContentLanguage": response_content_language,
            "ContentType": response_content_type,
            "Expires": response_expires,
        }
        missed = 0
        for _ in _attempts():
            version, data = await self._look_up(ctx, found, key, version_id, "GET")
            self._refuse_missing(version, missed)
            answer, span = await self._describe(
                ctx, found, version, conditions, range, part_number, checksum_mode, overrides
            )
            if answer.status == 304:
                return answer
            if version.storage_class in attributes.ARCHIVED:
                raise AwsError(
                    "InvalidObjectState",
                    "The operation is not valid for the object's storage class",
                    403,
                    StorageClass=version.storage_class,
                )
            body: bytes | Stream
            if data is not None:
                # It is here: as a stream it would cost a task and a write of its own.
                data = self.core.contents.verified(version, data)
                body = data[span.start : span.start + span.length]
            else:
                try:
                    body = Stream(await self._chunks(version, data, span), span.length)
                except (BlobMissing, ReplacedContent):
                    missed = version.seq
                    continue
            output = {**answer.output, "Body": body}
            return Answer(output, answer.status, answer.headers)
        raise ReplacedContent

    @operation("HeadObject", authorize=on_object("s3:GetObject", "s3:GetObjectVersion"))
    async def head_object(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        version_id: str | None = None,
        part_number: int | None = None,
        range: str | None = None,  # noqa: A002 - the header's own name
        checksum_mode: str | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
        if_modified_since: datetime | None = None,
        if_unmodified_since: datetime | None = None,
        response_cache_control: str | None = None,
        response_content_disposition: str | None = None,
        response_content_encoding: str | None = None,
        response_content_language: str | None = None,
        response_content_type: str | None = None,
        response_expires: datetime | None = None,
        expected_bucket_owner: str | None = None,
    ) -> Answer:
        found = self.core.bucket(bucket, expected_bucket_owner)
        conditions = ReadConditions(if_match, if_none_match, if_modified_since, if_unmodified_since)
        overrides = {
            "CacheControl": response_cache_control,
            "ContentDisposition": response_content_disposition,
            "ContentEncoding": response_content_encoding,
            "ContentLanguage": response_content_language,
            "ContentType": response_content_type,
            "Expires": response_expires,
        }
        version, _ = await self._look_up(ctx, found, key, version_id, "HEAD")
        answer, _ = await self._describe(
            ctx, found, version, conditions, range, part_number, checksum_mode, overrides
        )
        return answer

    @operation(
        "GetObjectAttributes",
        authorize=_attribute_needs,
    )
    async def get_object_attributes(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        object_attributes: Sequence[str],
        version_id: str | None = None,
        max_parts: int | None = None,
        part_number_marker: int | None = None,
        expected_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        wanted = {each.strip() for given in object_attributes for each in given.split(",")}
        if not wanted or not wanted <= {
            "ETag",
            "Checksum",
            "ObjectParts",
            "StorageClass",
            "ObjectSize",
        }:
            raise errors.invalid_argument(
                "x-amz-object-attributes",
                ",".join(object_attributes),
                "Invalid attribute name specified.",
            )
        version, _ = await self._look_up(ctx, found, key, version_id, "GET")
        output: dict[str, Any] = {"LastModified": attributes.moment(version.modified)}
        if found.versioned:
            output["VersionId"] = version.version_id
        if "ETag" in wanted:
            output["ETag"] = version.etag
        if "StorageClass" in wanted:
            output["StorageClass"] = version.storage_class
        if "ObjectSize" in wanted:
            output["ObjectSize"] = version.size
        if "Checksum" in wanted and version.checksum:
            output["Checksum"] = {
                f"Checksum{version.algorithm}": version.checksum.partition("-")[0],
                "ChecksumType": version.checksum_type,
            }
        if "ObjectParts" in wanted and version.place == rows.IN_PARTS:
            output["ObjectParts"] = await self._parts_shown(
                version,
                _MAX_PARTS if max_parts is None else max(0, min(max_parts, _MAX_PARTS)),
                part_number_marker or 0,
            )
        return output

    @operation(
        "GetObjectTagging", authorize=on_object("s3:GetObjectTagging", "s3:GetObjectVersionTagging")
    )
    async def get_object_tagging(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        version_id: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        version, _ = await self._look_up(ctx, found, key, version_id, "GET")
        output: dict[str, Any] = {"TagSet": as_list(version.tags)}
        if found.versioned:
            output["VersionId"] = version.version_id
        return output

    @operation("PutObjectTagging", authorize=_put_tags)
    async def put_object_tagging(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        tagging: Mapping[str, Any],
        version_id: str | None = None,
        content_md5: str | None = None,
        checksum_algorithm: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        new = tags.object_tags(tagging.get("TagSet"))
        return await self._set_tags(ctx, found, key, version_id, new, "ObjectTagging:Put", "PUT")

    @operation(
        "DeleteObjectTagging",
        authorize=on_object("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging"),
    )
    async def delete_object_tagging(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        version_id: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        return await self._set_tags(
            ctx, found, key, version_id, {}, "ObjectTagging:Delete", "DELETE"
        )

    def _refuse_missing(self, version: ObjectVersion, missed: int) -> None:
        """Raises Damaged where the bytes of a version that is still there were not found.

        missed: the number of the version whose bytes were not found just now.
        """
        if version.seq == missed:
            raise self.core.contents.damaged(version, "what holds its bytes is missing")

    async def _look_up(
        self, ctx: Context, bucket: Bucket, key: str, version_id: str | None, method: str
    ) -> tuple[ObjectVersion, bytes | None]:
        """The version a read means, with its bytes when they stand in a row."""
        raw = names.check_key(key)
        if version_id is not None:
            names.check_version_id(version_id, versioned=bucket.versioned)
        version, data = await self.core.read(lambda tx: _find(tx, bucket, raw, version_id))
        if version is None:
            await self.core.hide_missing(ctx, bucket)
        return _present(version, bucket, key, version_id, method), data

    async def _describe(
        self,
        ctx: Context,
        bucket: Bucket,
        version: ObjectVersion,
        conditions: ReadConditions,
        range_header: str | None,
        part_number: int | None,
        checksum_mode: str | None,
        overrides: Mapping[str, Any],
    ) -> tuple[Answer, Span]:
        """The answer without its bytes, and which bytes those are."""
        given = {name: value for name, value in overrides.items() if value is not None}
        if given and ctx.principal.kind == "anonymous":
            raise errors.invalid_request(
                "Request specific response headers cannot be used for anonymous GET requests."
            )
        if range_header is not None and part_number is not None:
            raise errors.invalid_request(
                "Cannot specify both Range header and partNumber query parameter"
            )
        span = Span(0, version.size, version.size)
        if not conditions.check(version, self.core.clock.now()):
            return _not_modified(version, bucket), span
        output = attributes.shown(version, versioned=bucket.versioned)
        status: int | None = None
        part: Part | None = None
        if part_number is not None:
            span, part, count = await self._part(version, part_number)
            if count is not None:
                output["PartsCount"] = count
            status = 206
        elif version.size or range_header is None:
            ranged = ranges.parse(range_header, version.size)
            if ranged is not None:
                span, status = ranged, 206
        else:
            ranges.parse(range_header, 0)
        if status == 206 and span.length:
            output["ContentRange"] = span.content_range
        output["ContentLength"] = span.length
        output.update(_checksum(version, part, span, checksum_mode))
        output.update(given)
        return Answer(output, status), span

    async def _part(
        self, version: ObjectVersion, number: int
    ) -> tuple[Span, Part | None, int | None]:
        if not 1 <= number <= 10_000:
            raise errors.invalid_argument(
                "partNumber",
                str(number),
                "Part number must be an integer between 1 and 10000, inclusive",
            )
        if version.place != rows.IN_PARTS:
            if number != 1:
                raise _no_such_part(number, 1)
            return Span(0, version.size, version.size), None, None
        parts = await self.core.read(lambda tx: rows.parts_of(tx, version.content))
        if number > len(parts):
            raise _no_such_part(number, len(parts))
        start = sum(part.size for part in parts[: number - 1])
        part = parts[number - 1]
        return Span(start, part.size, version.size), part, len(parts)

    async def _parts_shown(self, version: ObjectVersion, limit: int, marker: int) -> dict[str, Any]:
        total = version.details.get("parts", 0)
        if version.checksum_type != COMPOSITE:
            # S3 tells the parts of an object only when each has a checksum of its own.
            return {"TotalPartsCount": total}
        found = await self.core.read(
            lambda tx: rows.parts_of(tx, version.content, marker, limit + 1)
        )
        page = found[:limit]
        shown: dict[str, Any] = {
            "TotalPartsCount": total,
            "PartNumberMarker": marker,
            "NextPartNumberMarker": page[-1].number if page else 0,
            "MaxParts": limit,
            "IsTruncated": len(found) > limit,
        }
        if page:
            shown["Parts"] = [
                {
                    "PartNumber": part.number,
                    "Size": part.size,
                    f"Checksum{version.algorithm}": part.checksum,
                }
                for part in page
            ]
        return shown

    async def _chunks(
        self, version: ObjectVersion, data: bytes | None, span: Span
    ) -> AsyncIterator[bytes]:
        if data is not None:
            data = self.core.contents.verified(version, data)
            return aiter(MemoryContent(data[span.start : span.start + span.length]))
        return await self.core.contents.give(version, span.start, span.length)

    async def _set_tags(
        self,
        ctx: Context,
        bucket: Bucket,
        key: str,
        version_id: str | None,
        new: dict[str, str],
        event: str,
        method: str,
    ) -> dict[str, Any]:
        raw = names.check_key(key)
        if version_id is not None:
            names.check_version_id(version_id, versioned=bucket.versioned)

        def work(tx: Tx) -> tuple[ObjectVersion, list[Happening]]:
            bucket.check()
            found = (
                rows.latest(tx, bucket.name, raw)
                if version_id is None
                else rows.named(tx, bucket.name, raw, version_id)
            )
            if found is not None and found.marker:
                raise errors.delete_marker(method, {"x-amz-version-id": found.version_id})
            version = _present(found, bucket, key, version_id, method)
            version.details = {**version.details, "tags": new}
            if not new:
                del version.details["tags"]
            rows.set_details(tx, version)
            happening = Happening(
                event,
                key,
                self.core.clock.now(),
                self.core.numbers.next(),
                etag=version.etag,
                version_id=version.version_id if bucket.versioned else "",
            )
            return version, [happening]

        version = await self.core.commit(ctx, bucket, work)
        return {"VersionId": version.version_id} if bucket.versioned else {}


def _attempts() -> Sequence[int]:
    """An object may be replaced between its row and its bytes; then it is looked up again."""
    return range(_TRIES)


def _find(
    tx: Tx, bucket: Bucket, key: bytes, version_id: str | None
) -> tuple[ObjectVersion | None, bytes | None]:
    version = (
        rows.latest(tx, bucket.name, key)
        if version_id is None
        else rows.named(tx, bucket.name, key, version_id)
    )
    if version is None or version.place != rows.IN_ROW:
        return rows.with_crcs(tx, version), None
    return version, rows.body(tx, version.content)


def _present(
    version: ObjectVersion | None, bucket: Bucket, key: str, version_id: str | None, method: str
) -> ObjectVersion:
    if version is None:
        if version_id is not None and bucket.versioned:
            raise errors.no_such_version(key, version_id)
        raise errors.no_such_key(key)
    if version.marker:
        headers = {"x-amz-delete-marker": "true", "x-amz-version-id": version.version_id}
        if version_id is None:
            raise errors.no_such_key(key, headers)
        headers["Last-Modified"] = _http_date(version)
        raise errors.delete_marker(method, headers)
    return version


def _not_modified(version: ObjectVersion, bucket: Bucket) -> Answer:
    headers = {"ETag": names.quoted(version.etag), "Last-Modified": _http_date(version)}
    if bucket.versioned:
        headers["x-amz-version-id"] = version.version_id
    return Answer({}, 304, headers)


def _http_date(version: ObjectVersion) -> str:
    return format_datetime(attributes.moment(version.modified), usegmt=True)


def _checksum(
    version: ObjectVersion, part: Part | None, span: Span, mode: str | None
) -> dict[str, str]:
    if mode != "ENABLED" or not version.checksum:
        return {}
    if part is not None:
        # Parts have checksums of their own where their upload named an algorithm.
        if version.checksum_type != COMPOSITE and not version.details.get("part_checksums"):
            return {}
        return {
            f"Checksum{version.algorithm}": part.checksum,
            "ChecksumType": version.checksum_type,
        }
    if not span.whole:
        return {}
    return {
        f"Checksum{version.algorithm}": version.checksum,
        "ChecksumType": version.checksum_type,
    }


def _no_such_part(number: int, count: int) -> AwsError:
    return AwsError(
        "InvalidPartNumber",
        "The requested partnumber is not satisfiable",
        416,
        PartNumberRequested=str(number),
        ActualPartCount=str(count),
    )
