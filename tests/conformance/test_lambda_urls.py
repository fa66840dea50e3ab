"""Function URLs over HTTP: what the function gets, what the caller gets, who may call."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from boda.core.clock import SystemClock
from boda.core.errors import AwsError
from boda.core.principal import root_of
from boda.fleet.refusals import too_many
from boda.invoke.call import Outcome
from support.lambda_world import World, world
from support.world import served

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"


class Got(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Browser:
    """Calls a URL as a client would that has resolved its host name."""

    def __init__(self, here: World, endpoint: str) -> None:
        self.here = here
        self.endpoint = endpoint
        self.port = int(endpoint.rpartition(":")[2])
        self.host = ""

    async def make(self, auth: str = "NONE", *, allow: bool = True, **config: Any) -> None:
        await self.here.create("f")
        made = await self.here.call(
            "CreateFunctionUrlConfig", FunctionName="f", AuthType=auth, **config
        )
        self.host = made["FunctionUrl"].removeprefix("http://").rstrip("/")
        if allow:
            await self.here.let_everybody()

    async def get(
        self,
        path: str = "/",
        *,
        data: bytes | None = None,
        method: str | None = None,
        sign: Any = None,
        **headers: str,
    ) -> Got:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Host"] = self.host
        if sign is not None:
            request = AWSRequest(
                method or "GET", f"http://{self.host}{path}", headers=named, data=data
            )
            keys = Credentials(sign.access_key_id, sign.secret)
            SigV4Auth(keys, "lambda", "us-east-1").add_auth(request)
            named = dict(request.headers.items())
        request = urllib.request.Request(self.endpoint + path, data, named, method=method)
        return await asyncio.to_thread(_open, request)

    def answers(self, payload: Any, error: str = "") -> None:
        """What the function answers from now on."""
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.here.invoker.respond = lambda call: Outcome(raw, "$LATEST", error)  # type: ignore[arg-type]

    @property
    def event(self) -> dict[str, Any]:
        """What the function got last."""
        found: dict[str, Any] = json.loads(self.here.invoker.calls[-1].payload)
        return found


def _open(request: urllib.request.Request) -> Got:
    try:
        answer = urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Got(answer.status, headers, answer.read())


@pytest.fixture
async def browser(tmp_path: Path):
    async with world(tmp_path, clock=SystemClock()) as here, served(here.gateway) as endpoint:
        yield Browser(here, endpoint)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        ("hello", b"hello"),
        (True, b"true"),
        (3, b"3"),
        (3.1, b"3.1"),
        (["hello", 3, True], b'["hello",3,true]'),
        ({"hello": "world"}, b'{"hello":"world"}'),
        ({"statusCode": 200, "body": "body123"}, b"body123"),
        ({"statusCode": 200, "body": '{"hello": "world"}'}, b'{"hello": "world"}'),
    ],
)
async def test_answers_are_inferred_as_recorded(browser: Browser, answer: Any, body: bytes) -> None:
    await browser.make()
    browser.answers(answer)
    got = await browser.get()
    assert (got.status, got.body) == (200, body)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["content-length"] == str(len(body))
    assert got.headers["x-amzn-requestid"] == browser.here.invoker.calls[-1].request_id


async def test_the_function_says_status_headers_and_cookies(browser: Browser) -> None:
    await browser.make()
    browser.answers(
        {
            "statusCode": 201,
            "headers": {"Content-Type": "image/png", "X-Number": 3},
            "cookies": ["a=b", "c=d"],
            "body": base64.b64encode(b"\x89PNG").decode(),
            "isBase64Encoded": True,
        }
    )
    got = await browser.get()
    assert (got.status, got.body, got.headers["content-type"]) == (201, b"\x89PNG", "image/png")
    assert got.headers["x-number"] == "3"


async def test_no_header_of_the_platform_is_there_twice(browser: Browser) -> None:
    await browser.make()
    given = {"Content-Length": "9", "Date": "today", "x-amzn-RequestId": "mine"}
    browser.answers({"statusCode": 200, "headers": given, "body": "x"})
    got = await browser.get()
    assert (got.body, got.headers["content-length"]) == (b"x", "1")
    for name, value in given.items():
        assert got.headers[f"x-amzn-remapped-{name.lower()}"] == value
        assert value not in got.headers[name.lower()]


async def test_values_of_headers_are_written_as_in_json(browser: Browser) -> None:
    await browser.make()
    given = {"N": 1.5, "Is": True, "Not": None, "Name": "a\u00a0b", "Tab": "a\tb"}
    browser.answers({"statusCode": 200, "headers": given, "cookies": ["a=b", None], "body": "x"})
    got = await browser.get()
    assert (got.status, got.headers["set-cookie"]) == (200, "a=b")
    found = {name: got.headers.get(name.lower()) for name in given}
    name = "a\u00a0b".encode().decode("latin-1")
    assert found == {"N": "1.5", "Is": "true", "Not": None, "Name": name, "Tab": "a b"}


@pytest.mark.parametrize(
    "answer",
    [
        b"not json",
        {"statusCode": "many"},
        {"statusCode": 200, "headers": {"a\r\nb": "c"}},
        {"statusCode": 200, "headers": {"a": "b\r\nset-cookie: c"}},
        {"statusCode": 200, "cookies": ["a\nb"]},
        {"statusCode": 200, "body": "!", "isBase64Encoded": True},
        {"statusCode": 99},
        {"statusCode": 200, "headers": {"a": ["b", "c"]}},
        {"statusCode": 200, "headers": {"a": {"b": "c"}}},
        {"statusCode": 200, "headers": {"a": "\x7f"}},
        {"statusCode": 200, "cookies": [{"a": "b"}]},
    ],
)
async def test_what_is_no_answer_is_the_functions_fault(browser: Browser, answer: Any) -> None:
    await browser.make()
    browser.answers(answer)
    assert (await browser.get()).status == 502


async def test_errors_and_throttles(browser: Browser) -> None:
    await browser.make()
    browser.answers({"errorMessage": "secret"}, "Unhandled")
    got = await browser.get()
    assert (got.status, got.body) == (502, b"Internal Server Error")

    def throttle(call: Any) -> Outcome:
        raise too_many("ConcurrentInvocationLimitExceeded", 1.0)

    browser.here.invoker.respond = throttle
    got = await browser.get()
    assert (got.status, got.headers["retry-after"]) == (429, "1")


async def test_every_request_is_counted_by_what_it_was_answered(browser: Browser) -> None:
    """The fast path that a head takes when it comes again counts like the long one."""
    await browser.make(allow=False)
    assert (await browser.get()).status == 403
    await browser.here.let_everybody()
    browser.answers("ok")
    for _ in range(4):
        await browser.get()
    browser.answers({"errorMessage": "secret"}, "Unhandled")
    await browser.get()
    answers = browser.here.answered
    assert [each.status for each in answers] == [403, 200, 200, 200, 200, 502]
    assert {each[:4] for each in answers} == {("000000000000", "us-east-1", "f", "")}
    assert all(each.latency_ms >= 0.0 for each in answers)


async def test_what_the_function_gets(browser: Browser) -> None:
    await browser.make()
    browser.answers("ok")
    await browser.get(
        "/path/1?q=a&q=b&r=",
        data=b'{"foo":"bar"}',
        method="PUT",
        Content_Type="application/json",
        X_Custom="Yes",
        Cookie="a=b; c=d",
    )
    event = browser.event
    assert (event["version"], event["routeKey"], event["rawPath"]) == ("2.0", "$default", "/path/1")
    assert event["rawQueryString"] == "q=a&q=b&r="
    assert event["queryStringParameters"] == {"q": "a,b", "r": ""}
    assert event["cookies"] == ["a=b", "c=d"] and "cookie" not in event["headers"]
    assert (event["body"], event["isBase64Encoded"]) == ('{"foo":"bar"}', False)
    assert event["headers"]["x-custom"] == "Yes"
    context = event["requestContext"]
    assert (context["accountId"], context["stage"]) == ("anonymous", "$default")
    assert context["http"]["method"] == "PUT" and context["http"]["path"] == "/path/1"
    assert context["domainName"] == browser.host


@pytest.mark.parametrize("path", ["/pa2%Fth/1", "/%", "/a%2", "/%zz/%41", "/%ff%fe", "/a%2Fb"])
async def test_a_path_reaches_the_function_as_it_was_sent(browser: Browser, path: str) -> None:
    await browser.make()
    browser.answers({"ok": True})
    for _ in range(3):  # by the general way, and by the short one
        got = await browser.get(f"{path}?q=%F")
        assert got.status == 200
        event = browser.event
        assert event["rawPath"] == path == event["requestContext"]["http"]["path"]
        assert event["rawQueryString"] == "q=%F"
        assert event["queryStringParameters"] == {"q": "%F"}


@pytest.mark.parametrize(
    ("content_type", "text"),
    [
        ("text/plain", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/vnd.api+json", True),
        ("application/xml", True),
        ("application/javascript", True),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=b", False),
        ("application/octet-stream", False),
        ("image/png", False),
    ],
)
async def test_bodies_come_as_text_or_as_base64(
    browser: Browser, content_type: str, text: bool
) -> None:
    """By their type, on both ways; a form is no text, as was verified on AWS."""
    await browser.make()
    browser.answers("ok")
    for _ in range(3):
        await browser.get("/", data=b"a=b", Content_Type=content_type)
        body = "a=b" if text else base64.b64encode(b"a=b").decode()
        event = browser.event
        assert (event["body"], event["isBase64Encoded"]) == (body, not text)
    await browser.get("/", data=b"\xff\x00", Content_Type=content_type)
    assert base64.b64decode(browser.event["body"]) == b"\xff\x00"


async def test_without_permission_nobody_calls(browser: Browser) -> None:
    await browser.make(allow=False)
    got = await browser.get()
    assert got.status == 403 and got.headers["x-amzn-errortype"] == "AccessDeniedException"
    assert json.loads(got.body)["Message"].startswith("Forbidden.")
    assert browser.here.invoker.calls == []


@pytest.mark.parametrize("missing", ["url", "url-invoke"])
async def test_both_permissions_are_needed(browser: Browser, missing: str) -> None:
    await browser.make()
    browser.answers("ok")
    for _ in range(3):  # the fast path too
        assert (await browser.get()).status == 200
    await browser.here.call("RemovePermission", FunctionName="f", StatementId=missing)
    assert (await browser.get()).status == 403


async def test_a_url_nobody_has(browser: Browser) -> None:
    browser.host = "0123456789abcdefghijklmnopqrstuv.lambda-url.us-east-1.localhost"
    got = await browser.get()
    assert (got.status, got.body) == (403, b'{"Message":null}')


async def test_a_deleted_url_is_gone(browser: Browser) -> None:
    await browser.make()
    browser.answers("ok")
    assert (await browser.get()).status == 200
    await browser.here.call("DeleteFunctionUrlConfig", FunctionName="f")
    assert (await browser.get()).status == 403


async def test_signed_calls(browser: Browser) -> None:
    await browser.make("AWS_IAM", allow=False)
    browser.answers("ok")
    assert (await browser.get()).status == 403
    key = browser.here.key
    got = await browser.get("/x?y=z", sign=key, data=b"{}", method="POST")
    assert got.status == 200
    iam = browser.event["requestContext"]["authorizer"]["iam"]
    assert iam["userArn"] == "arn:aws:iam::000000000000:root"
    assert "authorization" not in browser.event["headers"]

    class Wrong(NamedTuple):
        access_key_id: str = key.access_key_id
        secret: str = "wrong" * 8

    assert (await browser.get(sign=Wrong())).status == 403


async def test_a_right_to_invoke_by_url_is_none_to_invoke(browser: Browser) -> None:
    """``lambda:InvokedViaFunctionUrl`` holds in calls of the URL only."""
    here = browser.here
    await browser.make()
    browser.answers("ok")
    assert (await browser.get()).status == 200
    stranger = root_of("111111111111")
    with pytest.raises(AwsError) as refused:
        await here.call("Invoke", stranger, FunctionName=FUNCTION)
    assert refused.value.code == "AccessDeniedException"
    await here.call(
        "AddPermission",
        FunctionName="f",
        StatementId="direct",
        Action="lambda:InvokeFunction",
        Principal="*",
    )
    assert await here.call("Invoke", stranger, FunctionName=FUNCTION)


async def test_cross_origin_calls_are_the_configs_affair(browser: Browser) -> None:
    cors = {
        "AllowOrigins": ["https://a.example"],
        "AllowMethods": ["GET"],
        "AllowHeaders": ["x-a"],
        "MaxAge": 60,
    }
    await browser.make(Cors=cors)
    browser.answers("ok")
    got = await browser.get(Origin="https://a.example")
    assert got.headers["access-control-allow-origin"] == "https://a.example"
    got = await browser.get(Origin="https://b.example")
    assert "access-control-allow-origin" not in got.headers
    calls = len(browser.here.invoker.calls)
    got = await browser.get(
        method="OPTIONS", Origin="https://a.example", Access_Control_Request_Method="GET"
    )
    assert (got.status, got.headers["access-control-max-age"]) == (200, "60")
    assert len(browser.here.invoker.calls) == calls


async def test_a_functions_own_cross_origin_headers_stay(browser: Browser) -> None:
    """Beside the config's, as two of a kind, which no browser takes: so it is on AWS."""
    await browser.make(Cors={"AllowOrigins": ["*"]})
    browser.answers({"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*"}})
    reader, writer = await asyncio.open_connection("127.0.0.1", browser.port)
    try:
        lines = ("GET / HTTP/1.0", f"Host: {browser.host}", "Origin: https://a.example", "", "")
        writer.write("\r\n".join(lines).encode())
        answer = (await reader.read()).decode().split("\r\n")
    finally:
        writer.close()
    allowed = [line for line in answer if line.startswith("access-control-allow-origin: ")]
    assert [line.partition(": ")[2] for line in allowed] == ["*", "https://a.example"]


