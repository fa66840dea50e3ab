"""A function's folder and its requirements as one zip."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from boda.cli.ignore import IgnoreFile
from boda.core.errors import PlatformError

MAX_UNZIPPED_BYTES = 262_144_000
"""Lambda's limit of code and layers together."""
IGNORE_FILE = ".bodaignore"

LEFT_OUT = (
    # secrets of the machine that deploys
    *(".env", ".env.*", ".envrc"),
    # version control
    *(".git", ".hg/", ".svn/", ".bzr/", "CVS/", ".jj/", ".gitignore", ".gitattributes"),
    # installed or kept by tools
    *(".venv/", "venv/", "node_modules/", "__pycache__/", ".mypy_cache/", ".ruff_cache/"),
    *(".pytest_cache/", ".hypothesis/", ".tox/", ".nox/", ".cache/", ".ipynb_checkpoints/"),
    *(".coverage", "htmlcov/", ".aws-sam/", ".serverless/", ".terraform/"),
    *(".idea/", ".vscode/", ".DS_Store", "Thumbs.db", IGNORE_FILE),
)
"""Left out unless a line of .bodaignore has ``!`` and the name. Virtual environments are recognised
by their ``pyvenv.cfg``, too, whatever their name."""


def files_of(folder: Path) -> dict[str, Path]:
    """Return the files of a folder that are packed, by name in the package. Raises
    PlatformError."""
    lines = [*LEFT_OUT]
    own = folder / IGNORE_FILE
    try:
        if own.is_file():
            lines += own.read_text("utf-8").splitlines()
        found = dict(_walk(folder, "", IgnoreFile(lines), (os.path.realpath(folder),)))
    except UnicodeDecodeError:
        raise PlatformError(f"{own} is not UTF-8 text.") from None
    except OSError as error:
        raise PlatformError(f"{error.filename} cannot be read: {error.strerror}.") from None
    return found


def _walk(
    folder: Path, before: str, ignore: IgnoreFile, above: tuple[str, ...]
) -> Iterator[tuple[str, Path]]:
    """Walk a folder. above: the real paths of this folder and those around it, against circular
    links."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        name = f"{before}{entry.name}"
        is_folder = entry.is_dir()
        if ignore.matches(name, folder=is_folder):
            continue
        if not name.isprintable() and _unspeakable(name):
            raise PlatformError(
                f"The name of {os.fsencode(entry.path)!r} is not UTF-8, as names in packages are; "
                f"rename it or leave it out by a line in {IGNORE_FILE}."
            )
        if is_folder:
            real = os.path.realpath(entry.path)
            if real not in above and not os.path.isfile(f"{entry.path}/pyvenv.cfg"):
                yield from _walk(Path(entry.path), f"{name}/", ignore, (*above, real))
        elif entry.is_file():
            yield name, Path(entry.path)


def _unspeakable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def write(files: Mapping[str, Path], base: Path | None, target: IO[bytes]) -> int:
    """Write a zip of the files, over those of the zip ``base``; return their bytes unzipped.

    The same files over the same base give the same bytes. Raises PlatformError if there is no file,
    too much, or an unreadable file.
    """
    size = 0
    if base is not None:
        with base.open("rb") as source, zipfile.ZipFile(source) as archive:
            size = sum(info.file_size for info in archive.infolist() if info.filename not in files)
            if files.keys() & set(archive.namelist()):
                _copy_others(archive, files, target)
            else:
                source.seek(0)
                shutil.copyfileobj(source, target, 1 << 20)
        target.seek(0)
    try:
        size += sum(path.stat().st_size for path in files.values())
        refuse_size(size)
        with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as archive:
            for name, path in files.items():
                add(archive, name, path)
    except OSError as error:
        if error.filename is None:
            raise
        raise PlatformError(f"{error.filename} cannot be read: {error.strerror}.") from None
    target.seek(0)
    return size


def refuse_size(size: int) -> None:
    if size > MAX_UNZIPPED_BYTES:
        raise PlatformError(
            f"The function's files and its requirements are {size / 1e6:,.0f} MB; Lambda takes "
            f"{MAX_UNZIPPED_BYTES / 1e6:,.0f} MB at most. A line in {IGNORE_FILE} leaves files out."
        )


def add(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Add one file, with a constant time, readable, and executable if it is."""
    status = path.stat()
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3  # Unix, whose modes these are
    entry.external_attr = (0o100000 | status.st_mode & 0o777 | 0o644) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.file_size = status.st_size
    with path.open("rb") as source, archive.open(entry, "w") as written:
        shutil.copyfileobj(source, written, 1 << 20)


def _copy_others(archive: zipfile.ZipFile, files: Mapping[str, Path], target: IO[bytes]) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as copy:
        for info in archive.infolist():
            if info.filename not in files:
                copy.writestr(info, archive.read(info))
