"""The framing, the state table and traces: pure."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boda.runtime import frames, trace
from boda.runtime.frames import FrameError, FrameReader, Invocation
from boda.runtime.state import MOVES, Conversation, ProtocolViolation

ID = b"12345678"


def frame(kind: int, body: bytes = b"") -> bytes:
    return struct.pack(">IB", len(body) + 1, kind) + body


def error(kind: str, body: bytes, prefix: bytes = ID) -> bytes:
    return prefix + struct.pack(">H", len(kind)) + kind.encode() + body


GOOD = [
    (frame(2), frames.ReadyFrame()),
    (frame(3, ID + b"{}"), frames.ResponseFrame(ID, b"{}")),
    (frame(3, ID), frames.ResponseFrame(ID, b"")),
    (frame(4, error("E", b"{}")), frames.ErrorFrame(ID, "E", b"{}")),
    (frame(5, error("Init", b"x", b"")), frames.InitErrorFrame("Init", b"x")),
    (frame(3, ID + b"y" * 3000), frames.ResponseFrame(ID, b"y" * 3000)),
]


@given(st.lists(st.sampled_from(GOOD), max_size=6), st.integers(1, 4000))
@settings(deadline=None)
def test_frames_are_found_however_they_are_cut(chosen, size):
    stream = b"".join(data for data, _ in chosen)
    reader = FrameReader()
    events = []
    for start in range(0, len(stream), size):
        events += reader.feed(stream[start : start + size])
    assert events == [event for _, event in chosen]


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_whatever_comes_is_an_event_or_a_frame_error(data):
    reader = FrameReader()
    try:
        reader.feed(data)
    except FrameError:
        return
    assert len(reader._buffer) <= 300


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x00\x03" + bytes(8),
        frame(1, ID + bytes(4)),
        frame(9, b"x" * 20),
        frame(2, b"x" * 20),
        frame(3, b"short") + bytes(8),
        frame(4, ID + b"\x7f\xff"),
        frame(5, struct.pack(">H", 600) + b"x" * 600),
        struct.pack(">IB", 2**32 - 1, 5) + bytes(8),
        struct.pack(">IB", 2**31, 2) + bytes(8),
    ],
)
def test_nonsense_is_refused(data):
    with pytest.raises(FrameError):
        FrameReader().feed(data)


def test_what_is_too_large_is_skipped_and_never_held():
    reader = FrameReader()
    length = 40 << 20
    stream = struct.pack(">IB", length, 3) + ID
    assert reader.feed(stream) == []
    left = length - 9
    while left > 1 << 20:
        assert reader.feed(bytes(1 << 20)) == []
        assert len(reader._buffer) == 0
        left -= 1 << 20
    assert reader.feed(bytes(left) + frame(2)) == [frames.OversizedFrame(ID), frames.ReadyFrame()]


def test_the_largest_answer_passes():
    body = ID + bytes(frames.MAX_PAYLOAD)
    assert FrameReader().feed(frame(3, body)) == [frames.ResponseFrame(ID, body[8:])]
    assert FrameReader().feed(frame(3, body + b"x")) == [frames.OversizedFrame(ID)]


def test_an_invocation_as_a_frame():
    data = frames.encode_invoke(Invocation(ID, "r", 5, "arn", b"payload", client_context="{}"))
    length, kind = struct.unpack_from(">IB", data)
    assert (length + 4, kind) == (len(data), frames.INVOKE)
    assert data[5:13] == ID and data.endswith(b"payload")


def test_the_conversation_refuses_what_the_table_does_not_have():
    events = {event for _, event in MOVES}
    states = {state for state, _ in MOVES} | {"failed"}
    for state in states:
        for event in events:
            conversation = Conversation()
            conversation.state = state
            if (state, event) in MOVES:
                conversation.move(event)
                assert conversation.state == MOVES[state, event]
            else:
                with pytest.raises(ProtocolViolation):
                    conversation.move(event)
                assert conversation.state == state


def test_lineage_grows_hop_by_hop():
    chance = "ab".ljust
    header, seen = "", []
    for _ in range(20):
        header, hops = trace.next_hop(header, "arn:f", 1_700_000_000, lambda n: chance(n, "c"))
        seen.append(hops)
    assert seen == list(range(20))
    assert header.startswith("Root=1-6553f100-abccc") and ";Sampled=0;Lineage=20:" in header
    assert trace.parse(header).hops == 20
    assert seen.index(trace.MAX_HOPS) == 16  # the seventeenth invocation


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_trace_header_gives_a_clean_one(text):
    header, hops = trace.next_hop(text, "arn:f", 0, lambda n: "0" * n)
    assert hops >= 0 and header.isascii() and "\n" not in header
    assert trace.parse(header).hops == hops + 1


def test_a_trace_keeps_its_root_and_sampling():
    header, hops = trace.next_hop(
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;"
        "Lineage=3:aaaaaaaa:0|7:bbbbbbbb:1",
        "arn:f", 0, lambda n: "f" * n,
    )  # fmt: skip
    assert hops == 7
    assert header.startswith(
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=ffffffffffffffff;Sampled=1;Lineage=8:"
    )


PARTS = [
    (frame(6, ID + b"text/plain"), frames.StreamFrame(ID, "text/plain")),
    (frame(6, ID), frames.StreamFrame(ID, "")),
    (frame(7, ID + b"x" * frames.MAX_PART), frames.PartFrame(ID, b"x" * frames.MAX_PART)),
    (frame(7, ID), frames.PartFrame(ID, b"")),
    (frame(8, ID), frames.EndFrame(ID)),
]


@given(st.lists(st.sampled_from(PARTS), max_size=4), st.integers(1, 70_000))
@settings(deadline=None, max_examples=30)
def test_frames_of_streams_are_found_however_they_are_cut(chosen, size):
    stream = b"".join(data for data, _ in chosen)
    reader = FrameReader()
    events = []
    for start in range(0, len(stream), size):
        events += reader.feed(stream[start : start + size])
    assert events == [event for _, event in chosen]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (6, ID + b"t" * (frames.MAX_CONTENT_TYPE + 1)),
        (7, ID + b"x" * (frames.MAX_PART + 1)),
        (8, ID + b"x"),
        (6, b"short"),
        (7, b""),
    ],
)
@pytest.mark.parametrize("size", [7, 1 << 20])
def test_frames_of_streams_are_bounded(kind, body, size):
    data = frame(kind, body) + bytes(8)
    reader = FrameReader()
    with pytest.raises(FrameError):
        for start in range(0, len(data), size):
            reader.feed(data[start : start + size])
    assert len(reader._buffer) <= frames.MAX_PART


def test_a_streamed_answer_is_begun_once_and_ended_once():
    talk = Conversation()
    for event in ("next", "invoke", "stream", "part", "part", "end"):
        talk.move(event)
    for event in ("part", "end", "error", "stream", "response"):
        with pytest.raises(ProtocolViolation):
            talk.move(event)
    for event in ("next", "invoke"):
        talk.move(event)
    for event in ("part", "end"):
        with pytest.raises(ProtocolViolation):
            talk.move(event)
    talk.move("stream")
    for event in ("stream", "response", "next", "invoke"):
        with pytest.raises(ProtocolViolation):
            talk.move(event)
    talk.move("error")
    assert talk.state == "answered"


def test_a_template_says_that_its_image_is_complete():
    reader = FrameReader()
    assert reader.feed(b"\0\0\0\1\x09") == [frames.SnapshottedFrame()]
    assert reader.feed(b"\0\0\0") + reader.feed(b"\1\x09") == [frames.SnapshottedFrame()]
    for wrong in (b"\0\0\0\2\x09x", b"\0\0\0\2\x09"):
        with pytest.raises(FrameError):
            FrameReader().feed(wrong + b"more" * 4)
