"""What every store of rows must hold: durable when answered, alone when failing."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from boda.core.errors import AwsError, PlatformError
from boda.storage import sqlite_rows
from boda.storage.prepared import PreparedStatement
from boda.storage.rows import RowsError, Tx
from boda.storage.schema import Schema
from boda.storage.sqlite_rows import SqliteRows

METADATA = Schema("things")
THINGS = sa.Table(
    "things", METADATA, sa.Column("name", sa.Text, primary_key=True), sa.Column("data", sa.Text)
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteRows]:
    database = SqliteRows(tmp_path / "rows.db", [METADATA])
    yield database
    database.close()


def put(name: str, data: str = "") -> object:
    return lambda tx: tx.run(sa.insert(THINGS).values(name=name, data=data)) and name


def names(tx: Tx) -> list[str]:
    return [row.name for row in tx.run(sa.select(THINGS.c.name).order_by(THINGS.c.name))]


async def test_what_was_answered_is_seen_by_another_process(
    database: SqliteRows, tmp_path: Path
) -> None:
    assert await database.write(put("a")) == "a"
    with sqlite3.connect(tmp_path / "rows.db") as other:
        assert other.execute("select name from things").fetchall() == [("a",)]
    other.close()


async def test_writes_share_commits_and_a_failing_one_fails_alone(database: SqliteRows) -> None:
    gate = threading.Event()
    first = asyncio.ensure_future(database.write(lambda tx: gate.wait()))
    await asyncio.sleep(0)
    rest = [asyncio.ensure_future(database.write(put(name))) for name in "abca"]
    await asyncio.sleep(0)
    gate.set()
    await first
    outcomes = await asyncio.gather(*rest, return_exceptions=True)
    assert outcomes[:3] == ["a", "b", "c"]
    assert isinstance(outcomes[3], RowsError)
    assert await database.read(names) == ["a", "b", "c"]


async def test_a_write_that_raises_leaves_nothing_half_done(database: SqliteRows) -> None:
    def work(tx: Tx) -> None:
        tx.run(sa.insert(THINGS).values(name="half"))
        raise KeyError("no")

    with pytest.raises(KeyError):
        await database.write(work)
    assert await database.read(names) == []


async def test_what_follows_a_write_is_called_once_it_stands(database: SqliteRows) -> None:
    loop, called = asyncio.get_running_loop(), []

    def note(name: str) -> None:
        assert asyncio.get_running_loop() is loop
        called.append((name, name in database.read_now(names)))

    def work(tx: Tx, name: str, why: str = "") -> str:
        tx.then(lambda: note(name))
        put(name)(tx)  # type: ignore[operator]
        if why:
            raise ValueError(why)
        return name

    gate = threading.Event()
    first = asyncio.ensure_future(database.write(lambda tx: gate.wait()))
    await asyncio.sleep(0)
    rest = [
        asyncio.ensure_future(database.write(partial(work, name=name, why=why)))
        for name, why in (("a", ""), ("b", "no"), ("c", ""))
    ]
    rest[0].add_done_callback(lambda _: called.append(("answered", True)))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *rest, return_exceptions=True)
    assert called == [("a", True), ("c", True), ("answered", True)]
    with pytest.raises(ValueError, match="no"):
        await database.write(partial(work, name="d", why="no"))
    await database.write(partial(work, name="e"))
    assert [name for name, _ in called] == ["a", "c", "answered", "e"]


async def test_a_cancelled_waiter_does_not_undo_the_write(database: SqliteRows) -> None:
    gate = threading.Event()
    waiting = asyncio.ensure_future(database.write(lambda tx: gate.wait()))
    task = asyncio.ensure_future(database.write(put("kept")))
    await asyncio.sleep(0)
    task.cancel()
    gate.set()
    await waiting
    await database.write(lambda tx: None)
    assert await database.read(names) == ["kept"]


async def test_a_full_disk_is_told_and_nothing_is_lost(database: SqliteRows) -> None:
    await database.write(put("before"))
    pages = await database.write(lambda tx: tx.run(sa.text("PRAGMA page_count")).scalar())
    await database.write(lambda tx: tx.run(sa.text(f"PRAGMA max_page_count={pages + 3}")).scalar())
    with pytest.raises(AwsError, match="full") as caught:
        await database.write(put("large", "x" * 100_000))
    assert caught.value.status == 503
    await database.write(lambda tx: tx.run(sa.text("PRAGMA max_page_count=100000")).scalar())
    await database.write(put("after", "x" * 100_000))
    assert await database.read(names) == ["after", "before"]


async def test_a_commit_that_fails_leaves_no_transaction_behind(database: SqliteRows) -> None:
    """SQLite keeps a transaction open whose COMMIT it refused, here for a promise not kept."""

    def owe(tx: Tx) -> None:
        put("owing")(tx)  # type: ignore[operator]
        tx.run(sa.text("CREATE TABLE debts (name REFERENCES things DEFERRABLE INITIALLY DEFERRED)"))
        tx.run(sa.text("INSERT INTO debts VALUES ('nobody')"))

    with pytest.raises(RowsError):
        await database.write(owe)
    await database.write(put("after"))
    assert await database.read(names) == ["after"]


async def test_close_finishes_what_waits(tmp_path: Path) -> None:
    database = SqliteRows(tmp_path / "rows.db", [METADATA])
    tasks = [asyncio.ensure_future(database.write(put(str(n)))) for n in range(50)]
    await asyncio.sleep(0)
    await asyncio.to_thread(database.close)
    await asyncio.gather(*tasks)
    with pytest.raises(PlatformError):
        await database.write(put("late"))
    again = SqliteRows(tmp_path / "rows.db", [METADATA])
    assert len(await again.read(names)) == 50
    again.close()


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "rows.db").write_bytes(b"not a database, " * 200)
    with pytest.raises(PlatformError, match="cannot be used"):
        SqliteRows(tmp_path / "rows.db", [METADATA])


def test_a_big_file_is_looked_at_for_a_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SqliteRows(tmp_path / "rows.db", [METADATA])
    first.write_now(
        lambda tx: tx.run_many(sa.insert(THINGS), [{"name": str(n)} for n in range(9000)])
    )
    first.close()
    monkeypatch.setattr(sqlite_rows, "_CHECK_S", -1.0)
    again = SqliteRows(tmp_path / "rows.db", [METADATA])
    assert len(again.read_now(names)) == 9000
    again.write_now(put("more"))
    again.close()


async def test_statements_of_the_driver_are_part_of_the_write(database: SqliteRows) -> None:
    def work(tx: Tx) -> None:
        tx.add(THINGS, {"name": "raw"})
        put("core")(tx)
        if gate.is_set():
            raise KeyError("no")

    gate = threading.Event()
    gate.set()
    hold = asyncio.ensure_future(database.write(lambda tx: held.wait()))
    held = threading.Event()
    await asyncio.sleep(0)
    together = [asyncio.ensure_future(database.write(each)) for each in (work, put("other"))]
    await asyncio.sleep(0)
    held.set()
    await hold
    outcomes = await asyncio.gather(*together, return_exceptions=True)
    assert isinstance(outcomes[0], KeyError) and outcomes[1] == "other"
    assert await database.read(names) == ["other"]
    gate.clear()
    await database.write(work)
    assert await database.read(names) == ["core", "other", "raw"]


async def test_a_full_disk_met_below_sqlalchemy_is_told_as_well(database: SqliteRows) -> None:
    pages = await database.write(lambda tx: tx.run(sa.text("PRAGMA page_count")).scalar())
    await database.write(lambda tx: tx.run(sa.text(f"PRAGMA max_page_count={pages + 3}")).scalar())
    large = PreparedStatement(sa.insert(THINGS))
    with pytest.raises(AwsError, match="full"):
        await database.write(
            lambda tx: tx.run(large, {"name": "large", "data": "x" * 100_000}).rowcount
        )
    assert await database.read(names) == []


async def test_a_prepared_statement_says_what_sqlalchemy_says(database: SqliteRows) -> None:
    insert = PreparedStatement(sa.insert(THINGS))
    query = (
        sa.select(THINGS)
        .where(THINGS.c.name >= sa.bindparam("from"))
        .order_by(THINGS.c.name)
        .limit(2)
    )
    find, drop = (
        PreparedStatement(query),
        PreparedStatement(sa.delete(THINGS).where(THINGS.c.data == "x")),
    )
    for name in "cab":
        given = {"name": name, "data": "x" if name == "a" else None}
        await database.write(lambda tx, given=given: tx.run(insert, given))
    expected = await database.read(lambda tx: tx.run(query, {"from": "b"}).all())
    found = await database.read(lambda tx: tx.run(find, {"from": "b"}).all())
    assert found == [tuple(row) for row in expected] == [("b", None), ("c", None)]
    with pytest.raises(KeyError):
        await database.read(lambda tx: tx.run(find, {}).all())
    assert await database.write(lambda tx: tx.run(drop, {}).rowcount) == 1


def test_what_would_need_conversion_cannot_be_prepared() -> None:
    odd = sa.Table("odd", sa.MetaData(), sa.Column("at", sa.DateTime), sa.Column("n", sa.Integer))
    with pytest.raises(TypeError):
        PreparedStatement(sa.insert(odd))
    with pytest.raises(TypeError):
        PreparedStatement(sa.select(odd))
    PreparedStatement(sa.select(odd.c.n))
