"""The regular expressions of filter patterns (``%…%``), matched in time linear in the text. Pure.

CloudWatch allows no groups, so an expression is a choice of sequences of single-character items
with repetitions. The states reached are bits of one integer, and one character moves them all with
a few operations on it; sets of states are cached with their successors. No pattern makes a text
slow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_PLACES = 2000
_MAX_STATES = 512
_MAX_SUCCESSORS = 512
_SYMBOLS = frozenset("_#=@/;,-:")
_CONTROL = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}


class BadRegex(ValueError):
    """The expression is not one of CloudWatch Logs; the message names the flaw."""


@dataclass(frozen=True, slots=True)
class _Set:
    """Characters: those given (ranges of code points), or all others."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False

    def holds(self, code: int) -> bool:
        return any(low <= code <= high for low, high in self.ranges) is not self.negated


_ANY = _Set(((10, 10),), negated=True)
_DIGIT = ((48, 57),)
_WORD = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE = ((9, 13), (32, 32))
_CLASSES = {
    "d": _Set(_DIGIT),
    "D": _Set(_DIGIT, negated=True),
    "w": _Set(_WORD),
    "W": _Set(_WORD, negated=True),
    "s": _Set(_SPACE),
    "S": _Set(_SPACE, negated=True),
}


@dataclass(frozen=True, slots=True)
class _Item:
    characters: _Set
    optional: bool
    repeats: bool


class Regex:
    """An expression, for ``search(text)``: whether it matches anywhere in the text.

    Raises BadRegex. A ``$`` also matches before a newline that ends the text.
    """

    def __init__(self, expression: str) -> None:
        self._sets: list[_Set | None] = []  # by state; None ends a sequence
        self._final = 0
        self._final_at_end = 0
        self._repeating = 0
        # Runs of optional states, each with the state behind it: all their bits, the lowest, the
        # one behind.
        self._runs = self._run_first = self._run_behind = 0
        anywhere = anchored = 0
        for branch in _parse(expression):
            start = 1 << len(self._sets)
            self._add(branch)
            if branch.at_start:
                anchored |= start
            else:
                anywhere |= start
        self._again = self._reach(anywhere)
        self._before = self._again | self._reach(anchored)
        self._holders: dict[str, int] = {}
        self._steps: dict[int, dict[str, int]] = {}

    def search(self, text: str) -> bool:
        state, final, steps = self._before, self._final, self._steps
        if state & final:
            return True
        at_end = len(text) - text.endswith("\n")
        for place, character in enumerate(text):
            if place == at_end and state & self._final_at_end:
                return True
            successors = steps.get(state)
            if successors is None:
                if len(steps) >= _MAX_STATES:
                    steps.clear()
                successors = steps[state] = {}
            following = successors.get(character)
            if following is None:
                following = self._step(state, character)
                if len(successors) < _MAX_SUCCESSORS:
                    successors[character] = following
            if following & final:
                return True
            state = following
        return bool(state & self._final_at_end)

    def _add(self, branch: _Branch) -> None:
        in_run = False
        for item in branch.items:
            place = 1 << len(self._sets)
            self._sets.append(item.characters)
            if item.repeats:
                self._repeating |= place
            if item.optional or in_run:
                self._runs |= place
            if item.optional and not in_run:
                self._run_first |= place
            if in_run and not item.optional:
                self._run_behind |= place
            in_run = item.optional
        end = 1 << len(self._sets)
        self._sets.append(None)
        if in_run:
            self._runs |= end
            self._run_behind |= end
        if branch.at_end:
            self._final_at_end |= end
        else:
            self._final |= end
        if len(self._sets) > MAX_PLACES:
            raise BadRegex("The expression is too large")

    def _reach(self, state: int) -> int:
        """Add the states that are reached over optional ones without reading.

        In each run, subtracting its lowest bit inverts exactly the bits up to the first that is
        set; those above it are the ones reached.
        """
        marked = (state & self._runs) | self._run_behind
        return state | (self._runs & ~((marked - self._run_first) ^ marked))

    def _step(self, state: int, character: str) -> int:
        if character > "\xff":
            character = "\u0100"  # expressions name no character beyond: all are alike
        holders = self._holders.get(character)
        if holders is None:
            code = ord(character)
            holders = 0
            for place, characters in enumerate(self._sets):
                if characters is not None and characters.holds(code):
                    holders |= 1 << place
            self._holders[character] = holders
        moved = state & holders
        return self._reach((moved << 1) | (moved & self._repeating)) | self._again


@dataclass(slots=True)
class _Branch:
    items: list[_Item]
    at_start: bool = False
    at_end: bool = False


