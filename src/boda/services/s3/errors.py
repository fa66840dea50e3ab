"""The errors of S3, in S3's words (from recorded answers and the S3 error reference)."""

from __future__ import annotations

from boda.core.errors import AwsError

MALFORMED_XML = (
    "The XML you provided was not well-formed or did not validate against our published schema"
)


def no_such_bucket(bucket: str) -> AwsError:
    message = "The specified bucket does not exist"
    return AwsError("NoSuchBucket", message, 404, BucketName=bucket)


def no_such_key(key: str, headers: dict[str, str] | None = None) -> AwsError:
    message = "The specified key does not exist."
    return AwsError("NoSuchKey", message, 404, headers=headers, Key=key)


def no_such_version(key: str, version_id: str) -> AwsError:
    message = "The specified version does not exist."
    return AwsError("NoSuchVersion", message, 404, Key=key, VersionId=version_id)


def no_such_upload(upload_id: str) -> AwsError:
    message = (
        "The specified upload does not exist. The upload ID may be invalid, or the upload may "
        "have been aborted or completed."
    )
    return AwsError("NoSuchUpload", message, 404, UploadId=upload_id)


def delete_marker(method: str, headers: dict[str, str] | None = None) -> AwsError:
    message = "The specified method is not allowed against this resource."
    allow = {"Allow": "DELETE", "x-amz-delete-marker": "true", **(headers or {})}
    return AwsError(
        "MethodNotAllowed", message, 405, headers=allow, Method=method, ResourceType="DeleteMarker"
    )


def invalid_argument(name: str, value: str | None, message: str) -> AwsError:
    return AwsError("InvalidArgument", message, ArgumentName=name, ArgumentValue=value or "")


def refused_token(_name: str, token: str) -> AwsError:
    message = "The continuation token provided is incorrect"
    return invalid_argument("continuation-token", token, message)


def invalid_request(message: str) -> AwsError:
    return AwsError("InvalidRequest", message)


def malformed_xml() -> AwsError:
    return AwsError("MalformedXML", MALFORMED_XML)


def precondition_failed(condition: str, headers: dict[str, str] | None = None) -> AwsError:
    message = "At least one of the pre-conditions you specified did not hold"
    return AwsError("PreconditionFailed", message, 412, headers=headers, Condition=condition)


def conflict(condition: str, key: str) -> AwsError:
    message = (
        "The conditional request cannot succeed due to a conflicting operation against this "
        "resource."
    )
    return AwsError("ConditionalRequestConflict", message, 409, Condition=condition, Key=key)


def header_not_implemented(header: str, why: str) -> AwsError:
    message = "A header you provided implies functionality that is not implemented"
    return AwsError("NotImplemented", message, 501, Header=header, additionalMessage=why)


def access_denied() -> AwsError:
    return AwsError("AccessDenied", "Access Denied", 403)


def too_large(size: int, limit: int) -> AwsError:
    message = "Your proposed upload exceeds the maximum allowed size"
    return AwsError("EntityTooLarge", message, ProposedSize=str(size), MaxSizeAllowed=str(limit))


def absent(code: str, message: str, bucket: str) -> AwsError:
    """Return the error for a part of a bucket's configuration that was never set."""
    return AwsError(code, message, 404, BucketName=bucket)
