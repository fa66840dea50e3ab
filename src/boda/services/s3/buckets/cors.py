"""Cross-origin requests: a bucket's rules, and the headers that they answer with.

Recorded from S3: the first rule that admits origin and method answers; a rule whose origin is ``*``
answers ``*``, any other echoes the origin and allows credentials.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from boda.core.errors import AwsError
from boda.gateway.calling.operation import Context, operation
from boda.gateway.http.wire import WireRequest, WireResponse
from boda.services.s3 import errors
from boda.services.s3.core import S3Core, on_bucket

_METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
_RULES_LIMIT = 100
_VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"


class CorsOperations:
    """A bucket's CORS configuration, and its use."""

    def __init__(self, core: S3Core) -> None:
        self.core = core

    @operation("GetBucketCors", authorize=on_bucket("s3:GetBucketCORS"))
    async def get_bucket_cors(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner).settings.get("cors")
        if not found:
            raise errors.absent(
                "NoSuchCORSConfiguration", "The CORS configuration does not exist", bucket
            )
        return {"CORSRules": found}

    @operation("PutBucketCors", authorize=on_bucket("s3:PutBucketCORS"))
    async def put_bucket_cors(
        self,
        ctx: Context,
        *,
        bucket: str,
        cors_configuration: Mapping[str, Any],
        content_md5: str | None = None,
        checksum_algorithm: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        rules = validated(cors_configuration.get("CORSRules") or ())
        await self.core.configure(found, lambda settings: settings.update(cors=rules))

    @operation("DeleteBucketCors", authorize=on_bucket("s3:PutBucketCORS"))
    async def delete_bucket_cors(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        await self.core.configure(found, lambda settings: settings.pop("cors", None))

    async def preflight(self, request: WireRequest, labels: Mapping[str, str]) -> WireResponse:
        """Answer ``OPTIONS``. Raises BadRequest and AccessForbidden."""
        origin = request.headers.get("origin")
        method = request.headers.get("access-control-request-method")
        if not origin:
            raise AwsError(
                "BadRequest", "Insufficient information. Origin request header needed.", 400
            )
        bucket = self.core.buckets.find(labels.get("Bucket", ""))
        if bucket is None:
            raise _forbidden("Bucket not found", method or "OPTIONS", "BUCKET")
        rules = bucket.settings.get("cors")
        kind = "OBJECT" if labels.get("Key") else "BUCKET"
        if not rules:
            raise _forbidden("CORS is not enabled for this bucket.", method or "OPTIONS", "BUCKET")
        if method not in _METHODS:
            raise AwsError(
                "BadRequest", f"Invalid Access-Control-Request-Method: {method or 'null'}", 400
            )
        asked = _split(request.headers.get("access-control-request-headers", ""))
        answer = headers_for(rules, origin, method, asked)
        if answer is None:
            raise _forbidden(
                "This CORS request is not allowed. This is usually because the evalution of "
                "Origin, request method / Access-Control-Request-Method or "
                "Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
                method,
                kind,
            )
        return WireResponse(200, answer)

    def admits(self, request: WireRequest, labels: Mapping[str, str]) -> bool:
        """Return whether a rule allows this request's origin to send it."""
        return self._answer(request, labels) is not None

    async def decorate(
        self, request: WireRequest, labels: Mapping[str, str], response: WireResponse
    ) -> None:
        """Add the headers of the rule that admits this request's origin."""
        answer = self._answer(request, labels)
        if answer is not None:
            response.headers.extend(answer)

    def _answer(
        self, request: WireRequest, labels: Mapping[str, str]
    ) -> list[tuple[str, str]] | None:
        origin = request.headers.get("origin")
        bucket = self.core.buckets.find(labels.get("Bucket", "")) if origin else None
        if not origin or bucket is None:
            return None
        return headers_for(bucket.settings.get("cors") or (), origin, request.method, ())


def validated(given: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rules in their stored form. Raises AwsError."""
    rules = [dict(rule) for rule in given]
    if not 1 <= len(rules) <= _RULES_LIMIT:
        raise errors.malformed_xml()
    for rule in rules:
        if not rule.get("AllowedMethods") or not rule.get("AllowedOrigins"):
            raise errors.malformed_xml()
        for method in rule["AllowedMethods"]:
            if method not in _METHODS:
                raise errors.invalid_request(
                    f"Found unsupported HTTP method in CORS config. Unsupported method is {method}"
                )
        for origin in rule["AllowedOrigins"]:
            if origin.count("*") > 1:
                raise errors.invalid_request(
                    f'AllowedOrigin "{origin}" can not have more than one wildcard.'
                )
        for header in rule.get("AllowedHeaders") or ():
            if header.count("*") > 1:
                raise errors.invalid_request(
                    f'AllowedHeader "{header}" can not have more than one wildcard.'
                )
        for header in rule.get("ExposeHeaders") or ():
            if "*" in header:
                raise errors.invalid_request(
                    f'ExposeHeader "{header}" contains wildcard. We currently do not support '
                    "wildcard for ExposeHeader."
                )
    return rules


def headers_for(
    rules: Iterable[Mapping[str, Any]], origin: str, method: str, asked: Iterable[str]
) -> list[tuple[str, str]] | None:
    """Return the headers of the first rule that admits a request; None if no rule does.

    asked: the header names that a preflight announces.
    """
    asked = [name.lower() for name in asked]
    for rule in rules:
        allowed = next((o for o in rule["AllowedOrigins"] if _fits(o, origin)), None)
        if allowed is None or method not in rule["AllowedMethods"]:
            continue
        patterns = [each.lower() for each in rule.get("AllowedHeaders") or ()]
        if not all(any(_fits(pattern, name) for pattern in patterns) for name in asked):
            continue
        anyone = allowed == "*"
        headers = [("Access-Control-Allow-Origin", "*" if anyone else origin)]
        headers.append(("Access-Control-Allow-Methods", ", ".join(rule["AllowedMethods"])))
        if asked:
            headers.append(("Access-Control-Allow-Headers", ", ".join(asked)))
        if rule.get("ExposeHeaders"):
            headers.append(("Access-Control-Expose-Headers", ", ".join(rule["ExposeHeaders"])))
        if rule.get("MaxAgeSeconds") is not None:
            headers.append(("Access-Control-Max-Age", str(rule["MaxAgeSeconds"])))
        if not anyone:
            headers.append(("Access-Control-Allow-Credentials", "true"))
        headers.append(("Vary", _VARY))
        return headers
    return None


def _fits(pattern: str, text: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return pattern == text
    long_enough = len(text) >= len(head) + len(tail)
    return long_enough and text.startswith(head) and text.endswith(tail)


def _split(header: str) -> list[str]:
    return [name for name in re.split(r"[,\s]+", header) if name]


def _forbidden(message: str, method: str, kind: str) -> AwsError:
    return AwsError(
        "AccessForbidden", f"CORSResponse: {message}", 403, Method=method, ResourceType=kind
    )
