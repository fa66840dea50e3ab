"""Looking at functions' rows, packages and unpacked code for damage."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from boda.core.errors import AwsError
from boda.services.lambda_ import layer_records, rows, rows_resources
from boda.services.lambda_.package import Entry, entries
from boda.services.lambda_.quotas import Quotas
from boda.services.lambda_.records import Standing
from boda.storage.inspection import Step, damaged_rows

_CHUNK = 1024 * 1024
# What was taken in once is not measured by quotas that were lowered since.
_ANY = dataclasses.replace(Quotas(), entries=sys.maxsize)


def row_faults(connection: Connection) -> Iterator[str]:
    """One line for each row that cannot be read."""
    yield from damaged_rows(connection, rows.functions, ("tags",))
    yield from damaged_rows(connection, rows.versions, (), _version)
    yield from damaged_rows(connection, rows.aliases, ("weights",))
    yield from damaged_rows(connection, rows.policies, ("statements",))
    yield from damaged_rows(connection, rows.attached, ("content",))
    yield from damaged_rows(connection, rows_resources.resources, ("content",))
    yield from damaged_rows(connection, layer_records.layers)
    documents = ("runtimes", "architectures", "statements")
    yield from damaged_rows(connection, layer_records.layer_versions, documents)
    for table in (rows.versions, rows.aliases, rows.policies, rows.attached):
        yield from _strays(connection, table, rows.functions)
    yield from _strays(connection, layer_records.layer_versions, layer_records.layers)


def _strays(connection: Connection, table: sa.Table, owners: sa.Table) -> Iterator[str]:
    """Rows of functions or layers that have no row themselves."""
    known = sa.select(sa.literal(1)).where(
        *(table.c[name] == owners.c[name] for name in ("account", "region", "name"))
    )
    for row in connection.execute(sa.select(*table.primary_key).where(~known.exists())):
        yield f"row {'/'.join(map(str, row))} of table {table.name}: it belongs to nothing"


def _version(row: Mapping[str, Any]) -> None:
    rows.settings_of(row["settings"])
    Standing(*orjson.loads(row["state"]))
    Standing(*orjson.loads(row["update"]))


def packages(connection: Connection) -> dict[str, str]:
    """The digests of all packages that something refers to, each with the name of one of them."""
    found: dict[str, str] = {}
    for layer in layer_records.load(connection).values():
        for layer_version in layer.versions.values():
            found[layer_version.sha256] = layer_version.arn
    for function in rows.load(connection):
        for version in function.versions.values():
            for sha256 in version.packages:
                found.setdefault(sha256, version.arn)
    return found


def steps(code: Path, wanted: Mapping[str, str]) -> Iterator[Step]:
    """Verify packages and their unpacked code. Blocking. wanted: as ``packages`` answers."""
    for sha256, name in wanted.items():
        if not (code / sha256).is_dir():
            yield Step(0, f"code of {name}: its package {sha256} is missing")
            continue
        faults = [package_fault(code / sha256), code_fault(code / sha256)]
        size = sum(
            os.lstat(os.path.join(place, name)).st_size
            for place, _, names in os.walk(code / sha256)
            for name in names
        )
        yield Step(size)
        for fault in filter(None, faults):
            yield Step(0, f"code of {name}: {fault}")


def package_fault(folder: Path) -> str:
    """What is wrong with the package kept in ``<code>/<sha256>``; "" if nothing is."""
    try:
        with (folder / "code.zip").open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"its package {folder.name} cannot be read ({error.strerror})"
    return "" if found == folder.name else f"its package {folder.name} has another digest"


def code_fault(folder: Path) -> str:
    """What is wrong with the unpacked code in ``<code>/<sha256>/task``; "" if nothing is.

    It is held against the directory of the package, which has a checksum of each file. Blocking.
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
