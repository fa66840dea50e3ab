"""How S3 words and bounds things, in its own way throughout.

Source: Amazon S3 API Reference, "Error responses", "Authenticating requests", "Virtual hosting of
buckets"; sentences as they were recorded.
"""

from __future__ import annotations

from dataclasses import replace

from botocore.model import Shape

from boda.core.errors import AwsError
from boda.gateway.dialect import JSON, Addressing, Bodies, Refusal, Signatures, Validation
from boda.gateway.http.limits import MIB, BodyRule
from boda.gateway.http.wire import WireRequest
from boda.gateway.protocols.form import WireForm
from boda.services.s3.hosts import bucket_of_host
from boda.services.s3.protocol import MALFORMED_XML, S3Protocol

_MALFORMED = ("AuthorizationHeaderMalformed", 400, "The authorization header is malformed; {0}")
_REFUSALS: dict[str, Refusal] = {
    "missing": ("AccessDenied", 403, "Access Denied"),
    "incomplete": _MALFORMED,
    "incomplete-query": ("AuthorizationQueryParametersError", 400, "{0}"),
    "mechanism": (
        "InvalidRequest",
        400,
        "The authorization mechanism you have provided is not supported. Please use "
        "AWS4-HMAC-SHA256.",
    ),
    "old-incomplete": (
        "AccessDenied",
        403,
        "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
    ),
    "old-expires": (
        "AccessDenied",
        403,
        "Invalid date (should be seconds since epoch): {0}",
    ),
    "two": (
        "InvalidArgument",
        400,
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature "
        "query string parameter or the Authorization header should be specified",
    ),
    "date": (
        "AccessDenied",
        403,
        "AWS authentication requires a valid Date or x-amz-date header",
    ),
    "key": (
        "InvalidAccessKeyId",
        403,
        "The AWS Access Key Id you provided does not exist in our records.",
    ),
    "token": ("InvalidToken", 400, "The provided token is malformed or otherwise invalid."),
    "token-expired": ("ExpiredToken", 400, "The provided token has expired."),
    "mismatch": (
        "SignatureDoesNotMatch",
        403,
        "The request signature we calculated does not match the signature you provided. Check "
        "your key and signing method.",
    ),
    "scope": _MALFORMED,
    "region": _MALFORMED,
    "skew": (
        "RequestTimeTooSkewed",
        403,
        "The difference between the request time and the current time is too large.",
    ),
    "url-expired": ("AccessDenied", 403, "Request has expired"),
    "url-early": ("AccessDenied", 403, "Request is not valid yet"),
    "unsigned-headers": (
        "AccessDenied",
        403,
        "There were headers present in the request which were not signed",
    ),
    "host": ("SignatureDoesNotMatch", 403, "{0}"),
}
_DIGEST_REQUIRED = frozenset(
    {
        *("DeleteObjects", "PutBucketCors", "PutBucketLifecycleConfiguration"),
        *("PutBucketReplication", "PutBucketTagging", "PutObjectLegalHold"),
        *("PutObjectLockConfiguration", "PutObjectRetention"),
    }
)
"""The model marks more operations, whose clients send a digest; the service accepts them
without."""

_BODY_BYTES = 4 * MIB
"""Enough for 10,000 parts with a checksum each, and for 1,000 keys of 1,024 characters."""


def _rule(operation: str, limit: int) -> BodyRule:
    return BodyRule(limit, "MaxMessageLengthExceeded", "Your request was too big.", 400)


def _missing(name: str, shape: Shape) -> AwsError:
    if not shape.serialization.get("location"):
        return AwsError("MalformedXML", MALFORMED_XML)
    wire = shape.serialization.get("name", name)
    return AwsError("InvalidRequest", f"Missing required parameter for this request: '{wire}'")


def _elsewhere(request: WireRequest) -> str:
    control = request.path.startswith("/v20180820/") and "x-amz-account-id" in request.headers
    return "s3control" if control else ""


def _unknown(operation: str, method: str, path: str) -> AwsError:
    return AwsError(
        "MethodNotAllowed",
        "The specified method is not allowed against this resource.",
        405,
        Method=method,
    )


DIALECT = replace(
    JSON,
    signatures=Signatures(
        _REFUSALS,
        explains=True,
        skew_s=900,
        raw_path=True,
        hash_in_header=True,
        every_amz_header=True,
        token_with_key=True,
        expires_required=True,
        old=True,
        hoisted=True,
        anonymous=True,
    ),
    stopping=("SlowDown", "Please reduce your request rate."),
    unwritable="ServiceUnavailable",
    unknown=_unknown,
    forbidden=("AccessDenied", 403),
    internal=("InternalError", "We encountered an internal error. Please try again."),
    bodies=Bodies(
        most=_BODY_BYTES,
        rule=_rule,
        longest={"": 1000, "CompleteMultipartUpload": 10_000},
        digest_required=_DIGEST_REQUIRED,
        streamed=True,
    ),
    validation=Validation(required_only=True, missing=_missing),
    addressing=Addressing(
        otherwise=True,
        label=bucket_of_host,
        trailing_slash=False,
        elsewhere=_elsewhere,
        headers=frozenset({"x-amz-account-id"}),
        form="PostObject",
    ),
    form=WireForm(S3Protocol),
    owner_key="s3:ResourceAccount",
    hides_reasons=True,
    quotes_resources=True,
    hex_request_ids=True,
)
