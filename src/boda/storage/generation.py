"""Detects a database that is not the newest one of its data folder.

Law of this file: nothing here changes the database, its log or anything beside them until they
are known to belong together. They do after a kill and after a power failure.

The database holds a label: the folder's id and a generation, which grows with each commit and in
the same transaction. The marker file beside it holds a copy, written after the commit, in place
and without a flush: after a kill it names the last commit or the one before, after a power
failure an earlier one. A database whose generation is below the marker's has therefore lost
commits: it was replaced by an older copy, or its log was lost, cut or damaged.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from boda.core.crc import crc32
from boda.core.errors import PlatformError
from boda.core.ids import Ids
from boda.storage.durable import replace_durably
from boda.storage.sqlite_tx import rows_errors

_log = logging.getLogger(__name__)

TABLE = "boda_folder"
_LABEL = re.compile(rb"boda-folder ([0-9a-f]{32}) (\d{20})")
_WAL_HEAD = 32
_FRAME_HEAD = 24


@dataclass(frozen=True, slots=True)
class DatabaseLabel:
    """Identifies a state of a folder's database. folder: 32 hexadecimal digits. generation: the
    number of commits so far."""

    folder: str
    generation: int

    def __str__(self) -> str:
        return f"boda-folder {self.folder} {self.generation:020d}"

    @classmethod
    def parse(cls, text: bytes) -> DatabaseLabel | None:
        found = _LABEL.search(text)
        return None if found is None else cls(found[1].decode(), int(found[2]))


class Generation:
    """Keeps the label of a folder's database, and the marker beside it.

    marker: the file beside the database. contents: folders of files that the database names.
    """

    def __init__(self, marker: Path, database: Path, contents: Sequence[Path], ids: Ids) -> None:
        self._marker = marker
        self._database = database
        self._contents = contents
        self._ids = ids
        self._label = DatabaseLabel("", 0)
        self._descriptor = -1
        self._refused = False

    def check(self) -> None:
        """Check the database, and make the marker of a new folder.

        Raises PlatformError if the database is not the folder's newest, and RowsError if it cannot
        be read.
        """
        marked, stored = self.examine()
        if marked is None:
            marked = DatabaseLabel(self._ids.hex(32), 0)
            self.mark(marked)
        self._label = stored if stored is not None and stored.folder else marked
        self._descriptor = os.open(self._marker, os.O_WRONLY | os.O_CLOEXEC)

    def examine(self) -> tuple[DatabaseLabel | None, DatabaseLabel | None]:
        """Return the labels of the marker and of the database; raise like ``check``.

        Changes nothing. The marker is read first, as the database may grow meanwhile.
        """
        marked = self.marked()
        stored = self.stored()
        if stored is None:
            self._check_empty(marked)
        else:
            self._check_stored(marked, stored)
        return marked, stored

    def accept(self) -> None:
        """Write the database's label to the marker, and make content folders that are missing.

        Raises PlatformError if there is no database.
        """
        stored = self.stored()
        if stored is None:
            raise PlatformError(f"There is no database in {self._database.parent} to go on with.")
        with contextlib.suppress(FileNotFoundError):
            self._marker.unlink()
        if stored.folder:
            self.mark(stored)
        for folder in self._contents:
            (folder / "00").mkdir(parents=True, exist_ok=True)

    def mark(self, label: DatabaseLabel) -> None:
        """Write the marker of a folder whose database has this label."""
        replace_durably(self._marker, _encoded(label))

    def marked(self) -> DatabaseLabel | None:
        """Return the marker's label, or None if there is no marker. Raises PlatformError if it is
        damaged."""
        try:
            content = self._marker.read_bytes()
        except FileNotFoundError:
            return None
        with contextlib.suppress(ValueError, KeyError, TypeError):
            data = json.loads(content)
            label = DatabaseLabel(data["folder"], data["generation"])
            if content == _encoded(label):
                return label
        raise PlatformError(
            f"The marker {self._marker} is damaged, so whether {self._database.name} is the "
            f"newest cannot be known; {self._remedy('put the marker back')}"
        )

    def stored(self) -> DatabaseLabel | None:
        """Return the database's label; None if there is no database or it has no tables.

        ``folder`` is "" for a database from before labels. Raises RowsError if it cannot be read.
        """
        # SQLite would delete the log of an empty file, as that of another database.
        if not self._database.exists() or not self._database.stat().st_size:
            return None
        with rows_errors(), _reading(self._database, "mode=ro") as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if not tables:
                return None
            if TABLE not in tables:
                return DatabaseLabel("", 0)
            row = connection.execute(f"SELECT label FROM {TABLE}").fetchone()  # noqa: S608
        label = DatabaseLabel.parse(str(row[0]).encode()) if row else None
        if label is None:
            raise PlatformError(
                f"The row of table {TABLE} in the database {self._database} is damaged; restore "
                "it from a backup or choose another --data-dir."
            )
        return label

    def prepare(self, raw: sqlite3.Connection) -> None:
        """Make the label's row if there is none; in the first transaction of a run."""
        raw.execute(
            f"CREATE TABLE IF NOT EXISTS {TABLE} (one INTEGER PRIMARY KEY, label TEXT NOT NULL)"
        )
        raw.execute(f"INSERT OR IGNORE INTO {TABLE} VALUES (1, ?)", (str(self._label),))  # noqa: S608
        self.advance(raw)

    def advance(self, raw: sqlite3.Connection) -> None:
        """Store the next generation, in a transaction."""
        following = DatabaseLabel(self._label.folder, self._label.generation + 1)
        raw.execute(f"UPDATE {TABLE} SET label = ?", (str(following),))  # noqa: S608

    def committed(self) -> None:
        """Write the marker after a commit. Never raises: a marker that stays behind hides a loss,
        but refuses no good database."""
        self._label = DatabaseLabel(self._label.folder, self._label.generation + 1)
        try:
            os.pwrite(self._descriptor, _encoded(self._label), 0)
        except OSError as error:
            if not self._refused:
                self._refused = True
                _log.warning("the marker %s cannot be written: %s", self._marker, error)

    def close(self) -> None:
        """Flush the marker. Idempotent."""
        if self._descriptor >= 0:
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                _log.warning("the marker %s cannot be flushed: %s", self._marker, error)
            os.close(self._descriptor)
            self._descriptor = -1

    def _check_empty(self, marked: DatabaseLabel | None) -> None:
        held = next((folder for folder in self._contents if _holds_anything(folder)), None)
        if held is None and (marked is None or not marked.generation):
            return
        state = "empty" if self._database.exists() else "missing"
        what = f"{held.name}/ is not" if held is not None else "the marker knows of commits"
        raise PlatformError(
            f"The database {self._database} is {state}, but {what}: nothing was touched; restore "
            f"{self._database.name} (with its -wal file) from a backup or choose another "
            "--data-dir."
        )

    def _check_stored(self, marked: DatabaseLabel | None, stored: DatabaseLabel) -> None:
        if marked is None:
            if stored.folder:
                raise PlatformError(
                    f"The marker {self._marker} is missing, so whether {self._database.name} is "
                    f"the newest cannot be known; {self._remedy('put the marker back')}"
                )
            return
        if stored.folder and stored.folder != marked.folder:
            raise PlatformError(
                f"The database {self._database} belongs to another data folder than the marker "
                f"{self._marker.name}; {self._remedy('put the right one back')}"
            )
        missing = marked.generation - stored.generation
        if missing <= 0:
            missing = self._gap(stored.folder)
        if missing > 0:
            raise PlatformError(
                f"The database {self._database} is older than its folder, its last {missing} "
                "commits are missing (it was replaced by an older copy, or its -wal file was lost, "
                f"cut or damaged): nothing was touched; {self._remedy('restore the newest')}"
            )

    def _gap(self, folder: str) -> int:
        """Return the commits that are missing between the database file and the start of its log.

        The log continues the file. If the file is an older copy, the commits of logs before this
        one, which were moved into the newer file, are missing.
        """
        first = self._first_in_log(folder)
        if first is None:
            return 0
        try:
            with _reading(self._database, "immutable=1") as connection:
                row = connection.execute(f"SELECT label FROM {TABLE}").fetchone()  # noqa: S608
            alone = DatabaseLabel.parse(str(row[0]).encode()) if row else None
        except sqlite3.DatabaseError:
            # Torn by a kill while the log was moved into it, or empty: the log has all commits.
            return 0
        return 0 if alone is None else first - 1 - alone.generation

    def _first_in_log(self, folder: str) -> int | None:
        with contextlib.suppress(OSError, struct.error), self._log_path.open("rb") as log:
            (page,) = struct.unpack(">8xI20x", log.read(_WAL_HEAD))
            while frame := log.read(_FRAME_HEAD + page):
                label = DatabaseLabel.parse(frame)
                if label is not None and label.folder == folder:
                    return label.generation
        return None

    @property
    def _log_path(self) -> Path:
        return self._database.with_name(self._database.name + "-wal")

    def _remedy(self, first: str) -> str:
        return (
            f"{first}, or go on with what the database holds by `boda check --accept --data-dir "
            f"{self._database.parent}`."
        )


def _encoded(label: DatabaseLabel) -> bytes:
    """Encode a label in a fixed length, so that it can be written in place."""
    text = f'{{"folder": "{label.folder}", "generation": {label.generation:<20d}'
    return f'{text}, "check": "{crc32(text.encode(), 0):08x}"}}\n'.encode()


def _holds_anything(folder: Path) -> bool:
    """Whether the folder has a blob or a package; half-written ones do not count."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if len(entry.name) == 64 or (len(entry.name) == 2 and any(os.scandir(entry.path))):
                return True
    return False


@contextlib.contextmanager
def _reading(path: Path, how: str) -> Iterator[sqlite3.Connection]:
    """Open a connection that leaves the database and its log unchanged, also when it is closed."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)
    try:
        yield connection
    finally:
        connection.close()
