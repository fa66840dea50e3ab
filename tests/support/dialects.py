"""The dialects of the services that there are, and of some that are only recorded so far."""

from __future__ import annotations

from dataclasses import replace

from boda.app import PLUGS
from boda.core.errors import AwsError
from boda.gateway.dialect import JSON, QUERY, Dialect, Validation
from boda.gateway.protocols.form import WireForm


def _missing(name: str, shape: object) -> AwsError:
    return AwsError("MissingParameter", f"The request must contain the parameter {name}.")


_SQS = "AWS.SimpleQueueService."
_SAME = (
    *("BatchEntryIdsNotDistinct", "BatchRequestTooLong", "EmptyBatchRequest"),
    *("InvalidBatchEntryId", "MessageNotInflight", "PurgeQueueInProgress"),
    *("QueueDeletedRecently", "TooManyEntriesInBatchRequest", "UnsupportedOperation"),
)
# What the service called its errors when it spoke query, recorded, where the model has forgotten
# it. Clients show these codes and choose the exception by the shape's name.
_SQS_CODES = {
    **{name: _SQS + name for name in _SAME},
    "InvalidParameterValueException": "InvalidParameterValue",
    "MissingRequiredParameterException": "MissingParameter",
    "QueueDoesNotExist": _SQS + "NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
}
RECORDED: dict[str, Dialect] = {
    "apigateway": replace(
        JSON,
        validation=Validation(
            prefix=lambda operation: f"{operation[0].lower()}{operation[1:]}Input.",
            enums={
                frozenset(("REGIONAL", "EDGE", "PRIVATE")): "PRIVATE, EDGE, REGIONAL",
                frozenset(("add", "remove", "replace", "move", "copy", "test")): (
                    "add, remove, move, test, replace, copy"
                ),
            },
        ),
    ),
    "ec2": replace(
        QUERY,
        forbidden=("UnauthorizedOperation", 403),
        validation=Validation(required_only=True, missing=_missing),
    ),
    "sns": replace(
        QUERY,
        forbidden=("AuthorizationError", 403),
        validation=Validation(required_only=True),
    ),
    "sqs": replace(
        JSON,
        forbidden=("AccessDenied", 403),
        validation=Validation(required_only=True, missing=_missing),
        form=WireForm(error_codes=_SQS_CODES),
    ),
}
"""Of services that are not here yet: recordings of their answers hold the gateway to them."""

DIALECTS: dict[str, Dialect] = {
    **RECORDED,
    **{one.name: one.dialect for one in PLUGS if one.dialect is not None},
}
