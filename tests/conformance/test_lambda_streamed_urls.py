"""Function URLs that stream: head, cookies, body as it comes, and what breaks off."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from boda.core.clock import SystemClock
from boda.invoke.call import Call, Outcome
from boda.runtime.stream import ResponseStream
from support.lambda_world import World, world
from support.world import served

HTTP = "application/vnd.awslambda.http-integration-response"


class Source:
    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Streaming:
    """An invoke path whose function streams what the test says."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.content_type = HTTP
        self.parts: Sequence[bytes] = ()
        self.outcome = Outcome(b"", "$LATEST")
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def invoke(self, call: Call) -> Outcome:
        self.calls.append(call)
        stream = call.stream
        assert isinstance(stream, ResponseStream)
        stream.open(self.content_type, Source())
        for part in self.parts:
            stream.feed(part)
            await self.go_on.wait()
        stream.detach()
        return self.outcome


class Here:
    def __init__(self, made: World, endpoint: str, function: Streaming, host: str) -> None:
        self.world, self.function, self.host = made, function, host
        self.port = int(endpoint.rpartition(":")[2])

    async def get(self, method: str = "GET", **headers: str) -> Any:
        """Status, headers as pairs, and the body or the exception instead of it."""

        def ask() -> Any:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            connection.request(method, "/", headers={"Host": self.host, **headers})
            answer = connection.getresponse()
            try:
                body: Any = answer.read()
            except http.client.HTTPException as error:
                body = error
            connection.close()
            return answer.status, answer.getheaders(), body

        return await asyncio.to_thread(ask)


@pytest.fixture
async def here(tmp_path: Path):
    async with world(tmp_path, clock=SystemClock()) as made, served(made.gateway) as endpoint:
        function = Streaming()
        for site in made.gateway._sites:
            site._invoker = function  # type: ignore[attr-defined]
        await made.create("f")
        config = await made.call(
            "CreateFunctionUrlConfig",
            FunctionName="f",
            AuthType="NONE",
            InvokeMode="RESPONSE_STREAM",
            Cors={"AllowOrigins": ["https://a.example"]},
        )
        await made.let_everybody()
        host = config["FunctionUrl"].removeprefix("http://").rstrip("/")
        yield Here(made, endpoint, function, host)


def prelude(**members: Any) -> bytes:
    return json.dumps(members).encode() + bytes(8)


async def test_the_head_comes_from_the_prelude(here: Here) -> None:
    begin = prelude(
        statusCode=201,
        headers={"Content-Type": "text/html", "X-N": 3, "Content-Length": "999"},
        cookies=["a=1", "b=2"],
    )
    for parts in ([begin + b"<p>", b"hi"], [begin[:9], begin[9:-3], begin[-3:], b"<p>hi"]):
        here.function.parts = parts
        status, headers, body = await here.get(Origin="https://a.example")
        assert (status, body) == (201, b"<p>hi")
        named = {name.lower(): value for name, value in headers}
        assert (named["content-type"], named["x-n"]) == ("text/html", "3")
        assert named["access-control-allow-origin"] == "https://a.example"
        assert [value for name, value in headers if name.lower() == "set-cookie"] == ["a=1", "b=2"]
        assert "content-length" not in named and named["x-amzn-requestid"]
    event = json.loads(here.function.calls[-1].payload)
    assert event["requestContext"]["http"]["method"] == "GET"


async def test_the_body_comes_while_the_function_still_runs(here: Here) -> None:
    function = here.function
    function.parts = [prelude() + b"first", b"second"]
    function.go_on.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    writer.write(f"GET / HTTP/1.1\r\nHost: {here.host}\r\n\r\n".encode())
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readuntil(b"first\r\n") == b"5\r\nfirst\r\n"
        function.go_on.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"6\r\nsecond\r\n0\r\n\r\n"
    writer.close()


