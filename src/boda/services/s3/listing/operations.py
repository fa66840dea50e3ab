"""ListObjects, ListObjectsV2, ListObjectVersions, ListMultipartUploads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Answer, Authorize, Context, operation
from boda.gateway.calling.paging import READABLE, Key, Page, Paged
from boda.services.s3 import errors, names, rows
from boda.services.s3.buckets.store import Bucket
from boda.services.s3.core import S3Core
from boda.services.s3.listing import pages as listing
from boda.services.s3.listing.pages import ListingScope
from boda.services.s3.objects import attributes
from boda.services.s3.rows import ObjectVersion, Upload

_LARGEST = 2**31 - 1
_REGION = "x-amz-bucket-region"
_BY_TOKEN = Paged(
    free=frozenset(
        {
            "EncodingType",
            "ExpectedBucketOwner",
            "FetchOwner",
            "OptionalObjectAttributes",
            "RequestPayer",
            "StartAfter",  # unless a token overrides it
        }
    )
)


def _on_list(action: str) -> Authorize:
    """Authorise a list, with its parameters as condition keys."""

    def needs(group: Any, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        core: S3Core = group.core
        context = {"s3:prefix": params.get("Prefix") or ""}
        if params.get("Delimiter"):
            context["s3:delimiter"] = params["Delimiter"]
        if params.get("MaxKeys") is not None:
            context["s3:max-keys"] = str(params["MaxKeys"])
        return (core.need(ctx, action, params["Bucket"], context=context),)

    return needs


class ListingOperations:
    """Operations that list a bucket's contents, page by page."""

    def __init__(self, core: S3Core) -> None:
        self.core = core

    @operation("ListObjects", authorize=_on_list("s3:ListBucket"), paged=READABLE)
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
        _check_limit("max-keys", "maxKeys", max_keys)
        scope = _scope(found, prefix, delimiter)
        owner = {"Owner": {"ID": names.canonical_id(found.account)}}

        async def read(_key: Key, limit: int) -> Page:
            page = await self.core.read(lambda c: listing.keys(c, scope, _raw(marker), limit))
            end: Key = {} if page.truncated else None
            if page.truncated and delimiter and page.last is not None:
                end = {"NextMarker": encode(_key_of(page.last).decode())}
            objects = [{**_object_shown(each, encode), **owner} for each in page.items]
            return Page(_rows(page, encode, "Contents", objects), end)

        output = {
            "Name": found.name,
            "Prefix": encode(prefix or ""),
            "Marker": encode(marker or ""),
            **_given(delimiter, encoding_type, encode),
        }
        return Answer(output, headers={_REGION: found.region}, listing=read)

    @operation("ListObjectsV2", authorize=_on_list("s3:ListBucket"), paged=_BY_TOKEN)
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
        _check_limit("max-keys", "maxKeys", max_keys)
        if continuation_token == "":
            raise errors.refused_token("ContinuationToken", "")
        scope = _scope(found, prefix, delimiter)
        owner = {"Owner": {"ID": names.canonical_id(found.account)}} if fetch_owner else {}

        async def read(key: Key, limit: int) -> Page:
            # exact: go on right behind the key, also below its common prefix.
            exact, after = (False, start_after) if key is None else key
            page = await self.core.read(
                lambda c: listing.keys(
                    c, scope, _raw(after), limit, exact=exact, hidden=listing.HIDDEN
                )
            )
            end: Key = None
            if page.ended_at is not None:
                end = [True, page.ended_at.decode()]
            elif page.truncated and page.last is not None:
                end = [False, _key_of(page.last).decode()]
            objects = [{**_object_shown(each, encode), **owner} for each in page.items]
            rows = _rows(page, encode, "Contents", objects)
            return Page(rows, end, {"KeyCount": len(rows)})

        output = {
            "Name": found.name,
            "Prefix": encode(prefix or ""),
            **_given(delimiter, encoding_type, encode),
        }
        if continuation_token is not None:
            output["ContinuationToken"] = continuation_token
        elif start_after:
            output["StartAfter"] = encode(start_after)
        return Answer(output, headers={_REGION: found.region}, listing=read)

    @operation("ListObjectVersions", authorize=_on_list("s3:ListBucketVersions"), paged=READABLE)
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
    ) -> Answer:
        found = self.core.bucket(bucket, expected_bucket_owner)
        encode = _encoder(encoding_type)
        _check_limit("max-keys", "maxKeys", max_keys)
        scope = _scope(found, prefix, delimiter)
        marker = _raw(key_marker)
        below = await self._version_marker(found, marker, version_id_marker)
        owner = {"ID": names.canonical_id(found.account)}

        async def read(_key: Key, limit: int) -> Page:
            page = await self.core.read(lambda c: listing.versions(c, scope, marker, below, limit))
            rows = _rows(page, encode)
            rows += [_version_shown(each, encode, owner) for each in page.items]
            last = page.last if page.truncated else None
            end: Key = None
            if isinstance(last, bytes):
                end = {"NextKeyMarker": encode(last.decode())}
            elif last is not None:
                end = {
                    "NextKeyMarker": encode(last.version.name),
                    "NextVersionIdMarker": last.version.version_id,
                }
            return Page(rows, end)

        output = {
            "Name": found.name,
            "Prefix": encode(prefix or ""),
            "KeyMarker": encode(key_marker or ""),
            "VersionIdMarker": version_id_marker or "",
            **_given(delimiter, encoding_type, encode),
        }
        return Answer(output, listing=read)

    @operation(
        "ListMultipartUploads",
        authorize=_on_list("s3:ListBucketMultipartUploads"),
        paged=READABLE,
    )
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
    ) -> Answer:
        found = self.core.bucket(bucket, expected_bucket_owner)
        encode = _encoder(encoding_type)
        _check_limit("max-uploads", "max-uploads", max_uploads)
        scope = _scope(found, prefix, delimiter)
        marker = _raw(key_marker)
        # Without a key marker S3 ignores the upload's.
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
        owner = {"ID": names.canonical_id(found.account)}

        async def read(_key: Key, limit: int) -> Page:
            page = await self.core.read(lambda c: listing.uploads(c, scope, marker, above, limit))
            # S3 marks the end of a page by an upload; a common prefix at its end marks nothing.
            last = page.last if isinstance(page.last, Upload) else None
            following = {
                "NextKeyMarker": encode(last.name) if last is not None else "",
                "NextUploadIdMarker": last.id if last is not None else "",
            }
            uploads = [_upload_shown(each, encode, owner) for each in page.items]
            rows = _rows(page, encode, "Uploads", uploads)
            return Page(rows, following if page.truncated else None, following)

        output = {
            "Bucket": found.name,
            "KeyMarker": encode(key_marker or ""),
            "UploadIdMarker": (upload_id_marker or "") if marker else "",
            **({"Prefix": encode(prefix)} if prefix else {}),
            **_given(delimiter, encoding_type, encode),
        }
        return Answer(output, listing=read)

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
        found: ObjectVersion | None = None
        if version_id == names.NULL_VERSION or names.is_version_id(version_id):
            found = await self.core.read(lambda c: rows.named(c, bucket.name, marker, version_id))
        if found is None:
            raise errors.invalid_argument(
                "version-id-marker", version_id, "Invalid version id specified"
            )
        return found.seq


