"""How SNS, Pipes and event source mappings differ from the one pattern language.

Sources: SNS developer guide, "sns-subscription-filter-policies"; Lambda developer guide,
"invocation-eventfiltering" and the pages on each source; messages as recorded.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from boda.events.patterns.grammar import PatternError, compile_pattern
from boda.events.patterns.json_tokens import END, JsonSyntaxError, JsonTokens
from boda.events.patterns.matching import EventPattern

Scope = Literal["MessageAttributes", "MessageBody"]

# Operators that only buses and topics have.
_UNKNOWN_TO_FILTERS = frozenset(("cidr", "exactly", "wildcard"))

_POLICY_KEYS = 5
_POLICY_COMBINATIONS = 150


class PolicyScopeError(PatternError):
    """A filter policy is nested, in a scope without nesting."""


def compile_filter_policy(text: str, scope: Scope) -> EventPattern:
    """Compile a subscription's filter policy.

    Raises PolicyScopeError, with the whole message, if attributes are filtered by a nested
    policy. Raises PatternError, with what SNS says behind ``FilterPolicy: ``, if the policy is no
    JSON, has too many keys or combinations, or is no pattern.
    """
    tokens = JsonTokens(text, shown=False)
    try:
        depth = 0
        while True:
            token = tokens.advance()
            depth += (token in ("{", "[")) - (token in ("}", "]"))
            if depth == 0 or token == END:
                break
    except JsonSyntaxError as error:
        raise PatternError(f"failed to parse JSON. {error}") from None
    policy, _ = json.JSONDecoder().raw_decode(text.lstrip(" \t\r\n") or "null")
    if isinstance(policy, dict):
        if scope == "MessageAttributes" and _is_nested(policy):
            raise PolicyScopeError(
                "Filter policy scope MessageAttributes does not support nested filter policy"
            )
        if len(policy) > _POLICY_KEYS:
            raise PatternError("Filter policy can not have more than 5 keys")
        if _combinations(policy, 1, 1) > _POLICY_COMBINATIONS:
            raise PatternError("Filter policy is too complex")
    return compile_pattern(text)


def _is_nested(policy: Mapping[str, Any]) -> bool:
    return any(isinstance(each, dict) for each in policy.values())


def _combinations(policy: Mapping[str, Any], level: int, before: int) -> int:
    """Return the product of the fields' values, each times its level; ``$or`` adds up."""
    for key, value in policy.items():
        if isinstance(value, dict):
            before = _combinations(value, level + 1, before)
        elif isinstance(value, list):
            branches = [each for each in value if isinstance(each, dict)] if key == "$or" else []
            if len(branches) > 1:
                before = sum(_combinations(each, level, before) for each in branches)
            else:
                before *= max(len(value), 1) * level
        if before > _POLICY_COMBINATIONS:
            break
    return before


def attributes_event(attributes: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return the event that a filter policy on attributes sees, from types and text values.

    Strings, numbers and the elements of ``String.Array`` count; other types are left out. An
    array that is no JSON is left out, too.
    """
    event: dict[str, Any] = {}
    for name, (kind, text) in attributes.items():
        main = kind if kind == "String.Array" else kind.partition(".")[0]
        if main == "String":
            event[name] = text
        elif main in ("Number", "String.Array"):
            value = _parsed(text)
            wanted = list if main == "String.Array" else (int, float)
            if isinstance(value, wanted) and not isinstance(value, bool):
                event[name] = value
    return event


def body_event(body: str | bytes) -> dict[str, Any] | None:
    """Return the event that a filter policy on the body sees. None if the body is no object."""
    value = _parsed(body)
    return value if isinstance(value, dict) else None


@dataclass(frozen=True, slots=True)
class FilteredSource:
    """How a source's records are filtered.

    data: the key whose value may be JSON in a text, None if records are JSON throughout.
    encoded: whether that text is in base64. plain: whether filters may name plain text.
    """

    data: str | None
    encoded: bool = False
    plain: bool = False


# By service. Pipes and event source mappings read the same sources alike.
FILTERED_SOURCES: Mapping[str, FilteredSource] = {
    "sqs": FilteredSource("body", plain=True),
    "kinesis": FilteredSource("data", encoded=True),
    "dynamodb": FilteredSource(None),
    "kafka": FilteredSource("value", encoded=True),
    "mq": FilteredSource("data", encoded=True, plain=True),
    "rds": FilteredSource(None),
}


@dataclass(frozen=True, slots=True)
class _RecordPattern:
    pattern: EventPattern
    data: Literal["json", "plain", "any"]


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """The filters of a mapping or a pipe: a record passes if one of them matches, or none is given.

    A filter whose data is an object sees data that is a JSON object, and no other; one whose data
    is a list of values sees plain text, and no other; one without data sees every record.
    """

    source: FilteredSource
    patterns: tuple[_RecordPattern, ...]

    def passes(self, record: Mapping[str, Any]) -> bool:
        """Return whether a record passes. Its data is as the source delivers it."""
        if not self.patterns:
            return True
        seen, kind = dict(record), "any"
        if self.source.data is not None and self.source.data in record:
            seen[self.source.data], kind = self._data(record[self.source.data])
        return any(
            each.data in ("any", kind) and each.pattern.matches(seen) for each in self.patterns
        )

    def _data(self, value: Any) -> tuple[Any, str]:
        if self.source.encoded and isinstance(value, str):
            try:
                value = base64.b64decode(value, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return value, "plain"
        parsed = _parsed(value) if isinstance(value, str) else value
        return (parsed, "json") if isinstance(parsed, dict) else (value, "plain")


def compile_record_filter(patterns: Iterable[str], source: FilteredSource) -> RecordFilter:
    """Compile the patterns of filter criteria.

    Raises PatternError if one is no pattern, or names plain text of a source that has none.
    """
    made = []
    for text in patterns:
        content = _parsed(text)
        if not isinstance(content, dict):
            raise PatternError("Filter is not an object")
        data = content.get(source.data) if source.data is not None else None
        kind: Literal["json", "plain", "any"] = "any"
        if data is not None:
            kind = "json" if isinstance(data, dict) else "plain"
        if kind == "plain" and not source.plain:
            raise PatternError(f'"{source.data}" must be an object')
        made.append(_RecordPattern(compile_filter(text), kind))
    return RecordFilter(source, tuple(made))


def compile_filter(text: str) -> EventPattern:
    """Compile one pattern of filter criteria. Raises PatternError if it is none."""
    return compile_pattern(text, _UNKNOWN_TO_FILTERS)


def _parsed(text: str | bytes) -> Any:
    """Parse JSON. None if it is malformed."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
