"""Filter patterns for messages of fields separated by spaces: ``[ip, user, status = 4*, ...]``.
Pure.

A field of the message is a word, or the text between ``"…"`` or ``[…]``. The pattern names one for
each, with conditions on any of them; one ``...`` stands for any number of fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from boda.services.logs.patterns.text import (
    COMPARISONS,
    BadPattern,
    Cursor,
    invalid,
    number_of,
    read_value,
)

_MAX_FIELDS = 4096  # of a message; a pattern of 1,024 characters cannot name further ones
_MAX_DEPTH = 32
_ELLIPSIS = "..."

Test = Callable[[Mapping[str, str]], bool]


class FieldsPattern:
    """text: between the brackets. Raises BadPattern, BadRegex."""

    def __init__(self, text: str) -> None:
        self._names: list[str] = []
        self._tests: list[Test] = []
        cursor = Cursor(text)
        if not cursor.skip_spaces():
            raise invalid()
        while True:
            self._field(cursor)
            if not cursor.skip_spaces():
                break
            if not cursor.accept(","):
                raise invalid()
        if self._names.count(_ELLIPSIS) > 1:
            raise invalid()
        named = [name for name in self._names if name != _ELLIPSIS]
        if len(set(named)) != len(named):
            raise invalid()

    def matches(self, message: str) -> bool:
        fields = split_fields(message)
        if _ELLIPSIS in self._names:
            before = self._names.index(_ELLIPSIS)
            after = len(self._names) - before - 1
            if len(fields) < before + after:
                return False
            names = self._names[:before] + self._names[before + 1 :]
            values = fields[:before] + (fields[-after:] if after else [])
        else:
            if len(fields) != len(self._names):
                return False
            names, values = self._names, fields
        found = dict(zip(names, values, strict=True))
        return all(test(found) for test in self._tests)

    def _field(self, cursor: Cursor) -> None:
        if not cursor.skip_spaces():
            raise invalid()
        if cursor.accept(_ELLIPSIS):
            self._names.append(_ELLIPSIS)
            return
        names: list[str] = []
        test = _either(cursor, names, 0)
        self._names.append(names[0])
        if test is not None:
            self._tests.append(test)


def _either(cursor: Cursor, names: list[str], depth: int) -> Test | None:
    tests = [_both(cursor, names, depth)]
    while cursor.skip_spaces() and cursor.accept("||"):
        tests.append(_both(cursor, names, depth))
    if len(tests) == 1:
        return tests[0]
    some = [test for test in tests if test is not None]
    if len(some) != len(tests):
        raise invalid()
    return lambda fields: any(test(fields) for test in some)


def _both(cursor: Cursor, names: list[str], depth: int) -> Test | None:
    tests = [_one(cursor, names, depth)]
    while cursor.skip_spaces() and cursor.accept("&&"):
        tests.append(_one(cursor, names, depth))
    if len(tests) == 1:
        return tests[0]
    some = [test for test in tests if test is not None]
    if len(some) != len(tests):
        raise invalid()
    return lambda fields: all(test(fields) for test in some)


def _one(cursor: Cursor, names: list[str], depth: int) -> Test | None:
    cursor.skip_spaces()
    if cursor.accept("("):
        if depth >= _MAX_DEPTH:
            raise BadPattern("The filter pattern is nested too deeply")
        test = _either(cursor, names, depth + 1)
        if not (cursor.skip_spaces() and cursor.accept(")")):
            raise invalid()
        return test
    name = cursor.take_while(lambda c: c.isalnum() or c in "_-$.@")
    if not name:
        raise BadPattern(
            f"Invalid character(s) in term '{cursor.peek()}'"
            if cursor.more()
            else "Invalid filter pattern"
        )
    names.append(name)
    cursor.skip_spaces()
    for sign, compare in COMPARISONS.items():
        if cursor.accept(sign):
            cursor.skip_spaces()
            number = read_value(cursor, _is_word).number
            if number is None:
                raise invalid()
            return _compared(name, compare, number)
    negated = cursor.accept("!=")
    if not negated and not cursor.accept("="):
        return None
    cursor.skip_spaces()
    value = read_value(cursor, _is_word)

    def equals(fields: Mapping[str, str]) -> bool:
        field = fields.get(name)
        if field is None:
            return False
        same = value.test(field)
        if not same and value.number is not None:
            same = number_of(field) == value.number
        return same is not negated

    return equals


def _compared(name: str, compare: Callable[[float, float], bool], number: float) -> Test:
    def test(fields: Mapping[str, str]) -> bool:
        found = number_of(fields.get(name, ""))
        return found is not None and compare(found, number)

    return test


def _is_word(character: str) -> bool:
    return not character.isspace() and character not in '()&|=!<>",[]'


def split_fields(message: str) -> list[str]:
    """Split a message into its fields; quotes and brackets delimit one and are not part of it."""
    fields: list[str] = []
    place, end = 0, len(message)
    closed: dict[str, bool] = {'"': True, "]": True}
    while place < end and len(fields) <= _MAX_FIELDS:
        character = message[place]
        if character.isspace():
            place += 1
            continue
        closing = {'"': '"', "[": "]"}.get(character, "")
        if closing and closed[closing]:
            stop = message.find(closing, place + 1)
            if stop >= 0:
                fields.append(message[place + 1 : stop])
                place = stop + 1
                continue
            closed[closing] = False  # there is none further on: do not search again
        start = place
        while place < end and not message[place].isspace():
            place += 1
        fields.append(message[start:place])
    return fields
