"""The Runtime API over HTTP, as custom runtimes speak it, through a whole platform."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import random

import pytest

from boda.runtime import api
from boda.runtime.frames import MAX_PAYLOAD
from boda.runtime.turns import BURST, PIECES, REQUESTS_PER_S
from support.fake_sandbox import function
from support.fleet_platform import SETTINGS, Platform

NEXT = "/2018-06-01/runtime/invocation/next"


class Client:
    """A runtime's HTTP connection from inside the sandbox."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, platform, index=0):
        while len(platform.sandboxes.made) <= index:
            await asyncio.sleep(0)
        address = platform.sandboxes.made[index].runtime_api.getsockname()
        return cls(*await asyncio.open_unix_connection(address))

    @classmethod
    async def open_first(cls, platform, version):
        """A runtime that has an invocation in hand, whose outcome stands in ``outcome``."""
        outcome = platform.begin(version)
        client = await cls.open(platform)
        client.outcome = outcome
        assert (await client.ask("GET", NEXT))[0] == 200
        return client

    async def ask(self, method, path, body=b"", headers=None):
        self.send(method, path, body, headers)
        return await self.answer()

    def send(self, method, path, body=b"", headers=None):
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def answer(self):
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split()[1])
        lines = (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        headers = {name.lower(): value for name, value in lines}
        body = await self._reader.readexactly(int(headers["content-length"]))
        return status, headers, body

    async def respond(self, headers, body, kind="response", **more):
        request_id = headers["lambda-runtime-aws-request-id"]
        path = f"/2018-06-01/runtime/invocation/{request_id}/{kind}"
        return await self.ask("POST", path, body, more)

    async def close(self):
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def refused(platform, *request):
    """Status and error type of a request on a connection of its own, which ends with it."""
    client = await Client.open(platform)
    status, headers, body = await client.ask(*request)
    assert headers["connection"] == "close"
    assert await client._reader.read() == b""
    await client.close()
    return status, json.loads(body)["errorType"]


@pytest.fixture
async def platform():
    made = Platform()
    made.sandboxes.init = lambda guest: None  # the guest speaks HTTP only
    yield made
    closing = asyncio.ensure_future(made.fleet.close())
    await closing


async def test_a_custom_runtime_serves_calls(platform):
    version = function(runtime="provided.al2023", tenant_isolation=True)
    first = platform.begin(version, b'{"n":1}', client_context='{"a":\n"b"}', tenant="t")
    client = await Client.open(platform)
    status, headers, body = await client.ask("GET", NEXT)
    assert (status, body) == (200, b'{"n":1}')
    assert headers["lambda-runtime-aws-request-id"] == "id-1"
    assert headers["lambda-runtime-invoked-function-arn"].endswith(":function:f")
    assert int(headers["lambda-runtime-deadline-ms"]) == int(platform.clock.now() * 1000) + 3000
    assert headers["lambda-runtime-client-context"] == '{"a": "b"}'
    assert headers["lambda-runtime-aws-tenant-id"] == "t"
    assert len(headers["lambda-runtime-invocation-id"]) == 16
    assert await client.respond(headers, b'"one"') == (
        202,
        {"content-type": "application/json", "content-length": "16"},
        b'{"status":"OK"}\n',
    )
    assert (await first).payload == b'"one"'
    # answered, but not ready: the next call waits until the runtime asks
    second = platform.begin(version, b"2", tenant="t")
    client.send("GET", NEXT)
    _, headers, body = await client.answer()
    assert body == b"2"
    error = {"errorType": "Custom.Error", "errorMessage": "no"}
    await client.respond(headers, json.dumps(error).encode(), "error")
    outcome = await second
    assert json.loads(outcome.payload) == error
    assert (outcome.function_error, outcome.error_type) == ("Unhandled", "Custom.Error")
    await client.close()


async def test_wrong_ids_and_states_are_refused(platform):
    task = platform.begin(function())
    client = await Client.open(platform)
    _, headers, _ = await client.ask("GET", NEXT)
    assert (await refused(platform, "GET", NEXT))[0] == 403
    base = "/2018-06-01/runtime/invocation"
    assert await refused(platform, "POST", f"{base}/id-9/response", b"1") == (
        400,
        "InvalidRequestID",
    )
    wrong = {"Lambda-Runtime-Invocation-Id": "0" * 16}
    assert await refused(platform, "POST", f"{base}/id-1/response", b"1", wrong) == (
        400,
        "InvalidInvocationId",
    )
    assert (await refused(platform, "POST", "/2018-06-01/runtime/init/error", b"{}"))[0] == 403
    right = {"Lambda-Runtime-Invocation-Id": headers["lambda-runtime-invocation-id"]}
    assert (await client.ask("POST", f"{base}/id-1/response", b'"x"', right))[0] == 202
    assert (await client.ask("POST", f"{base}/id-1/response", b'"y"', right))[0] == 400
    assert (await task).payload == b'"x"'
    await client.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("POST", NEXT, 405),
        ("GET", "/2018-06-01/runtime/invocation/x/response", 405),
        ("POST", "/2020-01-01/extension/register", 501),
        ("PUT", "/2022-07-01/telemetry", 501),
        ("GET", "/2018-06-01/runtime/restore/next", 501),
    ],
)
async def test_other_paths(platform, method, path, status):
    task = platform.begin(function())
    client = await Client.open(platform)
    answer, _, body = await client.ask(method, path)
    assert answer == status and json.loads(body)["errorMessage"]
    task.cancel()
    await client.close()


