"""The event-stream encoding: framing, damage, events of models, as botocore reads them."""

from __future__ import annotations

import struct
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import pytest
from botocore.eventstream import EventStream, EventStreamBuffer
from botocore.exceptions import EventStreamError
from botocore.parsers import create_parser

from boda.core.errors import AwsError
from boda.gateway.calling.models import Models
from boda.gateway.http.wire import Stream, WireRequest
from boda.gateway.protocols import event_stream
from boda.gateway.protocols.event_stream import CorruptMessage, Decoder, SizedInteger
from support.dialects import DIALECTS

HEADERS = {
    "yes": True,
    "no": False,
    "byte": SizedInteger(-5, 1),
    "short": SizedInteger(-300, 2),
    "int": 70_000,
    "long": SizedInteger(2**40, 8),
    "bytes": b"\x00\xff",
    "text": "grüße",
    "at": datetime(2024, 2, 29, 12, 0, 0, 123000, tzinfo=UTC),
    "uuid": uuid.UUID(int=7),
}
PLAIN = {**HEADERS, "byte": -5, "short": -300, "long": 2**40}


@pytest.fixture(scope="module")
def models() -> Models:
    return Models(dialects=DIALECTS)


def test_what_is_encoded_is_decoded_however_it_arrives() -> None:
    wire = event_stream.encode(HEADERS, b"payload") + event_stream.encode({"a": "b"})
    for step in (1, 7, len(wire)):
        decoder = Decoder()
        found = [
            message
            for at in range(0, len(wire), step)
            for message in decoder.feed(wire[at : at + step])
        ]
        assert [(one.headers, one.payload) for one in found] == [
            (PLAIN, b"payload"),
            ({"a": "b"}, b""),
        ]
        assert decoder.pending == 0


def test_botocore_reads_the_frames() -> None:
    buffer = EventStreamBuffer()
    headers = {name: value for name, value in HEADERS.items() if name not in ("at", "uuid")}
    buffer.add_data(event_stream.encode(headers, b"payload"))
    (message,) = list(buffer)
    assert message.payload == b"payload"
    assert message.headers == {name: PLAIN[name] for name in headers}


@pytest.mark.parametrize("at", [0, 5, 9, 14, 20, -1])
def test_a_changed_byte_is_noticed(at: int) -> None:
    wire = bytearray(event_stream.encode({"name": "value"}, b"payload"))
    wire[at] ^= 0x40
    with pytest.raises(CorruptMessage):
        list(Decoder().feed(bytes(wire)))


@pytest.mark.parametrize(
    "block",
    [
        b"\x01a\x07\x00\xffshort",  # longer than the block
        b"\x01a\x0c",  # no such type
        b"\x05ab",  # the name is cut
        b"\x01a\x09\x00",  # half a UUID
        b"\x01\xff\x00",  # no UTF-8
    ],
)
def test_headers_that_lie_are_refused(block: bytes) -> None:
    prelude = struct.pack(">II", 16 + len(block), len(block))
    head = prelude + struct.pack(">I", crc32(prelude)) + block
    with pytest.raises(CorruptMessage):
        list(Decoder().feed(head + struct.pack(">I", crc32(head))))


def test_impossible_lengths_are_refused_before_anything_is_buffered() -> None:
    for total, headers in ((8, 0), (2**31, 0), (32, 64), (1 << 20, 1 << 19)):
        prelude = struct.pack(">II", total, headers)
        with pytest.raises(CorruptMessage):
            list(Decoder().feed(prelude + struct.pack(">I", crc32(prelude))))


def test_an_event_too_large_is_not_sent() -> None:
    with pytest.raises(ValueError, match="larger"):
        event_stream.encode({}, bytes(event_stream.MAX_MESSAGE_BYTES))


async def _events(*events: dict[str, Any], error: Exception | None = None) -> AsyncIterator[Any]:
    for event in events:
        yield event
    if error is not None:
        raise error


async def _bytes(body: Any) -> bytes:
    assert isinstance(body, Stream)
    return b"".join([chunk async for chunk in body.chunks])


class _Raw:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> Any:
        yield self._data

    def close(self) -> None:
        pass


