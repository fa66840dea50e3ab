"""AWS Identity and Access Management: who there is, and what each may do.

``build`` gives the API and the Identity, the directory that the gateway, STS and Lambda ask. Both
stand on the same Store: everything in memory, every change written before it is shown.
"""

from __future__ import annotations

from boda.core.arn import DEFAULT_ACCOUNT
from boda.core.clock import Clock
from boda.core.ids import Ids
from boda.gateway.calling.service import Service
from boda.services.iam.access import CONDITION_KEYS
from boda.services.iam.accounts import Account, Accounts, by_account
from boda.services.iam.grants import Attachments, Boundaries, InlinePolicies
from boda.services.iam.groups import Groups
from boda.services.iam.identity import Identity
from boda.services.iam.managed import aws_managed
from boda.services.iam.policies import Policies
from boda.services.iam.roles import Roles
from boda.services.iam.rows import metadata
from boda.services.iam.store import Store
from boda.services.iam.tagging import Tagging
from boda.services.iam.users import AccessKeys, Users
from boda.storage.database import Database

__all__ = ["Identity", "build", "metadata"]


def build(
    database: Database, clock: Clock, ids: Ids, account: str = DEFAULT_ACCOUNT
) -> tuple[Service, Identity]:
    """The service and the directory; ``await identity.load()`` before the first request."""
    managed = aws_managed()

    def further(number: str) -> Account:
        store = Store(database, number, managed)
        identity = Identity(store, clock, ids)
        return Account(identity, _service(store, identity, clock, ids).operations)

    store = Store(database, account, managed)
    accounts = Accounts(store, clock, ids, further)
    service = _service(store, accounts, clock, ids)
    for name, operation in service.operations.items():
        service.operations[name] = by_account(accounts, operation)
    return service, accounts


def _service(store: Store, identity: Identity, clock: Clock, ids: Ids) -> Service:
    """The operations on one account."""
    groups = [
        Users(store, clock, ids),
        AccessKeys(store, identity),
        Groups(store, clock, ids),
        Roles(store, clock, ids),
        Policies(store, clock, ids),
        InlinePolicies(store),
        Attachments(store),
        Boundaries(store),
        Tagging(store),
    ]
    return Service("iam", groups, condition_keys=CONDITION_KEYS)
