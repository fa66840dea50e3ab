"""Filter patterns of CloudWatch Logs, compiled into tests of messages. Pure.

Source: "Filter pattern syntax for metric filters, subscription filters, filter log events, and Live
Tail" in the CloudWatch Logs user guide.

    ERROR "exact phrase" -not ?any ?of %regex%    terms, in this file
    { $.a.b[0] = "x*" && ($.c > 5) }              JSON, ``json.py``
    [ip, user, status = 4*, ...]                  fields separated by spaces, ``fields.py``

Law of these files: matching takes time linear in the message for any pattern; parsing is bounded by
the pattern's 1,024 characters.
"""

from __future__ import annotations

from collections.abc import Callable

from boda.services.logs.patterns.fields import FieldsPattern
from boda.services.logs.patterns.json import JsonPattern
from boda.services.logs.patterns.regex import BadRegex, Regex
from boda.services.logs.patterns.text import BadPattern, Cursor, wildcard

__all__ = ["BadPattern", "compile_pattern", "wildcard"]

Test = Callable[[str], bool]


def compile_pattern(pattern: str) -> Test | None:
    """Return a test for messages, or None if the pattern matches all. Raises BadPattern."""
    text = pattern.strip()
    if not text:
        return None
    try:
        if text.startswith("{"):
            if not text.endswith("}"):
                raise BadPattern("If a filter pattern starts with '{' it must end with '}'")
            return JsonPattern(text[1:-1]).matches
        if text.startswith("["):
            if not text.endswith("]"):
                raise BadPattern("If a filter pattern starts with '[' it must end with ']'")
            return FieldsPattern(text[1:-1]).matches
        return _terms(text)
    except BadRegex as error:
        raise BadPattern(str(error)) from error


def _terms(text: str) -> Test:
    cursor = Cursor(text)
    wanted: list[Test] = []
    unwanted: list[Test] = []
    any_of: list[Test] = []
    while cursor.skip_spaces():
        prefix = cursor.peek()
        kept = wanted
        if prefix == "?":
            kept = any_of
        elif prefix == "-":
            kept = unwanted
        if kept is not wanted:
            cursor.advance()
        kept.append(_term(cursor))
        if cursor.more() and not cursor.peek().isspace():
            raise BadPattern(f"Invalid character(s) in term '{cursor.peek()}'")
    # AWS ignores optional terms if there are others.
    optional = any_of if not (wanted or unwanted) else []

    def matches(message: str) -> bool:
        return (
            all(test(message) for test in wanted)
            and not any(test(message) for test in unwanted)
            and (not optional or any(test(message) for test in optional))
        )

    return matches


def _term(cursor: Cursor) -> Test:
    character = cursor.peek()
    if character == '"':
        phrase = cursor.quoted()
        return lambda message: phrase in message
    if character == "%":
        return Regex(cursor.regex()).search
    word = cursor.word()
    if not word:
        raise BadPattern(f"Invalid character(s) in term '{character}'")
    return lambda message: word in message
