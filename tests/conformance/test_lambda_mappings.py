"""Event source mappings against every answer that was recorded of them.

Only answers are recorded; what they echo tells what was asked.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.golden import cases, golden
from support.lambda_world import world
from support.transcripts import Matcher

ASKED = (
    "BatchSize",
    "MaximumBatchingWindowInSeconds",
    "StartingPosition",
    "FilterCriteria",
    "FunctionResponseTypes",
    "DestinationConfig",
    "MaximumRetryAttempts",
    "MaximumRecordAgeInSeconds",
    "ScalingConfig",
)
FOLDER = "recorded/lambda_"
KNOWN = {"maximum-batching-window-in-seconds": 5}
"""Values the recordings left out."""


def answers() -> list[Any]:
    """Each recorded answer of a create."""
    found = []
    for path in sorted(golden(FOLDER).rglob("*.snapshot.json")):
        for case, recorded in json.loads(path.read_text()).items():
            for step, answer in recorded["recorded-content"].items():
                if isinstance(answer, dict) and _is_create(answer):
                    name = f"{case.rpartition('::')[2]}-{step}"
                    found.append(pytest.param(answer, id=name))
    return found


def _is_create(answer: dict[str, Any]) -> bool:
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    created = answer.get("State") in ("Creating", "Disabled")
    return status == 202 and created and "EventSourceArn" in answer


def _here(text: str) -> str:
    """An ARN of the recordings as one of here."""
    for token, value in (("<partition>", "aws"), ("<region>", "us-east-1"), ("1" * 12, "0" * 12)):
        text = text.replace(token, value)
    return re.sub(r"<([a-z_-]+)(:\d+)?>", r"\1", text)


def request(answer: dict[str, Any]) -> dict[str, Any]:
    params = {name: answer[name] for name in ASKED if name in answer}
    window = params.get("MaximumBatchingWindowInSeconds")
    params["MaximumBatchingWindowInSeconds"] = KNOWN.get(str(window), window)
    if "FilterCriteria" in params:
        patterns = [each["Pattern"] for each in params["FilterCriteria"]["Filters"]]
        params["FilterCriteria"] = {"Filters": [{"Pattern": json.dumps(one)} for one in patterns]}
    target = params.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
    if target:
        params["DestinationConfig"] = {"OnFailure": {"Destination": _here(target)}}
    qualifier = answer["FunctionArn"].rpartition(">")[2]
    params |= {
        "EventSourceArn": _here(answer["EventSourceArn"]),
        "FunctionName": f"000000000000:function:f{qualifier}",
    }
    if answer["State"] == "Disabled":
        params["Enabled"] = False
    return params


@pytest.mark.parametrize("answer", cases(answers))
async def test_a_mapping_is_answered_as_recorded(answer: dict[str, Any], tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.create("f", Publish=True)
        await here.call("CreateAlias", FunctionName="f", Name="myalias", FunctionVersion="1")
        made = await here.call("CreateEventSourceMapping", **request(answer))
    found = differences(answer, made)
    assert not found, "\n".join(found)


def differences(answer: dict[str, Any], made: dict[str, Any]) -> list[str]:
    expected = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
    if isinstance(expected["MaximumBatchingWindowInSeconds"], str):
        expected["MaximumBatchingWindowInSeconds"] = made["MaximumBatchingWindowInSeconds"]
    for each in made.get("FilterCriteria", {}).get("Filters", []):
        each["Pattern"] = json.loads(each["Pattern"])
    if "EventSourceMappingArn" not in expected:  # left out of one recording
        del made["EventSourceMappingArn"]
    return Matcher().differences(expected, {**made, "LastModified": "datetime"})


def test_there_are_answers_to_hold() -> None:
    assert len(answers()) > 40
