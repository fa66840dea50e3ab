"""A JSON parser for large bodies: within bounds, and in steps.

orjson holds the interpreter's lock from a document's first byte to its last, and builds all of it.
This parser runs in a thread, lets other threads run between any two values, stops at the bounds,
and leaves very long strings where they are: a package of 50 MB is never copied as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from boda.core.bounds import Bounds
from boda.core.errors import MalformedInput

_MAX_DEPTH = 128
_WINDOW = 64 * 1024
"""The most bytes of a string that are read in one step."""
_LONG = 1024 * 1024
_LONGEST_TEXT = 7 * 1024 * 1024
"""A log event of 1 MiB whose characters are all escaped takes six times as much."""
_MOST_TEXT = 8 * 1024 * 1024
"""Bytes of all strings together, but for those that are LongText."""
_SPACE = re.compile(rb"[ \t\n\r]{0,65536}")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]{0,400})(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,10})?")
_INNER = re.compile(rb'[^"\\]*(?:\\(?:[^u]|u[0-9a-fA-F]{4})[^"\\]*)*')
"""A window's worth of a string, never ending inside an escape."""
_WORDS = {b"t": (b"true", True), b"f": (b"false", False), b"n": (b"null", None)}


class LongText:
    """A string of more than 1 MiB, still in the document's form."""

    __slots__ = ("_document", "_end", "_start")

    def __init__(self, document: bytes, start: int, end: int) -> None:
        self._document = document
        self._start = start
        self._end = end

    def text(self) -> str:
        """Return the string. Raises MalformedInput if it is no text or too long."""
        if self._end - self._start > _LONGEST_TEXT:
            raise MalformedInput("A string in the request body is too long")
        return _string(self._document[self._start - 1 : self._end + 1])

    def pieces(self) -> Iterator[str]:
        """Return the string's parts, cut between any two bytes: for ASCII texts. Raises
        MalformedInput."""
        at = self._start
        while at < self._end:
            stop = _inner(self._document, at, min(at + _WINDOW, self._end))
            if stop == at:
                raise _invalid()
            yield _string(b'"%b"' % self._document[at:stop])
            at = stop


def parse(
    document: bytes, bounds: Bounds, *, whole_text: bool = False, kept_depth: int = _MAX_DEPTH
) -> Any:
    """Return a document's value; strings longer than 1 MiB are LongText unless ``whole_text``.

    kept_depth: containers nested deeper are read and not kept: millions of them take long to be
    searched for garbage, and to be freed.
    Raises MalformedInput.
    """
    return _JsonParser(document, bounds, whole_text, kept_depth).document()


class _JsonParser:
    def __init__(self, data: bytes, bounds: Bounds, whole_text: bool, kept_depth: int) -> None:
        self._kept_depth = kept_depth
        self._whole_text = whole_text
        self._data = data
        self._at = 0
        self._bounds = bounds
        self._left = bounds.values
        self._text_left = _MOST_TEXT

    def document(self) -> Any:
        first = self._next()
        value = self._value(first, 0)
        if self._next():
            raise _invalid()
        return value

    def _next(self) -> bytes:
        """Return the next byte that is no space; b"" at the end."""
        found = _SPACE.match(self._data, self._at)
        assert found is not None
        self._at = found.end()
        return self._data[self._at : self._at + 1]

    def _value(self, first: bytes, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise self._bounds.exceeded()
        if first == b'"':
            return self._text()
        if first == b"{":
            return self._object(depth + 1)
        if first == b"[":
            return self._list(depth + 1)
        word = _WORDS.get(first)
        if word is None:
            return self._number()
        if not self._data.startswith(word[0], self._at):
            raise _invalid()
        self._at += len(word[0])
        return word[1]

    def _list(self, depth: int) -> list[Any]:
        _check_depth(depth)
        items: list[Any] = []
        self._at += 1
        first = self._next()
        if first == b"]":
            self._at += 1
            return items
        count = 0
        while True:
            value = self._value(first, depth)
            count += 1
            if depth <= self._kept_depth:
                items.append(value)
            if self._ended(b"]", count):
                return items
            first = self._next()

    def _object(self, depth: int) -> dict[str, Any]:
        _check_depth(depth)
        items: dict[str, Any] = {}
        self._at += 1
        first = self._next()
        if first == b"}":
            self._at += 1
            return items
        count = 0
        while True:
            key = self._text() if first == b'"' else None
            if type(key) is not str or self._next() != b":":
                raise _invalid()
            self._at += 1
            value = self._value(self._next(), depth)
            count += 1
            if depth <= self._kept_depth:
                items[key] = value
            if self._ended(b"}", count):
                return items
            first = self._next()

    def _ended(self, closing: bytes, count: int) -> bool:
        """Step over the separator behind a member. Raises MalformedInput for a member too many."""
        if count > self._bounds.members:
            raise self._bounds.exceeded()
        byte = self._next()
        self._at += 1
        if byte != b"," and byte != closing:
            raise _invalid()
        return byte == closing

    def _text(self) -> str | LongText:
        data, start = self._data, self._at + 1
        end = start
        while True:
            stop = _inner(data, end, end + _WINDOW)
            if data[stop : stop + 1] == b'"':
                break
            if stop == end:
                raise _invalid()
            end = stop
        self._at = stop + 1
        if stop - start > _LONG and not self._whole_text:
            return LongText(data, start, stop)
        self._text_left -= stop - start
        if self._text_left < 0:
            raise MalformedInput("The request body has too much text")
        return _string(data[start - 1 : stop + 1])

    def _number(self) -> int | float:
        found = _NUMBER.match(self._data, self._at)
        if found is None:
            raise _invalid()
        self._at = found.end()
        if found[1] is None and found[2] is None:
            return int(found[0])
        return float(found[0])


def _inner(data: bytes, start: int, end: int) -> int:
    found = _INNER.match(data, start, end)
    assert found is not None
    return found.end()


def _string(quoted: bytes) -> str:
    try:
        text: str = orjson.loads(quoted)
    except orjson.JSONDecodeError:
        raise _invalid() from None
    return text


def _check_depth(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise MalformedInput("The request body is nested too deeply")


def _invalid() -> MalformedInput:
    return MalformedInput("The request body is not valid JSON")
