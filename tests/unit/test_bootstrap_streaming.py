"""Handlers that answer piece by piece, on every Python found."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from boda.runtime import frames
from support.bootstrap_guest import PYTHONS, Guest

SOURCE = """
import asyncio, os

def pieces(event, context):
    print("begun")
    for piece in event["pieces"]:
        yield piece
    if event.get("fail"):
        raise ValueError("half-way")

def raw(event, context):
    yield b"a"
    yield bytearray(b"b")
    yield memoryview(b"cd")
    yield "\\u00e9"
    yield b""

def large(event, context):
    yield b"x" * 200_000

async def asynchronous(event, context):
    loop = id(asyncio.get_running_loop())
    for _ in range(2):
        await asyncio.sleep(0)
        yield str(loop)

def returned(event, context):
    return (str(n) for n in range(3))

def surrogate(event, context):
    yield "\\ud800"

def leaves(event, context):
    yield "some"
    os._exit(3)

def forks(event, context):
    yield "one"
    if os.fork() == 0:
        yield "of the child"
        return
    os.wait()
    yield "two"

def closes(event, context):
    try:
        yield 3
    finally:
        print("closed")
"""


@pytest.fixture(params=PYTHONS)
def guest(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Guest]]:
    made = []
    (tmp_path / "app.py").write_text(textwrap.dedent(SOURCE))

    def make(handler: str) -> Guest:
        guest = Guest(request.param, tmp_path, f"app.{handler}")
        made.append(guest)
        assert guest.event() == frames.ReadyFrame()
        return guest

    yield make
    for one in made:
        one.close()


def stream(guest: Guest, payload: object) -> tuple[str, list[bytes], frames.GuestFrame]:
    """Content type, parts, and how it ended."""
    begin = guest.call(payload)
    assert isinstance(begin, frames.StreamFrame), begin
    parts = []
    while isinstance(event := guest.event(), frames.PartFrame):
        assert event.invocation_id == begin.invocation_id
        parts.append(event.data)
    return begin.content_type, parts, event


OCTETS = "application/octet-stream"
HTTP = "application/vnd.awslambda.http-integration-response"


def test_each_piece_is_a_part(guest) -> None:
    runtime = guest("pieces")
    for pieces in (["a", "bc"], ["again"]):
        kind, parts, end = stream(runtime, {"pieces": pieces})
        assert (kind, parts) == (OCTETS, [piece.encode() for piece in pieces])
        assert isinstance(end, frames.EndFrame)
    assert runtime.logged() == ["begun\n", "begun\n"]


def test_nothing_at_all_is_an_empty_answer(guest) -> None:
    kind, parts, end = stream(guest("pieces"), {"pieces": []})
    assert (kind, parts) == (OCTETS, []) and isinstance(end, frames.EndFrame)


def test_a_first_object_is_the_head_of_an_http_answer(guest) -> None:
    head = {"statusCode": 201, "cookies": ["a=b"]}
    kind, parts, _ = stream(guest("pieces"), {"pieces": [head, "body"]})
    assert kind == HTTP
    written, _, rest = b"".join(parts).partition(bytes(8))
    assert (json.loads(written), rest) == (head, b"body")


def test_bytes_of_every_kind(guest) -> None:
    _, parts, _ = stream(guest("raw"), {})
    assert b"".join(parts) == b"abcd\xc3\xa9"


def test_a_large_piece_comes_in_parts_that_fit(guest) -> None:
    _, parts, _ = stream(guest("large"), {})
    assert b"".join(parts) == b"x" * 200_000 and max(map(len, parts)) <= frames.MAX_PART


def test_asynchronous_generators_share_one_loop_over_invocations(guest) -> None:
    runtime = guest("asynchronous")
    loops = {part for _ in range(2) for part in stream(runtime, {})[1]}
    assert len(loops) == 1


def test_a_generator_that_a_handler_returns(guest) -> None:
    assert stream(guest("returned"), {})[1] == [b"0", b"1", b"2"]


def test_an_error_before_the_first_piece_is_the_answer(guest) -> None:
    error = guest("pieces").failure({"pieces": [], "fail": True})
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "half-way")


def test_an_error_half_way_ends_the_stream(guest) -> None:
    runtime = guest("pieces")
    _, parts, end = stream(runtime, {"pieces": ["a"], "fail": True})
    assert parts == [b"a"] and isinstance(end, frames.ErrorFrame)
    error = json.loads(end.body)
    assert (end.error_type, error["errorMessage"]) == ("ValueError", "half-way")
    assert "bootstrap" not in json.dumps(error["stackTrace"])
    assert stream(runtime, {"pieces": ["b"]})[1] == [b"b"], "it goes on serving"


@pytest.mark.parametrize("piece", [3, None, ["a"]])
def test_what_is_no_piece_is_said_so(guest, piece) -> None:
    error = guest("pieces").failure({"pieces": [piece]})
    assert error["errorType"] == "Runtime.MarshalError"
    assert type(piece).__name__ in error["errorMessage"]


def test_an_object_is_a_piece_at_the_beginning_only(guest) -> None:
    _, parts, end = stream(guest("pieces"), {"pieces": ["a", {"b": 1}]})
    assert parts == [b"a"] and isinstance(end, frames.ErrorFrame)
    assert end.error_type == "Runtime.MarshalError"


def test_text_that_is_no_text(guest) -> None:
    assert guest("surrogate").failure({})["errorType"] == "Runtime.MarshalError"


def test_the_end_of_the_process_ends_it_without_a_word(guest) -> None:
    runtime = guest("leaves")
    assert isinstance(runtime.call({}), frames.StreamFrame)
    assert isinstance(runtime.event(), frames.PartFrame)
    with pytest.raises(EOFError):
        runtime.event()
    assert runtime.exit_status() == 3


def test_a_child_that_the_handler_forks_sends_nothing(guest) -> None:
    _, parts, end = stream(guest("forks"), {})
    assert parts == [b"one", b"two"] and isinstance(end, frames.EndFrame)


def test_a_generator_is_closed_when_it_yields_nonsense(guest) -> None:
    runtime = guest("closes")
    assert runtime.failure({})["errorType"] == "Runtime.MarshalError"
    assert "closed\n" in runtime.logged()
