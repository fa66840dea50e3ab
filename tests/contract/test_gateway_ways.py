"""The general and the fast path of a request give the same answer, byte for byte, and have the
same effect.

Each case is sent while the fast path is shut, then again while it is open and has learned what
it can from plain requests to the same place, and from the case itself: the answers (but for ids
and dates) and what the function was called with must be the same. Each says which way the
second one is to take, so that neither can quietly take over the other's work.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from boda.core.clock import ManualClock
from boda.core.errors import AwsError
from boda.core.policy import Policy
from boda.gateway.calling.exchange import Exchange
from boda.gateway.fast_path import GatewayFastPath
from boda.gateway.gateway import Gateway
from boda.gateway.http.wire import WireResponse
from boda.gateway.server import HttpServer
from boda.gateway.signing.identity import Credential
from boda.invoke.call import Call, Outcome
from boda.invoke.concurrency import too_many
from boda.services.lambda_ import Options, Quotas
from support.lambda_world import World, world
from support.wire import Line, plain, settled, signed
from support.world import answer, client

PATH = "/2015-03-31/functions/f/invocations"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"
QUOTA = 20_000
ONE = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
GOOD = b'{"a": [1, "\xc3\xa9"]}'
Way = Literal["by a target", "as a call", "general"]
"""A request on the fast path is handled by the FastHandler that the operation offers, or goes on as
the general way does with a request whose caller is known."""
TARGET: Way = "by a target"
CALL: Way = "as a call"
GENERAL: Way = "general"
Sends = Callable[["Stage"], bytes]
Changes = Callable[["Stage"], Awaitable[Any]]


@dataclass
class Stage:
    """here: the platform. host: of the function URL. general, calls: requests that went so."""

    here: World
    server: HttpServer
    user: Credential
    host: str = ""
    general: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    @property
    def ways(self) -> list[Way]:
        """Of the requests since the last time that are known not to have met a FastHandler."""
        found: list[Way] = [GENERAL for _ in self.general] + [CALL for _ in self.calls]
        self.general.clear()
        self.calls.clear()
        return found

    @property
    def now(self) -> float:
        return self.here.clock.now()

    @property
    def root(self) -> Credential:
        return self.here.key

    def invoke(self, body: bytes = GOOD, path: str = PATH, **others: Any) -> bytes:
        key = others.pop("key", self.root)
        return signed(key, path, body, at=others.pop("at", self.now), **others)

    def browse(
        self, body: bytes | None = None, path: str = "/", method: str = "", **headers: str
    ) -> bytes:
        named = {"Host": self.host} | {n.replace("_", "-"): v for n, v in headers.items()}
        if body is not None:
            named.setdefault("Content-Length", str(len(body)))
        method = method or ("POST" if body is not None else "GET")
        return plain(method, path, named, body or b"")


@asynccontextmanager
async def stage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    options = Options(quotas=Quotas(sync_payload_bytes=QUOTA, async_payload_bytes=QUOTA // 2))
    async with world(folder, clock=ManualClock(), options=options) as here:
        await here.create("f")
        made = await here.call("CreateFunctionUrlConfig", FunctionName="f", AuthType="NONE")
        await here.let_everybody()
        server = HttpServer(here.gateway, "127.0.0.1", 0)
        await server.start()
        found = Stage(here, server, await user(here))
        found.host = made["FunctionUrl"].split("/")[2]
        answer = Gateway.answer

        async def watched(self: Gateway, request: Any, inbound: Any) -> Any:
            found.general.append(request.path)
            return await answer(self, request, inbound)

        fast = here.gateway.fast_path
        serve = fast._serve

        async def watched_call(x: Exchange) -> WireResponse:
            found.calls.append(x.request.path)
            return await serve(x)

        monkeypatch.setattr(Gateway, "answer", watched)
        monkeypatch.setattr(fast, "_serve", watched_call)
        try:
            yield found
        finally:
            await server.stop(5)


async def user(here: World) -> Credential:
    """Somebody who may invoke f because a policy says so."""
    await here.gateway.call("iam", "CreateUser", {"UserName": "ann"}, here.root)
    await permit(here, "lambda:InvokeFunction")
    made = await here.gateway.call("iam", "CreateAccessKey", {"UserName": "ann"}, here.root)
    credential = here.identity.credential(made["AccessKey"]["AccessKeyId"])
    assert credential is not None
    return credential


async def permit(here: World, action: str, **condition: Any) -> None:
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    if condition:
        statement["Condition"] = condition
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    named = {"UserName": "ann", "PolicyName": "p", "PolicyDocument": document}
    await here.gateway.call("iam", "PutUserPolicy", named, here.root)


def answers(payload: bytes, error: Any = "", version: str = "$LATEST") -> Changes:
    async def change(on: Stage) -> None:
        on.here.invoker.respond = lambda call: Outcome(payload, version, error, tail=b"log")

    return change


def raises(error: Exception) -> Changes:
    def respond(call: Call) -> Outcome:
        raise error

    async def change(on: Stage) -> None:
        on.here.invoker.respond = respond

    return change


def calls(operation: str, **params: Any) -> Changes:
    async def change(on: Stage) -> None:
        await on.here.call(operation, **params)

    return change


def edited(old: bytes, new: bytes, **others: Any) -> Sends:
    """A good request, with something replaced in its bytes."""

    def send(on: Stage) -> bytes:
        data = on.invoke(**others)
        assert old in data
        return data.replace(old, new, 1)

    return send


def with_headers(also: tuple[str, ...] = (), body: bytes = GOOD, **headers: str) -> Sends:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda on: on.invoke(body, headers=named, also=also)


def resigned(edit: Callable[[str], str]) -> Sends:
    """A good request, its signature changed."""

    def send(on: Stage) -> bytes:
        before, found, rest = on.invoke().decode().partition("Signature=")
        return (before + found + edit(rest[:64]) + rest[64:]).encode()

    return send


async def user_loses_the_right(on: Stage) -> None:
    await permit(on.here, "s3:GetObject")


async def user_may_from_here_only(on: Stage) -> None:
    await permit(on.here, "lambda:InvokeFunction", IpAddress={"aws:SourceIp": "127.0.0.1"})


async def key_is_switched_off(on: Stage) -> None:
    params = {
        "UserName": "ann",
        "AccessKeyId": on.user.access_key_id,
        "Status": "Inactive",
    }
    await on.here.gateway.call("iam", "UpdateAccessKey", params, on.here.root)


async def draining(on: Stage) -> None:
    on.here.gateway._traffic.draining = True


def hops(count: int) -> str:
    return f"Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1;Lineage={count}:12345678:0"


DECLARED = "X_Amz_Content_Sha256"

# name: (request, whether it takes the fast path, what changes before it is sent)
INVOKES: dict[str, tuple[Sends, Way, Changes | None]] = {
    "plain": (lambda on: on.invoke(), TARGET, None),
    "another body": (lambda on: on.invoke(b"[]"), TARGET, None),
    "no body": (lambda on: on.invoke(b""), TARGET, None),
    "no length": (edited(b"Content-Length: 0\r\n", b"", body=b""), TARGET, None),
    "a body as large as may be": (lambda on: on.invoke(b'"%b"' % (b"x" * 19_998)), TARGET, None),
    "a body too large": (lambda on: on.invoke(b'"%b"' % (b"x" * 19_999)), CALL, None),
    "not JSON": (lambda on: on.invoke(b"{"), CALL, None),
    "not UTF-8": (lambda on: on.invoke(b'"\xff"'), CALL, None),
    "deep JSON": (lambda on: on.invoke(b"[" * 5000 + b"]" * 5000), CALL, None),
    "the user": (lambda on: on.invoke(key=on.user), TARGET, None),
    "another host": (lambda on: on.invoke(host="LOCALHOST:1"), TARGET, None),
    "names in lower case": (
        lambda on: on.invoke().replace(b"Host:", b"host:").replace(b"Authoriz", b"authoriz"),
        TARGET,
        None,
    ),
    "further headers": (with_headers(User_Agent="sdk/1", Accept="*/*", A="b"), TARGET, None),
    "further signed headers": (
        with_headers(("content-type",), Content_Type="application/json"),
        TARGET,
        None,
    ),
    "kept alive in words": (with_headers(Connection="Keep-Alive"), TARGET, None),
    "the only connection": (with_headers(Connection="close"), GENERAL, None),
    "two spaces in a value": (with_headers(A="b  c"), GENERAL, None),
    "a value of nothing": (with_headers(A=""), GENERAL, None),
    "a value in UTF-8": (with_headers(A="é"), GENERAL, None),
    "a tab before a value": (edited(b"X-Amz-Date: ", b"X-Amz-Date:\t"), GENERAL, None),
    "no space before a value": (edited(b"X-Amz-Date: ", b"X-Amz-Date:"), GENERAL, None),
    "a space behind a value": (edited(b"Host: 127.0.0.1", b"Host: 127.0.0.1 "), GENERAL, None),
    "a folded line": (edited(b"Host:", b"A: b\r\n c\r\nHost:"), GENERAL, None),
    "a bare line feed": (edited(b"Host:", b"A: b\nHost:"), GENERAL, None),
    "a bare carriage return": (edited(b"Host:", b"A: b\rc\r\nHost:"), GENERAL, None),
    "a zero byte": (edited(b"Host:", b"A: b\0c\r\nHost:"), GENERAL, None),
    "a space in a name": (edited(b"Host:", b"A b: c\r\nHost:"), GENERAL, None),
    "a space before a colon": (edited(b"Host:", b"Host :"), GENERAL, None),
    "a header twice": (edited(b"Host:", b"A: b\r\na: c\r\nHost:"), GENERAL, None),
    "two hosts": (edited(b"Host:", b"host: x\r\nHost:"), GENERAL, None),
    "two authorizations": (edited(b"Host:", b"authorization: x\r\nHost:"), GENERAL, None),
    "two dates": (edited(b"Host:", b"x-amz-date: 1\r\nHost:"), GENERAL, None),
    "no host": (edited(b"Host: 127.0.0.1\r\n", b""), GENERAL, None),
    "no date": (edited(b"X-Amz-Date: 2", b"X-Date: 2"), GENERAL, None),
    "what is no date": (edited(b"X-Amz-Date: 2", b"X-Amz-Date: x"), GENERAL, None),
    "another version of HTTP": (edited(b"HTTP/1.1", b"HTTP/1.0"), GENERAL, None),
    "no version of HTTP": (edited(b"HTTP/1.1", b"HTTP/1.7"), GENERAL, None),
    "a whole address": (edited(b"POST /", b"POST http://127.0.0.1/"), GENERAL, None),
    "another method": (lambda on: on.invoke(method="PUT"), GENERAL, None),
    "a method in lower case": (edited(b"POST", b"post"), GENERAL, None),
    "two spaces in the first line": (edited(b"POST /", b"POST  /"), GENERAL, None),
    "lengths that differ": (edited(b"Host:", b"Content-Length: 1\r\nHost:"), GENERAL, None),
    "a length with a sign": (edited(b"Content-Length: ", b"Content-Length: +"), GENERAL, None),
    "what is no length": (edited(b"Content-Length: 1", b"Content-Length: x"), GENERAL, None),
    "chunked": (
        lambda on: (
            on.invoke(b"", headers={"Transfer-Encoding": "chunked"}, payload_hash="0" * 64).replace(
                b"Content-Length: 0\r\n", b""
            )
            + b"0\r\n\r\n"
        ),
        GENERAL,
        None,
    ),
    "expecting to continue": (with_headers(Expect="100-nothing"), GENERAL, None),
    "wanting an upgrade": (with_headers(Upgrade="h2c"), GENERAL, None),
    "packed": (with_headers(Content_Encoding="gzip"), GENERAL, None),
    "another protocol": (
        with_headers(Smithy_Protocol="rpc-v2-cbor"),
        GENERAL,
        None,
    ),
    "a target": (with_headers(X_Amz_Target="AWSLambda.Invoke"), TARGET, None),
    "the body's hash": (
        lambda on: on.invoke(b"1", headers={"X-Amz-Content-Sha256": ONE}),
        TARGET,
        None,
    ),
    "another body's hash": (
        lambda on: on.invoke(b"2", headers={"X-Amz-Content-Sha256": ONE}, payload_hash=ONE),
        GENERAL,
        None,
    ),
    "no hash": (with_headers(X_Amz_Content_Sha256="UNSIGNED-PAYLOAD"), GENERAL, None),
    "no signature": (resigned(lambda made: ""), GENERAL, None),
    "half a signature": (resigned(lambda made: made[:32]), GENERAL, None),
    "another signature": (resigned(lambda made: made[::-1]), GENERAL, None),
    "a loud signature": (resigned(str.upper), GENERAL, None),
    "a longer signature": (resigned(lambda made: made + "0"), GENERAL, None),
    "a signature that is not ASCII": (resigned(lambda made: made[:-1] + "é"), GENERAL, None),
    "another body than signed": (edited(b'"a"', b'"b"'), GENERAL, None),
    "another host than signed": (edited(b"Host: 127.0.0.1", b"Host: 127.0.0.2"), GENERAL, None),
    "another moment than signed": (edited(b"T0000", b"T0001"), GENERAL, None),
    "a moment ago": (lambda on: on.invoke(at=on.now - 299), TARGET, None),
    "too long ago": (lambda on: on.invoke(at=on.now - 301), GENERAL, None),
    "soon": (lambda on: on.invoke(at=on.now + 299), TARGET, None),
    "too soon": (lambda on: on.invoke(at=on.now + 301), GENERAL, None),
    "another day's scope": (lambda on: on.invoke(date="20200101"), GENERAL, None),
    "another region": (lambda on: on.invoke(region="eu-west-1"), CALL, None),
    "a stranger's key": (
        lambda on: on.invoke(key=Credential("AKIASTRANGER", "s", on.here.root)),
        GENERAL,
        None,
    ),
    "another's secret": (
        lambda on: on.invoke(key=Credential(on.root.access_key_id, "s", on.here.root)),
        GENERAL,
        None,
    ),
    "a token too many": (with_headers(X_Amz_Security_Token="t"), GENERAL, None),
    "asked to wait": (with_headers(X_Amz_Invocation_Type="RequestResponse"), TARGET, None),
    "an event": (with_headers(X_Amz_Invocation_Type="Event"), TARGET, None),
    "a dry run": (with_headers(X_Amz_Invocation_Type="DryRun"), CALL, None),
    "no type": (with_headers(X_Amz_Invocation_Type="Sometimes"), CALL, None),
    "with the log": (with_headers(X_Amz_Log_Type="Tail"), CALL, None),
    "with a context": (with_headers(X_Amz_Client_Context="e30="), CALL, None),
    "with a tenant": (with_headers(X_Amz_Tenant_Id="blue"), CALL, None),
    "durable": (with_headers(X_Amz_Durable_Execution_Name="d"), CALL, None),
    "a query": (lambda on: on.invoke(query="Qualifier=%24LATEST"), TARGET, None),
    "an empty query": (edited(b"invocations ", b"invocations? "), GENERAL, None),
    "a fragment": (edited(b"invocations ", b"invocations#a "), GENERAL, None),
    "a path spelled otherwise": (
        lambda on: on.invoke(path="/2015-03-31/functions/%66/invocations"),
        TARGET,
        None,
    ),
    "dots in the path": (
        lambda on: on.invoke(path="/2015-03-31/functions/../functions/f/invocations"),
        GENERAL,
        None,
    ),
    "traced": (with_headers(X_Amzn_Trace_Id=hops(3)), TARGET, None),
    "not quite in circles": (with_headers(X_Amzn_Trace_Id=hops(15)), TARGET, None),
    "in circles": (with_headers(X_Amzn_Trace_Id=hops(16)), CALL, None),
    "its own failure": (lambda on: on.invoke(), TARGET, answers(b'{"errorType":"E"}', "Unhandled")),
    "nothing": (lambda on: on.invoke(), TARGET, answers(b"")),
    "per cent": (lambda on: on.invoke(), TARGET, answers(b'"%b %d %s"', version="7")),
    "a great answer": (lambda on: on.invoke(), TARGET, answers(b'"' + b"x" * 300_000 + b'"')),
    "throttled": (
        lambda on: on.invoke(),
        TARGET,
        raises(too_many("ConcurrentInvocationLimitExceeded")),
    ),
    "no environment": (
        lambda on: on.invoke(),
        TARGET,
        raises(AwsError("ServiceException", "none", 500, headers={"Connection": "close"})),
    ),
    "the platform's fault": (lambda on: on.invoke(), TARGET, raises(RuntimeError("secret"))),
    "a right that was lost": (lambda on: on.invoke(key=on.user), CALL, user_loses_the_right),
    "a right by address": (lambda on: on.invoke(key=on.user), CALL, user_may_from_here_only),
    "a key switched off": (lambda on: on.invoke(key=on.user), GENERAL, key_is_switched_off),
    "a function that went": (
        lambda on: on.invoke(),
        CALL,
        calls("DeleteFunction", FunctionName="f"),
    ),
    "a function that changed": (
        lambda on: on.invoke(),
        TARGET,
        calls("UpdateFunctionConfiguration", FunctionName="f", Timeout=9),
    ),
    "a function that was never there": (
        lambda on: on.invoke(path="/2015-03-31/functions/g/invocations"),
        CALL,
        None,
    ),
    "a platform that stops": (lambda on: on.invoke(), GENERAL, draining),
}

LEARNED: tuple[Sends, ...] = (
    lambda on: on.invoke(),
    lambda on: on.invoke(key=on.user),
    lambda on: on.invoke(headers={"Content-Type": "application/json"}),
)


async def told(on: Stage, line: Line, data: bytes) -> tuple[bytes, list[Any]]:
    """The answer, and what the function was called with."""
    before, posted = len(on.here.invoker.calls), len(on.here.queue.accepted)
    answer = await line.ask(data)
    if answer.startswith(b"HTTP/1.1 100"):
        answer += await line.answer()
    made = [
        (
            call.version.revision_id,
            settled(call.payload),
            call.invoked_arn,
            settled(call.trace_id.encode()),
            (call.client_context, call.tenant, call.tail),
        )
        for call in on.here.invoker.calls[before:]
    ]
    made += [
        {**event, "version": event["version"].revision_id, "request_id": ""}
        for event in on.here.queue.accepted[posted:]
    ]
    return settled(answer), made


async def compare(
    on: Stage,
    monkeypatch: pytest.MonkeyPatch,
    learned: tuple[Sends, ...],
    case: tuple[Sends, Way, Changes | None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    send, way, change = case
    for learn in learned:
        line = await Line.open(on.server.port)
        for _ in range(3):
            assert (await line.ask(learn(on))).startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 202 "))
        line.close()
    if change is not None:
        await change(on)
        await on.here.settle()
    with monkeypatch.context() as shut:
        shut.setattr(GatewayFastPath, "take", lambda *_: False)
        line = await Line.open(on.server.port)
        general = await told(on, line, send(on))
        line.close()
    for _ in range(2):  # the first teaches
        _ = on.ways
        line = await Line.open(on.server.port)
        short = await told(on, line, send(on))
        line.close()
        assert short == general
    assert on.here.gateway._traffic.running == 0
    if general[0] and not general[0].startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: te"):
        assert on.ways == ([] if way == TARGET else [way])
    logged = [one for one in caplog.records if one.exc_info]
    assert bool(logged) == any(words in short[0] for words in (b"internal error", b"unknown error"))


@pytest.mark.parametrize("name", INVOKES)
async def test_both_ways_of_an_invoke(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stage(tmp_path, monkeypatch) as on:
        await compare(on, monkeypatch, LEARNED, INVOKES[name], caplog)


def event(body: bytes = GOOD, **others: Any) -> Sends:
    """A request to run the function some time."""

    def send(on: Stage) -> bytes:
        named = {"X-Amz-Invocation-Type": "Event"} | others.get("headers", {})
        key = on.user if others.get("by_user") else on.root
        return on.invoke(body, path=others.get("path", PATH), headers=named, key=key)

    return send


def queue_refuses(error: AwsError) -> Changes:
    async def change(on: Stage) -> None:
        on.here.queue.refuses = error

    return change


async def isolated_function(on: Stage) -> None:
    await on.here.create("g", TenancyConfig={"TenantIsolationMode": "PER_TENANT"})


# The same for events.
EVENTS: dict[str, tuple[Sends, Way, Changes | None]] = {
    "plain": (event(), TARGET, None),
    "another body": (event(b"[1]"), TARGET, None),
    "no body": (event(b""), TARGET, None),
    "as large as may be": (event(b'"%b"' % (b"x" * 9_998)), TARGET, None),
    "too large": (event(b'"%b"' % (b"x" * 9_999)), CALL, None),
    "too large for any call": (event(b'"%b"' % (b"x" * 19_999)), CALL, None),
    "not JSON": (event(b"{"), CALL, None),
    "not UTF-8": (event(b'"\xff"'), CALL, None),
    "traced": (event(headers={"X-Amzn-Trace-Id": hops(3)}), TARGET, None),
    "in circles": (event(headers={"X-Amzn-Trace-Id": hops(16)}), TARGET, None),
    "what is no trace": (event(headers={"X-Amzn-Trace-Id": 'a;"b%b'}), TARGET, None),
    "the user": (event(by_user=True), TARGET, None),
    "a right that was lost": (event(by_user=True), CALL, user_loses_the_right),
    "a right by address": (event(by_user=True), CALL, user_may_from_here_only),
    "a key switched off": (event(by_user=True), GENERAL, key_is_switched_off),
    "with the log": (event(headers={"X-Amz-Log-Type": "Tail"}), CALL, None),
    "with a context": (event(headers={"X-Amz-Client-Context": "e30="}), CALL, None),
    "with a tenant": (event(headers={"X-Amz-Tenant-Id": "blue"}), CALL, None),
    "without a tenant": (
        event(path=PATH.replace("/f/", "/g/")),
        CALL,
        isolated_function,
    ),
    "another signature": (
        lambda on: event()(on).replace(b"Signature=", b"Signature=0"),
        GENERAL,
        None,
    ),
    "another type than signed": (
        lambda on: event()(on).replace(b": Event", b": DryRun"),
        CALL,
        None,
    ),
    "a disk that is full": (
        event(),
        TARGET,
        queue_refuses(AwsError("ServiceException", "Send it again.", 503, Type="Service")),
    ),
    "a function that changed": (
        event(),
        TARGET,
        calls("UpdateFunctionConfiguration", FunctionName="f", Timeout=9),
    ),
    "a function that went": (event(), CALL, calls("DeleteFunction", FunctionName="f")),
    "a platform that stops": (event(), GENERAL, draining),
}


@pytest.mark.parametrize("name", EVENTS)
async def test_both_ways_of_an_event(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stage(tmp_path, monkeypatch) as on:
        learned = (event(), event(by_user=True), *LEARNED)
        await compare(on, monkeypatch, learned, EVENTS[name], caplog)


async def test_an_event_is_answered_when_it_is_durable_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path, monkeypatch) as on:
        line = await Line.open(on.server.port)
        await line.ask(event()(on))
        held = on.here.queue.held = []
        line.writer.write(event(b"1")(on))
        await until(lambda: len(held) == 1)
        await asyncio.sleep(0.02)
        assert on.here.gateway._traffic.running == 1 and not line.reader._buffer  # type: ignore[attr-defined]
        held[0]()
        assert (await line.answer()).startswith(b"HTTP/1.1 202 ")
        assert on.ways == [CALL] and on.here.gateway._traffic.running == 0
        line.close()


def says(status: Any = 200, **members: Any) -> Changes:
    return answers(json.dumps({"statusCode": status, **members}).encode())


def changes_url(**config: Any) -> Changes:
    return calls("UpdateFunctionUrlConfig", FunctionName="f", **config)


JSON = {"Content_Type": "application/json"}
PNG = base64.b64encode(b"\x89PNG").decode()

# The same for the function URL.
VISITS: dict[str, tuple[Sends, Way, Changes | None]] = {
    "plain": (lambda on: on.browse(), TARGET, None),
    "a path and a query": (lambda on: on.browse(path="/a%20b/c?d=e&f=%2F&d=1"), TARGET, None),
    "the path of boda's own health": (lambda on: on.browse(path="/_boda/health"), TARGET, None),
    "an empty query": (lambda on: on.browse(path="/?"), GENERAL, None),
    "a doubled slash": (lambda on: on.browse(path="//a"), GENERAL, None),
    "strange signs in the path": (lambda on: on.browse(path='/"{}|'), GENERAL, None),
    "JSON": (lambda on: on.browse(GOOD, **JSON), TARGET, None),
    "text": (lambda on: on.browse('é\n"%b'.encode(), Content_Type="text/plain"), TARGET, None),
    "text that is none": (lambda on: on.browse(b"\xff", **JSON), GENERAL, None),
    "bytes": (lambda on: on.browse(b"\x00\xff%b", Content_Type="image/png"), TARGET, None),
    "bytes of no type": (lambda on: on.browse(b"abc"), TARGET, None),
    "an empty body": (lambda on: on.browse(b"", **JSON), TARGET, None),
    "a put": (lambda on: on.browse(b"1", method="PUT"), TARGET, None),
    "a patch": (lambda on: on.browse(b"1", method="PATCH"), TARGET, None),
    "a delete": (lambda on: on.browse(method="DELETE"), TARGET, None),
    "a head": (lambda on: on.browse(method="HEAD"), GENERAL, None),
    "options": (lambda on: on.browse(method="OPTIONS"), GENERAL, None),
    "cookies": (lambda on: on.browse(Cookie="a=b; c=%d"), TARGET, None),
    "an authorization of its own": (lambda on: on.browse(Authorization="Bearer %s"), TARGET, None),
    "traced": (lambda on: on.browse(X_Amzn_Trace_Id=hops(3)), TARGET, None),
    "in circles": (lambda on: on.browse(X_Amzn_Trace_Id=hops(16)), GENERAL, None),
    "hop by hop": (lambda on: on.browse(TE="trailers"), GENERAL, None),
    "a header twice": (lambda on: on.browse(A="b", a="c"), GENERAL, None),
    "words that mean to deceive": (lambda on: on.browse(A="boda-trace-id"), GENERAL, None),
    "more words": (
        lambda on: on.browse(A='"boda-request-id"', B="boda-body", C="%b"),
        TARGET,
        None,
    ),
    "another port": (
        lambda on: on.browse().replace(b".localhost", b".localhost:9000"),
        TARGET,
        None,
    ),
    "another region": (lambda on: on.browse().replace(b"us-east-1", b"us-east-2"), GENERAL, None),
    "another id": (lambda on: on.browse().replace(b"Host: ", b"Host: a"), GENERAL, None),
    "a body too large": (lambda on: on.browse(b"x" * QUOTA, **JSON), GENERAL, None),
    "an event too large": (lambda on: on.browse(b"x" * (QUOTA - 100), **JSON), GENERAL, None),
    "bytes whose event is too large": (lambda on: on.browse(b"x" * 16_000), GENERAL, None),
    "a status": (lambda on: on.browse(), TARGET, says(201, body="made")),
    "a status of a string": (lambda on: on.browse(), TARGET, says("404", body="none")),
    "no content": (lambda on: on.browse(), TARGET, says(204, body="none")),
    "headers and cookies": (
        lambda on: on.browse(),
        TARGET,
        says(
            headers={"X-A": "b", "Content-Type": "image/png", "Connection": "close", "N": True},
            cookies=["a=b", "c=d"],
            body=PNG,
            isBase64Encoded=True,
        ),
    ),
    "headers that it cannot say": (
        lambda on: on.browse(),
        TARGET,
        says(headers={"Date": "today", "Content-Length": "9", "x-amzn-RequestId": "a"}, body="x"),
    ),
    "a value that is not ASCII": (lambda on: on.browse(), TARGET, says(headers={"X-A": "é"})),
    "a value that is two lines": (
        lambda on: on.browse(),
        TARGET,
        says(headers={"X-A": "b\r\nC: d"}),
    ),
    "an answer that means to deceive": (
        lambda on: on.browse(),
        TARGET,
        says(headers={"A": "boda-what-varies", "B": "boda-request-id", "C": "%b"}),
    ),
    "a status that is none": (lambda on: on.browse(), TARGET, says(1000)),
    "what is not JSON": (lambda on: on.browse(), TARGET, answers(b"not json")),
    "numbers": (lambda on: on.browse(), TARGET, answers(b"[1e400, 12345678901234567890123, 1.10]")),
    "half a letter": (lambda on: on.browse(), TARGET, answers(b'"\\ud800"')),
    "a great answer": (lambda on: on.browse(), TARGET, answers(b'"' + b"x" * 300_000 + b'"')),
    "its own failure": (lambda on: on.browse(), TARGET, answers(b"{}", "Unhandled")),
    "throttled": (
        lambda on: on.browse(),
        TARGET,
        raises(too_many("ConcurrentInvocationLimitExceeded")),
    ),
    "the platform's fault": (lambda on: on.browse(), TARGET, raises(RuntimeError("secret"))),
    "a right that was lost": (
        lambda on: on.browse(),
        GENERAL,
        calls("RemovePermission", FunctionName="f", StatementId="url"),
    ),
    "a URL for signed requests": (lambda on: on.browse(), GENERAL, changes_url(AuthType="AWS_IAM")),
    "a URL for other origins": (
        lambda on: on.browse(Origin="http://a"),
        GENERAL,
        changes_url(Cors={"AllowOrigins": ["*"]}),
    ),
    "a URL that streams": (
        lambda on: on.browse(),
        GENERAL,
        changes_url(InvokeMode="RESPONSE_STREAM"),
    ),
    "a URL that went": (
        lambda on: on.browse(),
        GENERAL,
        calls("DeleteFunctionUrlConfig", FunctionName="f"),
    ),
    "a function that went": (
        lambda on: on.browse(),
        GENERAL,
        calls("DeleteFunction", FunctionName="f"),
    ),
    "a function that changed": (
        lambda on: on.browse(),
        TARGET,
        calls("UpdateFunctionConfiguration", FunctionName="f", Timeout=9),
    ),
    "a platform that stops": (lambda on: on.browse(), GENERAL, draining),
}


async def a_right_by_address(on: Stage) -> None:
    """Of everybody, as long as they come from here: such a decision is never kept."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"],
                "Resource": ARN,
                "Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.1"}},
            }
        ],
    }
    on.here.functions.set_policy(ARN, "$LATEST", Policy.parse(policy))


