"""An environment whose function streams, in frames and over HTTP: one caller, one stream."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from typing import Any

import pytest

from boda.core.errors import AwsError
from boda.invoke.call import Call
from boda.invoke.streaming import StreamedAnswer, open_stream
from boda.runtime.stream import MAX_STREAM
from support.fake_sandbox import Guest, Invoked, function
from support.fleet_platform import Platform

BEGIN, PART, END = 6, 7, 8


class World(Platform):
    async def open(self, request_id: str = "id-1", **fields: Any) -> StreamedAnswer:
        version = function(timeout_s=5)
        call = Call(version, b"{}", request_id, version.arn, **fields)
        opening = asyncio.ensure_future(open_stream(self.invoker, call, self.clock))
        for _ in range(5):
            await self.clock.settle()
        return await asyncio.wait_for(opening, 5)

    @property
    def guest(self) -> Guest:
        return self.sandboxes.guests[-1]


@pytest.fixture
async def world():
    made = World()
    made.sandboxes.handle = lambda guest, invoked: guest.frame(BEGIN, invoked.id + b"text/plain")
    yield made
    closing = asyncio.ensure_future(made.fleet.close())
    await made.advance(60)
    await closing


def now(world: World) -> Invoked:
    return world.guest.invoked[-1]


async def rest(answer: StreamedAnswer) -> bytes:
    return b"".join([data async for data in answer])


async def test_parts_and_outcome(world: World) -> None:
    answer = await world.open(tail=True)
    assert answer.content_type == "text/plain"
    world.guest.frame(PART, now(world).id + b"one")
    assert await anext(answer) == b"one"
    await world.clock.advance(2)
    world.guest.frame(PART, now(world).id + b"two")
    world.guest.frame(END, now(world).id)
    assert await rest(answer) == b"two"
    outcome = await answer.outcome()
    assert not outcome.function_error and outcome.duration_ms >= 2000
    assert b"REPORT RequestId: id-1" in outcome.tail
    (metered,) = world.telemetry.metered
    assert metered.duration_ms >= 2000 and not metered.function_error
    assert world.states() == ["idle"]


async def test_a_buffered_caller_gets_them_joined(world: World) -> None:
    task = world.begin(function(timeout_s=5))
    await world.advance(0)
    for data in (b"one ", b"two"):
        world.guest.frame(PART, now(world).id + data)
    world.guest.frame(END, now(world).id)
    assert (await task).payload == b"one two"


async def test_a_failure_half_way_is_the_outcome(world: World) -> None:
    answer = await world.open()
    world.guest.frame(PART, now(world).id + b"one")
    world.guest.fail(now(world), "My.Error", b'{"errorType":"My.Error"}')
    assert await rest(answer) == b"one"
    outcome = await answer.outcome()
    assert (outcome.function_error, outcome.error_type) == ("Unhandled", "My.Error")
    assert world.states() == ["idle"]


async def test_the_function_s_time_counts_while_it_streams(world: World) -> None:
    answer = await world.open()
    world.guest.frame(PART, now(world).id + b"one")
    await world.advance(5.1)
    assert await rest(answer) == b"one"
    assert b"Task timed out after 5.00 seconds" in (await answer.outcome()).payload
    assert world.telemetry.metered[0].function_error


async def test_the_end_of_the_process_is_the_end_of_the_stream(world: World) -> None:
    answer = await world.open()
    world.guest.frame(PART, now(world).id + b"one")
    world.guest.exit(1)
    assert await rest(answer) == b"one", "what was sent before it counts"
    assert (await answer.outcome()).error_type == "Runtime.ExitError"


@pytest.mark.parametrize(
    "lie",
    [
        lambda guest, invoked: guest.frame(PART, b"8 other!" + b"x"),
        lambda guest, invoked: guest.frame(END, b"8 other!"),
        lambda guest, invoked: guest.frame(BEGIN, invoked.id),
        lambda guest, invoked: guest.respond(invoked),
        lambda guest, invoked: guest.ready(),
        lambda guest, invoked: guest.frame(END, invoked.id + b"more"),
        lambda guest, invoked: guest.frame(PART, b"short"),
        lambda guest, invoked: guest.send(struct.pack(">IB", 10 + 262_144, PART) + bytes(9)),
    ],
)
async def test_a_lie_within_a_stream_ends_the_environment(world: World, lie: Any) -> None:
    answer = await world.open()
    world.guest.frame(PART, now(world).id + b"one")
    await world.advance(0)
    lie(world.guest, now(world))
    assert await rest(answer) == b"one"
    assert (await answer.outcome()).error_type == "Runtime.Unknown"
    await world.advance(0)
    assert world.sandboxes.made[0].destroyed
    assert world.concurrency.running("000000000000", "us-east-1", "f") == 0


@pytest.mark.parametrize("kind", [BEGIN, PART, END])
async def test_what_comes_after_the_end_ends_the_environment(world: World, kind: int) -> None:
    answer = await world.open()
    world.guest.frame(END, now(world).id)
    world.guest.frame(kind, now(world).id)
    assert await rest(answer) == b"" and not (await answer.outcome()).function_error
    await world.advance(0)
    assert world.sandboxes.made[0].destroyed


async def test_a_slow_caller_slows_the_function_and_memory_stays_bounded(world: World) -> None:
    answer = await world.open()
    part = struct.pack(">IB", 9 + 65_536, PART) + now(world).id + b"x" * 65_536
    channel = world.guest._channel
    left, sent = memoryview(part * 400), 0
    for _ in range(400):  # as much as the platform takes while nobody reads
        try:
            count = channel.send(left)
        except BlockingIOError:
            await world.clock.settle(3)
            continue
        sent, left = sent + count, left[count:]
    assert answer._stream._held < 700_000 and sent < 2_000_000
    collected = 0
    while len(left):
        try:
            left = left[channel.send(left) :]
        except BlockingIOError:
            collected += len(await asyncio.wait_for(anext(answer), 5))
            if collected > 4 << 20:
                break
    await answer.aclose()
    while len(left):  # the caller has gone: the rest passes
        try:
            left = left[channel.send(left) :]
        except BlockingIOError:
            await asyncio.sleep(0)
    world.guest._channel.setblocking(True)
    world.guest.frame(END, now(world).id)
    world.guest._channel.setblocking(False)
    for _ in range(20):
        await world.clock.settle()
    assert world.states() == ["idle"] and len(world.telemetry.metered) == 1


async def test_the_next_caller_is_heard_while_the_last_one_still_reads(world: World) -> None:
    first = await world.open()
    data = b"".join(
        struct.pack(">IB", 9 + 50_000, PART) + now(world).id + bytes(50_000) for _ in range(6)
    )
    data += struct.pack(">IB", 9, END) + now(world).id
    left = memoryview(data)
    while len(left):
        try:
            left = left[world.guest._channel.send(left) :]
        except BlockingIOError:
            await world.clock.settle(3)
            if first._stream._paused:
                break
    total = 0
    while len(left):
        total += len(await anext(first))
        try:
            left = left[world.guest._channel.send(left) :]
        except BlockingIOError:
            continue
    await world.clock.settle()
    second = await world.open("id-2")
    world.guest.frame(PART, now(world).id + b"mine")
    world.guest.frame(END, now(world).id)
    assert await rest(second) == b"mine"
    assert total + len(await rest(first)) == 300_000


async def test_too_much_is_cut_off_and_said(world: World) -> None:
    answer = await world.open()
    answer._stream.limit = 10
    world.guest.frame(PART, now(world).id + b"x" * 10)
    world.guest.frame(PART, now(world).id + b"y")
    world.guest.frame(END, now(world).id)
    assert await rest(answer) == b"x" * 10
    assert (await answer.outcome()).error_type == "Function.ResponseSizeTooLarge"
    assert MAX_STREAM == 209_715_200


async def test_what_cannot_run_is_an_error_as_ever(world: World) -> None:
    world.concurrency.reserve("000000000000", "us-east-1", "f", 0)
    with pytest.raises(AwsError) as raised:
        await world.open()
    assert raised.value.status == 429


async def test_an_environment_that_is_stopped_half_way(world: World) -> None:
    answer = await world.open()
    for environment in list(world.fleet._live.values()):
        environment.destroy()
    assert await rest(answer) == b""
    with pytest.raises(AwsError):
        await answer.outcome()


# Over HTTP

NEXT = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = (
    b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nHost: x\r\n"
    b"Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Type: text/plain\r\n\r\n"
)

GO = (
    b"POST /2018-06-01/runtime/invocation/id-1/response HTTP/1.1\r\nHost: x\r\n"
    b"User-Agent: aws-lambda-go/go1.24.1\r\nTransfer-Encoding: chunked\r\nContent-Type: %s\r\n"
    b"Trailer: Lambda-Runtime-Function-Error-Body,Lambda-Runtime-Function-Error-Type\r\n"
    b"Accept-Encoding: gzip\r\n\r\n"
)
INTEGRATION = b"application/vnd.awslambda.http-integration-response"


class Http:
    """A custom runtime's connection, with an invocation in hand. head: of its answer."""

    @classmethod
    async def open(cls, world: World, head: bytes = HEAD) -> tuple[Http, StreamedAnswer]:
        world.sandboxes.init = lambda guest: None
        version = function(timeout_s=5)
        call = Call(version, b"{}", "id-1", version.arn)
        opening = asyncio.ensure_future(open_stream(world.invoker, call, world.clock))
        while not world.sandboxes.made:
            await asyncio.sleep(0)
        made = cls()
        made.address = world.sandboxes.made[0].runtime_api.getsockname()
        made.reader, made.writer = await asyncio.open_connection(*made.address)
        made.writer.write(NEXT)
        await made.reader.readuntil(b"\r\n\r\n{}")
        made.writer.write(head)
        return made, await asyncio.wait_for(opening, 5)

    async def status(self) -> int:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        return int(head.split()[1])


