"""Backups of data folders, and data folders of backups."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from boda.app import SCHEMAS
from boda.backup.archive import SUMS
from boda.backup.restore import RestoreReport, restore
from boda.backup.take import BackupReport, _exclusively, take
from boda.check import check, generation_of
from boda.core.clock import ManualClock
from boda.core.errors import PlatformError
from boda.core.ids import Ids
from boda.services.lambda_.code.store import CodeStore
from boda.services.lambda_.quotas import Quotas
from boda.storage.deletion_lock import DeletionLock
from boda.storage.folder import DataFolder
from boda.storage.lost import LostAndFound
from boda.storage.schema import Migration, Schema
from boda.storage.sqlite_rows import SqliteRows
from support.kept_folder import unpacked

ARCHIVE = next((Path(__file__).parents[1] / "fixtures/folders").glob("*.tar.xz"))


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    """A folder with something of everything, on which no boda runs."""
    return DataFolder(unpacked(ARCHIVE, tmp_path)[0])


@pytest.fixture
def file(folder: DataFolder, tmp_path: Path) -> Path:
    file = tmp_path / "boda.tar"
    backup(folder, file)
    return file


def backup(folder: DataFolder, file: Path) -> BackupReport:
    return take(folder, file, lambda: 1_796_000_000.0)


def restored(file: Path, place: Path) -> RestoreReport:
    return restore(file, DataFolder(place), SCHEMAS, Ids())


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("lock", "-wal", "-shm"))
    }


def dump(folder: Path) -> list[str]:
    """The rows, but for the label."""
    with closing(sqlite3.connect(folder / "boda.db")) as database:
        return [line for line in database.iterdump() if "boda_folder" not in line]


def test_a_restored_folder_is_the_same_but_for_its_label(
    folder: DataFolder, file: Path, tmp_path: Path
) -> None:
    report = restored(file, tmp_path / "deep" / "new")
    assert (report.blobs, report.packages, report.faults) == (4, 5, [])
    before, now = contents(folder.path), contents(tmp_path / "deep" / "new")
    assert before.keys() == now.keys()
    assert {name for name in now if before[name] != now[name]} == {"boda.db", "folder.json"}
    assert dump(folder.path) == dump(tmp_path / "deep" / "new")
    found = check(DataFolder(tmp_path / "deep" / "new"))
    assert (found.faults, found.unnamed) == ([], 0)
    # The old folder's database is not taken for the new one's.
    shutil.copy(folder.database, tmp_path / "deep" / "new" / "boda.db")
    assert (
        "belongs to another data folder" in check(DataFolder(tmp_path / "deep" / "new")).faults[0]
    )


def test_only_the_owner_may_read_it(file: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        restored(file, tmp_path / "new")
        file.chmod(0o644)
        backup(DataFolder(tmp_path / "new"), file)
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    for name in ("root.json", "boda.db", "code/.key"):
        assert (tmp_path / "new" / name).stat().st_mode & 0o777 == 0o600


def test_the_usual_tools_read_and_verify_it(file: Path) -> None:
    place = file.parent / "by hand"
    place.mkdir()
    subprocess.run(["tar", "xf", file], cwd=place, check=True)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", SUMS], cwd=place, check=True)


def test_a_backup_holds_what_is_named_and_nothing_else(folder: DataFolder, tmp_path: Path) -> None:
    stray = next(folder.blobs.glob("??/*")).with_name("0" * 32)
    stray.write_bytes(b"of nobody")
    (folder.code / ("f" * 64)).mkdir()
    (folder.path / "boda.log").write_text("lines")
    backup(folder, tmp_path / "boda.tar")
    restored(tmp_path / "boda.tar", tmp_path / "new")
    gone = contents(folder.path).keys() - contents(tmp_path / "new").keys()
    assert gone == {str(stray.relative_to(folder.path)), "boda.log"}


def test_damage_is_told_and_the_rest_is_kept(folder: DataFolder, tmp_path: Path) -> None:
    by_size = {path.stat().st_size: path for path in folder.blobs.glob("??/*")}
    with by_size[320_000].open("r+b") as changed:
        changed.seek(200_000)
        changed.write(b"!")
    os.truncate(by_size[180_000], 100_000)
    by_size[7].unlink()
    package = sorted(folder.code.glob("*/code.zip"))[0]
    package.write_bytes(package.read_bytes()[:-1] + b"!")
    report = backup(folder, tmp_path / "boda.tar")
    faults = sorted(report.faults)
    assert len(faults) == 5
    for line, what in zip(
        faults,
        ("code of arn:aws:lambda:", "object kept/in a blob: the checksum of its block 3",
         "part 2 of upload", "part 3 of upload", "part 3 of upload"),
        strict=True,
    ):  # fmt: skip
        assert line.startswith(what), faults
    told = restored(tmp_path / "boda.tar", tmp_path / "new")
    assert (told.blobs, told.packages) == (3, 5)
    # The copy is as damaged as the folder, no more and no less.
    before, now = (check(DataFolder(path)).faults for path in (folder.path, tmp_path / "new"))
    assert [line for line in now if line not in before] == []


def test_a_damaged_database_is_told(folder: DataFolder, tmp_path: Path) -> None:
    with closing(sqlite3.connect(folder.database, isolation_level=None)) as database:
        database.execute("PRAGMA writable_schema=ON")
        database.execute("UPDATE sqlite_master SET rootpage=3 WHERE name='log_streams_by_time'")
    assert any("the database: " in line for line in backup(folder, tmp_path / "x").faults)


def test_names_that_are_taken(folder: DataFolder, file: Path, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear Sir")
    for name, why in (
        ("letter", "there already and no backup of boda"),
        (".", "is a folder"),
        ("letter/boda.tar", "Not a directory"),
        ("nowhere/boda.tar", "No such file"),
    ):
        with pytest.raises(PlatformError, match=why):
            backup(folder, tmp_path / name)
    assert (tmp_path / "letter").read_text() == "Dear Sir"
    with pytest.raises(PlatformError, match="There is no boda in"):
        backup(DataFolder(tmp_path / "nobody"), file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boda.tar", "data", "letter"]
    backup(folder, file)  # in the place of an earlier one


def test_a_restore_that_is_refused_leaves_nothing_behind(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    cut, changed, other = (tmp_path / name for name in ("cut", "changed", "other"))
    cut.write_bytes(content[:-100_000])
    changed.write_bytes(content[:-4000] + bytes([content[-4000] ^ 1]) + content[-3999:])
    other.write_bytes(b"something else" * 100)
    (tmp_path / "empty").mkdir()
    for broken, why in (
        (cut, "is cut off"), (changed, "was changed since it was written"),
        (other, "is no backup of boda"), (tmp_path / "absent", "No such file"),
        (tmp_path, "Is a directory"),
    ):  # fmt: skip
        for place in ("empty", "deep/er/new"):
            with pytest.raises(PlatformError, match=why) as caught:
                restored(broken, tmp_path / place)
            assert "\n" not in str(caught.value)
        assert list((tmp_path / "empty").iterdir()) == []
        assert not (tmp_path / "deep").exists()
    assert restored(file, tmp_path / "empty").packages == 5


def test_a_folder_that_is_not_empty_is_left_alone(
    folder: DataFolder, file: Path, tmp_path: Path
) -> None:
    before = contents(folder.path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for place in (folder.path, tmp_path / "full", tmp_path / "full" / "mine"):
        with pytest.raises(PlatformError, match="is not empty, and nothing in it was touched"):
            restored(file, place)
    assert contents(folder.path) == before
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_a_backup_of_a_newer_boda_is_refused(
    folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "boda.tar"
    with closing(sqlite3.connect(folder.database, isolation_level=None)) as database:
        database.execute("CREATE TABLE boda_schemas (name TEXT PRIMARY KEY, number INTEGER)")
        database.execute("INSERT INTO boda_schemas VALUES ('s3', 99)")
    backup(folder, file)
    with pytest.raises(PlatformError, match="newer boda \\(s3 is at 99, this one knows"):
        restored(file, tmp_path / "new")
    for module in ("take", "archive"):
        monkeypatch.setattr(f"boda.backup.{module}.FORMAT", 2)
    backup(folder, file)
    monkeypatch.undo()
    with pytest.raises(PlatformError, match="newer boda \\(0\\.1\\.0\\)"):
        restored(file, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    backup(folder, file)  # and it may be replaced


def test_an_older_backup_is_brought_forward_by_the_next_start(file: Path, tmp_path: Path) -> None:
    restored(file, tmp_path / "new")
    later = [*SCHEMAS, Schema("later", (Migration(1, "Begin"),))]
    sa.Table("later", later[-1], sa.Column("name", sa.Text, primary_key=True))
    SqliteRows(tmp_path / "new" / "boda.db", later).close()


_KILLED = """
import os, signal, sys
from pathlib import Path
from boda.app import SCHEMAS
from boda.backup import restore, take
from boda.core.ids import Ids
from boda.storage.folder import DataFolder