async def test_init_error_over_http(platform):
    body = json.dumps({"errorType": "Boot.Failed", "errorMessage": "m"}).encode()
    task = platform.begin(function())
    for _ in range(2):  # init, and once more within the call
        client = await Client.open(platform)
        headers = {"Lambda-Runtime-Function-Error-Type": "Boot.Failed"}
        answer = await client.ask("POST", "/2018-06-01/runtime/init/error", body, headers)
        assert answer[0] == 202
        await client.close()
        await platform.clock.settle()
    outcome = await task
    assert (outcome.payload, outcome.error_type) == (body, "Boot.Failed")


async def test_too_large_an_answer(platform):
    task = platform.begin(function())
    client = await Client.open(platform)
    _, headers, _ = await client.ask("GET", NEXT)
    status, _, body = await client.respond(headers, b"x" * 6_291_557)
    assert (status, json.loads(body)["errorType"]) == (413, "RequestEntityTooLarge")
    outcome = await task
    assert outcome.error_type == "Function.ResponseSizeTooLarge"
    await client.close()


async def test_chunked_answers_and_trailing_errors(platform):
    task = platform.begin(function())
    client = await Client.open(platform)
    await client.ask("GET", NEXT)
    client._writer.write(
        b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nHost: x\r\n"
        b"Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"
        b"Trailer: Lambda-Runtime-Function-Error-Type\r\n\r\n"
        b"2\r\nab\r\n1\r\nc\r\n0\r\nLambda-Runtime-Function-Error-Type: Broke.Off\r\n\r\n"
    )
    assert (await client.answer())[0] == 202
    outcome = await task
    assert (outcome.payload, outcome.error_type) == (b"abc", "Broke.Off")
    await client.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
async def test_malformed_requests_end_their_connection_only(platform, data):
    task = platform.begin(function())
    client = await Client.open(platform)
    client._writer.write(data)
    await client._reader.read(1 << 16)
    await client.close()
    good = await Client.open(platform)
    _, headers, _ = await good.ask("GET", NEXT)
    await good.respond(headers, b"1")
    assert (await task).payload == b"1"
    await good.close()


async def test_connections_are_bounded(platform):
    task = platform.begin(function())
    clients = [await Client.open(platform) for _ in range(40)]
    closed = 0
    for client in clients:
        client.send("GET", "/nope")
        try:
            await client.answer()
        except (asyncio.IncompleteReadError, ConnectionError):
            closed += 1
    assert closed == 8
    task.cancel()
    for client in clients:
        await client.close()