def _parse(expression: str) -> list[_Branch]:
    if not expression:
        raise BadRegex("The expression is empty")
    reader = _RegexReader(expression)
    branches = [_Branch([])]
    while reader.more():
        character = reader.take()
        branch = branches[-1]
        if character == "|":
            branches.append(_Branch([]))
            continue
        if branch.at_end:
            raise BadRegex("'$' must end the expression")
        if character == "^":
            if branch.items or branch.at_start:
                raise BadRegex("'^' must begin the expression")
            branch.at_start = True
        elif character == "$":
            branch.at_end = True
        else:
            branch.items.extend(_repeat(reader.characters(character), *reader.repetition()))
            if len(branch.items) > MAX_PLACES:
                raise BadRegex("The expression is too large")
    if any(not (one.items or one.at_start or one.at_end) for one in branches):
        raise BadRegex("A side of '|' is empty")
    return branches


def _repeat(characters: _Set, low: int, high: int | None) -> list[_Item]:
    needed = _Item(characters, optional=False, repeats=False)
    if high is None:
        endless = _Item(characters, optional=low == 0, repeats=True)
        return [needed] * max(0, low - 1) + [endless]
    return [needed] * low + [_Item(characters, optional=True, repeats=False)] * (high - low)


class _RegexReader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def more(self) -> bool:
        return self._place < len(self._text)

    def take(self) -> str:
        if not self.more():
            raise BadRegex("The expression ends too early")
        character = self._text[self._place]
        self._place += 1
        return character

    def characters(self, character: str) -> _Set:
        """Return the item that begins with this character."""
        if character == ".":
            return _ANY
        if character == "\\":
            return self._escaped()
        if character == "[":
            return self._bracket()
        if character in "*+?{}]":
            raise BadRegex(f"{character!r} has nothing to repeat")
        if not (character.isascii() and (character.isalnum() or character in _SYMBOLS)):
            raise BadRegex(f"Invalid character(s) in regex '{character}'")
        return _one(ord(character))

    def repetition(self) -> tuple[int, int | None]:
        following = self._text[self._place : self._place + 1]
        if following and following in "*+?":
            self._place += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[following]
        if following != "{":
            return 1, 1
        found = re.compile(r"\{(\d{1,4})(,(\d{0,4}))?\}").match(self._text, self._place)
        if found is None:
            raise BadRegex("'{' begins no repetition")
        self._place = found.end()
        low = int(found[1])
        if found[2] is None:
            high: int | None = low
        else:
            high = int(found[3]) if found[3] else None
        if high is not None and (high < low or high == 0):
            raise BadRegex("A repetition's bounds are out of order")
        if max(low, high or 0) > MAX_PLACES:
            raise BadRegex("The expression is too large")
        return low, high

    def _escaped(self) -> _Set:
        character = self.take()
        if character in _CLASSES:
            return _CLASSES[character]
        return _one(self._escaped_code(character))

    def _escaped_code(self, character: str) -> int:
        if character == "x":
            digits = self.take() + self.take()
            if re.fullmatch("[0-9A-Fa-f]{2}", digits) is None:
                raise BadRegex("'\\x' takes two hexadecimal digits")
            return int(digits, 16)
        if character in _CONTROL:
            return ord(_CONTROL[character])
        if not character.isascii() or character.isalnum():
            raise BadRegex(f"'\\{character}' is not an escape")
        return ord(character)

    def _bracket(self) -> _Set:
        negated = self._text[self._place : self._place + 1] == "^"
        if negated:
            self._place += 1
        ranges: list[tuple[int, int]] = []
        while True:
            character = self.take()
            if character == "]":
                break
            if character == "\\":
                escaped = self.take()
                if escaped in _CLASSES:
                    ranges.extend(_positive(_CLASSES[escaped]))
                    continue
                low = self._escaped_code(escaped)
            else:
                low = _plain(character)
            ranges.append((low, self._range_end(low)))
        if not ranges:
            raise BadRegex("'[]' holds nothing")
        return _Set(tuple(ranges), negated)

    def _range_end(self, low: int) -> int:
        following = self._text[self._place : self._place + 2]
        if len(following) < 2 or following[0] != "-" or following[1] == "]":
            return low
        self._place += 1
        character = self.take()
        high = self._escaped_code(self.take()) if character == "\\" else _plain(character)
        if high < low:
            raise BadRegex("A range is out of order")
        return high


def _plain(character: str) -> int:
    if not character.isascii():
        raise BadRegex(f"Invalid character(s) in regex '{character}'")
    return ord(character)


def _one(code: int) -> _Set:
    return _Set(((code, code),))


def _positive(characters: _Set) -> list[tuple[int, int]]:
    """Return the same set as ranges that are not negated, for use between brackets."""
    if not characters.negated:
        return list(characters.ranges)
    ranges = []
    begin = 0
    for low, high in characters.ranges:
        if low > begin:
            ranges.append((begin, low - 1))
        begin = high + 1
    ranges.append((begin, 0x10FFFF))
    return ranges
