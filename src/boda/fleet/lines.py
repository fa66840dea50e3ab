"""Cuts the bytes of a sandbox's pipes into log events. Pure.

Law: a sandbox's bytes are never lost and never held beyond one event's size; bytes that are no
frame are treated as text.
"""

from __future__ import annotations

import struct

MAX_EVENT = 262_144
"""Bytes of the longest line or record that is one event."""

_HEAD = struct.Struct(">IIQ")
_FRAME_KIND = 0xA55A00
_PART, _REST = 0xA55A0000, 0xA55A0001
"""Kinds of the first-party bootstrap: the first part of a line without its end, and the rest."""

_EARLIEST_S = 1000.0
_LATEST_S = 1.0

Events = list[tuple[int, str]]


class ConsoleLines:
    """Cuts the console's bytes into events, one per line, with the line's end."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    @property
    def begun(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._rest)

    def feed(self, data: bytes, now_ms: int, events: Events) -> None:
        if self._rest:
            data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        if end <= MAX_EVENT:
            # All at once: there may be as many empty lines as bytes.
            lines = data[:end].decode("utf-8", "replace").split("\n")
            lines.pop()
            events += [(now_ms, line + "\n") for line in lines]
        else:
            for each in data[: end - 1].split(b"\n"):
                _append(each + b"\n", now_ms, events)
        while len(self._rest) >= MAX_EVENT:
            events.append((now_ms, self._rest[:MAX_EVENT].decode("utf-8", "replace")))
            self._rest = self._rest[MAX_EVENT:]

    def skip(self, data: bytes) -> int:
        """Skip lines, and return how many ended. A line that has begun and not ended is kept."""
        end = data.rfind(b"\n") + 1
        self._rest = data[end:] if end else (self._rest + data)[-MAX_EVENT:]
        return data.count(b"\n")

    def flush(self, now_ms: int, events: Events) -> None:
        """Make an event of a line without an end, since no more bytes come."""
        if self._rest:
            _append(self._rest, now_ms, events)
            self._rest = b""


class LogFrames:
    """Makes events of a runtime client's frames (``u32 kind, u32 length, u64 microseconds``)."""

    __slots__ = ("_begun", "_begun_at", "_broken", "_buffer", "_kind", "_left", "_stamp")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._kind = 0
        self._left = 0
        self._stamp = 0
        self._begun = bytearray()
        self._begun_at = 0
        self._broken: ConsoleLines | None = None

    @property
    def begun(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._begun)

    def feed(self, data: bytes, now_s: float, events: Events) -> None:
        if self._broken is not None:
            self._broken.feed(data, int(now_s * 1000), events)
            return
        buffer = self._buffer
        buffer += data
        at = 0
        have = len(buffer)
        now_ms = int(now_s * 1000)
        while True:
            if self._left:
                # A record beyond the limit is passed on in pieces.
                take = min(self._left, MAX_EVENT)
                if have - at < take:
                    break
                if self._kind in (_PART, _REST):
                    self._join(bytes(buffer[at : at + take]), events)
                else:
                    text = buffer[at : at + take].decode("utf-8", "replace")
                    events.append((self._stamp, text))
                at += take
                self._left -= take
                continue
            if have - at < _HEAD.size:
                break
            kind, length, micros = _HEAD.unpack_from(buffer, at)
            if kind >> 8 != _FRAME_KIND:
                self._broken = ConsoleLines()
                self._broken.feed(bytes(buffer[at:]), now_ms, events)
                buffer.clear()
                return
            at += _HEAD.size
            self._kind = kind
            self._left = length
            seconds = micros / 1e6
            honest = now_s - _EARLIEST_S <= seconds <= now_s + _LATEST_S
            self._stamp = micros // 1000 if honest else now_ms
        del buffer[:at]

    def _join(self, data: bytes, events: Events) -> None:
        if not self._begun:
            self._begun_at = self._stamp
        self._begun += data
        while len(self._begun) > MAX_EVENT:
            events.append((self._begun_at, self._begun[:MAX_EVENT].decode("utf-8", "replace")))
            del self._begun[:MAX_EVENT]
        if self._kind == _REST:
            self.end_line(events)

    def end_line(self, events: Events) -> None:
        """Make an event of a line that has begun, without waiting for its end."""
        if self._begun:
            events.append((self._begun_at, self._begun.decode("utf-8", "replace")))
            self._begun.clear()

    def flush(self, now_s: float, events: Events) -> None:
        """Make events of the bytes that are left, since no more come."""
        self.end_line(events)
        now_ms = int(now_s * 1000)
        if self._broken is not None:
            self._broken.flush(now_ms, events)
        elif self._buffer:
            _append(bytes(self._buffer), now_ms, events)
            self._buffer.clear()
        self._left = 0


def _append(line: bytes, now_ms: int, events: Events) -> None:
    if len(line) <= MAX_EVENT:
        events.append((now_ms, line.decode("utf-8", "replace")))
        return
    for start in range(0, len(line), MAX_EVENT):
        events.append((now_ms, line[start : start + MAX_EVENT].decode("utf-8", "replace")))
