"""The tables of storage itself: sequences, leases and documents."""

from __future__ import annotations

import sqlalchemy as sa

from boda.storage.schema import Schema

metadata = Schema("storage")

numbers = sa.Table(
    "boda_numbers",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
)

leases = sa.Table(
    "boda_leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("until_s", sa.Float, nullable=False),
)

documents = sa.Table(
    "boda_documents",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
