"""The Condition block of IAM policies: operators, set operators, missing keys.

Source: IAM User Guide, "IAM JSON policy elements: Condition operators" and "Set operators for
multivalued keys". A key that is absent makes a positive operator false and a negated one true;
``…IfExists`` makes both true.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from boda.core.arn import components
from boda.core.wildcard import Resolve, VariablePattern, split_arn

Values = Sequence[str]
Test = Callable[[str, Resolve], bool]


class Reader:
    """Condition keys of one question; records the keys that were read.

    keys: lower-case names.
    """

    __slots__ = ("_keys", "reads")

    def __init__(self, keys: Mapping[str, str | Sequence[str]]) -> None:
        self._keys = keys
        self.reads: set[str] = set()

    def values(self, key: str) -> Values | None:
        self.reads.add(key)
        found = self._keys.get(key)
        if found is None:
            return None
        return (found,) if isinstance(found, str) else found

    def variable(self, name: str) -> str | None:
        """Return a policy variable's value; None for a key with several values."""
        found = self.values(name)
        return found[0] if found is not None and len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key.

    test: whether a value of the key fits one of the policy's values (the positive sense).
    null: for the Null operator, the answers the policy accepts; else None.
    """

    key: str
    test: Test
    negated: bool = False
    if_exists: bool = False
    quantifier: Literal["", "all", "any"] = ""
    null: frozenset[bool] | None = None

    def holds(self, reader: Reader) -> bool:
        values = reader.values(self.key)
        if self.null is not None:
            return (not values) in self.null
        if self.quantifier == "all":
            return all(self._fits(value, reader) for value in values or ())
        if not values:
            return self.if_exists or (self.negated and self.quantifier != "any")
        if self.quantifier == "any":
            return any(self._fits(value, reader) for value in values)
        return any(self.test(value, reader.variable) for value in values) != self.negated

    def _fits(self, value: str, reader: Reader) -> bool:
        return self.test(value, reader.variable) != self.negated


def parse_conditions(block: Mapping[str, Any], *, variables: bool) -> Iterator[Condition]:
    """Parse the conditions of a statement. Raises ValueError if the block is malformed."""
    for operator, keys in block.items():
        if not isinstance(keys, dict):
            raise ValueError(f"the operator {operator} has no keys")
        for key, value in keys.items():
            yield _condition(operator, key, _texts(value), variables)


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    texts = []
    for item in items:
        if isinstance(item, bool):
            texts.append("true" if item else "false")
        elif isinstance(item, str | int | float):
            texts.append(str(item))
        else:
            raise ValueError("a condition's value is a text, a number or a truth value")
    return texts


def _condition(operator: str, key: str, texts: list[str], variables: bool) -> Condition:
    name = operator.lower()
    quantifier: Literal["", "all", "any"] = ""
    if name.startswith("forallvalues:"):
        quantifier, name = "all", name.removeprefix("forallvalues:")
    elif name.startswith("foranyvalue:"):
        quantifier, name = "any", name.removeprefix("foranyvalue:")
    if name == "null":
        return Condition(
            key.lower(), _never, null=frozenset(_truth(text) == "true" for text in texts)
        )
    if_exists = name.endswith("ifexists")
    name = name.removesuffix("ifexists")
    positive = name.replace("not", "", 1)
    negated = positive != name
    compile_values = _OPERATORS.get(positive)
    if compile_values is None or (negated and positive in _WITHOUT_NEGATION):
        raise ValueError(f"unknown condition operator {operator}")
    return Condition(key.lower(), compile_values(texts, variables), negated, if_exists, quantifier)


def _never(_value: str, _resolve: Resolve) -> bool:
    return False


def _string(*, wildcards: bool, ignore_case: bool) -> Callable[[list[str], bool], Test]:
    def compile_values(texts: list[str], variables: bool) -> Test:
        templates = [
            VariablePattern(text, variables=variables, wildcards=wildcards, ignore_case=ignore_case)
            for text in texts
        ]

        def test(value: str, resolve: Resolve) -> bool:
            seen = value.lower() if ignore_case else value
            return any(template.matches(seen, resolve) for template in templates)

        return test

    return compile_values


def _arn(texts: list[str], variables: bool) -> Test:
    """Return a test that compares ARNs part by part, so that ``*`` stays within its colons."""
    patterns = [
        [VariablePattern(part, variables=variables) for part in split_arn(text)] for text in texts
    ]

    def fits(pattern: list[VariablePattern], value: str, resolve: Resolve) -> bool:
        parts = components(value) if len(pattern) == 6 else [value]
        if len(pattern) not in (1, 6) or len(parts) != len(pattern):
            return False
        pairs = zip(pattern, parts, strict=True)
        return all(template.matches(part, resolve) for template, part in pairs)

    return lambda value, resolve: any(fits(pattern, value, resolve) for pattern in patterns)


def _ordered(
    parse: Callable[[str], float], compare: Callable[[float, float], bool]
) -> Callable[[list[str], bool], Test]:
    def compile_values(texts: list[str], _variables: bool) -> Test:
        bounds = [parse(text) for text in texts]

        def test(value: str, _resolve: Resolve) -> bool:
            try:
                seen = parse(value)
            except ValueError:
                return False
            return any(compare(seen, bound) for bound in bounds)

        return test

    return compile_values


def _number(text: str) -> float:
    value = float(text)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("not a number")
    return value


def _moment(text: str) -> float:
    """Parse an ISO 8601 time or seconds since the epoch."""
    try:
        return _number(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _truth(text: str) -> str:
    lowered = text.lower()
    if lowered not in ("true", "false"):
        raise ValueError("neither true nor false")
    return lowered


def _bool(texts: list[str], _variables: bool) -> Test:
    wanted = frozenset(_truth(text) for text in texts)
    return lambda value, _resolve: value.lower() in wanted


def _binary(texts: list[str], _variables: bool) -> Test:
    wanted = frozenset(_octets(text) for text in texts)

    def test(value: str, _resolve: Resolve) -> bool:
        try:
            return _octets(value) in wanted
        except ValueError:
            return False

    return test


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def _address(texts: list[str], _variables: bool) -> Test:
    networks = [ipaddress.ip_network(text, strict=False) for text in texts]

    def test(value: str, _resolve: Resolve) -> bool:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in networks)

    return test


_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "equals": lambda seen, bound: seen == bound,
    "lessthan": lambda seen, bound: seen < bound,
    "lessthanequals": lambda seen, bound: seen <= bound,
    "greaterthan": lambda seen, bound: seen > bound,
    "greaterthanequals": lambda seen, bound: seen >= bound,
}

_OPERATORS: Mapping[str, Callable[[list[str], bool], Test]] = {
    "stringequals": _string(wildcards=False, ignore_case=False),
    "stringequalsignorecase": _string(wildcards=False, ignore_case=True),
    "stringlike": _string(wildcards=True, ignore_case=False),
    "arnequals": _arn,
    "arnlike": _arn,
    "bool": _bool,
    "binaryequals": _binary,
    "ipaddress": _address,
    **{f"numeric{name}": _ordered(_number, compare) for name, compare in _COMPARISONS.items()},
    **{f"date{name}": _ordered(_moment, compare) for name, compare in _COMPARISONS.items()},
}

_WITHOUT_NEGATION = frozenset(
    ["bool", "binaryequals"]
    + [f"{kind}{name}" for kind in ("numeric", "date") for name in _COMPARISONS if name != "equals"]
)