async def test_without_a_prelude_it_is_the_body(here: Here) -> None:
    here.function.content_type = "text/event-stream"
    here.function.parts = [b'{"statusCode": 404}', bytes(8), b"x"]
    status, headers, body = await here.get()
    assert (status, body) == (200, b'{"statusCode": 404}' + bytes(8) + b"x")
    assert dict(headers)["content-type"] == "text/event-stream"


async def test_a_content_type_that_is_no_header(here: Here) -> None:
    here.function.content_type = "a\r\nX: y"
    here.function.parts = [b"x"]
    status, headers, body = await here.get()
    assert (status, body) == (200, b"x")
    assert dict(headers)["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "parts",
    [
        [b"no object" + bytes(8)],
        [b"[]" + bytes(8)],
        [b'{"statusCode": 99}' + bytes(8) + b"x"],
        [b'{"statusCode": 200}'],
        [b'{"headers": {"a b": "c"}}' + bytes(8)],
        [b'{"headers": {"a": "c\\r\\nd: e"}}' + bytes(8)],
        [b'{"cookies": "a"}' + bytes(8)],
        [b" " * 20_000, b"{}" + bytes(8) + b"x"],
        [b"[" * 10_000 + bytes(8)],
        [],
    ],
)
async def test_a_prelude_that_is_none_is_a_bad_gateway(here: Here, parts: Sequence[bytes]) -> None:
    here.function.parts = parts
    assert (await here.get())[0] == 502


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_none(here: Here, status: int) -> None:
    here.function.parts = [prelude(statusCode=status) + b"never sent"]
    assert (await here.get())[::2] == (status, b"")


async def test_head_has_no_body(here: Here) -> None:
    here.function.parts = [prelude(statusCode=200) + b"never sent"]
    assert (await here.get("HEAD"))[::2] == (200, b"")


async def test_a_failure_half_way_breaks_the_connection_off(
    here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    here.function.parts = [prelude() + b"some"]
    here.function.outcome = Outcome(b"{}", "$LATEST", "Unhandled", "E")
    status, _, body = await here.get()
    assert status == 200 and isinstance(body, http.client.IncompleteRead)
    assert not caplog.records, "it is the function's trouble, not the operator's"


async def ask_as_of_old(here: Here) -> bytes:
    """All that a client of HTTP/1.0 gets. OSError where it does not come to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    try:
        writer.write(f"GET / HTTP/1.0\r\nHost: {here.host}\r\n\r\n".encode())
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


async def test_a_client_of_old_gets_no_chunks(here: Here) -> None:
    """The connection's end is the body's."""
    here.function.parts = [prelude(headers={"Content-Type": "text/plain"}) + b"one, ", b"two"]
    head, _, body = (await ask_as_of_old(here)).partition(b"\r\n\r\n")
    assert body == b"one, two"
    assert b"transfer-encoding" not in head and b"\r\nconnection: close" in head


async def test_a_client_of_old_hears_of_a_failure_half_way(here: Here) -> None:
    here.function.parts = [prelude() + b"some"]
    here.function.outcome = Outcome(b"{}", "$LATEST", "Unhandled", "E")
    with pytest.raises(ConnectionResetError):
        await ask_as_of_old(here)


def whole(outcome: Outcome) -> Callable[[Call], Any]:
    async def invoke(call: Call) -> Outcome:
        return outcome

    return invoke


async def test_an_answer_given_whole_is_the_body(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Outcome(b'{"statusCode": 404, "body": "x"}', "$LATEST")
    monkeypatch.setattr(here.function, "invoke", whole(answer))
    status, headers, body = await here.get()
    assert (status, body) == (200, answer.payload)
    assert dict(headers)["content-type"] == "application/json"
    failed = Outcome(b'{"errorType":"E"}', "$LATEST", "Unhandled", "E")
    monkeypatch.setattr(here.function, "invoke", whole(failed))
    assert (await here.get())[::2] == (502, b"Internal Server Error")
