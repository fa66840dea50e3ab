"""Lambda's recorded refusals: the same requests are refused here, in the same words, no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from boda.core.errors import AwsError
from boda.gateway.calling.models import Models
from support.dialects import DIALECTS
from support.golden import golden

# The model has since changed the pattern of these members, and the newer model holds.
AGED = {"ListTags", "TagResource", "UntagResource"}


def calls() -> Iterator[tuple[str, dict[str, Any], str | None]]:
    """Operation, parameters, and the recorded refusal by the front end, if it was one."""
    for line in golden("transcripts/lambda_api.jsonl").read_text().splitlines():
        call: dict[str, Any] | None = None
        for step in json.loads(line)["steps"]:
            if "call" in step:
                call = step
            elif call is not None and call["call"].startswith("lambda."):
                if not isinstance(step["response"], dict):
                    continue  # refused by the client, or no answer at all
                yield call["call"].partition(".")[2], call["params"], _refusal(step["response"])


def _refusal(response: dict[str, Any]) -> str | None:
    if response.get("Code") == "ValidationException" and "Errors" in response:
        count = response["Count"]
        errors = "; ".join(response["Errors"])
        return f"{count} validation error{'s' if count > 1 else ''} detected: {errors}"
    error = response.get("Error", {})
    return error.get("Message") if error.get("Code") == "ValidationException" else None


def _value(value: Any, shape: Any) -> Any:
    if shape is not None and shape.type_name == "blob" and isinstance(value, dict):
        return b"the recorded bytes"
    if isinstance(value, dict) and shape is not None and shape.type_name == "structure":
        return {
            name: _value(item, shape.members[name])
            for name, item in value.items()
            # An empty list in the query string leaves no trace on the wire.
            if item != [] or shape.members[name].serialization.get("location") != "querystring"
        }
    return value


def _words(message: str | None) -> str | None:
    """Without the values, which the recording has made anonymous."""
    return re.sub(r"Value '[^']*'", "Value …", message) if message else message


def test_lambda_refuses_what_aws_refused() -> None:
    models = Models(dialects=DIALECTS)
    service = models.service("lambda")
    refused = passed = 0
    for operation, params, recorded in calls():
        op = service.operation_model(operation)
        given = None
        try:
            models.validator("lambda").check(op, _value(params, op.input_shape))
        except AwsError as error:
            assert error.code == "ValidationException"  # noqa: PT017
            given = error.message
        if operation in AGED:
            assert (given is None) == (recorded is None), params
        else:
            assert _words(given) == _words(recorded), (operation, params)
        refused += recorded is not None
        passed += recorded is None
    if not refused:
        pytest.fail("no recorded refusal was found")
    assert refused > 40
    assert passed > 200