async def an_invoke_denied(on: Stage) -> None:
    """Whoever must not invoke the function must not do so by its URL."""
    both = {"Principal": "*", "Resource": ARN}
    denied = {"Effect": "Deny", "Action": "lambda:InvokeFunction", **both}
    denied["Condition"] = {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}
    allowed = {"Effect": "Allow", "Action": "lambda:*", **both}
    policy = {"Version": "2012-10-17", "Statement": [allowed, denied]}
    on.here.functions.set_policy(ARN, "$LATEST", Policy.parse(policy))


VISITS["an invoke that is denied"] = (lambda on: on.browse(), GENERAL, an_invoke_denied)
VISITS["a right by address"] = (lambda on: on.browse(), GENERAL, a_right_by_address)


@pytest.mark.parametrize("name", VISITS)
async def test_both_ways_of_a_function_url(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    send, way, change = VISITS[name]
    async with stage(tmp_path, monkeypatch) as on:

        async def twice_more(on: Stage) -> None:
            """Heads are learned when they come again."""
            for _ in range(2):
                line = await Line.open(on.server.port)
                await line.ask(send(on))
                line.close()
            if change is not None:
                await change(on)

        await compare(on, monkeypatch, (lambda on: on.browse(),), (send, way, twice_more), caplog)


@pytest.fixture
async def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A stage that has learned the plain requests."""
    async with stage(tmp_path, monkeypatch) as made:
        line = await Line.open(made.server.port)
        for _ in range(2):
            await line.ask(made.invoke())
            await line.ask(made.browse())
        line.close()
        assert made.ways == [GENERAL, CALL]
        made.here.invoker.calls.clear()
        yield made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_what_comes_meanwhile_waits_its_turn(on: Stage) -> None:
    invoker = on.here.invoker
    held = invoker.held = []
    line = await Line.open(on.server.port)
    line.writer.write(on.invoke(b"1"))
    await until(lambda: len(held) == 1)
    line.writer.write(on.invoke(b"2"))
    line.writer.write(on.browse() + on.invoke(b"3"))
    await asyncio.sleep(0.05)
    assert len(held) == 1
    invoker.held = None
    held[0]()
    for body in (b"1", b"2", b"", b"3"):
        assert (await line.answer()).endswith(body)
    assert [call.payload for call in invoker.calls if len(call.payload) == 1] == [b"1", b"2", b"3"]
    line.close()


async def test_two_requests_in_one_write_are_two(on: Stage) -> None:
    line = await Line.open(on.server.port)
    line.writer.write(on.invoke(b"1") + on.invoke(b"2"))
    assert (await line.answer()).endswith(b"1")
    assert (await line.answer()).endswith(b"2")
    assert (await line.ask(on.invoke(b"3"))).endswith(b"3")
    assert len(on.general) == 2
    line.close()


async def test_a_request_in_pieces_is_one(on: Stage) -> None:
    line = await Line.open(on.server.port)
    data = on.invoke()
    for at in (1, data.find(b"\r\n") + 1, data.find(b"\r\n\r\n") + 3, len(data) - 1):
        line.writer.write(data[:at])
        await asyncio.sleep(0.02)
        assert (await line.ask(data[at:])).endswith(GOOD)
    assert len(on.here.invoker.calls) == len(on.general) == 4
    line.close()


async def test_a_client_that_leaves_disturbs_nobody(
    on: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    traffic, held = on.here.gateway._traffic, []
    on.here.invoker.held = held
    for request in (on.invoke(), on.browse()):
        line = await Line.open(on.server.port)
        line.writer.write(request)
        await until(lambda: bool(held))
        line.close()
        await line.writer.wait_closed()
        await until(lambda: not on.server._state.connections)
        assert traffic.running == 1
        held.pop()()
        assert traffic.running == 0
    assert len(on.here.invoker.calls) == 2 and not caplog.records and not on.general


async def test_what_runs_is_answered_when_the_platform_stops(on: Stage) -> None:
    held = on.here.invoker.held = []
    line = await Line.open(on.server.port)
    line.writer.write(on.invoke())
    await until(lambda: bool(held))
    stopping = asyncio.create_task(on.server.stop(5))
    await asyncio.sleep(0.01)
    assert not stopping.done()
    held.pop()()
    answer = await line.answer()
    assert answer.startswith(b"HTTP/1.1 200 ") and b"\r\nconnection: close\r\n\r\n" in answer
    assert await line.reader.read() == b""
    assert await stopping is True


async def test_only_the_first_answer_counts(on: Stage, caplog: pytest.LogCaptureFixture) -> None:
    held = on.here.invoker.held = []
    line = await Line.open(on.server.port)
    line.writer.write(on.invoke(b"1"))
    await until(lambda: bool(held))
    held[0]()
    held[0]()
    assert (await line.answer()).endswith(b"1")
    on.here.invoker.held = None
    assert (await line.ask(on.invoke(b"2"))).endswith(b"2")
    assert "answered twice" in caplog.text and on.here.gateway._traffic.running == 0
    line.close()


async def test_what_is_remembered_is_bounded(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for most in ("_MOST_KNOWN", "_MOST_GRANTS", "_MOST_VISITS", "_MOST_SEEN"):
        monkeypatch.setattr(f"boda.gateway.fast_path.{most}", 8)
    monkeypatch.setattr("boda.gateway.http.heads._REMEMBERED_LINES", 8)
    line = await Line.open(on.server.port)
    for number in range(30):
        for _ in range(3):
            await line.ask(on.browse(path=f"/{number}", A=f"{number}"))
        assert (await line.ask(on.invoke(headers={"A": f"{number}"}))).startswith(b"HTTP/1.1 200")
        assert (await line.ask(on.invoke(host=f"h{number}.localhost"))).startswith(b"HTTP/1.1 200")
    fast = on.here.gateway.fast_path
    for kept in (fast._visits, fast._seen, fast._known, fast._lines._known):
        assert 0 < len(kept) <= 8
    line.close()


async def test_nothing_is_learned_of_what_was_refused(on: Stage) -> None:
    fast = on.here.gateway.fast_path
    before = dict(fast._known)
    line = await Line.open(on.server.port)
    for number in range(3):
        forged = on.invoke(host=f"h{number}.localhost").replace(b"Signature=", b"Signature=0")
        assert (await line.ask(forged)).startswith(b"HTTP/1.1 403 ")
        other = on.invoke(path="/2015-03-31/functions/g/invocations", key=on.user)
        assert (await line.ask(other)).startswith(b"HTTP/1.1 404 ")
    (learned,) = (place for key, place in fast._known.items() if key not in before)
    assert learned.path == "/2015-03-31/functions/g/invocations"
    line.close()


REST = "boda.gateway.http.connection._REST_S"


async def test_head_and_body_may_come_apart(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REST, 60.0)
    line = await Line.open(on.server.port)
    body = b'{"a":"%b"}' % (b"x" * 300)
    for data in (on.invoke(body), on.browse(body, **JSON), on.browse(body, **JSON)):
        for at in (data.find(b"\r\n\r\n") + 4, len(data) - 200):
            line.writer.write(data[:at])
            await asyncio.sleep(0.02)
            on.general.clear()
            answer = await line.ask(data[at:])
            assert answer.startswith(b"HTTP/1.1 200 ") and b"x" * 300 in answer
    assert on.general == []
    line.close()


async def test_the_rest_is_waited_for_a_moment_only(
    on: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it trickles in."""
    monkeypatch.setattr(REST, 0.05)
    line = await Line.open(on.server.port)
    data = on.invoke(b'"%b"' % (b"x" * 20))
    for at in range(len(data) - 20, len(data) - 1):
        line.writer.write(data[at - 1 : at] if at > len(data) - 20 else data[:at])
        await asyncio.sleep(0.02)
    assert on.general == [PATH]
    assert (await line.ask(data[-2:])).endswith(b"x" * 20 + b'"')
    assert len(on.here.invoker.calls) == 1
    line.close()


async def test_the_rest_is_waited_for_where_it_is_worth_it_only(
    on: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(REST, 60.0)
    for number, data in enumerate(
        (
            on.invoke(headers={"Expect": "100-continue"}),
            on.invoke(b'"%b"' % (b"x" * 70_000)),
            on.browse(GOOD, "/never/seen"),
        ),
        1,
    ):
        line = await Line.open(on.server.port)
        line.writer.write(data[: data.find(b"\r\n\r\n") + 4])
        await until(lambda number=number: len(on.general) == number)  # type: ignore[misc]
        line.close()


async def test_whoever_leaves_in_the_midst_of_a_request_has_not_asked(
    on: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(REST, 0.05)
    line = await Line.open(on.server.port)
    line.writer.write(on.invoke()[:-1])
    await asyncio.sleep(0.02)
    line.close()
    await until(lambda: not on.server._state.connections)
    await asyncio.sleep(0.1)
    assert not on.here.invoker.calls and not on.general
    assert on.here.gateway._traffic.running == 0


async def test_a_part_of_a_request_is_not_forgotten_when_the_platform_stops(
    on: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(REST, 60.0)
    line = await Line.open(on.server.port)
    data = on.invoke()
    line.writer.write(data[:-1])
    await asyncio.sleep(0.02)
    assert not on.general
    stopping = asyncio.create_task(on.server.stop(5))
    await until(lambda: bool(on.general))
    assert (await line.ask(data[-1:])).startswith(b"HTTP/1.1 503 ")
    await stopping


async def test_an_sdk_takes_the_short_way(on: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever boto3 sends of its own accord is nothing out of the ordinary."""
    monkeypatch.setattr(REST, 60.0)
    monkeypatch.setattr(on.here.clock, "now", time.time)
    sdk = client("lambda", f"http://127.0.0.1:{on.server.port}", on.root)
    for number in range(20):
        found = await answer(
            sdk.invoke, FunctionName="f", InvocationType="RequestResponse", Payload=b"%d" % number
        )
        assert (found["StatusCode"], found["ExecutedVersion"]) == (200, "$LATEST")
        assert found["Payload"].read() == b"%d" % number
    assert on.ways == [CALL]
    sdk.close()


async def test_sessions_are_checked_each_time(on: Stage) -> None:
    """Token and expiry are a session's own and no part of what is remembered."""
    here = on.here
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    named = {"RoleName": "r", "AssumeRolePolicyDocument": json.dumps(trust)}
    role = (await here.gateway.call("iam", "CreateRole", named, here.root))["Role"]["Arn"]
    statement = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": ARN}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    policy = {"RoleName": "r", "PolicyName": "p", "PolicyDocument": document}
    await here.gateway.call("iam", "PutRolePolicy", policy, here.root)
    session = here.identity.issue_role_credentials(role, "s", 900)
    line = await Line.open(on.server.port)
    for _ in range(3):
        assert (await line.ask(on.invoke(key=session))).startswith(b"HTTP/1.1 200 ")
    assert on.ways == [CALL]
    forged = dataclasses.replace(session, session_token="another")
    assert b"UnrecognizedClientException" in await line.ask(on.invoke(key=forged))
    without = dataclasses.replace(session, session_token="")
    assert b"UnrecognizedClientException" in await line.ask(on.invoke(key=without))
    assert isinstance(here.clock, ManualClock)
    await here.clock.advance(901)
    assert b"ExpiredTokenException" in await line.ask(on.invoke(key=session))
    assert on.ways == [GENERAL] * 3 and len(here.invoker.calls) == 3
    line.close()


async def test_a_warm_function_that_is_tagged_is_denied_by_its_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy was there before, so that nothing but the tag has changed."""
    async with stage(tmp_path, monkeypatch) as on:
        both = {"Principal": "*", "Resource": ARN, "Action": "lambda:*"}
        secret = {"StringEquals": {"aws:ResourceTag/secret": "yes"}}
        statements = [
            {"Effect": "Allow", **both},
            {"Effect": "Deny", "Condition": secret, **both},
        ]
        policy = {"Version": "2012-10-17", "Statement": statements}
        on.here.functions.set_policy(ARN, "$LATEST", Policy.parse(policy))
        line = await Line.open(on.server.port)
        requests = (on.invoke, on.browse)
        for _ in range(3):
            for request in requests:
                assert (await line.ask(request())).startswith(b"HTTP/1.1 200 ")
        on.general.clear()
        for request in requests:
            assert (await line.ask(request())).startswith(b"HTTP/1.1 200 ")
        assert on.general == []
        await on.here.call("TagResource", Resource=ARN, Tags={"secret": "yes"})
        for request in requests:
            assert (await line.ask(request())).startswith(b"HTTP/1.1 403 ")
        await on.here.call("UntagResource", Resource=ARN, TagKeys=["secret"])
        for request in requests:
            assert (await line.ask(request())).startswith(b"HTTP/1.1 200 ")
        line.close()
