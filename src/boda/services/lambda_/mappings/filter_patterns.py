"""Whether a filter of an event source mapping is one. Pure.

A pattern is an object whose leaves are arrays of what may match: values, or objects with one
operator. Source: Lambda developer guide, "invocation-eventfiltering".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

_MOST_NUMBER = 5.0e9
_DEEPEST = 100


def is_pattern(text: str) -> bool:
    """Whether the text is a pattern that filters could be made of."""
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(content, dict) and bool(content) and _is_object(content, 0)


def _is_object(content: Mapping[str, Any], depth: int) -> bool:
    return depth < _DEEPEST and all(_is_member(*item, depth) for item in content.items())


def _is_member(name: str, content: Any, depth: int) -> bool:
    if name == "$or":
        return (
            isinstance(content, list)
            and len(content) > 1
            and all(isinstance(each, dict) and _is_object(each, depth + 1) for each in content)
        )
    if isinstance(content, dict):
        return bool(content) and _is_object(content, depth + 1)
    return isinstance(content, list) and bool(content) and all(_is_match(each) for each in content)


def _is_match(content: Any) -> bool:
    if not isinstance(content, dict):
        return not isinstance(content, list)
    if len(content) != 1:
        return False
    ((operator, operand),) = content.items()
    check = _OPERATORS.get(operator)
    return check is not None and check(operand)


def _is_text(operand: Any) -> bool:
    return isinstance(operand, str)


def _is_flag(operand: Any) -> bool:
    return isinstance(operand, bool)


def _is_number(operand: Any) -> bool:
    return (
        isinstance(operand, int | float)
        and not isinstance(operand, bool)
        and abs(operand) <= _MOST_NUMBER
    )


def _is_exclusion(operand: Any) -> bool:
    """A value, a list of values, or an object with one operator on text."""
    if isinstance(operand, list):
        return bool(operand) and all(_is_text(each) or _is_number(each) for each in operand)
    if isinstance(operand, dict):
        return len(operand) == 1 and all(
            name in ("prefix", "suffix", "equals-ignore-case", "wildcard")
            and (_is_text(value) or (isinstance(value, list) and all(map(_is_text, value))))
            for name, value in operand.items()
        )
    return _is_text(operand) or _is_number(operand)


def _is_range(operand: Any) -> bool:
    """``["=", 1]``, ``[">", 1]`` or ``[">=", 1, "<", 5]``, from the lower to the higher."""
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        return False
    if not all(_is_number(each) for each in operand[1::2]):
        return False
    if len(operand) == 2:
        return operand[0] in ("=", "<", "<=", ">", ">=")
    lower, low, upper, high = operand
    return lower in (">", ">=") and upper in ("<", "<=") and low < high


def _is_ending(operand: Any) -> bool:
    """Text, or ``{"equals-ignore-case": text}``."""
    if isinstance(operand, dict):
        return list(operand) == ["equals-ignore-case"] and _is_text(operand["equals-ignore-case"])
    return _is_text(operand)


_OPERATORS: Mapping[str, Callable[[Any], bool]] = {
    "prefix": _is_ending,
    "suffix": _is_ending,
    "equals-ignore-case": _is_text,
    "anything-but": _is_exclusion,
    "numeric": _is_range,
    "exists": _is_flag,
}
