"""An environment whose function streams, in both framings of the Runtime API: each caller gets one
stream."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import pytest

from boda.core.errors import AwsError
from boda.invoke.call import Call
from boda.invoke.streaming import StreamedAnswer, open_stream
from boda.runtime.stream import MAX_STREAM
from support.fake_guests import STREAMING, FramedGuest, Guest, HttpGuest, Invoked
from support.fake_sandbox import function
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


@pytest.fixture(params=[FramedGuest, HttpGuest], ids=["frames", "http"])
async def world(request):
    made = World(guest=request.param)
    made.sandboxes.handle = lambda guest, invoked: guest.stream(invoked)
    yield made
    closing = asyncio.ensure_future(made.fleet.close())
    await made.advance(60)
    await closing


over_frames = pytest.mark.parametrize("world", [FramedGuest], ids=["frames"], indirect=True)
over_http = pytest.mark.parametrize("world", [HttpGuest], ids=["http"], indirect=True)


def now(world: World) -> Invoked:
    return world.guest.invoked[-1]


async def rest(answer: StreamedAnswer) -> bytes:
    return b"".join([data async for data in answer])


async def test_parts_and_outcome(world: World) -> None:
    answer = await world.open(tail=True)
    assert answer.content_type == "text/plain"
    world.guest.part(now(world), b"one")
    assert await anext(answer) == b"one"
    await world.clock.advance(2)
    world.guest.part(now(world), b"two")
    world.guest.end(now(world))
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
        world.guest.part(now(world), data)
    world.guest.end(now(world))
    assert (await task).payload == b"one two"


async def test_a_failure_half_way_is_the_outcome(world: World) -> None:
    answer = await world.open()
    world.guest.part(now(world), b"one")
    world.guest.fail(now(world), "My.Error", b'{"errorType":"My.Error"}')
    assert await rest(answer) == b"one"
    outcome = await answer.outcome()
    assert (outcome.function_error, outcome.error_type) == ("Unhandled", "My.Error")
    assert world.states() == ["idle"]


async def test_the_function_s_time_counts_while_it_streams(world: World) -> None:
    answer = await world.open()
    world.guest.part(now(world), b"one")
    await world.advance(5.1)
    assert await rest(answer) == b"one"
    assert b"Task timed out after 5.00 seconds" in (await answer.outcome()).payload
    assert world.telemetry.metered[0].function_error


async def test_the_end_of_the_process_is_the_end_of_the_stream(world: World) -> None:
    answer = await world.open()
    world.guest.part(now(world), b"one")
    world.guest.exit(1)
    assert await rest(answer) == b"one", "what was sent before it counts"
    assert (await answer.outcome()).error_type == "Runtime.ExitError"


@over_frames
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
    world.guest.part(now(world), b"one")
    await world.advance(0)
    lie(world.guest, now(world))
    assert await rest(answer) == b"one"
    assert (await answer.outcome()).error_type == "Runtime.Unknown"
    await world.advance(0)
    assert world.sandboxes.made[0].destroyed
    assert world.concurrency.running("000000000000", "us-east-1", "f") == 0


@over_frames
@pytest.mark.parametrize("kind", [BEGIN, PART, END])
async def test_what_comes_after_the_end_ends_the_environment(world: World, kind: int) -> None:
    answer = await world.open()
    world.guest.end(now(world))
    world.guest.frame(kind, now(world).id)
    assert await rest(answer) == b"" and not (await answer.outcome()).function_error
    await world.advance(0)
    assert world.sandboxes.made[0].destroyed


async def test_a_slow_caller_slows_the_function_and_memory_stays_bounded(world: World) -> None:
    answer = await world.open()
    for _ in range(160):
        world.guest.part(now(world), bytes(65_536))
    for _ in range(20):  # as much as the platform takes while nobody reads
        await world.clock.settle()
    assert answer._stream._held < 700_000 and world.guest.unsent > 8 << 20
    collected = 0
    while collected < 4 << 20:
        collected += len(await asyncio.wait_for(anext(answer), 5))
    assert world.guest.unsent > 4 << 20
    await answer.aclose()  # the rest passes
    world.guest.end(now(world))
    for _ in range(100):
        await world.clock.settle()
    assert world.guest.unsent == 0
    assert world.states() == ["idle"] and len(world.telemetry.metered) == 1


async def test_the_next_caller_is_heard_while_the_last_one_still_reads(world: World) -> None:
    first = await world.open()
    for _ in range(10):
        world.guest.part(now(world), bytes(50_000))
    for _ in range(5):
        await world.clock.settle()
    assert first._stream._paused
    world.guest.end(now(world))
    total = 0
    while not world.telemetry.metered:
        total += len(await anext(first))
        await world.clock.settle()
    second = await world.open("id-2")
    world.guest.part(now(world), b"mine")
    world.guest.end(now(world))
    assert await rest(second) == b"mine"
    assert total + len(await rest(first)) == 500_000 > total


async def test_too_much_is_cut_off_and_said(world: World) -> None:
    answer = await world.open()
    answer._stream.limit = 10
    world.guest.part(now(world), b"x" * 10)
    world.guest.part(now(world), b"y")
    world.guest.end(now(world))
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


async def test_parts_that_came_at_once_are_passed_on_at_once(world: World) -> None:
    """Thousands of parts of one byte cost what one part costs."""
    answer = await world.open()
    for _ in range(20_000):
        world.guest.part(now(world), b"x")
    world.guest.end(now(world))
    pieces = [data async for data in answer]
    assert b"".join(pieces) == b"x" * 20_000
    assert len(pieces) < 100


# What HTTP alone can say

GO = {
    "User-Agent": "aws-lambda-go/go1.24.1",
    "Trailer": "Lambda-Runtime-Function-Error-Body,Lambda-Runtime-Function-Error-Type",
    "Accept-Encoding": "gzip",
}
INTEGRATION = "application/vnd.awslambda.http-integration-response"


@over_http
async def test_a_stream_is_accepted_at_its_end_even_if_it_broke_off(world: World) -> None:
    whole = await world.open("id-1")
    world.guest.end(now(world))
    assert await rest(whole) == b""
    broken = await world.open("id-2")
    world.guest.fail(now(world), "My.Error")
    assert await rest(broken) == b""
    await world.clock.settle()
    assert world.guest.statuses == [200, 202, 200, 202]


@over_http
@pytest.mark.parametrize("content_type", [INTEGRATION, "application/octet-stream"])
async def test_gos_client_streams_without_a_word_of_it(world: World, content_type: str) -> None:
    world.sandboxes.handle = lambda guest, invoked: guest.stream(invoked, content_type, GO)
    answer = await world.open()
    assert answer.content_type == content_type
    for data in (b'{"statusCode":200}' + bytes(8), b"hello"):
        world.guest.part(now(world), data)
        assert await anext(answer) == data
    world.guest.end(now(world))
    assert await rest(answer) == b""
    assert not (await answer.outcome()).function_error


@over_http
@pytest.mark.parametrize("failed", [False, True])
async def test_gos_json_in_chunks_is_one_answer(world: World, failed: bool) -> None:
    def handle(guest: HttpGuest, invoked: Invoked) -> None:
        guest.stream(invoked, "application/json", GO)
        guest.part(invoked, b'{"a": 1}')
        if failed:
            guest.fail(invoked, "errorString", b'{"errorType":"errorString","errorMessage":"no"}')
        else:
            guest.end(invoked)

    world.sandboxes.handle = handle
    outcome = await world.invoke(function(timeout_s=5))
    if failed:
        assert outcome.error_type == "errorString"
        assert json.loads(outcome.payload)["errorMessage"] == "no"
    else:
        assert (outcome.payload, outcome.function_error) == (b'{"a": 1}', "")


@over_http
@pytest.mark.parametrize("end", [b"", b"zz\r\nnonsense"])
async def test_a_connection_that_ends_half_way_is_a_truncated_response(
    world: World, end: bytes
) -> None:
    answer = await world.open()
    world.guest.part(now(world), b"one")
    connection = world.guest.streams[now(world).id]
    connection.wire.send(end)
    connection.wire.close()
    assert await asyncio.wait_for(rest(answer), 5) == b"one"
    assert (await answer.outcome()).error_type == "Runtime.TruncatedResponse"


@over_http
async def test_an_answer_beside_a_streamed_one_is_refused(world: World) -> None:
    answer = await world.open()
    path = "/2018-06-01/runtime/invocation/id-1"
    for end, headers in (("error", {}), ("response", {}), ("response", STREAMING)):
        world.guest.request("POST", f"{path}/{end}", b"{}", headers)
    await world.clock.settle()
    assert world.guest.statuses == [200, 403, 403, 403]
    world.guest.part(now(world), b"one")
    world.guest.end(now(world))
    assert await rest(answer) == b"one"


@over_http
async def test_frames_beside_a_stream_over_http_end_the_environment(world: World) -> None:
    answer = await world.open()
    world.guest.channel.send(struct.pack(">IB", 9, END) + now(world).id)
    assert await asyncio.wait_for(rest(answer), 5) == b""
    assert (await answer.outcome()).error_type == "Runtime.Unknown"