async def test_over_http_each_chunk_is_a_part(world: World) -> None:
    runtime, answer = await Http.open(world)
    assert answer.content_type == "text/plain"
    runtime.writer.write(b"3\r\none\r\n")
    assert await anext(answer) == b"one"
    runtime.writer.write(b"3\r\ntwo\r\n0\r\n\r\n")
    assert await rest(answer) == b"two" and await runtime.status() == 202
    assert not (await answer.outcome()).function_error
    runtime.writer.close()


@pytest.mark.parametrize("content_type", [INTEGRATION, b"application/octet-stream"])
async def test_gos_client_streams_without_a_word_of_it(world: World, content_type: bytes) -> None:
    runtime, answer = await Http.open(world, GO % content_type)
    assert answer.content_type == content_type.decode()
    head = b'{"statusCode":200}' + bytes(8)
    runtime.writer.write(b"%x\r\n%b\r\n" % (len(head), head))
    assert await anext(answer) == head
    runtime.writer.write(b"5\r\nhello\r\n")
    assert await anext(answer) == b"hello"
    runtime.writer.write(b"0\r\n\r\n")
    assert await rest(answer) == b"" and await runtime.status() == 202
    assert not (await answer.outcome()).function_error
    runtime.writer.close()


@pytest.mark.parametrize("failed", [False, True])
async def test_gos_json_in_chunks_is_one_answer(world: World, failed: bool) -> None:
    world.sandboxes.init = lambda guest: None
    version = function(timeout_s=5)
    calling = world.begin(version)
    while not world.sandboxes.made:
        await asyncio.sleep(0)
    address = world.sandboxes.made[0].runtime_api.getsockname()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(NEXT)
    await reader.readuntil(b"\r\n\r\n{}")
    trailers = b""
    if failed:
        body = base64.b64encode(b'{"errorType":"errorString","errorMessage":"no"}')
        trailers = b"Lambda-Runtime-Function-Error-Body: %b\r\n" % body
        trailers += b"Lambda-Runtime-Function-Error-Type: errorString\r\n"
    writer.write(GO % b"application/json" + b'8\r\n{"a": 1}\r\n0\r\n' + trailers + b"\r\n")
    outcome = await asyncio.wait_for(calling, 5)
    if failed:
        assert outcome.error_type == "errorString"
        assert json.loads(outcome.payload)["errorMessage"] == "no"
    else:
        assert (outcome.payload, outcome.function_error) == (b'{"a": 1}', "")
    writer.close()


