"""The permissions that a call needs, and the condition keys for the policies that decide them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boda.core.policy import Policy

ConditionKeys = Mapping[str, str | Sequence[str]]


@dataclass(slots=True, eq=False)
class LateKeys:
    """prefixes: of these condition keys' names, lower-case. read: returns all of them; it may raise
    ParameterInBody as long as the body has not been read."""

    prefixes: tuple[str, ...]
    read: Callable[[], Awaitable[ConditionKeys]]

    @classmethod
    def of(cls, prefixes: tuple[str, ...], make: Callable[[], ConditionKeys]) -> LateKeys:
        """Make late keys that need no waiting. make: as ``read``, without a coroutine."""

        async def read() -> ConditionKeys:
            return make()

        return cls(prefixes, read)

    def has(self, key: str) -> bool:
        return key.startswith(self.prefixes)


class UndecidedNeed(Exception):
    """The decision about a need depends on one of its late keys. See ``authorise``."""


@dataclass(frozen=True, slots=True)
class Need:
    """One permission that a call needs, checked by the gateway before the operation runs.

    action: ``lambda:InvokeFunction``. resource: an ARN or ``*``.
    policy: the resource's own policy, if it has one.
    context: condition keys beyond the global ones (``aws:SourceIp``, ``aws:PrincipalArn`` …).
    account: the account that owns the resource; the caller's if empty.
    also: a second action on the same resource that must be allowed as well.
    late: condition keys that take a read of rows, or the request's body; read if a policy depends
    on one of them.
    """

    action: str
    resource: str = "*"
    policy: Policy | None = None
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    account: str = ""
    also: str = ""
    late: LateKeys | None = None


async def authorise(check: Callable[[Need], None], need: Need) -> None:
    """Check a need that may have late keys. Raises AwsError AccessDenied(Exception)."""
    try:
        check(need)
    except UndecidedNeed:
        assert need.late is not None
        context = {**need.context, **await need.late.read()}
        check(replace(need, context=context, late=None))
