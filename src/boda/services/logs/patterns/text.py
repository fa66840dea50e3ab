"""The common parts of the three forms of filter patterns: reading, wildcards, values. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from boda.services.logs.patterns.regex import Regex

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_LONGEST_NUMBER = 64
MAX_REGEXES = 2


class BadPattern(ValueError):
    """The pattern is malformed; the message is the caller's answer."""


def invalid() -> BadPattern:
    return BadPattern("Invalid filter pattern")


class Cursor:
    """A position in a pattern."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._regexes = 0

    def more(self) -> bool:
        return self._place < len(self._text)

    def peek(self) -> str:
        """Return the next character, or "" at the end."""
        return self._text[self._place : self._place + 1]

    def advance(self, count: int = 1) -> None:
        self._place += count

    def starts(self, word: str) -> bool:
        return self._text.startswith(word, self._place)

    def accept(self, word: str) -> bool:
        """Go past this word if it stands here. Return whether it did."""
        if not self.starts(word):
            return False
        self._place += len(word)
        return True

    def skip_spaces(self) -> bool:
        """Go past white space. Return whether there is more."""
        while self._place < len(self._text) and self._text[self._place].isspace():
            self._place += 1
        return self.more()

    def keyword(self, word: str) -> bool:
        """Go past a word of letters, in either case, that ends here. Return whether it did."""
        end = self._place + len(word)
        if self._text[self._place : end].upper() != word:
            return False
        if self._text[end : end + 1].isalnum():
            return False
        self._place = end
        return True

    def take_while(self, accept: Callable[[str], bool]) -> str:
        start = self._place
        while self._place < len(self._text) and accept(self._text[self._place]):
            self._place += 1
        return self._text[start : self._place]

    def word(self) -> str:
        """Read a term that needs no quotes: letters, digits and underscores."""
        return self.take_while(lambda character: character.isalnum() or character == "_")

    def quoted(self) -> str:
        """Read a text in double quotes; a backslash keeps the character behind it as it is."""
        return "".join(character for character, _ in self._quoted())

    def quoted_wildcard(self) -> list[tuple[str, bool]]:
        """Read the same; with each character, whether it may be a wildcard."""
        return self._quoted()

    def regex(self) -> str:
        """Read the text between two ``%``."""
        self._regexes += 1
        if self._regexes > MAX_REGEXES:
            raise BadPattern("A filter pattern can contain at most 2 regular expressions")
        self.advance()
        start = self._place
        while self.more() and self.peek() != "%":
            self.advance(2 if self.peek() == "\\" else 1)
        if not self.more():
            raise invalid()
        self.advance()
        return self._text[start : self._place - 1]

    def _quoted(self) -> list[tuple[str, bool]]:
        self.advance()
        characters: list[tuple[str, bool]] = []
        while self.more():
            character = self.peek()
            self.advance()
            if character == '"':
                return characters
            if character == "\\" and self.more():
                characters.append((self.peek(), False))
                self.advance()
            else:
                characters.append((character, True))
        raise invalid()


@dataclass(frozen=True, slots=True)
class Value:
    """The value that a field is compared with.

    number: if the value was written as one without quotes. test: of a text's equality.
    """

    test: Callable[[str], bool]
    number: float | None = None
    anything: bool = False


def read_value(cursor: Cursor, word: Callable[[str], bool]) -> Value:
    """Read a value: ``"quoted"``, ``%regex%``, a number or a word; the first and last with ``*``.

    word: the characters of a value without quotes.
    """
    if cursor.peek() == '"':
        characters = cursor.quoted_wildcard()
        return Value(wildcard(characters), anything=characters == [("*", True)])
    if cursor.peek() == "%":
        return Value(Regex(cursor.regex()).search)
    text = cursor.take_while(word)
    if not text:
        raise BadPattern(
            f"Invalid character(s) in term '{cursor.peek()}'"
            if cursor.more()
            else "Invalid filter pattern"
        )
    return Value(wildcard([(c, True) for c in text]), number_of(text), text == "*")


def number_of(text: str) -> float | None:
    """Return a text as a number, or None."""
    if len(text) > _LONGEST_NUMBER or _NUMBER.fullmatch(text) is None:
        return None
    return float(text)


def wildcard(characters: list[tuple[str, bool]]) -> Callable[[str], bool]:
    """Return a test of equality in which ``*`` (where it may be a wildcard) stands for any
    characters.

    The parts between wildcards are searched from left to right, each at its first position: that
    suffices without backtracking.
    """
    parts = [""]
    for character, special in characters:
        if character == "*" and special:
            parts.append("")
        else:
            parts[-1] += character
    if len(parts) == 1:
        only = parts[0]
        return lambda text: text == only
    first, *middle, last = parts

    def matches(text: str) -> bool:
        if len(text) < len(first) + len(last):
            return False
        if not (text.startswith(first) and text.endswith(last)):
            return False
        place, end = len(first), len(text) - len(last)
        for part in middle:
            place = text.find(part, place, end)
            if place < 0:
                return False
            place += len(part)
        return True

    return matches


COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": lambda one, other: one >= other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    "<": lambda one, other: one < other,
}
