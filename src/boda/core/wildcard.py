"""Texts with ``*``, ``?`` and ``${variables}``, as in IAM policies.

Law of this file: matching never backtracks. A pattern is cut at its stars into pieces of fixed
length, and the leftmost match of each piece is always the right one, so a hostile pattern such as
``*a*a*a*b`` costs at most its length times the text's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

Resolve = Callable[[str], str | None]


class Wildcard(Enum):
    MANY = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class Variable:
    """``${name}`` or ``${name, 'default'}``."""

    name: str
    default: str | None = None


Token = str | Wildcard | Variable


def tokens(text: str, *, variables: bool, wildcards: bool = True) -> list[Token]:
    """Cut a policy's text into literals, wildcards and variables.

    ``${*}``, ``${?}`` and ``${$}`` are the characters themselves. Without ``variables`` (the
    language's version 2008-10-17) ``${`` is ordinary text.
    """
    found: list[Token] = []
    literal: list[str] = []

    def flush() -> None:
        if literal:
            found.append("".join(literal))
            literal.clear()

    at = 0
    while at < len(text):
        character = text[at]
        if variables and character == "$" and text.startswith("${", at):
            end = text.find("}", at)
            if end > 0:
                inner = text[at + 2 : end]
                at = end + 1
                if inner in ("*", "?", "$"):
                    literal.append(inner)
                else:
                    flush()
                    found.append(_variable(inner))
                continue
        at += 1
        if wildcards and character == "*":
            flush()
            if not found or found[-1] is not Wildcard.MANY:
                found.append(Wildcard.MANY)
        elif wildcards and character == "?":
            flush()
            found.append(Wildcard.ONE)
        else:
            literal.append(character)
    flush()
    return found


def _variable(inner: str) -> Variable:
    name, comma, rest = inner.partition(",")
    rest = rest.strip()
    if comma and len(rest) >= 2 and rest[0] == rest[-1] == "'":
        return Variable(name.strip().lower(), rest[1:-1])
    return Variable(name.strip().lower())


class Pattern:
    """A compiled pattern without variables."""

    __slots__ = ("_exact", "_head", "_middle", "_minimum", "_tail")

    def __init__(self, parts: Sequence[Token], *, ignore_case: bool = False) -> None:
        pieces: list[list[Token]] = [[]]
        for part in parts:
            if part is Wildcard.MANY:
                pieces.append([])
            else:
                pieces[-1].append(part)
        compiled = [_Piece(piece, ignore_case) for piece in pieces]
        self._exact = compiled[0] if len(compiled) == 1 else None
        self._head = compiled[0]
        self._tail = compiled[-1]
        self._middle = tuple(piece for piece in compiled[1:-1] if piece.length)
        self._minimum = sum(piece.length for piece in compiled)

    @classmethod
    def parse(cls, text: str, *, ignore_case: bool = False) -> Pattern:
        return cls(tokens(text, variables=False), ignore_case=ignore_case)

    def matches(self, text: str) -> bool:
        """Return whether the whole text fits. With ``ignore_case`` the text must be lower-case."""
        if self._exact is not None:
            return len(text) == self._exact.length and self._exact.at(text, 0)
        end = len(text) - self._tail.length
        if len(text) < self._minimum or not self._head.at(text, 0):
            return False
        if not self._tail.at(text, end):
            return False
        start = self._head.length
        for piece in self._middle:
            place = piece.find(text, start, end)
            if place < 0:
                return False
            start = place + piece.length
        return start <= end


class _Piece:
    """The literals and question marks between two stars, of a fixed length."""

    __slots__ = ("_expression", "_literal", "length")

    def __init__(self, parts: Sequence[Token], ignore_case: bool) -> None:
        self._expression: re.Pattern[str] | None = None
        self._literal = ""
        texts = [part.lower() if ignore_case else part for part in parts if isinstance(part, str)]
        self.length = sum(map(len, texts)) + sum(1 for part in parts if part is Wildcard.ONE)
        if len(texts) == len(parts):
            self._literal = "".join(texts)
        else:
            source = "".join(
                re.escape(part.lower() if ignore_case else part) if isinstance(part, str) else "."
                for part in parts
            )
            self._expression = re.compile(source, re.DOTALL)

    def at(self, text: str, place: int) -> bool:
        if self._expression is None:
            return text.startswith(self._literal, place)
        return self._expression.match(text, place) is not None

    def find(self, text: str, start: int, end: int) -> int:
        if self._expression is None:
            return text.find(self._literal, start, end)
        match = self._expression.search(text, start, end)
        return match.start() if match else -1


class VariablePattern:
    """A pattern that may have variables; compiled once if it has none."""

    __slots__ = ("_ignore_case", "_pattern", "_tokens")

    def __init__(
        self,
        text: str,
        *,
        variables: bool,
        wildcards: bool = True,
        ignore_case: bool = False,
    ) -> None:
        self._tokens = tokens(text, variables=variables, wildcards=wildcards)
        self._ignore_case = ignore_case
        self._pattern: Pattern | None = None
        if not any(isinstance(part, Variable) for part in self._tokens):
            self._pattern = Pattern(self._tokens, ignore_case=ignore_case)

    def matches(self, text: str, resolve: Resolve) -> bool | None:
        """Return whether a text fits; None if a variable has no value."""
        if self._pattern is not None:
            return self._pattern.matches(text)
        filled = list(self._filled(resolve))
        if None in filled:
            return None
        whole = [part for part in filled if part is not None]
        return Pattern(whole, ignore_case=self._ignore_case).matches(text)

    def _filled(self, resolve: Resolve) -> Iterator[Token | None]:
        for part in self._tokens:
            if isinstance(part, Variable):
                value = resolve(part.name)
                # A value is literal text: a user named "*" does not become a wildcard.
                yield part.default if value is None else value
            else:
                yield part


def split_arn(text: str) -> list[str]:
    """Cut an ARN pattern at its first five colons, not at those inside ``${…}``."""
    parts = [""]
    inside = False
    for place, character in enumerate(text):
        if character == "{" and text[place - 1 : place] == "$":
            inside = True
        elif character == "}":
            inside = False
        if character == ":" and not inside and len(parts) < 6:
            parts.append("")
        else:
            parts[-1] += character
    return parts
