"""Rows that cannot be read are named, in one plain line, without their values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from boda.storage.inspection import damaged_rows
from boda.storage.schema import Schema
from boda.storage.sqlite_rows import SqliteRows

METADATA = Schema("things")
KEYS = sa.Table(
    "keys",
    METADATA,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("count", sa.Integer),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("members", sa.JSON, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
WHOLE = {
    "account": "1",
    "name": "ann",
    "secret": "hush",
    "active": True,
    "count": None,
    "at": 5,
    "members": ["a"],
    "document": "{}",
    "data": b"x",
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteRows]:
    database = SqliteRows(tmp_path / "rows.db", [METADATA])
    database.write_now(lambda tx: tx.run(sa.insert(KEYS).values(**WHOLE)))
    database.write_now(lambda tx: tx.run(sa.insert(KEYS).values(**WHOLE | {"name": "bob"})))
    yield database
    database.close()


def faults(database: SqliteRows, make: object = dict) -> list[str]:
    return database.read_now(
        lambda tx: list(damaged_rows(tx, KEYS, ("document",), make))  # type: ignore[arg-type]
    )


def test_whole_rows_have_no_faults(database: SqliteRows) -> None:
    made: list[object] = []
    assert faults(database, made.append) == []
    read = WHOLE | {"document": {}}
    assert made == [read, read | {"name": "bob"}]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("secret", "CAST(X'68ff' AS TEXT)"),
        ("secret", "X'6878'"),
        ("active", "'hush'"),
        ("count", "'hush'"),
        ("at", "'hush'"),
        ("members", "'[\"hush\"'"),
        ("document", "'{hush'"),
        ("data", "'hush'"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(database: SqliteRows, column: str, value: str) -> None:
    other = f"UPDATE keys SET \"{column}\" = {value} WHERE name = 'ann'"
    database.write_now(lambda tx: tx.run(sa.text(other)))
    assert faults(database) == [f"row 1/ann of table keys: its {column} cannot be read"]


def test_a_row_whose_values_do_not_fit_is_named(database: SqliteRows) -> None:
    def make(row: dict[str, object]) -> None:
        if row["name"] == "bob":
            raise KeyError("hush")

    assert faults(database, make) == ["row 1/bob of table keys: its values do not fit together"]


def test_a_name_that_is_damaged_stays_one_line(database: SqliteRows) -> None:
    other = "UPDATE keys SET secret = X'00', name = CAST(X'0a1bff' AS TEXT) WHERE name = 'ann'"
    database.write_now(lambda tx: tx.run(sa.text(other)))
    (line,) = faults(database)
    assert line.isprintable() and line.startswith("row 1/")


def test_a_table_that_is_not_there_yet_has_no_faults(tmp_path: Path) -> None:
    database = SqliteRows(tmp_path / "other.db", [])
    assert faults(database) == []
    database.close()
