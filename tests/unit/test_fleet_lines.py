"""What a runtime writes, cut into events: the bootstrap's writer against the platform's reader."""

from __future__ import annotations

import os
import struct
import threading

import pytest

from boda.fleet.lines import MAX_EVENT, ConsoleLines, Events, LogFrames
from boda.guest.bootstrap_logs import LineWriter, Sink

NOW_S = 1_800_000_000.0


class Pipe:
    """A writer as functions have it as ``sys.stdout``, and what came of it."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.out = LineWriter(Sink(self.writing), self.writing, "<stdout>")
        self.frames = LogFrames()

    def events(self) -> list[str]:
        events: Events = []
        while True:
            try:
                self.frames.feed(os.read(self.reading, 65536), NOW_S, events)
            except BlockingIOError:
                return [message for _, message in events]

    def ended(self) -> list[str]:
        """What is let go of when an invocation is over."""
        events: Events = []
        self.frames.end_line(events)
        return [message for _, message in events]

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.close()


def test_an_unfinished_line_is_there_when_its_process_is_not(pipe):
    print("no end", end="", file=pipe.out)
    assert pipe.events() == []
    assert pipe.ended() == ["no end"]


def test_a_line_that_is_flushed_on_the_way_stays_one_event(pipe):
    for dot in range(5):
        print(dot, end="", file=pipe.out, flush=True)
    print(" done\nnext", file=pipe.out)
    assert pipe.events() == ["01234 done\n", "next\n"]
    assert pipe.ended() == []


def test_a_flush_makes_no_event_of_nothing(pipe):
    print("whole", file=pipe.out, flush=True)
    pipe.out.flush()
    pipe.out.finish()
    assert pipe.events() == ["whole\n"]
    assert pipe.ended() == []


def test_other_threads_lines_are_not_torn_by_an_unfinished_one(pipe):
    print("mine ", end="", file=pipe.out, flush=True)
    other = threading.Thread(target=lambda: print("theirs", file=pipe.out))
    other.start()
    other.join()
    print("still mine", file=pipe.out)
    assert pipe.events() == ["theirs\n", "mine still mine\n"]


def test_what_is_left_at_the_end_of_an_invocation_joins_its_beginning(pipe):
    print("begun ", end="", file=pipe.out, flush=True)
    pipe.out.write("and left")
    pipe.out.finish()
    assert pipe.events() == ["begun and left"]
    assert pipe.ended() == []


def test_a_line_beyond_the_limit_leaves_no_empty_event_behind(pipe):
    lengths: list[int] = []
    writer = threading.Thread(target=lambda: print("x" * 300_000, file=pipe.out))
    writer.start()
    while writer.is_alive():
        lengths += [len(event) for event in pipe.events()]
    lengths += [len(event) for event in pipe.events()]
    assert lengths == [MAX_EVENT, 300_001 - MAX_EVENT]


def test_a_hostile_beginning_without_end_is_not_held_beyond_one_event(pipe):
    frames, events = LogFrames(), []
    head = struct.pack(">IIQ", 0xA55A0000, MAX_EVENT, 0)
    for _ in range(4):
        frames.feed(head + b"y" * MAX_EVENT, NOW_S, events)
    assert [len(message) for _, message in events] == [MAX_EVENT] * 3
    frames.flush(NOW_S, events)
    assert sum(len(message) for _, message in events) == 4 * MAX_EVENT


def test_console_lines_are_the_same_however_they_come():
    data = (
        b"\n\na\xff\xc3\nz\x00\r\n" + b"\xc3\xa4" * 3 + b"\n\n" + b"x" * (MAX_EVENT + 7) + b"\nend"
    )
    whole: Events = []
    lines = ConsoleLines()
    lines.feed(data, 1, whole)
    lines.flush(1, whole)
    assert [text for _, text in whole[:6]] == [
        "\n",
        "\n",
        "a\ufffd\ufffd\n",
        "z\x00\r\n",
        "äää\n",
        "\n",
    ]
    assert [text for _, text in whole[6:]] == ["x" * MAX_EVENT, "x" * 7 + "\n", "end"]
    parts: Events = []
    lines = ConsoleLines()
    for at in range(0, len(data), 4099):
        lines.feed(data[at : at + 4099], 1, parts)
    lines.flush(1, parts)
    assert parts == whole


def test_a_line_that_grows_by_bytes_is_not_copied_for_each():
    """A record of one byte at a time, up to the longest line, as fast as long ones."""
    frames = LogFrames()
    events: Events = []
    frames.feed(struct.pack(">IIQ", 0xA55A0000, MAX_EVENT, 0) + b"a" * MAX_EVENT, NOW_S, events)
    held = id(frames._begun)
    frames.feed(struct.pack(">IIQ", 0xA55A0000, 1, 0) + b"b", NOW_S, events)
    assert id(frames._begun) == held
    assert [text for _, text in events] == ["a" * MAX_EVENT]
    frames.feed(struct.pack(">IIQ", 0xA55A0001, 1, 0) + b"\n", NOW_S, events)
    assert [text for _, text in events[1:]] == ["b\n"]
