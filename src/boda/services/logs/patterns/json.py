"""Filter patterns for JSON messages: ``$.user.id = "x*" && ($.code > 400 || $.tags[0] IS NULL)``.

Pure. ``&&`` binds tighter than ``||``. A condition on a missing field is false, ``NOT EXISTS``
apart; with wildcards (``$.a[*].b``, ``$.a.*``) it is true if it is for any value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from boda.services.logs.patterns.text import (
    COMPARISONS,
    BadPattern,
    Cursor,
    Value,
    invalid,
    read_value,
)

_MAX_DEPTH = 32
_WILDCARD = object()

Step = str | int | object
Test = Callable[[Any], bool]


class JsonPattern:
    """text: between the braces. Raises BadPattern, BadRegex."""

    def __init__(self, text: str) -> None:
        cursor = Cursor(text)
        if not cursor.skip_spaces():
            self._test: Test = lambda _: True  # ``{}``: any JSON
            return
        self._test = _either(cursor, 0)
        if cursor.skip_spaces():
            raise invalid()

    def matches(self, message: str) -> bool:
        if message.lstrip()[:1] not in ("{", "["):
            return False
        try:
            document = orjson.loads(message)
        except ValueError:
            return False
        return self._test(document)


def _either(cursor: Cursor, depth: int) -> Test:
    tests = [_both(cursor, depth)]
    while cursor.skip_spaces() and cursor.accept("||"):
        tests.append(_both(cursor, depth))
    return tests[0] if len(tests) == 1 else lambda node: any(test(node) for test in tests)


def _both(cursor: Cursor, depth: int) -> Test:
    tests = [_one(cursor, depth)]
    while cursor.skip_spaces() and cursor.accept("&&"):
        tests.append(_one(cursor, depth))
    return tests[0] if len(tests) == 1 else lambda node: all(test(node) for test in tests)


def _one(cursor: Cursor, depth: int) -> Test:
    if not cursor.skip_spaces():
        raise invalid()
    if not cursor.accept("("):
        return _condition(cursor)
    if depth >= _MAX_DEPTH:
        raise BadPattern("The filter pattern is nested too deeply")
    test = _either(cursor, depth + 1)
    if not (cursor.skip_spaces() and cursor.accept(")")):
        raise invalid()
    return test


def _condition(cursor: Cursor) -> Test:
    steps = _selector(cursor)
    cursor.skip_spaces()
    if cursor.keyword("NOT"):
        cursor.skip_spaces()
        if not cursor.keyword("EXISTS"):
            raise invalid()
        return lambda document: next(_nodes(document, steps), _WILDCARD) is _WILDCARD
    if cursor.keyword("IS"):
        cursor.skip_spaces()
        for word, constant in (("NULL", None), ("TRUE", True), ("FALSE", False)):
            if cursor.keyword(word):
                return _any(steps, _is(constant))
        raise invalid()
    for sign, compare in COMPARISONS.items():
        if cursor.accept(sign):
            number = _value(cursor).number
            if number is None:
                raise invalid()
            return _any(steps, _compares(compare, number))
    negated = cursor.accept("!=")
    if not negated and not cursor.accept("="):
        raise invalid()
    value = _value(cursor)
    if negated:
        return _any(steps, lambda node: _is_scalar(node) and not _equals(node, value))
    return _any(steps, lambda node: _equals(node, value))


def _is(constant: bool | None) -> Test:
    return lambda node: node is constant


def _compares(compare: Callable[[float, float], bool], number: float) -> Test:
    return lambda node: _is_number(node) and compare(node, number)


def _value(cursor: Cursor) -> Value:
    cursor.skip_spaces()
    return read_value(cursor, lambda c: not c.isspace() and c not in '()&|=!<>"{},')


def _any(steps: list[Step], test: Test) -> Test:
    return lambda document: any(test(node) for node in _nodes(document, steps))


def _equals(node: Any, value: Value) -> bool:
    if value.anything:
        return node is not None
    if isinstance(node, str):
        # A number does not equal the text that spells it; a word without quotes is a text.
        return value.number is None and value.test(node)
    if value.number is not None:
        return _is_number(node) and bool(node == value.number)
    return _is_scalar(node) and value.test(_spelled(node))


def _is_number(node: Any) -> bool:
    return isinstance(node, int | float) and not isinstance(node, bool)


def _is_scalar(node: Any) -> bool:
    return isinstance(node, str | int | float)


def _spelled(node: bool | float) -> str:
    return str(node).lower() if isinstance(node, bool) else str(node)


def _selector(cursor: Cursor) -> list[Step]:
    if not cursor.accept("$"):
        raise BadPattern(f"Invalid character(s) in term '{cursor.peek()}'")
    steps: list[Step] = []
    while True:
        if cursor.accept("."):
            steps.append(_name(cursor))
        elif cursor.accept("["):
            steps.append(_subscript(cursor))
        else:
            break
    if not steps:
        raise invalid()
    return steps


def _name(cursor: Cursor) -> Step:
    if cursor.accept("*"):
        return _WILDCARD
    name = cursor.take_while(lambda c: c.isalnum() or c in "_-:@#/")
    if not name:
        raise BadPattern(f"Invalid character(s) in term '$.{cursor.peek()}'")
    return name


def _subscript(cursor: Cursor) -> Step:
    step: Step
    if cursor.accept("*"):
        step = _WILDCARD
    elif cursor.peek() == '"':
        step = cursor.quoted()
    elif cursor.peek() == "'":
        cursor.advance()
        step = cursor.take_while(lambda c: c != "'")
        cursor.advance()
    else:
        digits = cursor.take_while(lambda c: "0" <= c <= "9")
        if not 0 < len(digits) <= 9:
            raise invalid()
        step = int(digits)
    if not cursor.accept("]"):
        raise invalid()
    return step


def _nodes(document: Any, steps: list[Step]) -> Iterator[Any]:
    """Yield the values that a selector names. A level at a time: a value is visited once."""
    nodes = [document]
    for step in steps:
        following: list[Any] = []
        for node in nodes:
            if step is _WILDCARD:
                if isinstance(node, list):
                    following.extend(node)
                elif isinstance(node, dict):
                    following.extend(node.values())
            elif isinstance(node, dict):
                if step in node:
                    following.append(node[step])
            elif isinstance(node, list) and isinstance(step, int) and step < len(node):
                following.append(node[step])
        nodes = following
    return iter(nodes)
