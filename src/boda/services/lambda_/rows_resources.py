"""Rows of what stands beside functions: event source mappings, code signing configs.

Each is one JSON column: it is read and written whole, and never asked for by a member.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import sqlalchemy as sa

from boda.services.lambda_.rows import metadata
from boda.storage.rows import Tx

Place = tuple[str, str]
"""Account and region."""

resources = sa.Table(
    "lambda_resources",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)


def load(tx: Tx) -> list[tuple[Place, str, str, dict[str, Any]]]:
    """Place, kind, id and content of every one."""
    return list(_read(tx))


def _read(tx: Tx) -> Iterator[tuple[Place, str, str, dict[str, Any]]]:
    for row in tx.run(sa.select(resources)):
        yield (row.account, row.region), row.kind, row.id, orjson.loads(row.content)


def put(tx: Tx, place: Place, kind: str, id_: str, content: dict[str, Any]) -> None:
    """Make or replace one."""
    account, region = place
    row = {"account": account, "region": region, "kind": kind, "id": id_}
    tx.upsert(resources, {**row, "content": orjson.dumps(content)})


def delete(tx: Tx, place: Place, kind: str, id_: str) -> None:
    table = resources.c
    tx.run(
        sa.delete(resources).where(
            table.account == place[0], table.region == place[1], table.kind == kind, table.id == id_
        )
    )
