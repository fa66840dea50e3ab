"""Names of buckets, keys and versions, and the ids of owners. Pure."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from urllib.parse import quote_plus, unquote

from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.services.s3 import errors

KEY_LIMIT = 1024
"""Bytes of a key in UTF-8."""

NULL_VERSION = "null"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_VERSION = re.compile(r"[A-Za-z0-9._]{32}")
_UPLOAD = re.compile(r"[A-Za-z0-9._]{64}")
_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._"


def check_bucket_name(name: str) -> None:
    """Raise InvalidBucketName unless the name follows the rules for general purpose buckets."""
    good = (
        _BUCKET.fullmatch(name)
        and ".." not in name
        and not name.startswith(_PREFIXES)
        and not name.endswith(_SUFFIXES)
        and not _is_address(name)
    )
    if not good:
        message = "The specified bucket is not valid."
        raise AwsError("InvalidBucketName", message, BucketName=name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def check_key(key: str) -> bytes:
    """Return the key's bytes as they are stored. Raises KeyTooLongError, InvalidURI and
    InvalidRequest.

    A key may climb (``..``) only as far as its earlier segments have descended.
    """
    try:
        raw = key.encode()
    except UnicodeEncodeError:
        raise AwsError("InvalidURI", "Couldn't parse the specified URI.") from None
    if len(raw) > KEY_LIMIT:
        raise AwsError(
            "KeyTooLongError",
            "Your key is too long",
            Size=str(len(raw)),
            MaxSizeAllowed=str(KEY_LIMIT),
        )
    if not raw:
        raise errors.invalid_request("An object key must not be empty.")
    if ".." in key and _climbs_out(key):
        raise AwsError("InvalidURI", "Couldn't parse the specified URI.", URI=key)
    return raw


def _climbs_out(key: str) -> bool:
    depth = 0
    for segment in key.split("/"):
        if segment == "..":
            depth -= 1
        elif segment not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False


def new_version_id(ids: Ids) -> str:
    """Return a version id: 32 characters, as S3's."""
    return "".join(_ALPHABET[byte & 63] for byte in ids.bytes(32))


def new_upload_id(ids: Ids) -> str:
    return "".join(_ALPHABET[byte & 63] for byte in ids.bytes(64))


def check_version_id(version_id: str, *, versioned: bool) -> None:
    """Raise InvalidArgument for an id in a bucket that never had versions, and for an empty one.

    In a bucket with versions an unknown id is looked up like any other: NoSuchVersion.
    """
    if version_id == NULL_VERSION:
        return
    if not versioned or not version_id:
        raise errors.invalid_argument("versionId", version_id, "Invalid version id specified")


def is_version_id(text: str) -> bool:
    return _VERSION.fullmatch(text) is not None


def is_upload_id(text: str) -> bool:
    return _UPLOAD.fullmatch(text) is not None


def check_upload_id(upload_id: str) -> None:
    """Raise NoSuchUpload for a text that is no upload id."""
    if not is_upload_id(upload_id):
        raise errors.no_such_upload(upload_id)


def canonical_id(account: str) -> str:
    """Return the 64 digits of an account in S3."""
    return hashlib.sha256(f"s3:{account}".encode()).hexdigest()


def owner_principal(account: str) -> str:
    """Return the short customer id that event records show as a bucket's owner."""
    digest = hashlib.sha256(f"customer:{account}".encode()).digest()
    return "A" + base64.b32encode(digest)[:13].decode()


def host_id(request_id: str) -> str:
    """Return the value of ``x-amz-id-2``."""
    return base64.b64encode(hashlib.sha384(request_id.encode()).digest()).decode()


def quoted(etag: str) -> str:
    return f'"{etag}"'


def form_encoded(text: str) -> str:
    """Encode a key as in lists with ``encoding-type=url`` and event records: space is ``+``."""
    return quote_plus(text, safe="/")


def parse_copy_source(source: str) -> tuple[str, str, str | None]:
    """Split ``[/]bucket/key[?versionId=…]`` into bucket, key and version id."""
    path, _, query = source.partition("?versionId=")
    try:
        bucket, slash, key = unquote(path, errors="strict").removeprefix("/").partition("/")
    except UnicodeDecodeError:
        bucket, slash, key = "", "", ""
    if not slash or not bucket or not key:
        raise errors.invalid_argument(
            "x-amz-copy-source",
            "x-amz-copy-source",
            "Invalid copy source object key" if bucket else "Invalid copy source bucket name",
        )
    return bucket, key, query or None
