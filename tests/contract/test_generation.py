"""A database that lost commits is noticed before anything is touched; a kill and a power failure
are no loss."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from boda.core.errors import PlatformError
from boda.core.ids import Ids
from boda.storage.generation import Generation
from boda.storage.rows import Tx
from boda.storage.schema import Schema
from boda.storage.sqlite_rows import SqliteRows

METADATA = Schema("things")
THINGS = sa.Table("things", METADATA, sa.Column("name", sa.Integer, primary_key=True))


def generation(folder: Path) -> Generation:
    contents = [folder / "blobs", folder / "code"]
    return Generation(folder / "folder.json", folder / "boda.db", contents, Ids())


def opened(folder: Path) -> SqliteRows:
    return SqliteRows(folder / "boda.db", [METADATA], generation=generation(folder))


def count(folder: Path) -> int:
    database = opened(folder)
    try:
        query = sa.select(sa.func.count(THINGS.c.name))
        return int(database.read_now(lambda tx: tx.run(query).scalar()))
    finally:
        database.close()


def add(folder: Path, names: range) -> None:
    """Write and stop cleanly."""
    database = opened(folder)
    for name in names:
        database.write_now(lambda tx, name=name: tx.run(sa.insert(THINGS).values(name=name)))
    database.close()


KILLED = """
import os, sys
from pathlib import Path
import sqlalchemy as sa
sys.path[:0] = {path!r}
from contract.test_generation import THINGS, opened
database = opened(Path({folder!r}))
for name in range({first}, {last}):
    database.write_now(lambda tx: tx.run(sa.insert(THINGS).values(name=name)))
    if name == {checkpoint}:
        database.write_now(lambda tx: None)
        with database._engine.connect() as c:
            c.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
