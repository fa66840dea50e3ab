"""What functions see and callers hear, against answers recorded from AWS."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from boda.fleet.variables import variables
from support.fake_sandbox import Keys, function
from support.fleet_platform import Platform
from support.golden import golden


def recorded(file: str, case: str) -> dict[str, object]:
    path = golden("recorded") / "lambda_" / f"{file}.snapshot.json"
    cases = json.loads(path.read_text())
    (found,) = (value for name, value in cases.items() if name.endswith("::" + case))
    return found["recorded-content"]


@pytest.fixture
async def platform():
    made = Platform()
    yield made
    closing = asyncio.ensure_future(made.fleet.close())
    await made.clock.settle()
    await closing


@pytest.mark.parametrize("python", ["python3.11", "python3.13"])
def test_environment_variables(python):
    content = recorded("test_lambda_common", f"test_introspection_invoke[{python}]")
    seen = content["invocation_result_payload"]["environment"]
    version = function(
        "f", runtime=python, handler="handler.handler", memory_mb=1024,
        environment=(("TEST_KEY", "TEST_VAL"),),
    )  # fmt: skip
    ours = variables(version, "stream", Keys(), "token")
    ours["_X_AMZN_TRACE_ID"] = "set with each invocation"
    assert set(seen) - set(ours) == set()
    # Where AWS's own addresses stand, or what differs from machine to machine, the name is all.
    plain = {
        name: value for name, value in seen.items() if "<" not in value and "169.254." not in value
    }
    assert {name: ours[name] for name in plain} == plain
    younger = {"AWS_LAMBDA_METADATA_API", "AWS_LAMBDA_METADATA_TOKEN"}  # than the recording
    assert set(ours) - set(seen) <= {"AWS_ENDPOINT_URL", "LC_CTYPE"} | younger


async def test_timeout(platform):
    content = recorded("test_lambda", "test_lambda_invoke_with_timeout")
    expected = content["invoke-result"]
    platform.sandboxes.handle = lambda guest, call: None
    task = platform.begin(function(timeout_s=1))
    await platform.advance(2)
    outcome = await task
    assert outcome.function_error == expected["FunctionError"]
    assert outcome.executed_version == expected["ExecutedVersion"]
    payload = json.loads(outcome.payload)
    assert payload["errorType"] == expected["Payload"]["errorType"]
    words = expected["Payload"]["errorMessage"].replace("<timeout_error_msg>", "id-1")
    assert payload["errorMessage"] == words


async def test_log_lines(platform):
    lines = recorded("test_lambda", "test_invocation_with_logs[python3.10]")["logs"]["logs"]

    def handle(guest, call):
        guest.log("{}\n")
        guest.respond(call)

    platform.sandboxes.handle = handle
    outcome = await platform.invoke(function(), tail=True)
    found = outcome.tail.decode().splitlines(keepends=True)
    for line, pattern in zip(found, lines, strict=True):
        shape = re.escape(pattern).replace("<request\\-id>", "id-1")
        shape = shape.replace("<duration>", r"\d+(\.\d+)?").replace("<memory>", r"\d+")
        assert re.fullmatch(shape, line), (line, pattern)


async def test_throttling(platform):
    error = recorded("test_lambda", "test_reserved_concurrency")["exc_no_cap_requestresponse"]
    version = function()
    platform.concurrency.reserve(version.account, version.region, version.name, 0)
    with pytest.raises(Exception) as caught:
        await platform.invoke(version)
    assert caught.value.code == error["Error"]["Code"]
    assert caught.value.message == error["Error"]["Message"]
    assert caught.value.status == error["ResponseMetadata"]["HTTPStatusCode"]
    assert caught.value.fields == {"Reason": error["Reason"], "Type": error["Type"]}
    throttles = [metric for metric in platform.telemetry.metrics if metric[0] == "Throttles"]
    of_all, of_the_function = (), (("FunctionName", "f"),)
    assert throttles == [("Throttles", 1.0, of_all), ("Throttles", 1.0, of_the_function)]
