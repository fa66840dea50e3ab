"""Whether a data folder is whole: of a boda that is stopped, and of one that runs.

Nothing here changes the folder. What is replaced while it is looked at is no fault.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from boda.core.errors import PlatformError
from boda.core.ids import Ids
from boda.services.iam import inspection as iam
from boda.services.lambda_ import inspection as lambda_
from boda.services.s3 import inspection as s3
from boda.storage.folder import DataFolder
from boda.storage.generation import Generation
from boda.storage.inspection import InspectionStep, Read
from boda.storage.rows import RowsError, Tx
from boda.storage.sqlite_reader import SqliteReader

_ROOM_S = 60.0
_BATCH = 500


@dataclass(slots=True)
class Report:
    """faults: a line each. read: bytes looked at. unnamed: blobs that no row names."""

    faults: list[str] = field(default_factory=list)
    read: int = 0
    unnamed: int = 0


def generation_of(folder: DataFolder, ids: Ids) -> Generation:
    """The label of a folder's database."""
    return Generation(folder.marker, folder.database, [folder.blobs, folder.code], ids)


def check(folder: DataFolder, say: Callable[[str], object] = lambda _: None) -> Report:
    """Look at everything. say: called with each fault when it is found."""
    report = Report()

    def note(fault: str) -> None:
        report.faults.append(fault)
        say(fault)

    try:
        marked, stored = generation_of(folder, Ids()).examine()
        if stored is None:
            raise (
                PlatformError(
                    f"There is no boda in {folder.path} yet; start one with `boda up`, or name its "
                    "folder with --data-dir."
                )
                if marked is None
                else PlatformError(f"The database {folder.database} is missing.")
            )
    except PlatformError as error:
        if not folder.database.exists() and not folder.marker.exists():
            raise
        note(str(error))
    except RowsError as error:
        note(f"the database {folder.database} cannot be read ({error})")
        return report
    if not folder.database.exists():
        return report
    with SqliteReader(folder.database) as reader:
        for step in _everything(reader, folder):
            report.read += step.read
            if step.fault:
                note(step.fault)
        if not report.faults:
            report.unnamed = _unnamed(reader.read, folder.blobs)
    return report


def contents(
    read: Read[Any], folder: DataFolder, keep: s3.Keep | None = None
) -> Iterator[InspectionStep]:
    """Verify objects, packages and code. keep: as in ``s3.steps``."""
    yield from s3.steps(read, folder.blobs, keep)
    yield from lambda_.steps(folder.code, read(lambda_.packages))


def first_damaged_row(folder: DataFolder) -> str:
    """One line that names a row that cannot be read; "" if all can."""
    with SqliteReader(folder.database) as reader:
        return next((step.fault for step in _rows(reader.read)), "")


def _everything(reader: SqliteReader, folder: DataFolder) -> Iterator[InspectionStep]:
    read = reader.read
    try:
        for line in reader.damaged_pages():
            yield InspectionStep(0, f"the database {folder.database}: {line}")
        damaged = list(_rows(read))
        yield from damaged
        yield from _key_file(read, folder)
        if not damaged:  # else what they name cannot be asked
            yield from contents(read, folder)
    except RowsError as error:
        yield InspectionStep(
            0, f"the database {folder.database} cannot be read to its end ({error})"
        )


def _rows(read: Read[Any]) -> Iterator[InspectionStep]:
    for faults in (iam.row_faults, lambda_.row_faults, s3.row_faults):
        for line in read(partial(_listed, faults)):
            yield InspectionStep(0, line)


def _listed(faults: Callable[[Tx], Iterator[str]], tx: Tx) -> list[str]:
    return list(faults(tx))


def _key_file(read: Read[Any], folder: DataFolder) -> Iterator[InspectionStep]:
    try:
        keys = folder.root_keys()
    except PlatformError as error:
        yield InspectionStep(0, str(error))
        return
    if not read(partial(iam.holds_key, access_key_id=keys.access_key_id, secret=keys.secret)):
        yield InspectionStep(0, "the key file root.json holds other keys than the database")


def _unnamed(read: Read[Any], blobs: Path) -> int:
    """Blobs that no row names, but for those that may just be on their way."""
    until = time.time() - _ROOM_S
    count = 0
    for place, _, names in os.walk(blobs):
        if Path(place) == blobs or Path(place).name == "incoming":
            continue
        for index in range(0, len(names), _BATCH):
            batch = names[index : index + _BATCH]
            for name in read(partial(s3.orphans, names=batch)):
                try:
                    count += os.lstat(os.path.join(place, name)).st_mtime < until
                except FileNotFoundError:
                    continue
    return count
