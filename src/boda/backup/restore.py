"""Makes a data folder of a backup, on any machine and at any path.

The database gets its name last, once every byte of the backup was read and verified and is on the
disk: a start refuses a folder whose restore was killed half-way.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boda.backup.archive import ArchiveReader, BackupHead, BackupMember, NewerBackup, Progress, Step
from boda.check import generation_of
from boda.core.errors import AwsError, PlatformError
from boda.core.ids import Ids
from boda.services.lambda_.code.inspection import unpack_again
from boda.storage.database_copy import relabel
from boda.storage.durable import sync_below, sync_folder
from boda.storage.folder import DataFolder
from boda.storage.migrations import NewerDatabase, check_numbers
from boda.storage.rows import RowsError
from boda.storage.schema import Schema

_COMING = "boda.db.restoring"


@dataclass(slots=True)
class RestoreReport:
    """head: of the backup. faults: a line for each package that was damaged when it was taken."""

    head: BackupHead
    blobs: int = 0
    packages: int = 0
    faults: list[str] = field(default_factory=list)


def restore(
    file: Path,
    folder: DataFolder,
    schemas: Sequence[Schema],
    ids: Ids,
    progress: Progress = lambda *_: None,
) -> RestoreReport:
    """Make a data folder of a backup. Blocking.

    folder: absent or empty. schemas: those that this version knows; ids: makes the folder's id.
    Raises PlatformError, and then leaves nothing behind.
    """
    try:
        with file.open("rb") as opened:
            reader = ArchiveReader(opened, str(file))
            check_numbers(reader.head.schemas, schemas)
            with _new(folder):
                return _restore(reader, folder, ids, progress)
    except (NewerBackup, NewerDatabase) as error:
        raise PlatformError(
            f"The backup {file} was written by a newer boda ({error}); upgrade boda."
        ) from None
    except RowsError as error:
        raise PlatformError(f"The rows of the backup {file} cannot be used ({error}).") from None
    except OSError as error:
        place = os.fsdecode(error.filename or folder.path)
        raise PlatformError(
            f"The backup {file} cannot be restored ({error.strerror or error}: {place})."
        ) from None


@contextlib.contextmanager
def _new(folder: DataFolder) -> Iterator[None]:
    """Make and hold a data folder; remove all that is in it if an exception is raised."""
    path = folder.path
    if path.exists() and (not path.is_dir() or any(os.scandir(path))):
        raise PlatformError(
            f"{path} is not empty, and nothing in it was touched; name a new folder with "
            "--data-dir."
        )
    made = [each for each in (path, *path.parents) if not each.exists()]
    folder.take()
    try:
        yield
    except BaseException:
        folder.release()
        for entry in path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()
        raise
    folder.release()


def _restore(
    reader: ArchiveReader, folder: DataFolder, ids: Ids, progress: Progress
) -> RestoreReport:
    path = folder.path
    report = RestoreReport(reader.head)
    folder.code.mkdir(mode=0o711)
    (folder.blobs / "incoming").mkdir(parents=True)
    packages: list[Path] = []
    step = Step(progress, "files", reader.head.size)
    for member in reader:
        target = path / (_COMING if member.name == "boda.db" else member.name)
        target.parent.mkdir(exist_ok=True, mode=0o755)
        _write(target, member, step)
        if target.name == "code.zip":
            packages.append(target.parent)
        report.blobs += member.name.startswith("blobs/")
    for number, package in enumerate(packages, 1):
        try:
            unpack_again(package)
        except AwsError as error:
            report.faults.append(f"package {package.name}: {error.message}")
        progress("packages", number, len(packages))
    report.packages = len(packages)
    label = relabel(path / _COMING, ids.hex(32))
    sync_below(path)
    if label is not None:
        generation_of(folder, ids).mark(label)
    (path / _COMING).rename(folder.database)
    sync_folder(path)
    return report


def _write(target: Path, member: BackupMember, step: Step) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for piece in member.pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[file.write(rest) :]
            step.moved(len(piece))
