"""How Lambda words and bounds things, as recorded."""

from __future__ import annotations

from dataclasses import replace

from boda.gateway.dialect import JSON, Bodies, Validation
from boda.gateway.http.limits import MIB, BodyRule
from boda.gateway.protocols.form import WireForm

_TOO_LARGE = "RequestEntityTooLargeException"
_CODE_BYTES = 70_167_211  # 50 MB of zip as base64, and slack
_PAYLOAD_BYTES = 6 * MIB + 100


def _rule(operation: str, limit: int, code: str, named: str = "") -> tuple[str, BodyRule]:
    return operation, BodyRule(
        limit,
        code,
        f"Request must be smaller than {limit} bytes for the {named or operation} operation",
        typed=True,
    )


DIALECT = replace(
    JSON,
    forbidden=("AccessDeniedException", 403),
    internal=("ServiceException", "The AWS Lambda service encountered an internal error."),
    unwritable="ServiceException",
    bodies=Bodies(
        rules=dict(
            [
                _rule("CreateFunction", _CODE_BYTES, _TOO_LARGE),
                _rule("UpdateFunctionCode", _CODE_BYTES, _TOO_LARGE),
                _rule("PublishLayerVersion", _CODE_BYTES, _TOO_LARGE),
                _rule("UpdateFunctionConfiguration", 5120, _TOO_LARGE),
                _rule("Invoke", _PAYLOAD_BYTES, "RequestTooLargeException", "InvokeFunction"),
                _rule("InvokeAsync", _PAYLOAD_BYTES, "RequestTooLargeException"),
                _rule("InvokeWithResponseStream", _PAYLOAD_BYTES, "RequestTooLargeException"),
            ]
        )
    ),
    validation=Validation(
        sizes_first=True,
        null_listed=True,
        hashed_enums=True,
        enums={
            frozenset(("TRIM_HORIZON", "LATEST", "AT_TIMESTAMP")): (
                "LATEST, AT_TIMESTAMP, TRIM_HORIZON"
            )
        },
        open_enums=frozenset({"Runtime"}),
    ),
    form=WireForm(blob_types={"Invoke": "application/json"}),
)
