"""The models' regular expressions, which are Java's, matched by Python without ever hanging.

A pattern is translated (ASCII ``\\d`` ``\\w`` ``\\s``, Unicode classes) and compiled. Python's
matcher backtracks, and a few of AWS's patterns nest their loops, where thirty characters are enough
to keep it busy for hours; those run on a machine that follows all alternatives at the same time, in
time proportional to the text. A pattern that neither supports is not checked: a request is refused
only for a pattern that is understood.
"""

from __future__ import annotations

import re
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as sre_parser  # type: ignore[import-not-found]
import warnings
from collections.abc import Callable, Iterable
from typing import Any

# Backtracking over n characters with k loops in a row takes up to n**k steps; beyond so many
# the parallel machine takes over, which is slower by step and is itself bounded.
_BACKTRACK_STEPS = 1_000_000
_PARALLEL_STEPS = 400_000
_MAX_STATES = 4000
_CLASSES = {"d": "0-9", "w": "_a-zA-Z0-9", "s": " \\t-\\r"}
# Character classes; letters and marks are wider than Unicode's, so that no valid text is refused.
_UNICODE = {
    "L": "a-zA-Z\\u00aa-\\U0010ffff",
    "Lu": "A-Z\\u00c0-\\U0010ffff",
    "Ll": "a-z\\u00aa-\\U0010ffff",
    "M": "\\u0300-\\U0010ffff",
    "N": "0-9\\u00b2-\\U0010ffff",
    "Nd": "0-9\\u0660-\\U0010ffff",
    "P": "!-#%-*,-/:;?@\\[-\\]_{}\\u00a1-\\U0010ffff",
    "S": "$+<->^`|~\\u00a2-\\U0010ffff",
    "Z": " \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000",
    "Zs": " \\u00a0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000",
    "C": "\\x00-\\x1f\\x7f-\\x9f\\u00ad\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f",
    "ASCII": "\\x00-\\x7f",
    "Alpha": "a-zA-Z",
    "Alnum": "a-zA-Z0-9",
    "Digit": "0-9",
    "Upper": "A-Z",
    "Lower": "a-z",
    "Punct": "!-/:-@\\[-`{-~",
    "Graph": "!-~",
    "Print": " -~",
    "Space": " \\t-\\r",
    "Blank": " \\t",
    "Cntrl": "\\x00-\\x1f\\x7f",
    "XDigit": "0-9a-fA-F",
}
_UNICODE["IsL"] = _UNICODE["IsAlphabetic"] = _UNICODE["L"]
_TOKEN = re.compile(r"\\[pP]\{\^?(\w+)\}|\\[pP](\w)|\\.|\[\^?|.", re.DOTALL)
_SURROGATES = re.compile(r"\\u[dD]800\\u[dD][cC]00-\\u[dD][bB][fF]{2}\\u[dD][fF]{3}")

Matches = Callable[[str], bool]


def matcher(pattern: str) -> Matches | None:
    """Return a function that tests whether a whole text matches; None if the pattern is not
    supported."""
    try:
        translated = _translate(pattern)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = re.compile(translated)
            tree = sre_parser.parse(translated)
    except (re.error, ValueError, OverflowError, RecursionError):
        return None
    whole = compiled.fullmatch
    loops, nested = _loops(tree, False)
    if loops <= 1 and not nested:
        return lambda text: whole(text) is not None
    if nested:
        return _parallel(tree)

    machine: list[Matches | None] = []

    def matches(text: str) -> bool:
        if len(text) ** loops <= _BACKTRACK_STEPS:
            return whole(text) is not None
        if not machine:
            machine.append(_parallel(tree))
        return machine[0] is None or machine[0](text)

    return matches


def _translate(pattern: str) -> str:
    """Translate Java's notation to Python's. Raises ValueError for a construct that Python
    lacks."""
    pattern = _SURROGATES.sub(r"\\U00010000-\\U0010ffff", pattern)
    out: list[str] = []
    in_class = False
    class_start = 0
    for match in _TOKEN.finditer(pattern):
        part = match[0]
        name = match[1] or match[2]
        if name is not None:
            body = _UNICODE.get(name)
            if body is None:
                raise ValueError(f"no such class: {name}")
            negated = part[1] == "P" or part.startswith("\\p{^")
            if negated and in_class:
                raise ValueError("a negated class within a class")
            out.append(body if in_class else f"[{'^' if negated else ''}{body}]")
        elif len(part) == 2 and part[1] in _CLASSES:
            body = _CLASSES[part[1]]
            out.append(body if in_class else f"[{body}]")
        elif len(part) == 2 and part[1] in "DWS":
            # ASCII's complement; within a class Python's own, which differs beyond ASCII only.
            out.append(part if in_class else f"[^{_CLASSES[part[1].lower()]}]")
        elif part == "\\z":
            out.append("\\Z")
        elif part == "\\Q" or part == "\\E":
            raise ValueError("quoting")
        elif part.startswith("[") and not in_class:
            in_class = True
            class_start = match.end()
            out.append(part)
        elif part.startswith("["):
            out.append("\\[" + ("^" if len(part) == 2 else ""))
        elif part == "]" and in_class and match.start() > class_start:
            in_class = False
            out.append(part)
        elif part == "]" and in_class:
            out.append("\\]")
        else:
            out.append(part)
    return "".join(out)


