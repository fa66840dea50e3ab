"""The Lambda API's errors, in AWS's words."""

from __future__ import annotations

from boda.core.errors import AwsError
from boda.runtime.function import FunctionVersion

FUNCTIONS_ONLY = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support "
    "this operation. Please specify either a function name or an unqualified function ARN."
)


def invalid(message: str) -> AwsError:
    """Return InvalidParameterValueException, which Lambda itself answers (unlike the front end's
    errors)."""
    return AwsError("InvalidParameterValueException", message, 400, Type="User")


def invalid_untyped(message: str) -> AwsError:
    """Return the same error from Lambda's concurrency operations; recorded without ``Type``."""
    return AwsError("InvalidParameterValueException", message, 400, Type=None)


def constraint(value: object, path: str, rule: str) -> AwsError:
    """Return the front end's ValidationException; it has no ``Type``."""
    return AwsError(
        "ValidationException",
        f"1 validation error detected: Value '{value}' at '{path}' failed to satisfy "
        f"constraint: {rule}",
        400,
    )


def not_found(arn: str) -> AwsError:
    return resource_not_found(f"Function not found: {arn}")


def resource_not_found(message: str) -> AwsError:
    return AwsError("ResourceNotFoundException", message, 404, Type="User")


def conflict(message: str) -> AwsError:
    return AwsError("ResourceConflictException", message, 409, Type="User")


def update_in_progress(arn: str) -> AwsError:
    return conflict(
        "The operation cannot be performed at this time. An update is in progress for "
        f"resource: {arn}"
    )


def wrong_state(state: str) -> AwsError:
    return conflict(
        "The operation cannot be performed at this time. The function is currently in the "
        f"following state: {state}"
    )


def stale_revision(call: str = "GetFunction/GetAlias") -> AwsError:
    return AwsError(
        "PreconditionFailedException",
        "The Revision Id provided does not match the latest Revision Id. Call the "
        f"{call} API to retrieve the latest Revision Id",
        412,
        Type="User",
    )


def too_large(message: str) -> AwsError:
    return AwsError("RequestTooLargeException", message, 413, Type="User")


def entity_too_large(limit_bytes: int) -> AwsError:
    """Return the error for a package over the direct upload limit; recorded without ``Type``."""
    return AwsError(
        "RequestEntityTooLargeException",
        f"Zipped size must be smaller than {limit_bytes} bytes",
        413,
    )


def bad_content(message: str) -> AwsError:
    return AwsError("InvalidRequestContentException", message, 400, Type="User")


def cannot_unzip(reason: str = "") -> AwsError:
    """Return AWS's one sentence for every package it cannot unpack, with the reason if it is
    known."""
    words = "Could not unzip uploaded file. Please check your file, then try to upload again."
    return invalid(f"{words} {reason}" if reason else words)


def recursive(arn: str, hops: int) -> AwsError:
    return AwsError(
        "RecursiveInvocationException",
        f"Lambda has detected that {arn} is being invoked in a recursive loop with other AWS "
        f"resources and stopped the invocation after {hops} invocations in the chain.",
        400,
        Type="User",
    )


def snapshot_not_ready() -> AwsError:
    return AwsError(
        "SnapStartNotReadyException",
        "Lambda is initializing your function. It will be ready to invoke once your function "
        "state becomes active.",
        409,
        Type="User",
    )


def cannot_run(version: FunctionVersion) -> AwsError:
    """Return the answer to invoking a function that is stored and described here but cannot be
    run."""
    if version.file_systems:
        return AwsError(
            "EFSMountFailureException",
            f"boda has no file systems to mount at {', '.join(version.file_systems)}.",
            403,
            Type="User",
        )
    return AwsError(
        "InvalidRuntimeException",
        "boda does not run container images; create the function from a deployment package.",
        502,
        Type="Service",
    )
