"""Resource policies: statements of permissions that are stored with a resource. Pure.

A service keeps the statements in the order of their addition; limits and words are its own, given
as data. policy.py evaluates statements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from boda.core.arn import Arn, root_arn
from boda.core.errors import AwsError
from boda.core.policy import Policy

Statement = Mapping[str, Any]

VERSION = "2012-10-17"
_HEAD = {"Version": VERSION, "Id": "default"}
_ACCOUNT = re.compile(r"\d{12}")
_SERVICE = re.compile(r"[a-z0-9][a-z0-9.-]*\.(amazonaws\.com(\.cn)?|amazon\.com)")


@dataclass(frozen=True, slots=True)
class StatementRules:
    """How the statements of a policy are added and removed by their ids.

    limit_bytes: of the policy as text. The errors: too_large, called with the size that the policy
    would have and the limit; absent, for an id that no statement has; exists, for an id that is
    there already, or None if the new statement replaces the old one.
    """

    limit_bytes: int
    too_large: Callable[[int, int], AwsError]
    absent: Callable[[str], AwsError]
    exists: Callable[[str], AwsError] | None = None

    def add(self, statements: Iterable[Statement], new: Statement) -> list[Statement]:
        """Return the statements with a new one. Raises AwsError."""
        present = list(statements)
        rest = without(present, new["Sid"])
        if self.exists is not None and len(rest) < len(present):
            raise self.exists(new["Sid"])
        changed = [*rest, new]
        self.check_size(text(changed))
        return changed

    def remove(self, statements: Iterable[Statement], sid: str) -> list[Statement]:
        """Return the statements without the one of an id. Raises AwsError."""
        present = list(statements)
        rest = without(present, sid)
        if len(rest) == len(present):
            raise self.absent(sid)
        return rest

    def check_size(self, policy: str) -> None:
        """Raise AwsError if a policy is too long."""
        size = size_of(policy)
        if size > self.limit_bytes:
            raise self.too_large(size, self.limit_bytes)


def grant(
    sid: str,
    principal: Any,
    action: str,
    resource: str,
    conditions: Mapping[str, Mapping[str, str | None]] | None = None,
) -> dict[str, Any]:
    """Return a statement with Effect Allow, its members in the order in which AWS writes them.

    principal: as it stands in a statement (``named_principal``). conditions: values by operator and
    key; those that are None are left out.
    """
    statement = {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": principal,
        "Action": action,
        "Resource": resource,
    }
    given = {
        operator: {key: value for key, value in keys.items() if value is not None}
        for operator, keys in (conditions or {}).items()
    }
    kept = {operator: keys for operator, keys in given.items() if keys}
    return {**statement, "Condition": kept} if kept else statement


def named_principal(name: str) -> Any:
    """Return a principal as it stands in a statement. None if the name is no principal's.

    name: ``*``, an account's number, the ARN of an account, a user, a role or a session, or a
    service's host name.
    """
    if name == "*":
        return "*"
    if _ACCOUNT.fullmatch(name):
        return {"AWS": root_arn(name)}
    if _SERVICE.fullmatch(name):
        return {"Service": name}
    arn = Arn.read(name)
    if arn is not None and arn.service in ("iam", "sts") and _ACCOUNT.fullmatch(arn.account):
        return {"AWS": name}
    return None


def find(statements: Iterable[Statement], sid: str) -> Statement | None:
    """Return the statement that has an id."""
    return next((each for each in statements if each.get("Sid") == sid), None)


def without(statements: Iterable[Statement], sid: str) -> list[Statement]:
    """Return the statements that do not have an id."""
    return [each for each in statements if each.get("Sid") != sid]


def document(
    statements: Sequence[Statement], head: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the policy document of some statements.

    head: Version and Id of a policy that was put as a whole; by default those that AWS gives.
    """
    return {**(_HEAD if head is None else head), "Statement": list(statements)}


def text(statements: Sequence[Statement], head: Mapping[str, str] | None = None) -> str:
    """Return the same document as JSON."""
    return orjson.dumps(document(statements, head)).decode()


def parsed(statements: Sequence[Statement]) -> Policy | None:
    """Return the policy of some statements, None if there are none. Raises MalformedPolicy."""
    return Policy.parse(document(statements)) if statements else None


def stored(statements: Sequence[Statement]) -> Policy | None:
    """Return the same for statements that a row holds; see ``Policy.stored``."""
    return Policy.stored(document(statements)) if statements else None


def read(policy: str) -> Any:
    """Return the content of a policy that was put as a whole. None if the text is no JSON."""
    try:
        return orjson.loads(policy)
    except orjson.JSONDecodeError:
        return None


def statements_of(content: Mapping[str, Any]) -> list[Any]:
    """Return the statements of a document with a list of them or a single one."""
    found = content.get("Statement", [])
    return found if isinstance(found, list) else [found]


def size_of(policy: str) -> int:
    """Return the length of a policy in bytes."""
    return len(policy.encode("utf-8", "surrogatepass"))
