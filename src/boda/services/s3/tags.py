"""Tags of buckets and objects: their rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from boda.core.errors import AwsError
from boda.services.s3 import errors

_TEXT = re.compile(r"[\w\s.:/=+\-@]*")
_OBJECT_LIMIT = 10
_BUCKET_LIMIT = 50
_KEY_LIMIT = 128
_VALUE_LIMIT = 256


def object_tags(tag_set: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """A ``TagSet`` of PutObjectTagging as a dict, or S3's complaint."""
    return _checked(
        tag_set,
        _OBJECT_LIMIT,
        "Object tags cannot be greater than 10",
        "Your TagKey cannot be prefixed with aws:",
    )


def bucket_tags(
    tag_set: Iterable[Mapping[str, Any]] | None, *, new: bool = False
) -> dict[str, str]:
    """The same for a bucket's. new: of CreateBucket, which words one refusal in its own way."""
    return _checked(
        tag_set,
        _BUCKET_LIMIT,
        "Bucket tag count cannot be greater than 50",
        'User-defined tag keys can\'t start with "aws:". This prefix is reserved for system tags. '
        'Remove "aws:" from your tag keys and try again.'
        if new
        else "System tags cannot be added/updated by requester",
    )


def header_tags(header: str | None) -> dict[str, str]:
    """The header ``x-amz-tagging``: url-encoded pairs."""
    if not header:
        return {}
    pairs = parse_qsl(header, keep_blank_values=True)
    if len({key for key, _ in pairs}) < len(pairs):
        raise errors.invalid_argument(
            "x-amz-tagging",
            header,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
            "parameters without tag name duplicates.",
        )
    return object_tags({"Key": key, "Value": value} for key, value in pairs)


def tag_set(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _checked(
    tag_set: Iterable[Mapping[str, Any]] | None, limit: int, too_many: str, reserved: str
) -> dict[str, str]:
    tags: dict[str, str] = {}
    for tag in tag_set or ():
        key, value = tag.get("Key"), tag.get("Value")
        if key is None or value is None:
            raise errors.malformed_xml()
        if not key or len(key) > _KEY_LIMIT or not _TEXT.fullmatch(key):
            raise AwsError("InvalidTag", "The TagKey you have provided is invalid", TagKey=key)
        if len(value) > _VALUE_LIMIT or not _TEXT.fullmatch(value):
            raise AwsError(
                "InvalidTag",
                "The TagValue you have provided is invalid",
                TagKey=key,
                TagValue=value,
            )
        if key in tags:
            raise AwsError(
                "InvalidTag", "Cannot provide multiple Tags with the same key", TagKey=key
            )
        if key.lower().startswith("aws:"):
            raise AwsError("InvalidTag", reserved, TagKey=key)
        tags[key] = value
    if len(tags) > limit:
        raise AwsError("BadRequest", too_many)
    return tags