def _loops(tree: Iterable[Any], inside: bool) -> tuple[int, bool]:
    """Return how many long loops a pattern has, and whether one may match a text in many ways.

    That is so if a loop has another one in it, or a choice: ``(a|aa)+`` has a way for every sum.
    """
    count, nested = 0, False
    for code, value in tree:
        branches: list[Any] = []
        within = inside
        if code in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            nested = nested or (inside and value[0] != value[1])
            if value[1] > 8 and value[0] != value[1]:
                count += 1
                within = True
            branches = [value[2]]
        elif code is sre.SUBPATTERN:
            branches = [value[-1]]
        elif code is sre.BRANCH:
            nested = nested or inside
            branches = value[1]
        elif code in (sre.ASSERT, sre.ASSERT_NOT):
            branches = [value[1]]
        elif code is sre.ATOMIC_GROUP:
            branches = [value]
        for branch in branches:
            more, deeper = _loops(branch, within)
            count += more
            nested = nested or deeper
    return count, nested


def _parallel(tree: Any) -> Matches | None:
    try:
        return _Parallel(tree).matches
    except _UnsupportedPattern:
        return None


class _UnsupportedPattern(Exception):
    """The machine cannot carry out this part of a pattern."""


class _Parallel:
    """A pattern as a machine that is in all its possible states at once (Thompson's)."""

    def __init__(self, tree: Any) -> None:
        # A state is ("char", test, next), ("split", [nexts]), ("start" | "end", next) or match.
        self._states: list[tuple[Any, ...]] = []
        self._first = self._sequence(list(tree), self._state("match"))

    def matches(self, text: str) -> bool:
        if len(text) * len(self._states) > _PARALLEL_STEPS:
            return True
        current = self._closure([self._first], True, not text)
        for at, character in enumerate(text):
            following = [
                state[2]
                for state in map(self._states.__getitem__, current)
                if state[0] == "char" and state[1](character)
            ]
            if not following:
                return False
            current = self._closure(following, False, at + 1 == len(text))
        return any(self._states[one][0] == "match" for one in current)

    def _closure(self, states: list[int], at_start: bool, at_end: bool) -> set[int]:
        seen: set[int] = set()
        waiting = list(states)
        while waiting:
            one = waiting.pop()
            if one in seen:
                continue
            seen.add(one)
            state = self._states[one]
            if state[0] == "split":
                waiting.extend(state[1])
            elif (state[0] == "start" and at_start) or (state[0] == "end" and at_end):
                waiting.append(state[1])
        return seen

    def _state(self, *state: Any) -> int:
        if len(self._states) >= _MAX_STATES:
            raise _UnsupportedPattern
        self._states.append(state)
        return len(self._states) - 1

    def _sequence(self, tree: list[Any], after: int) -> int:
        """Return the state that begins the sequence, built from its end."""
        for code, value in reversed(tree):
            after = self._part(code, value, after)
        return after

    def _part(self, code: Any, value: Any, after: int) -> int:
        if code in (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN):
            return self._state("char", _test(code, value), after)
        if code is sre.SUBPATTERN and not value[1] and not value[2]:
            return self._sequence(list(value[3]), after)
        if code is sre.BRANCH:
            return self._state("split", [self._sequence(list(one), after) for one in value[1]])
        if code in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            return self._repeat(value, after)
        if code is sre.AT and value in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING):
            return self._state("start", after)
        if code is sre.AT and value in (sre.AT_END, sre.AT_END_STRING):
            return self._state("end", after)
        raise _UnsupportedPattern

    def _repeat(self, value: Any, after: int) -> int:
        low, high, body = value
        tree = list(body)
        if high is sre.MAXREPEAT:
            ways = [after]
            entry = self._state("split", ways)
            ways.append(self._sequence(tree, entry))
        else:
            entry = after
            for _ in range(high - low):
                entry = self._state("split", [after, self._sequence(tree, entry)])
        for _ in range(low):
            entry = self._sequence(tree, entry)
        return entry


def _test(code: Any, value: Any) -> Callable[[str], bool]:
    if code is sre.ANY:
        return lambda character: character != "\n"
    if code is sre.LITERAL:
        return chr(value).__eq__
    if code is sre.NOT_LITERAL:
        return chr(value).__ne__
    negated = False
    ranges: list[tuple[str, str]] = []
    for kind, item in value:
        if kind is sre.NEGATE:
            negated = True
        elif kind is sre.LITERAL:
            ranges.append((chr(item), chr(item)))
        elif kind is sre.RANGE:
            ranges.append((chr(item[0]), chr(item[1])))
        else:
            raise _UnsupportedPattern
    return lambda character: negated != any(low <= character <= high for low, high in ranges)
