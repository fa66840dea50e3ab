"""Rows without a platform: a transaction in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

from boda.storage.sqlite_tx import SqliteTx
from boda.storage.transaction import Statements


@contextlib.contextmanager
def in_memory(*schemas: sa.MetaData) -> Iterator[SqliteTx]:
    """A transaction in a database of its own with empty tables."""
    engine = sa.create_engine("sqlite://")
    for schema in schemas:
        schema.create_all(engine)
    with engine.connect() as connection:
        yield SqliteTx(connection, Statements(engine.dialect), lambda: 0.0)
    engine.dispose()