def progress(step, done, whole):
    if step == sys.argv[1] and done > whole // 2:
        os.kill(os.getpid(), signal.SIGKILL)

file, folder = Path(sys.argv[2]), DataFolder(Path(sys.argv[3]))
if sys.argv[1] in ("rows", "verified"):
    take.take(folder, file, lambda: 1.0, progress)
else:
    restore.restore(file, folder, SCHEMAS, Ids(), progress)
"""


def killed(step: str, file: Path, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, step, file, folder], capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize("step", ["rows", "verified"])
def test_a_backup_that_is_killed(folder: DataFolder, file: Path, tmp_path: Path, step: str) -> None:
    content = file.read_bytes()
    killed(step, file, folder.path)
    assert file.read_bytes() == content
    with DeletionLock(folder.path / "backup.lock").deleting() as allowed:
        assert allowed
    backup(folder, file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boda.tar", "data"]


@pytest.mark.parametrize("step", ["files", "packages"])
def test_a_restore_that_is_killed_is_no_folder_to_start_on(
    file: Path, tmp_path: Path, step: str
) -> None:
    killed(step, file, tmp_path / "new")
    with pytest.raises(PlatformError, match=r"boda\.db is missing, but"):
        generation_of(DataFolder(tmp_path / "new"), Ids()).check()
    with pytest.raises(PlatformError, match="is not empty"):
        restored(file, tmp_path / "new")


def test_two_backups_to_one_file(folder: DataFolder, file: Path) -> None:
    with (
        _exclusively(file.with_name(f".{file.name}.partial"), file),
        pytest.raises(PlatformError, match="Another backup is being written to"),
    ):
        backup(folder, file)


def test_files_are_deleted_once_no_backup_reads_them(tmp_path: Path) -> None:
    lock = DeletionLock(tmp_path / "backup.lock")
    with lock.reading(), lock.reading(), lock.deleting() as allowed:
        assert not allowed
    with lock.deleting() as allowed:
        assert allowed
    with DeletionLock(tmp_path / "absent" / "backup.lock").deleting() as allowed:
        assert not allowed


async def test_packages_wait_for_a_backup(folder: DataFolder) -> None:
    clock = ManualClock()
    store = CodeStore(
        folder.code, Quotas(), clock, Ids(), lambda _: False,
        LostAndFound.beside(folder.code, clock),
    )  # fmt: skip
    packages = {path.parent.name for path in folder.code.glob("*/code.zip")}
    with DeletionLock.beside(folder.code).reading():
        store.open(needed=True)
        for sha256 in packages:
            store.retire(sha256)
        await clock.advance(10_000)
        await store.sweep()
        assert all(store.has(sha256) for sha256 in packages)
    await store.sweep()
    assert not any(store.has(sha256) for sha256 in packages)
