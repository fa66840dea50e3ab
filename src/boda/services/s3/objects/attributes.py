"""An object's attributes besides its bytes: headers, metadata, storage class. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from boda.core.errors import AwsError, not_implemented
from boda.services.s3 import errors, names
from boda.services.s3.objects import words
from boda.services.s3.rows import ObjectVersion

STORAGE_CLASSES = (
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
)
ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")
DEFAULT_TYPE = "binary/octet-stream"

_METADATA_LIMIT = 2048


def details(
    *,
    metadata: Mapping[str, str] | None,
    tags: Mapping[str, str],
    redirect: str | None,
    expires: datetime | None,
    **headers: str | None,
) -> dict[str, Any]:
    """Return the details of a new version. headers: by their model names."""
    found: dict[str, Any] = {}
    kept = {name: value for name, value in headers.items() if value}
    if "ContentEncoding" in kept:
        # The framing of the request is no property of the object.
        codings = [each.strip() for each in kept["ContentEncoding"].split(",")]
        kept["ContentEncoding"] = ",".join(each for each in codings if each != "aws-chunked")
        if not kept["ContentEncoding"]:
            del kept["ContentEncoding"]
    if kept:
        found["headers"] = kept
    if expires is not None:
        found["expires"] = expires.timestamp()
    if metadata:
        found["metadata"] = {name.lower(): words.decoded(value) for name, value in metadata.items()}
        size = sum(
            len(name.encode(errors="replace")) + len(value.encode(errors="replace"))
            for name, value in metadata.items()
        )
        if size > _METADATA_LIMIT:
            raise AwsError(
                "MetadataTooLarge",
                "Your metadata headers exceed the maximum allowed metadata size",
                Size=str(size),
                MaxSizeAllowed=str(_METADATA_LIMIT),
            )
    if redirect:
        if not redirect.startswith(("/", "http://", "https://")):
            raise AwsError(
                "InvalidRedirectLocation",
                "The website redirect location must have a prefix of 'http://' or 'https://' or "
                "'/'.",
            )
        found["redirect"] = redirect
    if tags:
        found["tags"] = dict(tags)
    return found


def check_storage_class(storage_class: str | None) -> str:
    if storage_class is not None and storage_class not in STORAGE_CLASSES:
        raise AwsError(
            "InvalidStorageClass",
            "The storage class you specified is not valid",
            StorageClassRequested=storage_class,
        )
    return storage_class or "STANDARD"


def check_encryption(operation: str, algorithm: str | None) -> None:
    if algorithm in (None, "AES256"):
        return
    if algorithm in ("aws:kms", "aws:kms:dsse"):
        raise not_implemented("s3", operation, f"ServerSideEncryption {algorithm}")
    raise errors.invalid_argument(
        "x-amz-server-side-encryption",
        algorithm,
        "The encryption method specified is not supported",
    )


def shown(version: ObjectVersion, *, versioned: bool) -> dict[str, Any]:
    """Return the members of GetObject and HeadObject that come from the version alone."""
    found = version.details
    output: dict[str, Any] = {
        "AcceptRanges": "bytes",
        "LastModified": moment(version.modified),
        "ETag": names.quoted(version.etag),
        "ContentType": DEFAULT_TYPE,
        "ServerSideEncryption": "AES256",
        "Metadata": {n: words.encoded(v) for n, v in found.get("metadata", {}).items()},
    }
    output.update(found.get("headers", {}))
    if "expires" in found:
        output["Expires"] = datetime.fromtimestamp(found["expires"], UTC)
    if "redirect" in found:
        output["WebsiteRedirectLocation"] = found["redirect"]
    if found.get("tags"):
        output["TagCount"] = len(found["tags"])
    if versioned:
        output["VersionId"] = version.version_id
    if version.storage_class != "STANDARD":
        output["StorageClass"] = version.storage_class
    return output


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
