"""Looking at identity's rows for damage."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import sqlalchemy as sa

from boda.services.iam import rows
from boda.services.iam.entities import from_row
from boda.services.iam.store import TABLES
from boda.storage.inspection import damaged_rows
from boda.storage.rows import Tx


def row_faults(tx: Tx) -> Iterator[str]:
    """One line for each row that cannot be read."""
    for kind, table in TABLES.items():
        yield from damaged_rows(tx, table, (), partial(from_row, kind))


def holds_key(tx: Tx, access_key_id: str, secret: str) -> bool:
    """Whether there is such a key pair."""
    columns = rows.access_keys.c
    query = sa.select(sa.literal(1)).where(
        columns.access_key_id == access_key_id, columns.secret == secret
    )
    return tx.run(query).first() is not None
