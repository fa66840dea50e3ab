"""The contract for users, roles and sessions; one service implements it, from memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from boda.core.policy import Policy
from boda.core.policy_principals import Names
from boda.core.principal import Principal
from boda.gateway.signing.identity import Credential, Directory

Tags = tuple[tuple[str, str], ...]


class AssumableRole(Protocol):
    """A role. max_session_s: the longest session it allows, in seconds."""

    @property
    def arn(self) -> str: ...
    @property
    def account(self) -> str: ...
    @property
    def unique_id(self) -> str: ...
    @property
    def max_session_s(self) -> int: ...
    @property
    def trust(self) -> Policy: ...
    @property
    def tags(self) -> Tags: ...


class CallerSession(Protocol):
    """The session of a caller. transitive: the keys of its tags that later sessions inherit."""

    @property
    def tags(self) -> Tags: ...
    @property
    def transitive(self) -> tuple[str, ...]: ...


class ServiceRoles(Protocol):
    """Roles as services assume them."""

    def role_trusts(self, role_arn: str, service: str, context: Mapping[str, str]) -> bool:
        """Return whether the role exists and its trust policy allows the service to assume it.

        context: condition keys.
        """

    def role_tags(self, arn: str) -> Mapping[str, str]: ...

    def issue_role_credentials(
        self, role_arn: str, session_name: str, duration_s: float, *, function_arn: str
    ) -> Credential: ...

    def principal_of_role(self, role_arn: str, session_name: str) -> Principal | None: ...


class Sessions(Protocol):
    """Roles, and sessions that survive a restart."""

    @property
    def account(self) -> str: ...

    def role(self, arn: str) -> AssumableRole | None: ...

    def session(self, access_key_id: str) -> CallerSession | None: ...

    def account_of_key(self, access_key_id: str) -> str | None: ...

    def has_policy(self, arn: str) -> bool: ...

    async def open_role_session(
        self,
        role_arn: str,
        session_name: str,
        duration_s: float,
        *,
        policies: Sequence[str] = (),
        policy_arns: Sequence[str] = (),
        tags: Tags = (),
        transitive: Sequence[str] = (),
    ) -> Credential: ...

    async def open_user_session(self, principal: Principal, duration_s: float) -> Credential: ...

    async def open_federated_session(
        self,
        principal: Principal,
        name: str,
        duration_s: float,
        *,
        policies: Sequence[str] = (),
        policy_arns: Sequence[str] = (),
        tags: Tags = (),
    ) -> Credential: ...


class Identities(Directory, Names, ServiceRoles, Sessions, Protocol):
    """All of these contracts, and the root user of the platform's account."""

    async def ensure_root(self) -> Credential:
        """Return the root user's key; make it if there is none."""

    def root_credential(self) -> Credential: ...
