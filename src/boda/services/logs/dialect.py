"""How CloudWatch Logs words and bounds things, as recorded."""

from __future__ import annotations

from dataclasses import replace

from botocore.model import OperationModel

from boda.gateway.dialect import JSON, Bodies, Validation, json_rule
from boda.gateway.http.limits import MIB


def _code(operation: OperationModel) -> str:
    known = {shape.name for shape in operation.error_shapes}
    if "InvalidParameterException" in known and "ValidationException" not in known:
        return "InvalidParameterException"
    return "ValidationException"


DIALECT = replace(
    JSON,
    bodies=Bodies(
        # 1 MB of messages, each of whose characters JSON may write as six.
        rules={"PutLogEvents": json_rule("PutLogEvents", 8 * MIB)},
    ),
    validation=Validation(
        code=_code,
        enums={
            frozenset(("json", "plain", "w3c", "raw", "parquet")): "w3c, raw, json, plain, parquet"
        },
        # The service has one sentence for both bounds.
        open_lengths=frozenset({"LogGroupName", "LogStreamName"}),
    ),
)
