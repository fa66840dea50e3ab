"""Looking at identity's rows for damage."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from boda.services.iam import rows
from boda.services.iam.entities import from_row
from boda.services.iam.store import TABLES
from boda.storage.inspection import damaged_rows


def row_faults(connection: Connection) -> Iterator[str]:
    """One line for each row that cannot be read."""
    for kind, table in TABLES.items():
        yield from damaged_rows(connection, table, (), partial(from_row, kind))


def holds_key(connection: Connection, access_key_id: str, secret: str) -> bool:
    """Whether there is such a key pair."""
    columns = rows.access_keys.c
    query = sa.select(sa.literal(1)).where(
        columns.access_key_id == access_key_id, columns.secret == secret
    )
    return connection.execute(query).first() is not None
