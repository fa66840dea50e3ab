"""Decide as S3 does whether a bucket policy is public. Pure.

A policy is public unless every Allow for everybody is bound to fixed values of a condition on the
caller or its address (Amazon S3 User Guide, "The meaning of public").
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from boda.core.arn import components

_NAMES = {"stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"}
_ADDRESSES = {"ipaddress", "stringequals", "stringlike"}
"""Operators that bind. Not those that a request without the key passes too (``…IfExists``,
``ForAllValues:…``), and not the negated ones."""

_ARNS = {"aws:principalarn", "aws:sourcearn", "s3:dataaccesspointarn"}
_BINDING_KEYS = _ARNS | {
    "aws:principalaccount",
    "aws:principalorgid",
    "aws:sourceaccount",
    "aws:sourceorgid",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "aws:username",
    "s3:dataaccesspointaccount",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
}

_WIDEST = {4: 8, 6: 32}
"""The shortest prefix of an address range that is not public; private ranges never are."""
_MOST = {4: 2**28, 6: 2**100}
"""The most addresses of all ranges of a policy together: sixteen of the widest."""
_PRIVATE = [
    ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_public(document: str | Mapping[str, Any]) -> bool:
    """Return whether a policy is public. document: a valid policy."""
    policy = json.loads(document) if isinstance(document, str) else document
    ranges: list[Network] = []
    for statement in _list(policy.get("Statement")):
        if not _is_for_everybody(statement):
            continue
        condition = statement.get("Condition") or {}
        if _is_bound_by_name(condition):
            continue
        found = _ranges(condition)
        if not found:
            return True
        ranges += found
    return _is_broad(ranges)


def _is_for_everybody(statement: Any) -> bool:
    if not isinstance(statement, Mapping) or statement.get("Effect") != "Allow":
        return False
    if "NotPrincipal" in statement:
        return True
    principal = statement.get("Principal")
    named = principal.get("AWS") if isinstance(principal, Mapping) else principal
    return "*" in _list(named)


def _tests(condition: Mapping[str, Any], operators: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the lower-case keys that these operators test, each with its values."""
    for operator, tests in condition.items():
        if operator.lower().removeprefix("foranyvalue:") in operators:
            for key, values in tests.items():
                yield key.lower(), [str(value) for value in _list(values)]


def _is_bound_by_name(condition: Mapping[str, Any]) -> bool:
    return any(
        key in _BINDING_KEYS and all(_is_fixed(key, value) for value in values)
        for key, values in _tests(condition, _NAMES)
    )


def _is_fixed(key: str, value: str) -> bool:
    if "${" in value:
        return False
    if key in _ARNS:
        # The account must be given, and no wildcard before it that could match a colon. The ARN of
        # a bucket has no account.
        fields = components(value)
        if len(fields) == 6 and fields[4]:
            return not any(_has_wildcard(field) for field in fields[:5])
    return not _has_wildcard(value)


def _has_wildcard(text: str) -> bool:
    return "*" in text or "?" in text


def _ranges(condition: Mapping[str, Any]) -> list[Network]:
    """Return the addresses that a statement is bound to; empty if it is bound to none."""
    for key, values in _tests(condition, _ADDRESSES):
        if key == "aws:sourceip":
            try:
                return [ipaddress.ip_network(value, strict=False) for value in values]
            except ValueError:
                continue  # a pattern of StringLike
    return []


def _is_broad(ranges: Iterable[Network]) -> bool:
    """Return whether one range, or all of them together, covers too much to be a restriction."""
    merged: list[Network] = [
        *ipaddress.collapse_addresses(n for n in ranges if isinstance(n, ipaddress.IPv4Network)),
        *ipaddress.collapse_addresses(n for n in ranges if isinstance(n, ipaddress.IPv6Network)),
    ]
    total = {4: 0, 6: 0}
    for network in merged:
        if isinstance(network, ipaddress.IPv4Network) and any(map(network.subnet_of, _PRIVATE)):
            continue
        total[network.version] += network.num_addresses
        if network.prefixlen < _WIDEST[network.version]:
            return True
    return any(total[version] >= _MOST[version] for version in total)


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
