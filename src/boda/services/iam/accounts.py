"""Identity of several accounts: the platform's own, and those that callers name in open mode.

Each account has a store, a directory and operations of its own. Those beside the platform's own are
made at the first call in their name, which is impossible if signatures are verified: there every
key belongs to the platform's account.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from boda.core.arn import Arn
from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.core.principal import Principal
from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Context
from boda.gateway.calling.service import Operation
from boda.gateway.signing.identity import Credential, Permissions
from boda.services.iam.entities import Role, Session
from boda.services.iam.identity import Identity
from boda.services.iam.store import IamStore

T = TypeVar("T")

MOST = 1000
"""Accounts beside the platform's own: in open mode any caller can name them."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account: its directory, and the operations on it by name."""

    identity: Identity
    operations: Mapping[str, Operation]


class Accounts(Identity):
    """The directory of the platform's own account and of all others.

    make: makes a further account, empty.
    """

    def __init__(
        self, store: IamStore, clock: Clock, ids: Ids, make: Callable[[str], Account]
    ) -> None:
        super().__init__(store, clock, ids)
        self._make = make
        self._others: dict[str, Account] = {}

    def named(self, account: str) -> Account | None:
        """Return the account of a caller, made if it does not exist; None for the platform's own.
        Raises AwsError."""
        if account == self.account:
            return None
        found = self._others.get(account)
        if found is None:
            if len(self._others) >= MOST:
                raise AwsError("LimitExceeded", f"boda keeps no more than {MOST} accounts.", 409)
            found = self._others[account] = self._make(account)
        return found

    @property
    def generation(self) -> int:
        own = self._store.generation
        if not self._others:  # read with every request
            return own
        return own + sum(1 + other.identity.generation for other in self._others.values())

    async def load(self) -> None:
        await super().load()
        for account in await self._store.accounts():
            other = self.named(account)
            if other is not None:
                await other.identity.load()

    # The directory, by whose key or role it is

    def credential(self, access_key_id: str) -> Credential | None:
        found = super().credential(access_key_id)
        if found is not None or not self._others:
            return found
        return _first(other.credential(access_key_id) for other in self._identities())

    def permissions(self, principal: Principal) -> Permissions:
        other = self._of(principal.account)
        return super().permissions(principal) if other is None else other.permissions(principal)

    def unique_id(self, arn: str) -> str | None:
        other = self._of_arn(arn)
        return super().unique_id(arn) if other is None else other.unique_id(arn)

    def arn_of(self, unique_id: str) -> str | None:
        found = super().arn_of(unique_id)
        return found or _first(other.arn_of(unique_id) for other in self._identities())

    def role(self, arn: str) -> Role | None:
        other = self._of_arn(arn)
        return super().role(arn) if other is None else other.role(arn)

    def role_trusts(
        self, role_arn: str, service: str, context: Mapping[str, str] | None = None
    ) -> bool:
        other = self._of_arn(role_arn)
        trusts = super().role_trusts if other is None else other.role_trusts
        return trusts(role_arn, service, context)

    def issue_role_credentials(
        self, role_arn: str, session_name: str, duration_s: float, *, function_arn: str = ""
    ) -> Credential:
        other = self._of_arn(role_arn)
        issue = super().issue_role_credentials if other is None else other.issue_role_credentials
        return issue(role_arn, session_name, duration_s, function_arn=function_arn)

    def revoke(self, access_key_id: str) -> None:
        super().revoke(access_key_id)
        for other in self._identities():
            other.revoke(access_key_id)

    def principal_of_role(self, role_arn: str, session_name: str) -> Principal | None:
        other = self._of_arn(role_arn)
        found = super().principal_of_role if other is None else other.principal_of_role
        return found(role_arn, session_name)

    # Sessions

    def session(self, access_key_id: str) -> Session | None:
        found = super().session(access_key_id)
        return found or _first(other.session(access_key_id) for other in self._identities())

    def account_of_key(self, access_key_id: str) -> str | None:
        for other in self._identities():
            if other.account_of_key(access_key_id) is not None:
                return other.account
        return super().account_of_key(access_key_id)

    def has_policy(self, arn: str) -> bool:
        other = self._of_arn(arn)
        return super().has_policy(arn) if other is None else other.has_policy(arn)

    async def open_role_session(
        self, role_arn: str, session_name: str, duration_s: float, **more: Any
    ) -> Credential:
        other = self._of_arn(role_arn)
        begin = super().open_role_session if other is None else other.open_role_session
        return await begin(role_arn, session_name, duration_s, **more)

    async def open_user_session(self, principal: Principal, duration_s: float) -> Credential:
        other = self._made(principal.account)
        begin = super().open_user_session if other is None else other.open_user_session
        return await begin(principal, duration_s)

    async def open_federated_session(
        self, principal: Principal, name: str, duration_s: float, **more: Any
    ) -> Credential:
        other = self._made(principal.account)
        begin = super().open_federated_session if other is None else other.open_federated_session
        return await begin(principal, name, duration_s, **more)

    def _identities(self) -> Iterator[Identity]:
        return (other.identity for other in self._others.values())

    def _of(self, account: str) -> Identity | None:
        """Return an account's directory; None for the platform's own, and for those without a call
        so far."""
        found = self._others.get(account)
        return found.identity if found is not None else None

    def _made(self, account: str) -> Identity | None:
        found = self.named(account)
        return found.identity if found is not None else None

    def _of_arn(self, text: str) -> Identity | None:
        arn = Arn.read(text) if self._others else None
        return self._of(arn.account) if arn is not None else None


def by_account(accounts: Accounts, operation: Operation) -> Operation:
    """Return the operation, carried out in the account of its caller."""

    def of(ctx: Context) -> Operation:
        other = accounts.named(ctx.account)
        return operation if other is None else other.operations[operation.name]

    async def run(ctx: Context, **given: Any) -> Any:
        return await of(ctx).run(ctx, **given)

    def needs(ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        found = of(ctx).needs
        return found(ctx, params) if found is not None else ()

    return dataclasses.replace(
        operation, run=run, needs=needs if operation.needs is not None else None
    )


def _first(found: Iterable[T | None]) -> T | None:
    return next((one for one in found if one is not None), None)
