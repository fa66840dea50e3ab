"""Takes a backup of a data folder, whether a boda runs on it or not.

The rows are copied first, as they are at one moment; then the files that they name, which are
never changed and, under the deletion lock, not deleted meanwhile. So everything that was
acknowledged before the backup began is in it, and nothing of it is torn.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from boda import __version__
from boda.backup.archive import (
    FORMAT,
    PIECE,
    ArchiveReader,
    ArchiveWriter,
    BackupHead,
    DamagedBackup,
    NewerBackup,
    Progress,
    Step,
)
from boda.check import generation_of
from boda.core.errors import PlatformError
from boda.core.ids import Ids
from boda.services.lambda_ import inspection as lambda_
from boda.services.s3 import inspection as s3
from boda.storage.blobs import blob_path
from boda.storage.block_checksums import BLOCK, wrong_block
from boda.storage.database_copy import copy_database
from boda.storage.deletion_lock import DeletionLock
from boda.storage.durable import sync_folder
from boda.storage.folder import DataFolder
from boda.storage.migrations import stored_numbers
from boda.storage.rows import RowsError
from boda.storage.sqlite_reader import SqliteReader


@dataclass(slots=True)
class BackupReport:
    """size: bytes of the file. faults: a line for each file that is damaged in the data folder."""

    size: int = 0
    blobs: int = 0
    packages: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Source:
    """A file to copy. owner: for people. size: bytes it should have.

    crcs: what its blocks should have, or b""; sha256: what it should have, or "".
    """

    name: str
    path: Path
    owner: str
    size: int
    crcs: bytes = b""
    sha256: str = ""


def take(
    folder: DataFolder,
    file: Path,
    now: Callable[[], float],
    progress: Progress = lambda *_: None,
) -> BackupReport:
    """Copy a data folder into a file, and read the file again before it gets its name. Blocking.

    now: epoch seconds. A file of that name is replaced if it is a backup.
    Raises PlatformError, and then leaves no file behind.
    """
    _check_source(folder)
    _check_target(file)
    partial, rows = (file.with_name(f".{file.name}.{kind}") for kind in ("partial", "rows"))
    try:
        with _exclusively(partial, file) as archive:
            try:
                with DeletionLock.beside(folder.blobs).reading():
                    report = _write(folder, archive, rows, now, progress)
                archive.flush()
                os.fsync(archive.fileno())
                report.size = _verify(archive, file, progress)
                partial.replace(file)
                sync_folder(file.parent)
            finally:
                rows.unlink(missing_ok=True)
                partial.unlink(missing_ok=True)
    except RowsError as error:
        raise PlatformError(
            f"The rows of {folder.path} cannot be copied ({error}); `boda check` says more."
        ) from None
    except OSError as error:
        place = os.fsdecode(error.filename or file)
        raise PlatformError(
            f"The backup {file} cannot be written ({error.strerror or error}: {place})."
        ) from None
    return report


def _check_source(folder: DataFolder) -> None:
    try:
        _, stored = generation_of(folder, Ids()).examine()
    except RowsError as error:
        raise PlatformError(
            f"The database {folder.database} cannot be read ({error}); `boda check` says more."
        ) from None
    if stored is None:
        raise PlatformError(
            f"There is no boda in {folder.path} yet; name its folder with --data-dir."
        )


def _check_target(file: Path) -> None:
    """Raise PlatformError if the name is taken by anything but an earlier backup."""
    try:
        with file.open("rb") as found:
            ArchiveReader(found, str(file))
    except (FileNotFoundError, NewerBackup):
        return
    except IsADirectoryError:
        raise PlatformError(f"{file} is a folder; name a file for the backup.") from None
    except DamagedBackup:
        raise PlatformError(
            f"{file} is there already and no backup of boda; name another file."
        ) from None
    except OSError as error:
        raise PlatformError(f"{file} cannot be replaced ({error.strerror}).") from None


@contextlib.contextmanager
def _exclusively(partial: Path, file: Path) -> Iterator[IO[bytes]]:
    """Open the file that a backup is written to, readable by its owner only."""
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w+b") as archive:
        try:
            fcntl.flock(archive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PlatformError(f"Another backup is being written to {file}.") from None
        os.fchmod(descriptor, 0o600)
        archive.truncate(0)
        yield archive


def _write(
    folder: DataFolder,
    archive: IO[bytes],
    rows: Path,
    now: Callable[[], float],
    progress: Progress,
) -> BackupReport:
    made_at = int(now())
    os.close(os.open(rows, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    copy_database(folder.database, rows, lambda done, size: progress("rows", done, size))
    report = BackupReport()
    with SqliteReader(rows, still=True) as reader:
        read = reader.read
        report.faults += [f"the database: {line}" for line in reader.damaged_pages("quick_check")]
        numbers = read(stored_numbers)
        packages = read(lambda_.packages)
        blobs = read(lambda tx: list(s3.named_blobs(tx)))
    keys = [
        _Source(name, folder.path / name, "key file", (folder.path / name).stat().st_size)
        for name in ("root.json", "code/.key")
        if (folder.path / name).exists()
    ]
    sources = [*keys, _Source("boda.db", rows, "rows", rows.stat().st_size)]
    for sha256, owner in packages.items():
        name = f"code/{sha256}/code.zip"
        path = folder.path / name
        size = path.stat().st_size if path.exists() else 0
        sources.append(_Source(name, path, f"code of {owner}", size, sha256=sha256))
    for blob in blobs:
        name = str(blob_path(Path("blobs"), blob.id))
        path = folder.path / name
        sources.append(_Source(name, path, blob.owner, blob.size, blob.crcs))
    report.blobs, report.packages = len(blobs), len(packages)
    size = sum(each.size for each in sources)
    writer = ArchiveWriter(archive, BackupHead(FORMAT, made_at, __version__, numbers, size))
    step = Step(progress, "files", size)
    for source in sources:
        _add(writer, source, report.faults, step)
    writer.finish()
    return report


def _add(writer: ArchiveWriter, source: _Source, faults: list[str], step: Step) -> None:
    """Copy one file as it is; what is damaged in it becomes a fault."""
    try:
        with source.path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size != source.size:
                faults.append(f"{source.owner}: it has {size} bytes instead of {source.size}")
            digest = writer.add(source.name, size, _pieces(file, source, faults, step))
            if source.sha256 and digest != source.sha256:
                faults.append(f"{source.owner}: its package {source.sha256} has another digest")
    except FileNotFoundError:
        faults.append(f"{source.owner}: its file {source.name} is missing")


def _pieces(file: IO[bytes], source: _Source, faults: list[str], step: Step) -> Iterator[bytes]:
    number, intact = 0, True
    while True:
        try:
            piece = file.read(PIECE)
        except OSError as error:
            faults.append(f"{source.owner}: {source.name} cannot be read ({error.strerror})")
            return
        if not piece:
            return
        if source.crcs and intact:
            bad = wrong_block(piece, source.crcs, number)
            if bad is not None:
                intact = False
                faults.append(f"{source.owner}: the checksum of its block {bad} is wrong")
        number += len(piece) // BLOCK
        yield piece
        step.moved(len(piece))


def _verify(archive: IO[bytes], file: Path, progress: Progress) -> int:
    """Read the file from the disk as a restore would; return its size."""
    size = archive.tell()
    archive.seek(0)
    os.posix_fadvise(archive.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for member in ArchiveReader(archive, str(file)):
        for _ in member.pieces:
            progress("verified", archive.tell(), size)
    return size