async def test_a_browser_may_read_why_it_was_refused(browser: Browser) -> None:
    await browser.make(Cors={"AllowOrigins": ["*"]}, allow=False)
    got = await browser.get(Origin="https://a.example")
    assert (got.status, got.headers["access-control-allow-origin"]) == (403, "https://a.example")


async def test_cookies_in_several_headers_are_one_list(browser: Browser) -> None:
    await browser.make()
    browser.answers("ok")
    reader, writer = await asyncio.open_connection("127.0.0.1", browser.port)
    try:
        lines = ("GET / HTTP/1.0", f"Host: {browser.host}", "Cookie: a=b; c=d", "Cookie: e=f")
        writer.write("\r\n".join((*lines, "", "")).encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    finally:
        writer.close()
    assert browser.event["cookies"] == ["a=b", "c=d", "e=f"]


async def test_a_body_that_is_said_to_be_too_large_is_not_asked_for(browser: Browser) -> None:
    await browser.make()
    reader, writer = await asyncio.open_connection("127.0.0.1", browser.port)
    try:
        lines = ("POST / HTTP/1.1", f"Host: {browser.host}", "Content-Length: 30000000")
        writer.write("\r\n".join((*lines, "Expect: 100-continue", "", "")).encode())
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    finally:
        writer.close()
