"""Looking at functions' rows, packages and unpacked code for damage."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from boda.services.lambda_ import rows, rows_resources
from boda.services.lambda_.code.inspection import code_fault, package_fault
from boda.services.lambda_.layers import records as layer_records
from boda.storage.inspection import InspectionStep, damaged_rows


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
    rows.standing_of(row["state"])
    rows.standing_of(row["update"])


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


def steps(code: Path, wanted: Mapping[str, str]) -> Iterator[InspectionStep]:
    """Verify packages and their unpacked code. Blocking. wanted: as ``packages`` answers."""
    for sha256, name in wanted.items():
        if not (code / sha256).is_dir():
            yield InspectionStep(0, f"code of {name}: its package {sha256} is missing")
            continue
        faults = [package_fault(code / sha256), code_fault(code / sha256)]
        size = sum(
            os.lstat(os.path.join(place, name)).st_size
            for place, _, names in os.walk(code / sha256)
            for name in names
        )
        yield InspectionStep(size)
        for fault in filter(None, faults):
            yield InspectionStep(0, f"code of {name}: {fault}")
