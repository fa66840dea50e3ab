"""Tags of buckets and objects: their rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from boda.core.errors import AwsError
from boda.core.tags import LIMIT, TagRules, pairs
from boda.services.s3 import errors


def _rules(too_many: str, reserved: str, limit: int = LIMIT) -> TagRules:
    return TagRules(
        reserved=lambda key, _value: AwsError("InvalidTag", reserved, TagKey=key),
        too_many=lambda: AwsError("BadRequest", too_many),
        repeated=lambda key, _value: AwsError(
            "InvalidTag", "Cannot provide multiple Tags with the same key", TagKey=key
        ),
        bad_key=lambda key, _value: AwsError(
            "InvalidTag", "The TagKey you have provided is invalid", TagKey=key
        ),
        bad_value=lambda key, value: AwsError(
            "InvalidTag", "The TagValue you have provided is invalid", TagKey=key, TagValue=value
        ),
        limit=limit,
    )


_OF_OBJECTS = _rules(
    "Object tags cannot be greater than 10", "Your TagKey cannot be prefixed with aws:", limit=10
)
_TOO_MANY = "Bucket tag count cannot be greater than 50"
_OF_BUCKETS = _rules(_TOO_MANY, "System tags cannot be added/updated by requester")
_OF_NEW_BUCKETS = _rules(
    _TOO_MANY,
    'User-defined tag keys can\'t start with "aws:". This prefix is reserved for system tags. '
    'Remove "aws:" from your tag keys and try again.',
)


def object_tags(tag_set: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """Return the ``TagSet`` of PutObjectTagging as a dict. Raises AwsError."""
    return _OF_OBJECTS.read(_pairs(tag_set))


def bucket_tags(
    tag_set: Iterable[Mapping[str, Any]] | None, *, new: bool = False
) -> dict[str, str]:
    """Return a bucket's tags as a dict. new: of CreateBucket, which words one refusal in its own
    way."""
    return (_OF_NEW_BUCKETS if new else _OF_BUCKETS).read(_pairs(tag_set))


def header_tags(header: str | None) -> dict[str, str]:
    """Parse the header ``x-amz-tagging``: url-encoded pairs."""
    if not header:
        return {}
    given = parse_qsl(header, keep_blank_values=True)
    if len({key for key, _ in given}) < len(given):
        raise errors.invalid_argument(
            "x-amz-tagging",
            header,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query "
            "parameters without tag name duplicates.",
        )
    return _OF_OBJECTS.read(given)


def _pairs(tag_set: Iterable[Mapping[str, Any]] | None) -> list[tuple[str, str]]:
    found = list(tag_set or ())
    if any(tag.get("Key") is None or tag.get("Value") is None for tag in found):
        raise errors.malformed_xml()
    return pairs(found)
