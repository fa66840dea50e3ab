"""Rows of what stands beside functions: event source mappings, code signing configs.

Each is one JSON column: it is read and written whole, and never asked for by a member.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from boda.services.lambda_.rows import metadata

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


def load(connection: Connection) -> list[tuple[Place, str, str, dict[str, Any]]]:
    """Place, kind, id and content of every one."""
    return list(_read(connection))


def _read(connection: Connection) -> Iterator[tuple[Place, str, str, dict[str, Any]]]:
    for row in connection.execute(sa.select(resources)):
        yield (row.account, row.region), row.kind, row.id, orjson.loads(row.content)


def put(connection: Connection, place: Place, kind: str, id_: str, content: dict[str, Any]) -> None:
    """Make or replace one."""
    values = {
        "account": place[0],
        "region": place[1],
        "kind": kind,
        "id": id_,
        "content": orjson.dumps(content),
    }
    statement = insert(resources).values(values)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["account", "region", "kind", "id"],
            set_={"content": statement.excluded.content},
        )
    )


def delete(connection: Connection, place: Place, kind: str, id_: str) -> None:
    table = resources.c
    connection.execute(
        sa.delete(resources).where(
            table.account == place[0], table.region == place[1], table.kind == kind, table.id == id_
        )
    )
