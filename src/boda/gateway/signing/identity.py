"""The gateway's view of callers; the IAM service implements it from memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from boda.core.principal import Principal

if TYPE_CHECKING:
    from boda.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Credential:
    """An access key as SigV4 needs it.

    session_token: must equal ``X-Amz-Security-Token``; empty for long-lived keys.
    expires_at: seconds since the epoch, or None. active: False for a disabled key.
    """

    access_key_id: str
    secret: str
    principal: Principal
    session_token: str = ""
    expires_at: float | None = None
    active: bool = True


@dataclass(frozen=True, slots=True)
class Permissions:
    """The policies that bind a principal, parsed.

    identity: inline and attached policies, groups' included.
    boundary: the permissions boundary, or None. session: session policies of AssumeRole.
    """

    identity: Sequence[Policy] = ()
    boundary: Policy | None = None
    session: Sequence[Policy] = ()


class Directory(Protocol):
    """Callers and their policies, in memory; no method waits."""

    @property
    def generation(self) -> int:
        """Grows whenever any policy, key or role changes, so that cached decisions are dropped."""

    def credential(self, access_key_id: str) -> Credential | None: ...

    def permissions(self, principal: Principal) -> Permissions: ...
