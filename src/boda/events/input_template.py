"""Input templates: text with ``<placeholders>`` that are replaced by values of an event.

Where a value stands in the JSON of a template it is written as JSON. Within a quoted string it is
written as text; in a template that is a string as a whole its double quotes are left out, so that
an object reads ``{id:1}``. A missing value is written as nothing. Sources: EventBridge user guide,
"Input transformation", and recorded answers: a result that is not JSON is not delivered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import orjson

from boda.events.json_path import MISSING

_PLACEHOLDER = re.compile(r"<([^<>\s]+)>")
_BLANKS = re.compile(r"[ \t\r\n]*")

Resolve = Callable[[str], Any]
"""Called with a placeholder's name; returns a JSON value, or ``MISSING``."""


class InputTemplate:
    """A template. names: of its placeholders, in order."""

    def __init__(self, text: str) -> None:
        self.names = tuple(_PLACEHOLDER.findall(text))
        self._of_strings = text.lstrip().startswith('"')
        self._pieces: list[tuple[str, str, bool]] = []
        """Text, and the placeholder behind it with whether it stands within quotes."""
        quoted, place = False, 0
        for found in _PLACEHOLDER.finditer(text):
            literal = text[place : found.start()]
            quoted ^= _quotes(literal) % 2 == 1
            self._pieces.append((literal, found[1], quoted))
            place = found.end()
        self._rest = text[place:]

    def fill(self, resolve: Resolve) -> str:
        """Return the text with values. Raises ValueError if it is not JSON."""
        filled = []
        for literal, name, quoted in self._pieces:
            filled.append(literal)
            filled.append(self._written(resolve(name), quoted))
        text = "".join(filled) + self._rest
        _check(text)
        return text

    def _written(self, value: Any, quoted: bool) -> str:
        if value is MISSING:
            return ""
        if not quoted:
            return _json(value)
        if self._of_strings:
            text = value if isinstance(value, str) else _json(value)
            return _escaped(text.replace('"', ""))
        return _escaped(value) if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except (TypeError, ValueError):  # an integer of more than 64 bits, half of a surrogate pair
        return json.dumps(value, separators=(",", ":"))


def _escaped(text: str) -> str:
    return _json(text)[1:-1]


def _quotes(literal: str) -> int:
    """Return the number of quotes that begin or end a string."""
    return len(re.findall(r'(?<!\\)(?:\\\\)*"', literal))


def _check(text: str) -> None:
    """Raise ValueError unless a text is one or several JSON values, with blanks between them."""
    decoder = json.JSONDecoder(parse_constant=_refuse)
    place = _after_blanks(text, 0)
    while True:
        try:
            _, place = decoder.raw_decode(text, place)
        except RecursionError as error:
            raise ValueError("nested too deep") from error
        behind = _after_blanks(text, place)
        if behind == len(text):
            return
        if behind == place:
            raise ValueError(f"no blank at {place}")
        place = behind


def _after_blanks(text: str, place: int) -> int:
    found = _BLANKS.match(text, place)
    assert found is not None
    return found.end()


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