async def test_trailers_tell_of_an_error_and_the_exchange_succeeds(world: World) -> None:
    runtime, answer = await Http.open(world)
    body = base64.b64encode(b'{"errorType":"My.Error"}')
    runtime.writer.write(
        b"3\r\none\r\n0\r\nLambda-Runtime-Function-Error-Type: My.Error\r\n"
        b"Lambda-Runtime-Function-Error-Body: " + body + b"\r\n\r\n"
    )
    assert await rest(answer) == b"one" and await runtime.status() == 202
    outcome = await answer.outcome()
    assert (outcome.error_type, json.loads(outcome.payload)) == (
        "My.Error",
        {"errorType": "My.Error"},
    )
    runtime.writer.close()


@pytest.mark.parametrize("end", [b"", b"zz\r\nnonsense"])
async def test_a_connection_that_ends_half_way_is_a_truncated_response(
    world: World, end: bytes
) -> None:
    runtime, answer = await Http.open(world)
    runtime.writer.write(b"3\r\none\r\n" + end)
    await runtime.writer.drain()
    runtime.writer.close()
    assert await asyncio.wait_for(rest(answer), 5) == b"one"
    assert (await answer.outcome()).error_type == "Runtime.TruncatedResponse"


async def test_an_answer_beside_a_streamed_one_is_refused(world: World) -> None:
    runtime, answer = await Http.open(world)
    plain = (
        b"POST /2018-06-01/runtime/invocation/id-1/%s HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    )
    for sent in (plain % b"error", plain % b"response", HEAD + b"1\r\nx\r\n0\r\n\r\n"):
        other, writer = await asyncio.open_connection(*runtime.address)
        writer.write(sent)
        assert b" 403 " in await asyncio.wait_for(other.readuntil(b"\r\n\r\n"), 5)
        writer.close()
    runtime.writer.write(b"3\r\none\r\n0\r\n\r\n")
    assert await rest(answer) == b"one" and await runtime.status() == 202
    runtime.writer.close()


async def test_frames_beside_a_stream_over_http_end_the_environment(world: World) -> None:
    runtime, answer = await Http.open(world)
    environment = next(iter(world.fleet._live.values()))
    assert environment._link.session is not None and environment._link.session.current is not None
    world.guest.frame(END, environment._link.session.current.invocation_id)
    assert await asyncio.wait_for(rest(answer), 5) == b""
    assert (await answer.outcome()).error_type == "Runtime.Unknown"
    runtime.writer.close()


async def test_over_http_a_slow_caller_slows_the_function_too(world: World) -> None:
    runtime, answer = await Http.open(world)
    transport = runtime.writer.transport
    chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
    for _ in range(160):
        transport.write(chunk)
    for _ in range(300):
        await asyncio.sleep(0)
    assert answer._stream._held < 1_000_000 and transport.get_write_buffer_size() > 0
    await answer.aclose()
    transport.write(b"0\r\n\r\n")
    assert await runtime.status() == 202
    runtime.writer.close()


async def test_parts_that_came_at_once_are_passed_on_at_once(world: World) -> None:
    """Thousands of parts of one byte cost what one part costs."""
    answer = await world.open()
    number = now(world).id
    frame = struct.pack(">IB", 10, PART) + number + b"x"
    world.guest.send(frame * 20_000 + struct.pack(">IB", 9, END) + number)
    pieces = [data async for data in answer]
    assert b"".join(pieces) == b"x" * 20_000
    assert len(pieces) < 100
