"""The old signature of presigned S3 URLs (``AWSAccessKeyId``, ``Signature``, ``Expires``).

Default clients still make such URLs: boto3 and the AWS CLI of version 1, for us-east-1. They sign
the method, a few headers, the time of expiry and the resource with the parameters that select an
operation on it. Nothing else is accepted in the old form, in particular no header.

Source: "Signing and authenticating REST requests (AWS signature version 2)", Amazon S3.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl

from botocore.auth import HmacV1Auth

_OWN = frozenset({"AWSAccessKeyId", "Signature", "Expires"})
_SIGNED = frozenset(HmacV1Auth.QSAOfInterest)
_SIGNED_HEADERS = ("content-md5", "content-type")
# Parameters that the old signature leaves out and that choose only which part of a list is given.
# Any other unsigned one could turn a URL into one for another operation.
_HARMLESS = frozenset(
    {
        *("prefix", "delimiter", "marker", "max-keys", "encoding-type", "list-type"),
        *("continuation-token", "start-after", "fetch-owner", "key-marker", "version-id-marker"),
        *("upload-id-marker", "max-uploads", "max-parts", "part-number-marker", "x-id"),
    }
)


def hoisted(query: str) -> dict[str, str]:
    """Return the headers that such a URL carries as parameters."""
    return {
        name: value
        for name, value in parse_qsl(query, keep_blank_values=True)
        if name.startswith("x-amz-") or name in _SIGNED_HEADERS
    }


def unsigned_parameter(query: str) -> str:
    """Return a parameter that the signature does not cover and that matters, or ""."""
    for name, _ in parse_qsl(query, keep_blank_values=True):
        covered = name in _SIGNED or name.startswith("x-amz-") or name in _SIGNED_HEADERS
        if not covered and name not in _OWN and name not in _HARMLESS:
            return name
    return ""


def string_to_sign(
    method: str, resource: str, query: str, headers: Mapping[str, str], expires: str
) -> str:
    """Return the text to sign. resource: the path with its bucket, as sent. headers: with those of
    the query among them."""
    lines = [method, *(headers.get(name, "") for name in _SIGNED_HEADERS), expires]
    lines += [
        f"{name}:{value}" for name, value in sorted(headers.items()) if name.startswith("x-amz-")
    ]
    parts = [
        (name, value, "=" in text)
        for text in query.split("&")
        for name, value in parse_qsl(text, keep_blank_values=True)[:1]
        if name in _SIGNED
    ]
    parts.sort(key=lambda part: part[0])
    chosen = "&".join(f"{name}={value}" if given else name for name, value, given in parts)
    lines.append(f"{resource}?{chosen}" if chosen else resource)
    return "\n".join(lines)


def signature(secret: str, text: str) -> str:
    """Return the signature as in the URL, before percent-encoding."""
    made = hmac.digest(secret.encode(), text.encode("utf-8", "replace"), "sha1")
    return base64.b64encode(made).decode("ascii")
