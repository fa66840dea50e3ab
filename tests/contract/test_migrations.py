"""Databases of older versions are brought forward, one numbered step at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from boda.core.errors import PlatformError
from boda.storage.migrations import Migration, Schema, add_columns, stored_numbers
from boda.storage.rows import Tx
from boda.storage.sqlite_rows import SqliteRows
from support.schemas import shape


def things(*columns: str, migrations: Sequence[Migration] = (), name: str = "things") -> Schema:
    """A schema with one table of text columns."""
    schema = Schema(name, migrations)
    table = sa.Table(name, schema, sa.Column("name", sa.Text, primary_key=True))
    for each in columns:
        table.append_column(sa.Column(each, sa.Text, server_default="none", index=each == "colour"))
    return schema


def give_colour(tx: Tx) -> None:
    add_columns(tx, "things", sa.Column("colour", sa.Text, server_default="none"))
    tx.run(sa.text("UPDATE things SET colour = 'red'"))


def give_size(tx: Tx) -> None:
    add_columns(tx, "things", sa.Column("size", sa.Text, server_default="none"))
    tx.run(sa.text("UPDATE things SET size = colour || ' and large'"))


COLOUR = Migration(1, "Give every thing a colour", give_colour)
SIZE = Migration(2, "Give every thing a size", give_size)
LAST = things("colour", "size", migrations=(COLOUR, SIZE))


def found(path: Path, *schemas: Schema) -> tuple[dict[str, int], list[tuple[str, ...]]]:
    """The numbers of the schemas, and the rows of the table, after a start."""
    database = SqliteRows(path, schemas)
    try:
        return database.read_now(
            lambda tx: (
                {k: n for k, n in stored_numbers(tx).items() if k != "storage"},
                [tuple(row) for row in tx.run(sa.text("SELECT * FROM things")).all()],
            )
        )
    finally:
        database.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database at number 0, with one row."""
    path = tmp_path / "rows.db"
    database = SqliteRows(path, [things()])
    database.write_now(lambda tx: tx.run(sa.text("INSERT INTO things VALUES ('a')")))
    database.close()
    return path


def unnumbered(path: Path) -> None:
    """Make a database what it was before schemas had numbers."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE boda_schemas"))
        connection.execute(sa.text("PRAGMA user_version=1"))
    engine.dispose()


def test_a_new_database_is_made_at_the_newest_number(tmp_path: Path) -> None:
    assert found(tmp_path / "new.db", LAST) == ({"things": 2}, [])


@pytest.mark.parametrize("old", [False, True])
def test_an_older_database_goes_through_every_step_in_order(path: Path, old: bool) -> None:
    if old:
        unnumbered(path)
    for _ in range(2):  # the second start has nothing to do
        assert found(path, LAST) == ({"things": 2}, [("a", "red", "red and large")])
    fresh = path.with_name("fresh.db")
    found(fresh, LAST)
    assert shape(path) == shape(fresh)


def test_what_needs_no_step_of_its_own_is_made_behind_the_last_one(path: Path) -> None:
    """A new table and a new index come with a migration that only raises the number."""
    schema = things(migrations=(Migration(1, "Keep places as well"),))
    sa.Table("places", schema, sa.Column("name", sa.Text, primary_key=True), sa.Index("by", "name"))
    assert found(path, schema) == ({"things": 1}, [("a",)])
    assert "places" in shape(path)


def test_a_schema_that_is_new_is_made_beside_the_others(path: Path) -> None:
    other = things("colour", migrations=(COLOUR,), name="other")
    assert found(path, things(), other)[0] == {"things": 0, "other": 1}


def test_a_step_that_fails_leaves_the_number_before_it(path: Path) -> None:
    def fail(tx: Tx) -> None:
        give_size(tx)
        raise KeyError("no such size")

    bad = things("colour", "size", migrations=(COLOUR, Migration(2, SIZE.purpose, fail)))
    with pytest.raises(PlatformError) as caught:
        SqliteRows(path, [bad])
    sentence = str(caught.value)
    assert "migration 2 of things (Give every thing a size) failed (KeyError" in sentence
    assert "it was before" in sentence and "\n" not in sentence
    # The boda of number 1 goes on with it, and the mended one finishes.
    assert found(path, things("colour", migrations=(COLOUR,))) == ({"things": 1}, [("a", "red")])
    assert found(path, LAST)[1] == [("a", "red", "red and large")]


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = {path!r}
import contract_migrations as tests
from boda.storage.sqlite_rows import SqliteRows
from boda.storage.schema import Migration

def die(tx):
    tests.give_size(tx)
    os.kill(os.getpid(), signal.SIGKILL)

steps = (tests.COLOUR, Migration(2, "Give every thing a size", die))
SqliteRows(Path({database!r}), [tests.things("colour", "size", migrations=steps)])
"""


@pytest.mark.parametrize("old", [False, True])
def test_a_start_killed_within_a_step_leaves_the_number_before_it(path: Path, old: bool) -> None:
    if old:
        unnumbered(path)
    script = _KILLED.format(
        path=[str(path.parent), str(Path(__file__).parents[1])], database=str(path)
    )
    (path.parent / "contract_migrations.py").write_text(Path(__file__).read_text())
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert os.path.getsize(f"{path}-wal")
    assert found(path, things("colour", migrations=(COLOUR,))) == ({"things": 1}, [("a", "red")])
    assert found(path, LAST)[1] == [("a", "red", "red and large")]


def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    found(path, LAST)
    content = path.read_bytes()
    for schemas, why in (
        ([things("colour", migrations=(COLOUR,))], "things is at 2, this one knows 1"),
        ([things(name="other")], "it has things, which this one does not know"),
    ):
        with pytest.raises(PlatformError, match=f"written by a newer boda \\({why}\\)"):
            SqliteRows(path, schemas)
    assert path.read_bytes() == content
    assert found(path, LAST)[0] == {"things": 2}


def test_the_numbers_of_a_schema_have_no_gaps() -> None:
    with pytest.raises(AssertionError):
        Schema("things", (COLOUR, Migration(3, "Give every thing a weight")))