os._exit(9)
"""


def killed(folder: Path, names: range, checkpoint: int = -1) -> None:
    """Write in a process that ends without a farewell."""
    program = KILLED.format(
        path=[str(Path(__file__).parents[1])],
        folder=str(folder),
        first=names.start,
        last=names.stop,
        checkpoint=checkpoint,
    )
    subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert (folder / "boda.db-wal").stat().st_size > 0


def test_a_clean_stop_and_a_kill_lose_nothing(tmp_path: Path) -> None:
    assert count(tmp_path) == 0
    killed(tmp_path, range(10))
    assert count(tmp_path) == 10
    killed(tmp_path, range(10, 40), checkpoint=20)
    killed(tmp_path, range(40, 50))
    assert count(tmp_path) == 50


@pytest.mark.parametrize("wrote", [b"", b'{"folder'])
def test_a_kill_in_the_first_start_is_started_from(tmp_path: Path, wrote: bytes) -> None:
    """The marker exists before the database, and its temporary file before it."""
    if wrote:
        (tmp_path / ".folder.json.1").write_bytes(wrote)
    else:
        generation(tmp_path).check()
        assert not (tmp_path / "boda.db").exists()
    assert count(tmp_path) == 0


def test_a_power_failure_that_kept_an_earlier_marker_is_started_from(tmp_path: Path) -> None:
    add(tmp_path, range(3))
    earlier = (tmp_path / "folder.json").read_bytes()
    killed(tmp_path, range(3, 9))
    (tmp_path / "folder.json").write_bytes(earlier)
    assert count(tmp_path) == 9


def test_a_database_of_before_markers_gets_one(tmp_path: Path) -> None:
    database = SqliteRows(tmp_path / "boda.db", [METADATA])
    database.write_now(lambda tx: tx.run(sa.insert(THINGS).values(name=1)))
    database.close()
    hold_a_blob(tmp_path)
    assert count(tmp_path) == 1
    assert (tmp_path / "folder.json").exists()
    assert count(tmp_path) == 1


def test_somebody_may_look_at_the_database_with_sqlite(tmp_path: Path) -> None:
    """Closing it there moves the log into the database."""
    killed(tmp_path, range(5))
    connection = sqlite3.connect(tmp_path / "boda.db")
    connection.execute("SELECT count(*) FROM things").fetchone()
    connection.close()
    assert not (tmp_path / "boda.db-wal").exists()
    assert count(tmp_path) == 5


def hold_a_blob(folder: Path) -> None:
    (folder / "blobs" / "ab").mkdir(parents=True)
    (folder / "blobs" / "ab" / ("0" * 30 + "ab")).write_bytes(b"x")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file; SQLite makes an empty log where it finds none, and its index anew."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.stat().st_size and not path.name.endswith("-shm")
    }


def refused(folder: Path, words: str) -> None:
    """The start is refused in one line, again and again, and nothing is changed by that."""
    before = snapshot(folder)
    for _ in range(2):
        with pytest.raises(PlatformError, match=words) as caught:
            opened(folder)
        assert "\n" not in str(caught.value)
        assert snapshot(folder) == before


def flip(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


def cut(path: Path, at: float) -> None:
    os.truncate(path, int(path.stat().st_size * at))


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "database missing": (lambda f: (f / "boda.db").unlink(), "is missing"),
    "database empty": (lambda f: os.truncate(f / "boda.db", 0), "is empty"),
    "log missing": (lambda f: (f / "boda.db-wal").unlink(), "last 20 commits are missing"),
    "log empty": (lambda f: os.truncate(f / "boda.db-wal", 0), "last 20 commits are missing"),
    "log cut": (lambda f: cut(f / "boda.db-wal", 0.5), "commits are missing"),
    "log cut a little": (lambda f: cut(f / "boda.db-wal", 0.999), "last 1 commits are missing"),
    "log flipped": (lambda f: flip(f / "boda.db-wal", 0.5), "commits are missing"),
    "log's head flipped": (lambda f: flip(f / "boda.db-wal", 0.0), "last 20 commits are missing"),
    "log's end flipped": (lambda f: flip(f / "boda.db-wal", 0.999), "last 1 commits are missing"),
    "marker missing": (lambda f: (f / "folder.json").unlink(), "marker .* is missing"),
    "marker cut": (lambda f: cut(f / "folder.json", 0.5), "marker .* is damaged"),
    "marker flipped": (lambda f: flip(f / "folder.json", 0.7), "marker .* is damaged"),
    "marker no object": (lambda f: (f / "folder.json").write_text("5"), "marker .* is damaged"),
    "marker of another folder": (lambda f: other_marker(f), "another data folder"),
}


def other_marker(folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    count(elsewhere)
    shutil.copy(elsewhere / "folder.json", folder / "folder.json")
    shutil.rmtree(elsewhere)


@pytest.mark.parametrize("harm", HARM)
def test_what_is_missing_cut_flipped_or_of_others_refuses_the_start(
    tmp_path: Path, harm: str
) -> None:
    add(tmp_path, range(100, 150))
    # The start's own commit and nineteen more stand in the log alone.
    killed(tmp_path, range(19))
    hold_a_blob(tmp_path)
    harming, words = HARM[harm]
    harming(tmp_path)
    refused(tmp_path, words)


@pytest.mark.parametrize("log", ["gone", "kept"])
def test_an_older_copy_of_the_database_refuses_the_start(tmp_path: Path, log: str) -> None:
    """With the newer log beside it, too: the log continues the file that is no longer there."""
    add(tmp_path, range(10))
    shutil.copy(tmp_path / "boda.db", tmp_path / "older")
    add(tmp_path, range(10, 20))
    if log == "kept":
        killed(tmp_path, range(20, 30))
    (tmp_path / "older").replace(tmp_path / "boda.db")
    refused(tmp_path, "commits are missing")


def test_an_older_log_refuses_the_start(tmp_path: Path) -> None:
    killed(tmp_path, range(10))
    shutil.copy(tmp_path / "boda.db-wal", tmp_path / "older")
    killed(tmp_path, range(10, 20))
    (tmp_path / "older").replace(tmp_path / "boda.db-wal")
    refused(tmp_path, "commits are missing")


@pytest.mark.parametrize("index", ["missing", "cut", "flipped"])
def test_the_index_of_the_log_is_made_anew(tmp_path: Path, index: str) -> None:
    killed(tmp_path, range(10))
    path = tmp_path / "boda.db-shm"
    {"missing": path.unlink, "cut": lambda: cut(path, 0.5), "flipped": lambda: flip(path, 0.001)}[
        index
    ]()
    assert count(tmp_path) == 10


@pytest.mark.parametrize("held", ["blobs/ab/" + "0" * 30 + "ab", "code/" + "0" * 64 + "/code.zip"])
def test_contents_without_a_database_refuse_the_start(tmp_path: Path, held: str) -> None:
    """Of a folder from before markers as well."""
    (tmp_path / held).parent.mkdir(parents=True)
    (tmp_path / held).write_bytes(b"x")
    refused(tmp_path, f"is missing, but {held.split('/')[0]}/ is not")


def test_what_is_accepted_is_gone_on_with(tmp_path: Path) -> None:
    add(tmp_path, range(5))
    shutil.copy(tmp_path / "boda.db", tmp_path / "older")
    add(tmp_path, range(5, 9))
    (tmp_path / "older").replace(tmp_path / "boda.db")
    refused(tmp_path, "commits are missing")
    generation(tmp_path).accept()
    assert count(tmp_path) == 5
    assert count(tmp_path) == 5


def test_a_marker_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = opened(tmp_path)

    def full(*_: object) -> int:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(os, "pwrite", full)
    database.write_now(lambda tx: tx.run(sa.insert(THINGS).values(name=1)))
    monkeypatch.undo()
    database.close()
    assert count(tmp_path) == 1


def test_what_a_commit_refused_is_not_counted(tmp_path: Path) -> None:
    database = opened(tmp_path)

    def fail(tx: Tx) -> None:
        tx.run(sa.insert(THINGS).values(name=1))
        raise KeyError

    before = (tmp_path / "folder.json").read_bytes()
    with pytest.raises(KeyError):
        database.write_now(fail)
    assert (tmp_path / "folder.json").read_bytes() == before
    database.close()
    assert count(tmp_path) == 0