@pytest.mark.parametrize(
    ("start", "filling"),
    [
        (b"GET / HTTP/1.1\r\nx: ", b"a"),
        (b"GET / HTTP/1.1\r\n", b"a"),
        (b"GET /", b"a"),
        (b"", b"\r\n"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: ", b"a"),
    ],
)
async def test_what_never_ends_is_given_up(platform, start, filling):
    task = platform.begin(function())
    client = await Client.open(platform)
    writer = client._writer
    with pytest.raises(ConnectionError):
        writer.write(start)
        for _ in range(1000):
            writer.write(filling * (65536 // len(filling)))
            await writer.drain()
    await client.close()
    again = await Client.open(platform)
    assert (await again.ask("GET", "/nope"))[0] == 404
    await again.close()
    task.cancel()


async def test_who_asks_and_does_not_read_is_given_up(platform):
    task = platform.begin(function())
    client = await Client.open(platform)
    writer = client._writer
    client._reader._transport.pause_reading()
    with pytest.raises(ConnectionError):
        for _ in range(1000):
            writer.write(b"GET /nope HTTP/1.1\r\n\r\n" * 2000)
            await writer.drain()
    await client.close()
    task.cancel()


async def test_bodies_are_bounded_together(platform, monkeypatch):
    bodies = api.HeldBodies()
    monkeypatch.setattr(api, "HeldBodies", lambda: bodies)
    task = platform.begin(function())
    clients = [await Client.open(platform) for _ in range(4)]
    body = bytes(MAX_PAYLOAD - 1)
    for client in clients[:2]:  # as much as may be held, and no end
        head = f"POST /nope HTTP/1.1\r\nContent-Length: {MAX_PAYLOAD}\r\n\r\n"
        client._writer.write(head.encode() + body)
    while bodies.size < 2 * len(body):
        await asyncio.sleep(0)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await clients[2].ask("POST", "/nope", body)
    clients[0]._writer.write(b"x")
    assert (await clients[0].answer())[0] == 404
    assert (await clients[3].ask("POST", "/nope", body))[0] == 404
    await clients[1].close()
    assert (await refused(platform, "POST", "/nope", body))[0] == 404
    for client in clients:
        await client.close()
    task.cancel()


async def test_a_lost_poll_is_asked_again(platform):
    warm = platform.begin(function())
    client = await Client.open(platform)
    _, headers, _ = await client.ask("GET", NEXT)
    await client.respond(headers, b"1")
    await warm
    client.send("GET", NEXT)
    await client._writer.drain()
    for _ in range(50):
        await asyncio.sleep(0)
    await client.close()
    for _ in range(50):
        await asyncio.sleep(0)
    task = platform.begin(function(), b"again")
    again = await Client.open(platform)
    _, headers, body = await again.ask("GET", NEXT)
    assert body == b"again"
    await again.respond(headers, b"2")
    assert (await task).payload == b"2"
    await again.close()


async def test_a_restarted_runtime_that_asks_at_once_is_not_turned_away(platform):
    """It may connect before the platform hears that it runs, and a shell script asks once."""
    version = function(runtime="provided.al2023")
    first = platform.begin(version)
    client = await Client.open(platform)
    await client.ask("GET", NEXT)
    sandbox = platform.sandboxes.made[0]
    sandbox.guest.exit(3)
    assert (await first).error_type == "Runtime.ExitError"
    restart, early = sandbox.restart, []

    async def restart_and_hear_at_once(environment):
        await restart(environment)
        early.append(await Client.open(platform))
        early[0].send("GET", NEXT)
        await platform.clock.settle()

    sandbox.restart = restart_and_hear_at_once
    second = platform.begin(version, b"2")
    while not early:
        await asyncio.sleep(0)
    status, headers, body = await asyncio.wait_for(early[0].answer(), 5)
    assert (status, body) == (200, b"2")
    await early[0].respond(headers, b'"two"')
    assert (await second).payload == b'"two"'
    assert len(platform.sandboxes.made) == 1
    await client.close()
    await early[0].close()


def request(method, path, body=b"", **headers):
    fields = {"Host": "x", "Content-Length": str(len(body)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize("seed", range(20))
async def test_requests_are_told_apart_wherever_they_are_cut(platform, seed):
    """Answer and next, pipelined twice over, in pieces of any size; bodies may look like ends."""
    chance = random.Random(seed)
    version = function(runtime="provided.al2023")
    client = await Client.open_first(platform, version)
    answer = b"\r\n\r\nGET / HTTP/1.1\r\n\r\n" * chance.choice((0, 1, 500)) + b"1"
    for number in range(2, 5):
        path = f"/2018-06-01/runtime/invocation/id-{number - 1}/response"
        if chance.random() < 0.5:
            sent = request("POST", path, answer)
        else:
            head = f"POST {path} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            sent = head.encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(answer), answer)
        sent += request("GET", NEXT)
        while sent:
            size = chance.choice((1, 2, 3, 70, 9000))
            client._writer.write(sent[:size])
            sent = sent[size:]
            for _ in range(chance.choice((0, 0, 3))):
                await asyncio.sleep(0)
        assert (await client.answer())[0] == 202
        assert (await client.outcome).payload == answer
        client.outcome = platform.begin(version, b"%d" % number)
        status, _, body = await client.answer()
        assert (status, body) == (200, b"%d" % number)
    await client.close()


async def test_invocations_cost_nothing_of_the_budget(platform):
    """Not even with a connection for each request, as a shell script makes them."""
    version = function(runtime="provided.al2023")
    client = await Client.open_first(platform, version)
    for number in range(BURST + 50):
        path = f"/2018-06-01/runtime/invocation/id-{number + 1}/response"
        answering = await Client.open(platform)
        assert (await answering.ask("POST", path, b"1"))[0] == 202
        await answering.close()
        assert (await client.outcome).payload == b"1"
        asking = await Client.open(platform)
        client.outcome = platform.begin(version, b"%d" % number)
        assert (await asking.ask("GET", NEXT))[2] == b"%d" % number
        await asking.close()
    await client.close()


async def test_connections_wait_when_the_budget_is_spent(platform):
    task = platform.begin(function())
    for _ in range(BURST // 2):  # a connection and an error each
        assert (await refused(platform, "GET", "/nope"))[0] == 404
    late = await Client.open(platform)
    late.send("GET", "/nope")
    answer = asyncio.ensure_future(late.answer())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not answer.done()
    while not answer.done():
        await platform.clock.advance(0.1)
        await asyncio.sleep(0)
    assert (await answer)[0] == 404
    await late.close()
    task.cancel()


async def test_a_body_in_tiny_pieces_is_slowed_down(platform):
    version = function(runtime="provided.al2023")
    client = await Client.open_first(platform, version)
    pieces = 2 * BURST * PIECES
    client._writer.write(
        b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * pieces + b"0\r\n\r\n"
    )
    answer = asyncio.ensure_future(client.answer())
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not answer.done()
    passed_s = 0.0
    while not answer.done():
        await platform.clock.advance(0.1)
        passed_s += 0.1
        await asyncio.sleep(0)
    assert passed_s >= 0.8 * BURST / REQUESTS_PER_S
    assert (await client.outcome).payload == b"x" * pieces
    await client.close()


async def test_environments_share_all_but_a_few_connections():
    made = Platform(dataclasses.replace(SETTINGS, runtime_connections=3))
    made.sandboxes.init = lambda guest: None
    tasks = [made.begin(function(name)) for name in ("one", "two")]

    async def open_ones(index, count):
        """How many of so many stay open."""
        clients = [await Client.open(made, index) for _ in range(count)]
        reads = [asyncio.ensure_future(client._reader.read(1)) for client in clients]
        for _ in range(300):
            await asyncio.sleep(0)
        return clients, sum(not read.done() for read in reads)

    greedy, open_count = await open_ones(0, 20)
    assert open_count == api.OWN_CONNECTIONS + 3
    modest, open_count = await open_ones(1, api.OWN_CONNECTIONS)
    assert open_count == api.OWN_CONNECTIONS
    for client in greedy:
        await client.close()
    for _ in range(100):
        await asyncio.sleep(0)
    more, open_count = await open_ones(1, 5)
    assert open_count == 3  # what the other one has given back
    for client in (*modest, *more):
        await client.close()
    for task in tasks:
        task.cancel()
    await made.fleet.close()
