"""Inspect packages and their unpacked code for damage."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import stat
import sys
import zipfile
import zlib
from pathlib import Path

from boda.core.errors import AwsError
from boda.services.lambda_.code.package import Entry, entries, unpack
from boda.services.lambda_.quotas import Quotas

_CHUNK = 1024 * 1024
# An accepted package is not measured by quotas that were changed since.
_ANY = dataclasses.replace(Quotas(), entries=sys.maxsize, unzipped_bytes=sys.maxsize)


def package_fault(folder: Path) -> str:
    """Return the fault of the package in ``<code>/<sha256>``, or ""."""
    try:
        with (folder / "code.zip").open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"its package {folder.name} cannot be read ({error.strerror})"
    return "" if found == folder.name else f"its package {folder.name} has another digest"


def code_fault(folder: Path) -> str:
    """Return the fault of the unpacked code in ``<code>/<sha256>/task``, or "". Blocking.

    It is compared with the directory of the package, which has a checksum of each file.
    """
    task = folder / "task"
    try:
        with zipfile.ZipFile(folder / "code.zip") as archive:
            expected = {str(entry.path): entry for entry in entries(archive, _ANY)}
            for entry in expected.values():
                if not _same(archive, entry, task / entry.path):
                    return f"its file {entry.path} is not what the package holds"
        for place, folders, names in os.walk(task):
            for name in (*names, *folders):
                path = Path(place, name)
                if str(path.relative_to(task)) in expected:
                    continue
                if path.is_symlink() or not path.is_dir():  # folders need no entries of their own
                    return f"its file {path.relative_to(task)} is not in the package"
    except OSError as error:
        return f"its code cannot be read ({error.strerror})"
    except (AwsError, zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
        return f"its package {folder.name} cannot be read"
    return ""


def unpack_again(folder: Path) -> None:
    """Unpack the package kept in ``<code>/<sha256>``, which has no ``task`` yet. Blocking.

    Raises AwsError if it is no package.
    """
    task = folder / "task"
    task.mkdir(mode=0o755)
    try:
        unpack(folder / "code.zip", task, _ANY)
    except AwsError:
        shutil.rmtree(task, ignore_errors=True)
        raise


def _same(archive: zipfile.ZipFile, entry: Entry, place: Path) -> bool:
    try:
        found = os.lstat(place)
        if entry.kind == "folder":
            return stat.S_ISDIR(found.st_mode)
        if entry.kind == "link":
            return os.readlink(place) == archive.read(entry.info).decode()
        if not stat.S_ISREG(found.st_mode) or found.st_size != entry.info.file_size:
            return False
        crc = 0
        with place.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                crc = zlib.crc32(chunk, crc)
        return crc == entry.info.CRC
    except (FileNotFoundError, NotADirectoryError):
        return False
