"""The entities of IAM: users, groups, roles, policies, keys, sessions. Immutable; a change is a new
object in the place of the old one.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from boda.core.arn import iam_arn
from boda.core.policy import Policy
from boda.core.principal import Kind

Tags = tuple[tuple[str, str], ...]


class Document:
    """A policy document: its text and the parsed policy."""

    __slots__ = ("_policy", "_read", "_text")

    def __init__(self, text: str, policy: Policy) -> None:
        self._text = text
        self._policy: Policy | None = policy
        self._read: Callable[[], str] | None = None

    @classmethod
    def read(cls, text: str) -> Document:
        """Read a row's document, which was valid when it was written."""
        return cls(text, Policy.stored(text))

    @classmethod
    def later(cls, read: Callable[[], str]) -> Document:
        """Return a document whose text is read by ``read`` when it is first needed."""
        document = cls.__new__(cls)
        document._read, document._policy, document._text = read, None, ""
        return document

    @property
    def text(self) -> str:
        if self._read is not None:
            self._text, self._read = self._read(), None
        return self._text

    @property
    def policy(self) -> Policy:
        if self._policy is None:
            self._policy = Policy.parse(self.text)
        return self._policy

    @property
    def size(self) -> int:
        """The number of characters that IAM counts for its limits: all but white space."""
        return len("".join(self.text.split()))


Inline = Mapping[str, Document]


@dataclass(frozen=True, slots=True)
class User:
    account: str
    name: str
    path: str
    unique_id: str
    created_at: float
    boundary: str = ""
    inline: Inline = field(default_factory=dict)
    attached: tuple[str, ...] = ()
    tags: Tags = ()

    kind = "user"

    @property
    def arn(self) -> str:
        return iam_arn(self.account, f"user{self.path}{self.name}")


@dataclass(frozen=True, slots=True)
class Group:
    """members: unique ids of users, so that renaming one changes no group."""

    account: str
    name: str
    path: str
    unique_id: str
    created_at: float
    members: tuple[str, ...] = ()
    inline: Inline = field(default_factory=dict)
    attached: tuple[str, ...] = ()

    kind = "group"

    @property
    def arn(self) -> str:
        return iam_arn(self.account, f"group{self.path}{self.name}")


@dataclass(frozen=True, slots=True)
class Role:
    """max_session_s: seconds, 3600 to 43200."""

    account: str
    name: str
    path: str
    unique_id: str
    created_at: float
    trust_document: Document
    description: str = ""
    max_session_s: int = 3600
    boundary: str = ""
    inline: Inline = field(default_factory=dict)
    attached: tuple[str, ...] = ()
    tags: Tags = ()

    kind = "role"

    @property
    def arn(self) -> str:
        return iam_arn(self.account, f"role{self.path}{self.name}")

    @property
    def trust(self) -> Policy:
        return self.trust_document.policy


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    number: int
    document: Document
    created_at: float

    @property
    def name(self) -> str:
        return f"v{self.number}"


@dataclass(frozen=True, slots=True)
class ManagedPolicy:
    """A managed policy; the account of AWS's own is ``aws``. versions: oldest first."""

    account: str
    name: str
    path: str
    unique_id: str
    created_at: float
    updated_at: float
    versions: tuple[PolicyVersion, ...]
    default_version: str = "v1"
    last_version: int = 1
    description: str = ""
    tags: Tags = ()

    kind = "policy"

    @property
    def arn(self) -> str:
        return iam_arn(self.account, f"policy{self.path}{self.name}")

    @property
    def default(self) -> PolicyVersion:
        return next(found for found in self.versions if found.name == self.default_version)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """owner: a user's unique id, or the account for the root user."""

    account: str
    access_key_id: str
    owner: str
    secret: str
    created_at: float
    active: bool = True


@dataclass(frozen=True, slots=True)
class Session:
    """Short-lived credentials.

    policy_source: the role's or user's ARN. policies, policy_arns: the session policies. tags: the
    session's own, transitive: the keys that the next role's session inherits. function_arn: of a
    function's credentials, which are never written; else "".
    """

    account: str
    access_key_id: str
    secret: str
    token: str
    kind: Kind
    arn: str
    unique_id: str
    policy_source: str
    expires_at: float
    policies: tuple[Document, ...] = ()
    policy_arns: tuple[str, ...] = ()
    tags: Tags = ()
    transitive: tuple[str, ...] = ()
    function_arn: str = ""

    @property
    def issued_at(self) -> int:
        """Seconds since the epoch; for tokens without it, as old as possible."""
        mark, moment = _TOKEN_HEAD.unpack_from(base64.b64decode(self.token))
        return moment if mark == _TOKEN_MARK else 0


_TOKEN_HEAD = struct.Struct(">4sQ")
_TOKEN_MARK = b"bod2"


def session_token(issued_at: int, chance: bytes) -> str:
    """Return a session token that holds the time of issue, in seconds since the epoch."""
    return base64.b64encode(_TOKEN_HEAD.pack(_TOKEN_MARK, issued_at) + chance).decode()


Actor: TypeAlias = User | Group | Role
Entity: TypeAlias = User | Group | Role | ManagedPolicy | AccessKey | Session


def texts(inline: Inline) -> dict[str, str]:
    return {name: document.text for name, document in inline.items()}


def documents(found: Mapping[str, str]) -> dict[str, Document]:
    return {name: Document.read(text) for name, text in found.items()}


def pairs(found: Sequence[Sequence[str]]) -> Tags:
    return tuple((key, value) for key, value, *_ in found)


def to_row(entity: Entity) -> dict[str, Any]:
    """Return the entity as its table's row."""
    row = {name: getattr(entity, name) for name in entity.__dataclass_fields__}
    if isinstance(entity, User | Group | Role):
        row["inline"] = texts(entity.inline)
    if isinstance(entity, Role):
        row["trust"] = row.pop("trust_document").text
    if isinstance(entity, ManagedPolicy):
        row["versions"] = [
            [version.number, version.document.text, version.created_at]
            for version in entity.versions
        ]
    if isinstance(entity, Session):
        del row["function_arn"]
        row["policies"] = [document.text for document in entity.policies]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}


def from_row(kind: type[Entity], found: Mapping[str, Any]) -> Any:
    """Return the entity of a row."""
    row = dict(found)
    for name in ("members", "attached", "policy_arns", "transitive"):
        if name in row:
            row[name] = tuple(row[name])
    if "tags" in row:
        row["tags"] = pairs(row["tags"])
    if "inline" in row:
        row["inline"] = documents(row["inline"])
    if kind is Role:
        row["trust_document"] = Document.read(row.pop("trust"))
    if kind is ManagedPolicy:
        row["versions"] = tuple(
            PolicyVersion(number, Document.read(text), created_at)
            for number, text, created_at, *_ in row["versions"]
        )
    if kind is Session:
        row["policies"] = tuple(Document.read(text) for text in row["policies"])
    return kind(**row)
