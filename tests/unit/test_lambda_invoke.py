"""Invoke and the resource policy: from a request to the invoke path, or to the queue."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boda.core.arn import DEFAULT_ACCOUNT
from boda.core.clock import ManualClock
from boda.core.principal import root_of
from boda.gateway.calling.operation import Context
from boda.invoke.call import Outcome
from boda.runtime import trace
from boda.services.lambda_.identifiers import parse
from boda.services.lambda_.invoking import operations as invocations
from support.lambda_world import World, world
from support.world import answer, client, served

ARN = f"arn:aws:lambda:us-east-1:{DEFAULT_ACCOUNT}:function:f"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.create("f")
        yield made


async def test_a_call_reaches_the_invoke_path_with_all_it_needs(here: World) -> None:
    context = base64.b64encode(b'{"custom":{"a":1}}').decode()
    out = await here.call(
        "Invoke",
        FunctionName=ARN + ":$LATEST",
        Payload=b'{"a": 1}',
        LogType="Tail",
        ClientContext=context,
    )
    assert out["Payload"] == b'{"a": 1}' and out["ExecutedVersion"] == "$LATEST"
    assert base64.b64decode(out["LogResult"]) == b"the log"
    assert "FunctionError" not in out
    (call,) = here.invoker.calls
    assert call.version is here.functions.resolve(ARN)
    assert call.invoked_arn == ARN + ":$LATEST"
    assert call.client_context == '{"custom":{"a":1}}' and call.tail
    assert trace.parse(call.trace_id).root and trace.parse(call.trace_id).hops == 1


@pytest.mark.parametrize("name", ["f", "function:f", f"{DEFAULT_ACCOUNT}:function:f", ARN])
async def test_every_way_to_name_it_without_qualifier_is_the_plain_arn(
    here: World, name: str
) -> None:
    await here.call("Invoke", FunctionName=name)
    assert here.invoker.calls[0].invoked_arn == ARN
    assert here.invoker.calls[0].payload == b"{}", "nothing at all is an empty object"


async def test_a_functions_failure_is_an_answer(here: World) -> None:
    here.invoker.respond = lambda call: Outcome(b'{"errorType":"E"}', "$LATEST", "Unhandled", "E")
    out = await here.call("Invoke", FunctionName="f")
    assert out["FunctionError"] == "Unhandled" and out["Payload"] == b'{"errorType":"E"}'


async def test_over_http_each_kind_has_its_status_and_headers(tmp_path: Path) -> None:
    async with (
        world(tmp_path, clock=ManualClock(time.time())) as here,
        served(here.gateway) as endpoint,
    ):
        await here.create("f")
        aws = client("lambda", endpoint, here.key)
        out = await answer(aws.invoke, FunctionName="f", Payload=b"[1]")
        headers = out["ResponseMetadata"]["HTTPHeaders"]
        assert out["StatusCode"] == 200 and out["Payload"].read() == b"[1]"
        assert headers["x-amz-executed-version"] == "$LATEST"
        assert headers["x-amzn-requestid"] == here.invoker.calls[0].request_id
        assert headers["x-amzn-trace-id"] == here.invoker.calls[0].trace_id
        out = await answer(aws.invoke, FunctionName="f", InvocationType="Event", Payload=b"[2]")
        assert out["StatusCode"] == 202 and out["Payload"].read() == b""
        assert "ExecutedVersion" not in out
        (event,) = here.queue.accepted
        assert event["payload"] == b"[2]" and event["invoked_arn"] == ARN
        assert event["request_id"] == out["ResponseMetadata"]["RequestId"]
        out = await answer(aws.invoke, FunctionName="f", InvocationType="DryRun")
        assert out["StatusCode"] == 204 and "ExecutedVersion" not in out
        out = await answer(aws.invoke, FunctionName="f", Payload=b"{no")
        assert out["Error"]["Code"] == "InvalidRequestContentException"
        assert out["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert len(here.invoker.calls) == 1


@pytest.mark.parametrize("kind", ["RequestResponse", "Event", "DryRun"])
@pytest.mark.parametrize("payload", [b"{", b"{'a':1}", b"\xff", b"NaN", b"1 2", b"[" * 100_000])
async def test_a_payload_that_is_not_json(here: World, kind: str, payload: bytes) -> None:
    error = await here.error("Invoke", FunctionName="f", InvocationType=kind, Payload=payload)
    assert (error.code, error.status) == ("InvalidRequestContentException", 400)
    assert error.message.startswith(
        "Could not parse request body into json: Could not parse payload into json: "
    )
    assert not here.invoker.calls and not here.queue.accepted


async def test_how_large_a_payload_may_be(here: World) -> None:
    def of(size: int) -> bytes:
        return b'"' + b"x" * (size - 2) + b'"'

    await here.call("Invoke", FunctionName="f", Payload=of(6_291_556))
    error = await here.error("Invoke", FunctionName="f", Payload=of(6_291_557))
    assert (error.code, error.status) == ("RequestTooLargeException", 413)
    await here.call("Invoke", FunctionName="f", InvocationType="Event", Payload=of(1_048_576))
    error = await here.error(
        "Invoke", FunctionName="f", InvocationType="Event", Payload=of(1_048_577)
    )
    assert (error.code, error.status) == ("RequestTooLargeException", 413)
    assert "1048577 byte payload is too large for the Event invocation type" in error.message


@pytest.mark.parametrize(
    "context", ["%", "e30=x", base64.b64encode(b"[1]").decode(), base64.b64encode(b"{").decode()]
)
async def test_a_client_context_that_is_none(here: World, context: str) -> None:
    error = await here.error("Invoke", FunctionName="f", ClientContext=context)
    assert error.message == "Client context must be a valid Base64-encoded JSON object."


async def test_a_client_context_that_is_too_long(here: World) -> None:
    long = base64.b64encode(json.dumps({"a": "x" * 3000}).encode()).decode()
    error = await here.error("Invoke", FunctionName="f", ClientContext=long)
    assert error.status == 400 and "3583" in error.message


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"FunctionName": "none"}, "none:$LATEST"),
        ({"FunctionName": "f", "Qualifier": "7"}, "f:7"),
        ({"FunctionName": "f:prod"}, "f:prod"),
        ({"FunctionName": "none", "InvocationType": "Event"}, "none:$LATEST"),
    ],
)
async def test_what_is_not_there(here: World, params: dict[str, Any], message: str) -> None:
    error = await here.error("Invoke", **params)
    assert (error.code, error.status) == ("ResourceNotFoundException", 404)
    assert error.message == f"Function not found: {ARN[:-1]}{message}"


async def test_a_tenant_is_asked_for_where_functions_isolate_them_and_only_there(
    here: World,
) -> None:
    error = await here.error("Invoke", FunctionName="f", TenantId="blue")
    assert error.code == "InvalidParameterValueException"
    assert "is not enabled with tenancy configuration" in error.message
    await here.create("isolated", TenancyConfig={"TenantIsolationMode": "PER_TENANT"})
    error = await here.error("Invoke", FunctionName="isolated")
    assert "Add a valid tenant ID in your request" in error.message
    await here.call("Invoke", FunctionName="isolated", TenantId="blue")
    assert here.invoker.calls[-1].tenant == "blue"
    await here.call("Invoke", FunctionName="isolated", TenantId="red", InvocationType="Event")
    assert here.queue.accepted[-1]["tenant"] == "red"


async def test_a_runtime_this_machine_has_not(tmp_path: Path) -> None:
    async with world(tmp_path, runnable=lambda runtime: runtime != "java21") as here:
        made = await here.create("f", Runtime="java21")
        error = await here.error("Invoke", FunctionName="f")
        assert (error.code, error.status) == ("InvalidRuntimeException", 502)
        assert "java21" in error.message and "boda runtimes" in error.message
        warning = {"ErrorCode": error.code, "Message": error.message}
        assert made["RuntimeVersionConfig"]["Error"] == warning
        found = await here.call("GetFunctionConfiguration", FunctionName="f")
        assert found["RuntimeVersionConfig"]["Error"] == warning
        changed = await here.call(
            "UpdateFunctionConfiguration", FunctionName="f", Runtime="python3.12"
        )
        assert "Error" not in changed["RuntimeVersionConfig"]


async def test_the_seventeenth_call_of_a_chain_is_refused(here: World) -> None:
    header = ""
    for number in range(trace.MAX_HOPS):
        header = await _chained(here, header)
        assert trace.parse(header).hops == number + 1
    with pytest.raises(Exception, match="RecursiveInvocationException"):
        await _chained(here, header)
    await here.call("PutFunctionRecursionConfig", FunctionName="f", RecursiveLoop="Allow")
    await _chained(here, header)


async def _chained(here: World, header: str) -> str:
    """Invoke as the SDK inside a function does, with its trace; the trace it ran under."""
    group = here.gateway._installed["lambda"].service.operations["Invoke"]
    ctx = Context(
        "lambda",
        "Invoke",
        "us-east-1",
        DEFAULT_ACCOUNT,
        here.root,
        "id",
        lambda need: None,
        {"x-amzn-trace-id": header} if header else {},
    )
    await group.run(ctx, function_name="f")
    return here.invoker.calls[-1].trace_id


async def test_names_are_remembered_in_bounds(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocations, "_REMEMBERED", 10)
    for number in range(50):
        await here.error("Invoke", FunctionName=f"none-{number}")
    group = here.gateway._installed["lambda"].service.operations["Invoke"].run.__self__  # type: ignore[attr-defined]
    assert len(group._names) <= 10


# Permissions


async def _allow(here: World, **params: Any) -> dict[str, Any]:
    given = {
        "FunctionName": "f",
        "StatementId": "s",
        "Action": "lambda:InvokeFunction",
        "Principal": "s3.amazonaws.com",
        **params,
    }
    found: dict[str, Any] = json.loads((await here.call("AddPermission", **given))["Statement"])
    return found


@pytest.mark.parametrize(
    ("principal", "written"),
    [
        ("s3.amazonaws.com", {"Service": "s3.amazonaws.com"}),
        ("alexa-appkit.amazon.com", {"Service": "alexa-appkit.amazon.com"}),
        ("123456789012", {"AWS": "arn:aws:iam::123456789012:root"}),
        ("arn:aws:iam::123456789012:user/u", {"AWS": "arn:aws:iam::123456789012:user/u"}),
        ("*", "*"),
    ],
)
async def test_how_principals_are_written(here: World, principal: str, written: Any) -> None:
    statement = await _allow(here, Principal=principal)
    assert statement["Principal"] == written
    assert list(statement) == ["Sid", "Effect", "Principal", "Action", "Resource"]


@pytest.mark.parametrize(
    ("params", "condition"),
    [
        ({"SourceArn": "arn:aws:s3:::b"}, {"ArnLike": {"AWS:SourceArn": "arn:aws:s3:::b"}}),
        (
            {"SourceAccount": "123456789012"},
            {"StringEquals": {"AWS:SourceAccount": "123456789012"}},
        ),
        (
            {"FunctionUrlAuthType": "NONE", "Action": "lambda:InvokeFunctionUrl"},
            {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}},
        ),
        (
            {"PrincipalOrgID": "o-1234567890"},
            {"StringEquals": {"aws:PrincipalOrgID": "o-1234567890"}},
        ),
        ({"EventSourceToken": "t"}, {"StringEquals": {"lambda:EventSourceToken": "t"}}),
        ({"InvokedViaFunctionUrl": True}, {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}),
    ],
)
async def test_how_conditions_are_written(
    here: World, params: dict[str, Any], condition: dict[str, Any]
) -> None:
    assert (await _allow(here, **params))["Condition"] == condition


async def test_the_kind_of_a_url_is_said_of_calls_by_url_only(here: World) -> None:
    given = {"FunctionName": "f", "StatementId": "s", "Principal": "*"}
    for action in ("lambda:InvokeFunction", "lambda:*"):
        error = await here.error(
            "AddPermission", **given, Action=action, FunctionUrlAuthType="NONE"
        )
        assert (error.code, error.message) == (
            "InvalidParameterValueException",
            "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action",
        )


async def test_permissions_ask_for_the_revision(here: World) -> None:
    error = await here.error(
        "AddPermission",
        FunctionName="f",
        StatementId="s",
        Action="lambda:InvokeFunction",
        Principal="*",
        RevisionId="stale",
    )
    assert error.status == 412 and "Call the GetPolicy API" in error.message
    await _allow(here)
    policy = await here.call("GetPolicy", FunctionName="f")
    function = await here.call("GetFunctionConfiguration", FunctionName="f")
    assert policy["RevisionId"] == function["RevisionId"]
    error = await here.error(
        "RemovePermission", FunctionName="f", StatementId="s", RevisionId="stale"
    )
    assert error.status == 412
    await here.call(
        "RemovePermission", FunctionName="f", StatementId="s", RevisionId=policy["RevisionId"]
    )
    assert here.functions.policy(ARN) is None


async def test_a_policy_has_a_size(here: World) -> None:
    error = None
    for number in range(200):
        params = {
            "FunctionName": "f",
            "StatementId": f"s{number}",
            "Action": "lambda:InvokeFunction",
            "Principal": "s3.amazonaws.com",
            "SourceArn": "arn:aws:s3:::" + "b" * 500,
        }
        try:
            await here.call("AddPermission", **params)
        except Exception as found:
            error = found
            break
    assert "PolicyLengthExceededException" in str(error)
    policy = (await here.call("GetPolicy", FunctionName="f"))["Policy"]
    assert 19_000 < len(policy) <= 20 * 1024


async def test_another_account_needs_the_functions_policy(here: World) -> None:
    stranger = root_of("123456789012")
    error = await here.error("Invoke", stranger, FunctionName=ARN)
    assert error.status == 403
    await _allow(here, Principal="123456789012")
    await here.call("Invoke", stranger, FunctionName=ARN)
    error = await here.error("GetFunction", stranger, FunctionName=ARN)
    assert error.status == 403


def test_names_in_all_their_forms() -> None:
    def read(text: str, qualifier: str | None = None) -> tuple[str, str, str | None]:
        found = parse(text, qualifier, "000000000000", "us-east-1")
        return (found.account, found.name, found.qualifier)

    mine = "000000000000"
    assert read("f") == (mine, "f", None)
    assert read("f", "1") == read("f:1") == read("f:1", "1") == (mine, "f", "1")
    assert read("function:f:$LATEST") == (mine, "f", "$LATEST")
    assert read("123456789012:f") == ("123456789012", "f", None)
    assert read("us-east-1:123456789012:function:f:a") == ("123456789012", "f", "a")
    full = "arn:aws:lambda:us-east-1:123456789012:function:f"
    assert read(full + ":prod") == ("123456789012", "f", "prod")
    assert read("function") == (mine, "function", None)
    for wrong in ("", "f\n", "f:1:2", "arn:aws:s3:::f", "f é", "f:", full + ":1:2"):
        with pytest.raises(Exception, match="ValidationException"):
            read(wrong)