def _scope(bucket: Bucket, prefix: str | None, delimiter: str | None) -> ListingScope:
    return ListingScope(bucket.name, _raw(prefix), _raw(delimiter))


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


def _check_limit(argument: str, spoken: str, given: int | None) -> None:
    if given is not None and not 0 <= given <= _LARGEST:
        raise errors.invalid_argument(
            argument,
            str(given),
            f"Argument {spoken} must be an integer between 0 and {_LARGEST}",
        )


def _key_of(entry: ObjectVersion | Upload | bytes) -> bytes:
    return entry if isinstance(entry, bytes) else entry.key


def _given(
    delimiter: str | None, encoding_type: str | None, encode: Callable[[str], str]
) -> dict[str, str]:
    """Return the members that are answered as they were given, if they were."""
    given = {"Delimiter": encode(delimiter or ""), "EncodingType": encoding_type}
    return {name: value for name, value in given.items() if value}


def _rows(
    page: listing.ListingPage[Any],
    encode: Callable[[str], str],
    name: str = "",
    shown: Iterable[Mapping[str, Any]] = (),
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the rows of a page: its items under a name, and its common prefixes."""
    rows: list[tuple[str, Mapping[str, Any]]] = [(name, each) for each in shown]
    rows += [("CommonPrefixes", {"Prefix": encode(each.decode())}) for each in page.prefixes]
    return rows


def _object_shown(version: ObjectVersion, encode: Callable[[str], str]) -> dict[str, Any]:
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


def _version_shown(
    shown: listing.ListedVersion, encode: Callable[[str], str], owner: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    version = shown.version
    entry = {"VersionId": version.version_id, "IsLatest": shown.latest, "Owner": owner}
    if not version.marker:
        return "Versions", entry | _object_shown(version, encode)
    entry["Key"] = encode(version.name)
    entry["LastModified"] = attributes.moment(version.modified)
    return "DeleteMarkers", entry


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
