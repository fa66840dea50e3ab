"""ListObjects, ListObjectsV2, ListObjectVersions, ListMultipartUploads."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Answer, Authorize, Context, operation
from boda.services.s3 import errors, names, rows
from boda.services.s3.buckets.store import Bucket
from boda.services.s3.core import Core
from boda.services.s3.listing import pages as listing
from boda.services.s3.listing.pages import Scope
from boda.services.s3.objects import attributes
from boda.services.s3.rows import Upload, Version

_LIMIT = 1000
_LARGEST = 2**31 - 1


_REGION = "x-amz-bucket-region"


def _on_list(action: str) -> Authorize:
    """Authorise a list, with what it lists as condition keys."""

    def needs(group: Any, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        core: Core = group.core
        context = {"s3:prefix": params.get("Prefix") or ""}
        if params.get("Delimiter"):
            context["s3:delimiter"] = params["Delimiter"]
        if params.get("MaxKeys") is not None:
            context["s3:max-keys"] = str(params["MaxKeys"])
        return (core.need(ctx, action, params["Bucket"], context=context),)

    return needs


class ListingOperations:
    """What shows a bucket's contents, page by page."""

    def __init__(self, core: Core) -> None:
        self.core = core

    @operation("ListObjects", authorize=_on_list("s3:ListBucket"))
    async def list_objects(
        self,
        ctx: Context,
        *,
        bucket: str,
        prefix: str | None = None,
        delimiter: str | None = None,
        marker: str | None = None,
        max_keys: int | None = None,
        encoding_type: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> Answer:
        found = self.core.bucket(bucket, expected_bucket_owner)
        encode = _encoder(encoding_type)
        limit = _limit("max-keys", "maxKeys", max_keys)
        scope = _scope(found, prefix, delimiter)
        page = await self.core.read(lambda c: listing.keys(c, scope, _raw(marker), limit))
        output: dict[str, Any] = {
            "Name": found.name,
            "Prefix": encode(prefix or ""),
            "Marker": encode(marker or ""),
            "MaxKeys": limit,
            "IsTruncated": page.truncated,
        }
        _add_common(output, delimiter, encoding_type, encode, page.prefixes)
        if page.truncated and delimiter and page.last is not None:
            output["NextMarker"] = encode(_key_of(page.last).decode())
        if page.items:
            owner = {"ID": names.canonical_id(found.account)}
            output["Contents"] = [
                {**_object_shown(each, encode), "Owner": owner} for each in page.items
            ]
        return Answer(output, headers={_REGION: found.region})

    @operation("ListObjectsV2", authorize=_on_list("s3:ListBucket"))
    async def list_objects_v2(
        self,
        ctx: Context,
        *,
        bucket: str,
        prefix: str | None = None,
        delimiter: str | None = None,
        start_after: str | None = None,
        continuation_token: str | None = None,
        max_keys: int | None = None,
        encoding_type: str | None = None,
        fetch_owner: bool = False,
        expected_bucket_owner: str | None = None,
    ) -> Answer:
        found = self.core.bucket(bucket, expected_bucket_owner)
        encode = _encoder(encoding_type)
        limit = _limit("max-keys", "maxKeys", max_keys)
        scope = _scope(found, prefix, delimiter)
        exact, after = False, _raw(start_after)
        if continuation_token is not None:
            exact, after = _from_token(continuation_token)
        page = await self.core.read(
            lambda c: listing.keys(c, scope, after, limit, exact=exact, hidden=listing.HIDDEN)
        )
        output: dict[str, Any] = {
            "Name": found.name,
            "Prefix": encode(prefix or ""),
            "MaxKeys": limit,
            "KeyCount": len(page),
            "IsTruncated": page.truncated,
        }
        _add_common(output, delimiter, encoding_type, encode, page.prefixes)
        if continuation_token is not None:
            output["ContinuationToken"] = continuation_token
        if start_after and continuation_token is None:
            output["StartAfter"] = encode(start_after)
        if page.ended_at is not None:
            output["NextContinuationToken"] = _to_token(page.ended_at, exact=True)
        elif page.truncated and page.last is not None:
            output["NextContinuationToken"] = _to_token(_key_of(page.last))
        if page.items:
            owner = {"Owner": {"ID": names.canonical_id(found.account)}} if fetch_owner else {}
            output["Contents"] = [{**_object_shown(each, encode), **owner} for each in page.items]
        return Answer(output, headers={_REGION: found.region})

    @operation("ListObjectVersions", authorize=_on_list("s3:ListBucketVersions"))
    async def list_object_versions(
        self,
        ctx: Context,
        *,
        bucket: str,
        prefix: str | None = None,
        delimiter: str | None = None,
        key_marker: str | None = None,
        version_id_marker: str | None = None,
        max_keys: int | None = None,
        encoding_type: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        encode = _encoder(encoding_type)
        limit = _limit("max-keys", "maxKeys", max_keys)
        scope = _scope(found, prefix, delimiter)
        marker = _raw(key_marker)
        below = await self._version_marker(found, marker, version_id_marker)
        page = await self.core.read(lambda c: listing.versions(c, scope, marker, below, limit))
        output: dict[str, Any] = {
            "Name": found.name,
            "Prefix": encode(prefix or ""),
            "KeyMarker": encode(key_marker or ""),
            "VersionIdMarker": version_id_marker or "",
            "MaxKeys": limit,
            "IsTruncated": page.truncated,
        }
        _add_common(output, delimiter, encoding_type, encode, page.prefixes)
        if page.truncated and page.last is not None:
            if isinstance(page.last, bytes):
                output["NextKeyMarker"] = encode(page.last.decode())
            else:
                output["NextKeyMarker"] = encode(page.last.version.name)
                output["NextVersionIdMarker"] = page.last.version.version_id
        owner = {"ID": names.canonical_id(found.account)}
        for shown in page.items:
            version = shown.version
            entry = {
                "VersionId": version.version_id,
                "IsLatest": shown.latest,
                "Owner": owner,
            }
            if version.marker:
                entry["Key"] = encode(version.name)
                entry["LastModified"] = attributes.moment(version.modified)
                output.setdefault("DeleteMarkers", []).append(entry)
            else:
                entry.update(_object_shown(version, encode))
                output.setdefault("Versions", []).append(entry)
        return output

    @operation("ListMultipartUploads", authorize=_on_list("s3:ListBucketMultipartUploads"))
    async def list_multipart_uploads(
        self,
        ctx: Context,
        *,
        bucket: str,
        prefix: str | None = None,
        delimiter: str | None = None,
        key_marker: str | None = None,
        upload_id_marker: str | None = None,
        max_uploads: int | None = None,
        encoding_type: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        encode = _encoder(encoding_type)
        limit = _limit("max-uploads", "max-uploads", max_uploads)
        scope = _scope(found, prefix, delimiter)
        marker = _raw(key_marker)
        # Without a key marker S3 does not look at the upload's.
        above: int | None = None
        if marker and upload_id_marker:
            upload: Upload | None = None
            if names.is_upload_id(upload_id_marker):
                upload = await self.core.read(
                    lambda c: rows.upload(c, found.name, marker, upload_id_marker)
                )
            if upload is None:
                raise errors.invalid_argument(
                    "upload-id-marker", upload_id_marker, "Invalid uploadId marker"
                )
            above = upload.seq
        page = await self.core.read(lambda c: listing.uploads(c, scope, marker, above, limit))
        last = page.last
        output: dict[str, Any] = {
            "Bucket": found.name,
            "KeyMarker": encode(key_marker or ""),
            "UploadIdMarker": (upload_id_marker or "") if marker else "",
            # S3 marks the end of a page by an upload; a common prefix at its end marks nothing.
            "NextKeyMarker": encode(last.name) if isinstance(last, Upload) else "",
            "NextUploadIdMarker": last.id if isinstance(last, Upload) else "",
            "MaxUploads": limit,
            "IsTruncated": page.truncated,
        }
        if prefix:
            output["Prefix"] = encode(prefix)
        _add_common(output, delimiter, encoding_type, encode, page.prefixes)
        if page.items:
            owner = {"ID": names.canonical_id(found.account)}
            output["Uploads"] = [_upload_shown(each, encode, owner) for each in page.items]
        return output

    async def _version_marker(
        self, bucket: Bucket, marker: bytes, version_id: str | None
    ) -> int | None:
        if version_id is None:
            return None
        if not version_id:
            raise errors.invalid_argument(
                "version-id-marker", "", "A version-id marker cannot be empty."
            )
        if not marker:
            raise errors.invalid_argument(
                "version-id-marker",
                version_id,
                "A version-id marker cannot be specified without a key marker.",
            )
        found: Version | None = None
        if version_id == names.NULL_VERSION or names.is_version_id(version_id):
            found = await self.core.read(lambda c: rows.named(c, bucket.name, marker, version_id))
        if found is None:
            raise errors.invalid_argument(
                "version-id-marker", version_id, "Invalid version id specified"
            )
        return found.seq


def _scope(bucket: Bucket, prefix: str | None, delimiter: str | None) -> Scope:
    return Scope(bucket.name, _raw(prefix), _raw(delimiter))


def _raw(text: str | None) -> bytes:
    return (text or "").encode(errors="replace")


def _encoder(encoding_type: str | None) -> Callable[[str], str]:
    if encoding_type is None:
        return str
    if encoding_type != "url":
        raise errors.invalid_argument(
            "encoding-type", encoding_type, "Invalid Encoding Method specified in Request"
        )
    return names.form_encoded


def _limit(argument: str, spoken: str, given: int | None) -> int:
    if given is None:
        return _LIMIT
    if not 0 <= given <= _LARGEST:
        raise errors.invalid_argument(
            argument,
            str(given),
            f"Argument {spoken} must be an integer between 0 and {_LARGEST}",
        )
    return min(given, _LIMIT)


def _to_token(key: bytes, *, exact: bool = False) -> str:
    """exact: the next page begins right behind the key, also below its common prefix."""
    return base64.urlsafe_b64encode((b"2" if exact else b"1") + key).decode()


def _from_token(token: str) -> tuple[bool, bytes]:
    """Whether the key is exact, and the key. AwsError."""
    try:
        raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        raw.decode()
    except (binascii.Error, ValueError):
        raw = b""
    if raw[:1] not in (b"1", b"2"):
        raise errors.invalid_argument(
            "continuation-token", token, "The continuation token provided is incorrect"
        )
    return raw[:1] == b"2", raw[1:]


def _key_of(entry: Version | Upload | bytes) -> bytes:
    return entry if isinstance(entry, bytes) else entry.key


def _add_common(
    output: dict[str, Any],
    delimiter: str | None,
    encoding_type: str | None,
    encode: Callable[[str], str],
    prefixes: Iterable[bytes],
) -> None:
    if delimiter:
        output["Delimiter"] = encode(delimiter)
    if encoding_type:
        output["EncodingType"] = encoding_type
    found = [{"Prefix": encode(prefix.decode())} for prefix in prefixes]
    if found:
        output["CommonPrefixes"] = found


def _object_shown(version: Version, encode: Callable[[str], str]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Key": encode(version.name),
        "LastModified": attributes.moment(version.modified),
        "ETag": names.quoted(version.etag),
        "Size": version.size,
        "StorageClass": version.storage_class,
    }
    if version.algorithm:
        shown["ChecksumAlgorithm"] = [version.algorithm]
        shown["ChecksumType"] = version.checksum_type
    return shown


def _upload_shown(
    upload: Upload, encode: Callable[[str], str], owner: Mapping[str, str]
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "UploadId": upload.id,
        "Key": encode(upload.name),
        "Initiated": attributes.moment(upload.initiated),
        "StorageClass": upload.storage_class,
        "Owner": owner,
        "Initiator": upload.initiator,
    }
    if upload.algorithm:
        shown["ChecksumAlgorithm"] = upload.algorithm
        shown["ChecksumType"] = upload.checksum_type
    return shown
