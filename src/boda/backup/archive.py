"""The form of a backup: a tar archive whose last member lists the digests of all others.

    boda-backup.json               what this is: ``BackupHead``
    root.json, code/.key           keys
    boda.db                        rows
    code/<sha256>/code.zip         functions' packages
    blobs/<two digits>/<id>        objects' bytes
    SHA256SUMS                     a line for each of these, as sha256sum writes and checks it

Members are named as in a data folder. Headers are the same but for name and size, so that a reader
knows every byte of the file: what was cut off or changed anywhere is noticed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from boda.core.errors import PlatformError

FORMAT = 1
"""The number of this form; a reader refuses higher ones."""
HEAD = "boda-backup.json"
SUMS = "SHA256SUMS"
PIECE = 1 << 20
"""Bytes read at once."""

Progress = Callable[[str, int, int], object]
"""Called with the name of a step, the bytes that are done and those to do."""


class Step:
    """Counts the bytes of one step for a ``Progress``. whole: bytes to do."""

    def __init__(self, progress: Progress, name: str, whole: int) -> None:
        self._progress, self._name, self._whole = progress, name, whole
        self._done = 0

    def moved(self, count: int) -> None:
        self._done += count
        self._progress(self._name, self._done, self._whole)


_BLOCK = 512
_END = bytes(2 * _BLOCK)
_HEAD_BYTES = 1 << 20
_NAME = re.compile(
    r"boda-backup\.json|root\.json|code/\.key|boda\.db|SHA256SUMS"
    r"|code/[0-9a-f]{64}/code\.zip|blobs/[0-9a-zA-Z]{2}/[0-9a-zA-Z]{32}"
)


class DamagedBackup(PlatformError):
    """Raised for a file that is no whole and unchanged backup."""


@dataclass(frozen=True, slots=True)
class BackupHead:
    """What a backup is.

    made_at: epoch seconds, when its rows were read. boda: the version that took it. schemas: the
    numbers of its rows' schemas. size: bytes of the members' content, as counted before copying.
    """

    format: int
    made_at: int
    boda: str
    schemas: dict[str, int]
    size: int

    def encoded(self) -> bytes:
        return json.dumps(dataclasses.asdict(self), indent=1).encode()

    @classmethod
    def decode(cls, content: bytes) -> BackupHead:
        """Raises ValueError, KeyError or TypeError; NewerBackup for a form of a later version."""
        members = json.loads(content)
        if members["format"] > FORMAT:
            raise NewerBackup(str(members["boda"]))
        return cls(**{each.name: members[each.name] for each in dataclasses.fields(cls)})


class NewerBackup(Exception):
    """Raised for a backup whose form is of a later version; the text is that version."""


class ArchiveWriter:
    """Writes an archive into an open file. Methods block and raise OSError."""

    def __init__(self, file: IO[bytes], head: BackupHead) -> None:
        self._file = file
        self._made_at = head.made_at
        self._sums: list[str] = []
        content = head.encoded()
        self.add(HEAD, len(content), [content])

    def add(self, name: str, size: int, pieces: Iterable[bytes]) -> str:
        """Write a member and return its SHA-256, hexadecimal.

        If the pieces have fewer bytes than size, zeros follow; more are cut.
        """
        self._file.write(_header(name, size, self._made_at))
        digest = hashlib.sha256()
        for piece in _filled(pieces, size):
            digest.update(piece)
            self._file.write(piece)
        self._file.write(bytes(-size % _BLOCK))
        self._sums.append(f"{digest.hexdigest()}  {name}\n")
        return digest.hexdigest()

    def finish(self) -> None:
        """Write the digests and the end."""
        content = "".join(self._sums).encode()
        self._file.write(_header(SUMS, len(content), self._made_at))
        self._file.write(content + bytes(-len(content) % _BLOCK) + _END)


@dataclass(frozen=True, slots=True)
class BackupMember:
    """A member of an archive, whose content is read once, before the next member."""

    name: str
    size: int
    pieces: Iterator[bytes]


class ArchiveReader:
    """Reads an archive from an open file, and verifies every byte of it.

    head: of the backup. name: of the file, for errors.
    Raises DamagedBackup, and NewerBackup if the form is of a later version.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self._sums: list[str] = []
        self._seen: set[str] = set()
        block = self._file.read(_BLOCK)
        try:
            entry = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeError):
            entry = tarfile.TarInfo()
        if entry.name != HEAD or entry.size > _HEAD_BYTES:
            raise DamagedBackup(f"{name} is no backup of boda.")
        self._made_at = int(entry.mtime)
        content = b"".join(self._content(block, entry).pieces)
        try:
            self.head = BackupHead.decode(content)
        except (ValueError, KeyError, TypeError):
            raise self._damaged(HEAD) from None

    def __iter__(self) -> Iterator[BackupMember]:
        """Yield the members behind the head; the archive is verified once the last was read."""
        while True:
            block = self._read(_BLOCK)
            try:
                entry = tarfile.TarInfo.frombuf(block, "ascii", "strict")
            except (tarfile.HeaderError, UnicodeError):
                raise self._damaged("the head of a member") from None
            if entry.name == SUMS:
                self._check_end(block)
                return
            yield (member := self._content(block, entry))
            for _ in member.pieces:  # whatever the caller did not read
                pass

    def _content(self, block: bytes, entry: tarfile.TarInfo) -> BackupMember:
        name, size = entry.name, entry.size
        if (
            not _NAME.fullmatch(name)
            or name in self._seen
            or size < 0
            or block != _header(name, size, self._made_at)
        ):
            raise self._damaged("the head of a member")
        self._seen.add(name)
        return BackupMember(name, size, self._pieces(name, size))

    def _pieces(self, name: str, size: int) -> Iterator[bytes]:
        digest = hashlib.sha256()
        left = size
        while left:
            piece = self._read(min(left, PIECE))
            digest.update(piece)
            left -= len(piece)
            yield piece
        if any(self._read(-size % _BLOCK)):
            raise self._damaged(name)
        self._sums.append(f"{digest.hexdigest()}  {name}\n")

    def _check_end(self, block: bytes) -> None:
        """Hold the rest of the file against what it must be by all that was read."""
        content = "".join(self._sums).encode()
        expected = _header(SUMS, len(content), self._made_at) + content
        expected += bytes(-len(content) % _BLOCK) + _END
        found = block + self._read(len(expected) - _BLOCK)
        if found != expected:
            raise self._damaged(_first_difference(found, content))
        if self._file.read(1):
            raise self._damaged("its end")

    def _read(self, size: int) -> bytes:
        found = self._file.read(size)
        if len(found) != size:
            raise DamagedBackup(f"The backup {self._name} is cut off; take another one.")
        return found

    def _damaged(self, what: str) -> DamagedBackup:
        return DamagedBackup(
            f"The backup {self._name} was changed since it was written ({what}); take another one."
        )


def _header(name: str, size: int, made_at: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, made_at, 0o600
    return entry.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def _filled(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    left = size
    for piece in pieces:
        yield piece[:left]
        left -= min(left, len(piece))
    while left:
        yield bytes(min(left, PIECE))
        left -= min(left, PIECE)


def _first_difference(found: bytes, content: bytes) -> str:
    """Name the first member whose digest is not the one that the archive lists."""
    listed = found[_BLOCK : _BLOCK + len(content)].splitlines()
    for line, expected in zip(listed, content.splitlines(), strict=False):
        if line != expected:
            return expected.decode()[66:]
    return SUMS
