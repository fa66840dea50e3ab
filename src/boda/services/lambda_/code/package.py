"""Deployment packages: validated and unpacked as if their makers were hostile.

Law of this file: nothing is written outside the given folder, nothing is inflated past the limit
whatever the headers declare, and no entry passes through a symbolic link of the package's own
(links are made last).
"""

from __future__ import annotations

import errno
import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from boda.services.lambda_.errors import cannot_unzip, invalid
from boda.services.lambda_.quotas import Quotas

_ENTRY_MARK = b"PK\x01\x02"
_CHUNK = 1024 * 1024
_LINK_LIMIT = 4096
_DRIVE = re.compile(r"[A-Za-z]:")

# The targets that an absolute link of a package may have: folders of the function's own
# environment.
_OWN_PLACES = ("/var/task", "/opt", "/tmp")  # noqa: S108


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a package. path: relative, clean. mode: permission bits for the disk."""

    path: PurePosixPath
    kind: str
    mode: int
    info: zipfile.ZipInfo


def unpack(source: Path, target: Path, quotas: Quotas) -> int:
    """Unpack a zip file into an existing empty folder; return the bytes unpacked. Blocking.

    Raises AwsError with AWS's words; the caller removes the files written by then.
    """
    try:
        _check_size(source, quotas)
        with zipfile.ZipFile(source) as archive:
            found = entries(archive, quotas)
            declared = sum(entry.info.file_size for entry in found)
            if declared > quotas.unzipped_bytes:
                raise _too_big(quotas)
            return _write(archive, found, target, quotas)
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        struct.error,
        EOFError,
        NotImplementedError,  # a compression or an encryption that the module lacks
        RuntimeError,
        UnicodeError,
        ValueError,
        OverflowError,
    ):
        raise cannot_unzip() from None
    except OSError as error:
        # A crafted offset before the start of the file; or bz2's error for malformed data.
        if error.errno in (errno.EINVAL, None):
            raise cannot_unzip() from None
        raise


def entries(archive: zipfile.ZipFile, quotas: Quotas) -> list[Entry]:
    """Return the members, each validated alone and against the others; of several with one name the
    last. Raises AwsError."""
    infos = archive.infolist()
    if not infos:
        raise invalid("Uploaded file must be a non-empty zip")
    if len(infos) > quotas.entries:
        raise cannot_unzip(f"It has more than {quotas.entries} entries.")
    found: dict[PurePosixPath, Entry] = {}
    for info in infos:
        if info.flag_bits & 0x1:
            raise cannot_unzip(f"The entry {info.filename!r} is encrypted.")
        path = _path(info)
        kind, mode = _kind(info)
        if path is None:
            if kind != "folder":
                raise cannot_unzip(f"The entry {info.filename!r} has no name.")
            continue
        before = found.get(path)
        if before is not None and (before.kind == "folder") != (kind == "folder"):
            raise cannot_unzip(f"The entry {str(path)!r} is both a file and a folder.")
        found[path] = Entry(path, kind, mode, info)
    for path in found:
        for parent in path.parents:
            if parent in found and found[parent].kind != "folder":
                raise cannot_unzip(f"The entry {str(parent)!r} is both a file and a folder.")
    return list(found.values())


def _path(info: zipfile.ZipInfo) -> PurePosixPath | None:
    """Return the entry's path under the target; None for the target itself. Raises AwsError."""
    name = info.orig_filename
    shown = name[:200]
    if "\0" in name or "\\" in name or name.startswith("/") or _DRIVE.match(name):
        raise cannot_unzip(f"The entry {shown!r} is not a relative path.")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise cannot_unzip(f"The entry {shown!r} leads out of the package.")
    if any(len(part.encode()) > 255 for part in parts) or len(name.encode()) > 3500:
        raise cannot_unzip(f"The entry {shown!r} has too long a name.")
    return PurePosixPath(*parts) if parts else None


