"""AWS Identity and Access Management: who there is, and what each may do.

The API, and the Identity: the directory that the gateway and other services ask. Both stand on the
same IamStore: everything in memory, every change written before it is shown.
"""

from __future__ import annotations

from boda.gateway.calling.paging import Paging
from boda.gateway.calling.service import Service
from boda.gateway.dialect import QUERY
from boda.plug import Host, Plug, Running
from boda.services.iam import rules
from boda.services.iam.access import CONDITION_KEYS
from boda.services.iam.accounts import Account, Accounts, by_account
from boda.services.iam.grants import Attachments, Boundaries, InlinePolicies
from boda.services.iam.groups import GroupOperations
from boda.services.iam.identity import Identity
from boda.services.iam.managed import aws_managed
from boda.services.iam.policies import PolicyOperations
from boda.services.iam.roles import RoleOperations
from boda.services.iam.rows import metadata
from boda.services.iam.store import IamStore
from boda.services.iam.summary import Summary
from boda.services.iam.tagging import Tagging
from boda.services.iam.users import AccessKeys, UserOperations

__all__ = ["PLUG"]


def build(host: Host) -> Running:
    managed = aws_managed()

    def further(number: str) -> Account:
        store = IamStore(host.rows, number, managed)
        identity = Identity(store, host.clock, host.ids)
        return Account(identity, _service(store, identity, host).operations)

    store = IamStore(host.rows, host.account, managed)
    accounts = Accounts(store, host.clock, host.ids, further)
    service = _service(store, accounts, host)
    for name, operation in service.operations.items():
        service.operations[name] = by_account(accounts, operation)

    async def load() -> None:
        await accounts.load()
        await accounts.ensure_root()

    return Running(service, load=load, identities=accounts)


def _service(store: IamStore, identity: Identity, host: Host) -> Service:
    """The operations on one account."""
    clock, ids = host.clock, host.ids
    groups = [
        UserOperations(store, clock, ids),
        AccessKeys(store, identity),
        GroupOperations(store, clock, ids),
        RoleOperations(store, clock, ids),
        PolicyOperations(store, clock, ids),
        InlinePolicies(store),
        Attachments(store),
        Boundaries(store),
        Tagging(store),
        Summary(store),
    ]
    paging = Paging(rules.refused_marker)
    return Service("iam", groups, condition_keys=CONDITION_KEYS, paging=paging)


PLUG = Plug("iam", build, dialect=QUERY, tables=(metadata,))
