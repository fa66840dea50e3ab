"""InvokeWithResponseStream: what it asks for, and its events as boto3 reads them."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EventStreamError

from boda.core.arn import DEFAULT_ACCOUNT
from boda.core.clock import ManualClock
from boda.core.errors import AwsError
from boda.core.principal import root_of
from boda.fleet.refusals import too_many
from boda.invoke.call import Call, Outcome
from boda.runtime import trace
from support.lambda_world import World, world
from support.world import answer, client, served

ARN = f"arn:aws:lambda:us-east-1:{DEFAULT_ACCOUNT}:function:f"
OPERATION = "InvokeWithResponseStream"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.create("f")
        yield made


@pytest.fixture
async def boto(tmp_path: Path) -> AsyncIterator[tuple[World, Any]]:
    async with (
        world(tmp_path, clock=ManualClock(time.time())) as made,
        served(made.gateway) as endpoint,
    ):
        await made.create("f")
        yield made, client("lambda", endpoint, made.key)


class Source:
    def pause(self) -> None: ...

    def resume(self) -> None: ...


def streaming(here: World, outcome: Outcome | AwsError, *parts: bytes) -> None:
    async def invoke(call: Call) -> Outcome:
        here.invoker.calls.append(call)
        assert call.stream is not None
        call.stream.open("text/plain", Source())
        for part in parts:
            call.stream.feed(part)
            await asyncio.sleep(0)
        if isinstance(outcome, AwsError):
            raise outcome
        return outcome

    here.invoker.invoke = invoke  # type: ignore[method-assign]


async def events(aws: Any, **params: Any) -> tuple[dict[str, Any], bytes, dict[str, str]]:
    """The answer, its bytes, and what the end says."""
    out = await answer(aws.invoke_with_response_stream, FunctionName="f", **params)

    def read() -> tuple[bytes, dict[str, str]]:
        found = list(out["EventStream"])
        assert all(list(one) == ["PayloadChunk"] for one in found[:-1])
        body = b"".join(one["PayloadChunk"]["Payload"] for one in found[:-1])
        return body, found[-1]["InvokeComplete"]

    return (out, *await asyncio.to_thread(read))


async def test_a_stream_as_a_client_reads_it(boto: tuple[World, Any]) -> None:
    here, aws = boto
    streaming(here, Outcome(b"", "$LATEST", tail=b"the log"), b"one ", b"two")
    out, body, complete = await events(aws, LogType="Tail", Payload=b"[1]")
    assert (out["StatusCode"], out["ExecutedVersion"]) == (200, "$LATEST")
    assert out["ResponseStreamContentType"] == "text/plain"
    assert body == b"one two"
    assert complete == {"LogResult": base64.b64encode(b"the log").decode()}
    (call,) = here.invoker.calls
    assert (call.payload, call.tail, call.invoked_arn) == (b"[1]", True, ARN)
    headers = out["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amzn-requestid"] == call.request_id
    assert headers["x-amzn-trace-id"] == call.trace_id and trace.parse(call.trace_id).hops == 1


async def test_a_whole_answer_and_a_whole_failure(boto: tuple[World, Any]) -> None:
    here, aws = boto
    whole = json.dumps("x" * 200_000).encode()
    here.invoker.respond = lambda call: Outcome(whole, "$LATEST")
    out, body, complete = await events(aws)
    assert (body, complete) == (whole, {})
    assert out["ResponseStreamContentType"] == "application/json"
    here.invoker.respond = lambda call: Outcome(b'{"errorType":"E"}', "$LATEST", "Unhandled", "E")
    _, body, complete = await events(aws)
    assert body == b""
    assert complete == {"ErrorCode": "Unhandled", "ErrorDetails": '{"errorType":"E"}'}


async def test_a_failure_half_way(boto: tuple[World, Any]) -> None:
    here, aws = boto
    streaming(here, Outcome(b'{"errorType":"E"}', "$LATEST", "Unhandled", "E"), b"one")
    _, body, complete = await events(aws)
    assert body == b"one"
    assert complete == {"ErrorCode": "Unhandled", "ErrorDetails": '{"errorType":"E"}'}


async def test_an_environment_that_is_lost_half_way(boto: tuple[World, Any]) -> None:
    here, aws = boto
    streaming(here, AwsError("ServiceException", "It was stopped.", 500), b"one")
    with pytest.raises(EventStreamError, match="ServiceException"):
        await events(aws)


async def test_what_is_refused_before_the_first_byte_is_an_ordinary_error(
    boto: tuple[World, Any],
) -> None:
    here, aws = boto

    def throttled(call: Call) -> Outcome:
        raise too_many("ReservedFunctionConcurrentInvocationLimitExceeded")

    here.invoker.respond = throttled
    out = await answer(aws.invoke_with_response_stream, FunctionName="f")
    assert out["Error"]["Code"] == "TooManyRequestsException"
    assert out["ResponseMetadata"]["HTTPStatusCode"] == 429


async def test_a_dry_run_runs_nothing(boto: tuple[World, Any]) -> None:
    here, aws = boto
    out = await answer(aws.invoke_with_response_stream, FunctionName="f", InvocationType="DryRun")
    assert out["StatusCode"] == 204 and "ExecutedVersion" not in out
    assert not here.invoker.calls


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"FunctionName": "none"}, "ResourceNotFoundException"),
        ({"FunctionName": "f", "Payload": b"{"}, "InvalidRequestContentException"),
        ({"FunctionName": "f", "Payload": b"[" + b" " * (6 << 20)}, "RequestTooLargeException"),
        ({"FunctionName": "f", "ClientContext": "?"}, "InvalidRequestContentException"),
        ({"FunctionName": "f", "TenantId": "blue"}, "InvalidParameterValueException"),
        ({"FunctionName": "f", "InvocationType": "Event"}, "ValidationException"),
    ],
)
async def test_bad_input(here: World, params: dict[str, Any], code: str) -> None:
    params.setdefault("InvocationType", "RequestResponse")
    if params.get("Payload", b"").startswith(b"[ "):
        params["Payload"] += b" " * 200
    error = await here.error(OPERATION, **params)
    assert error.code == code and 400 <= error.status < 500
    assert not here.invoker.calls


async def test_it_asks_for_the_permission_to_invoke(here: World) -> None:
    stranger = root_of("123456789012")
    error = await here.error(OPERATION, stranger, FunctionName=ARN)
    assert error.status == 403 and "lambda:InvokeFunction on" in error.message
    await here.call(
        "AddPermission",
        FunctionName="f",
        StatementId="s",
        Action="lambda:InvokeFunction",
        Principal="123456789012",
    )
    out = await here.call(OPERATION, stranger, FunctionName=ARN)
    assert [one async for one in out["EventStream"]][-1] == {"InvokeComplete": {}}