def _kind(info: zipfile.ZipInfo) -> tuple[str, int]:
    """Return the kind of an entry, and its permission bits: those packed with it, or the usual
    ones."""
    mode = info.external_attr >> 16
    form, bits = stat.S_IFMT(mode), mode & 0o777
    if form == stat.S_IFLNK:
        return "link", 0
    if form == stat.S_IFDIR or info.filename.endswith("/"):
        return "folder", bits or 0o755
    if form not in (0, stat.S_IFREG):
        raise cannot_unzip(f"The entry {info.filename[:200]!r} is neither a file nor a folder.")
    return "file", bits or 0o644


def _on_disk(mode: int, *, folder: bool = False) -> int:
    """Return the permission bits of a file or folder on this disk.

    Functions run as another user than the owner. If the platform is an ordinary user it cannot give
    its files to another one, and functions run as itself: then the owner gets the permissions of
    others. Folders stay removable by the platform.
    """
    if os.geteuid() != 0:
        others = mode & 0o007
        mode = others << 6 | others << 3 | others
    return mode | 0o700 if folder else mode


def _write(archive: zipfile.ZipFile, found: list[Entry], target: Path, quotas: Quotas) -> int:
    total = 0
    made = {target}
    links: list[tuple[Path, str]] = []
    for entry in found:
        place = target / entry.path
        _make_folder(place if entry.kind == "folder" else place.parent, made)
        if entry.kind == "file":
            total = _write_file(archive, entry, place, total, quotas)
        elif entry.kind == "link":
            if entry.info.file_size > _LINK_LIMIT:
                raise cannot_unzip(f"The link {str(entry.path)!r} is too long.")
            content = archive.read(entry.info)
            total += len(content)
            links.append((place, content.decode()))
    for entry in found:
        if entry.kind == "folder":
            (target / entry.path).chmod(_on_disk(entry.mode, folder=True))
    for place, goal in links:
        if not goal or "\0" in goal:
            raise cannot_unzip(f"The link {place.name!r} is empty.")
        os.symlink(goal, place)
    for place, _ in links:
        _check_link(place, target)
    return total


def _write_file(
    archive: zipfile.ZipFile, entry: Entry, place: Path, total: int, quotas: Quotas
) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with (
        archive.open(entry.info) as content,
        os.fdopen(os.open(place, flags, 0o600), "wb") as file,
    ):
        while chunk := content.read(_CHUNK):
            total += len(chunk)
            if total > quotas.unzipped_bytes:
                raise _too_big(quotas)
            file.write(chunk)
        os.fchmod(file.fileno(), _on_disk(entry.mode))  # whatever the umask
    return total


def _make_folder(folder: Path, made: set[Path]) -> None:
    missing = []
    while folder not in made:
        missing.append(folder)
        folder = folder.parent
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        place.chmod(0o755)
        made.add(place)


def _check_link(place: Path, target: Path) -> None:
    """Refuse a link unless it stays within the package, or points to a folder of the
    environment."""
    goal = os.readlink(place)
    if goal.startswith("/"):
        clean = os.path.normpath(goal)
        fine = any(clean == own or clean.startswith(own + "/") for own in _OWN_PLACES)
    else:
        root, resolved = os.path.realpath(target), os.path.realpath(place)
        fine = resolved == root or resolved.startswith(root + os.sep)
    if not fine:
        raise cannot_unzip(f"The link {place.name!r} leads out of the package.")


def _check_size(source: Path, quotas: Quotas) -> None:
    """Count possible entries before an object is made for each of them.

    Every entry has its signature somewhere in the file, whichever of several ends a crafted file
    may have; so the number of signatures bounds the entries.
    """
    marks = 0
    before = b""
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK):
            marks += (before + chunk).count(_ENTRY_MARK)
            if marks > quotas.entries:
                raise cannot_unzip(f"It has more than {quotas.entries} entries.")
            before = chunk[-len(_ENTRY_MARK) + 1 :]
    if source.stat().st_size == 0:
        raise invalid("Uploaded file must be a non-empty zip")


def _too_big(quotas: Quotas) -> Exception:
    return invalid(f"Unzipped size must be smaller than {quotas.unzipped_bytes} bytes")
