"""The principals that a policy document names. Pure.

Users and roles of the own account are stored by their unique ids, as on AWS: after one of them is
deleted its policy shows the id, and a new one under the old name gets no permission.
Source: IAM User Guide, "AWS JSON policy elements: Principal".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import Any, Protocol, runtime_checkable

from boda.core.arn import Arn, last_name, session_arn

Swap = Callable[[str, str], str]
"""Given a kind (``AWS``, ``Service`` …) and a name, returns the name to replace it with."""

_UNIQUE_ID = re.compile(r"(A(?:ID|RO)A[A-Z0-9]{12,})(?::(.+))?")
_HOST = re.compile(r"([a-z0-9][a-z0-9.-]*)\.(?:amazonaws\.com(?:\.cn)?|amazon\.com)")
_REGION = re.compile(r"\.[a-z]{2,4}(?:-[a-z]+)+-\d+$")


class UnknownPrincipal(ValueError):
    """A policy names a principal that does not exist. kind: ``AWS``, ``Service`` …"""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f'Invalid principal in policy: "{kind.upper()}":"{name}"')
        self.kind = kind
        self.name = name


@runtime_checkable
class Names(Protocol):
    """The users and roles of the own account."""

    @property
    def account(self) -> str: ...

    def unique_id(self, arn: str) -> str | None:
        """Return the unique id of a user or role by its ARN."""

    def role_id(self, name: str) -> str | None:
        """Return the unique id of a role by its name."""

    def arn_of(self, unique_id: str) -> str | None:
        """Return the ARN of a user or role by its unique id."""


def swapped(document: Mapping[str, Any], swap: Swap) -> Mapping[str, Any]:
    """Return the document with other names for its principals; the same object if none changes."""
    statements = document.get("Statement")
    found = statements if isinstance(statements, list) else [statements]
    changed = [_swapped_statement(statement, swap) for statement in found]
    if all(new is old for new, old in zip(changed, found, strict=True)):
        return document
    return {**document, "Statement": changed if isinstance(statements, list) else changed[0]}


def swapped_text(text: str, swap: Swap) -> str:
    """Do the same for a document as JSON."""
    document = json.loads(text)
    changed = swapped(document, swap)
    return text if changed is document else json.dumps(changed, separators=(",", ":"))


def _swapped_statement(statement: Any, swap: Swap) -> Any:
    changed = {}
    for element in ("Principal", "NotPrincipal"):
        named = statement.get(element) if isinstance(statement, Mapping) else None
        if isinstance(named, Mapping):
            new = {kind: _swapped_names(kind, names, swap) for kind, names in named.items()}
            if new != named:
                changed[element] = new
    return {**statement, **changed} if changed else statement


def _swapped_names(kind: str, names: Any, swap: Swap) -> Any:
    if isinstance(names, list):
        return [swap(kind, name) for name in names]
    return swap(kind, names)


def kept(names: Names) -> Swap:
    """Return a swap from the names that callers write to those stored. It raises
    UnknownPrincipal."""

    def swap(kind: str, name: str) -> str:
        if kind == "Service":
            if not is_service(name):
                raise UnknownPrincipal(kind, name)
            return name
        if kind != "AWS":
            return name
        found: str | None = name
        unique = _UNIQUE_ID.fullmatch(name)
        arn = Arn.read(name)
        if arn is not None and arn == Arn(arn.service, "", names.account, arn.resource):
            kind_of, rest = arn.path
            role, _, session = rest.partition("/")
            if arn.service == "sts" and kind_of == "assumed-role" and role and session:
                role_id = names.role_id(role)
                found = f"{role_id}:{session}" if role_id else None
            elif arn.service == "iam" and kind_of in ("user", "role") and rest:
                found = names.unique_id(name)
        elif unique is not None and names.arn_of(unique[1]) is None:
            found = None
        if found is None:
            raise UnknownPrincipal(kind, name)
        return found

    return swap


def shown(names: Names) -> Swap:
    """Return a swap from the stored names to those that callers read."""

    def swap(kind: str, name: str) -> str:
        unique = _UNIQUE_ID.fullmatch(name) if kind == "AWS" else None
        arn = names.arn_of(unique[1]) if unique is not None else None
        if unique is None or arn is None:
            return name
        if unique[2] is None:
            return arn
        return session_arn(names.account, last_name(arn), unique[2])

    return swap


def is_service(host: str) -> bool:
    """Return whether AWS has a service principal of this name, global or of one region."""
    named = _HOST.fullmatch(host)
    if named is None:
        return False
    name = named[1]
    return name in _SERVICES or _REGION.sub("", name) in _SERVICES


def _services() -> Iterator[str]:
    text = files("boda.core").joinpath("service_principals.txt").read_text("ascii")
    for line in text.splitlines():
        if not line.startswith("#"):
            yield from line.split()


_SERVICES = frozenset(_services())
