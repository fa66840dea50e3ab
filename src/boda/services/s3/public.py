"""Whether a bucket policy is public, as S3 decides it. Pure.

A policy is public unless every Allow for everybody is bound to fixed values of a condition that
says who or where (Amazon S3 User Guide, "The meaning of public").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_BINDING_KEYS = {
    "aws:principalorgid",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceip",
    "aws:sourceowner",
    "aws:sourceorgid",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "aws:username",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
}
_BINDING_OPERATORS = ("string", "arn", "ipaddress")


def is_public(document: str | Mapping[str, Any]) -> bool:
    """document: a policy that parses."""
    policy = json.loads(document) if isinstance(document, str) else document
    return any(_opens(statement) for statement in _list(policy.get("Statement")))


def _opens(statement: Any) -> bool:
    if not isinstance(statement, Mapping) or statement.get("Effect") != "Allow":
        return False
    if "NotPrincipal" in statement:
        return True
    principal = statement.get("Principal")
    named = principal.get("AWS") if isinstance(principal, Mapping) else principal
    if "*" not in _list(named):
        return False
    return not _bound(statement.get("Condition") or {})


def _bound(condition: Mapping[str, Any]) -> bool:
    for operator, tests in condition.items():
        name = operator.lower().removeprefix("foranyvalue:").removeprefix("forallvalues:")
        if "not" in name or not name.startswith(_BINDING_OPERATORS):
            continue
        for key, values in tests.items():
            fixed = all(_is_fixed(key.lower(), str(value)) for value in _list(values))
            if key.lower() in _BINDING_KEYS and fixed:
                return True
    return False


def _is_fixed(key: str, value: str) -> bool:
    if key == "aws:sourceip":
        return value not in ("0.0.0.0/0", "::/0")
    if key in ("aws:sourcearn", "aws:principalarn"):
        # The account within the ARN must be given.
        fields = value.split(":")
        return len(fields) > 4 and "*" not in fields[4] and "${" not in value
    return "*" not in value and "?" not in value and "${" not in value


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
