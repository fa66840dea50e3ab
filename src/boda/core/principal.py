"""Callers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from boda.core.arn import DEFAULT_ACCOUNT, root_arn

Kind = Literal["root", "user", "assumed-role", "service", "anonymous"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The identity behind a request.

    arn: as GetCallerIdentity shows it (``arn:aws:iam::ACCOUNT:user/NAME``,
        ``arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION``); a service's is its host name,
        for example ``s3.amazonaws.com``.
    unique_id: the UserId of GetCallerIdentity (``AIDA…``, ``AROA…:session``, the account id).
    policy_source: the ARN whose policies apply: the user's own, or the role's for a session.
    issued_at: of temporary credentials, when they were issued, in whole seconds since the epoch.
    function_arn: of a function's credentials, the function's, without a qualifier.
    """

    kind: Kind
    account: str
    arn: str
    unique_id: str
    policy_source: str = ""
    access_key_id: str = ""
    tags: tuple[tuple[str, str], ...] = field(default=())
    issued_at: int | None = None
    function_arn: str = ""

    @property
    def owner_id(self) -> str:
        """The unique id of the user or role (``AIDA…``, ``AROA…``); "" if there is none."""
        if self.kind not in ("user", "assumed-role") or self.is_federated:
            return ""
        return self.unique_id.partition(":")[0]

    @property
    def is_federated(self) -> bool:
        """Whether the caller has credentials of GetFederationToken."""
        return ":federated-user/" in self.arn

    @property
    def is_service(self) -> bool:
        return self.kind == "service"


ANONYMOUS = Principal("anonymous", "anonymous", "*", "anonymous")


def root_of(account: str = DEFAULT_ACCOUNT, access_key_id: str = "") -> Principal:
    arn = root_arn(account)
    return Principal("root", account, arn, account, arn, access_key_id)


def service_principal(host: str, account: str = DEFAULT_ACCOUNT) -> Principal:
    """Return a service that acts itself, for example ``s3.amazonaws.com`` invoking a function."""
    return Principal("service", account, host, host)