async def test_a_streamed_invocation_is_read_by_botocore(models: Models) -> None:
    op = models.service("lambda").operation_model("InvokeWithResponseStream")
    chunks = [
        {"PayloadChunk": {"Payload": b"one"}},
        {"PayloadChunk": {"Payload": b"two"}},
        {"InvokeComplete": {"LogResult": "bG9n", "ErrorCode": "Unhandled"}},
    ]
    output = {
        "StatusCode": 200,
        "ExecutedVersion": "$LATEST",
        "EventStream": _events(*chunks),
    }
    answer = models.protocol("lambda").serialize(output, op, "id")
    headers = dict(answer.headers)
    assert headers["X-Amz-Executed-Version"] == "$LATEST"
    assert headers["Content-Type"] == "application/vnd.amazon.eventstream"
    parser = create_parser("rest-json")._event_stream_parser
    shape = op.get_event_stream_output()
    read = list(EventStream(_Raw(await _bytes(answer.body)), shape, parser, op.name))
    assert read == chunks


async def test_a_json_stream_begins_with_the_initial_response(models: Models) -> None:
    op = models.service("logs").operation_model("StartLiveTail")
    events = _events({"sessionStart": {"requestId": "r", "logGroupIdentifiers": ["a"]}})
    answer = models.protocol("logs").serialize({"responseStream": events}, op, "id")
    first, second = Decoder().feed(await _bytes(answer.body))
    assert first.headers[":event-type"] == "initial-response"
    assert first.payload == b"{}"
    assert second.headers[":event-type"] == "sessionStart"
    assert second.payload == b'{"requestId":"r","logGroupIdentifiers":["a"]}'


async def test_an_error_in_mid_stream_is_its_last_message(models: Models) -> None:
    op = models.service("logs").operation_model("StartLiveTail")
    protocol = models.protocol("logs")
    parser = create_parser("json")._event_stream_parser
    shape = op.get_event_stream_output()
    for code, told in (
        ("SessionTimeoutException", "SessionTimeoutException"),
        ("InternalError", "InternalError"),
    ):
        events = _events(error=AwsError(code, "It is over."))
        answer = protocol.serialize({"responseStream": events}, op, "id")
        stream = EventStream(_Raw(await _bytes(answer.body)), shape, parser, op.name)
        stream.get_initial_response()
        with pytest.raises(EventStreamError) as caught:
            list(stream)
        assert caught.value.response["Error"] == {"Code": told, "Message": "It is over."}


async def test_the_source_is_closed_when_the_client_goes(models: Models) -> None:
    closed = []

    async def source() -> AsyncIterator[Any]:
        try:
            while True:
                yield {"PayloadChunk": {"Payload": b"x"}}
        finally:
            closed.append(True)

    op = models.service("lambda").operation_model("InvokeWithResponseStream")
    answer = models.protocol("lambda").serialize({"EventStream": source()}, op, "id")
    assert isinstance(answer.body, Stream)
    await anext(answer.body.chunks)
    await answer.body.chunks.aclose()  # type: ignore[attr-defined]
    assert closed == [True]


async def test_events_of_a_client_are_read_plain_and_signed(models: Models) -> None:
    op = models.service("bedrock-runtime").operation_model("InvokeModelWithBidirectionalStream")
    protocol = models.protocol("bedrock-runtime")
    plain = event_stream.encode(
        {":message-type": "event", ":event-type": "chunk"}, b'{"bytes":"AQI="}'
    )
    signed = event_stream.encode(
        {":date": datetime(2024, 1, 1, tzinfo=UTC), ":chunk-signature": b"s"}, plain
    )
    path = "/model/m/invoke-with-bidirectional-stream"
    params = protocol.parse(WireRequest("POST", path, "", {}, plain + signed), op)
    assert params["modelId"] == "m"
    assert [event async for event in params["body"]] == [{"chunk": {"bytes": b"\x01\x02"}}] * 2

    params = protocol.parse(WireRequest("POST", path, "", {}, plain[:-3]), op)
    with pytest.raises(AwsError, match="ended within"):
        [event async for event in params["body"]]
