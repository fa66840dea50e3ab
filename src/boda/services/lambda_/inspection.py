"""Looking at functions' rows, packages and unpacked code for damage."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from boda.services.lambda_ import rows, rows_resources
from boda.services.lambda_.code.inspection import code_fault, package_fault
from boda.services.lambda_.layers import records as layer_records
from boda.storage.inspection import InspectionStep, damaged_rows
from boda.storage.rows import Tx


def row_faults(tx: Tx) -> Iterator[str]:
    """One line for each row that cannot be read."""
    yield from damaged_rows(tx, rows.functions, ("tags",))
    yield from damaged_rows(tx, rows.versions, (), _version)
    yield from damaged_rows(tx, rows.aliases, ("weights",))
    yield from damaged_rows(tx, rows.policies, ("statements",))
    yield from damaged_rows(tx, rows.attached, ("content",))
    yield from damaged_rows(tx, rows_resources.resources, ("content",))
    yield from damaged_rows(tx, layer_records.layers)
    documents = ("runtimes", "architectures", "statements")
    yield from damaged_rows(tx, layer_records.layer_versions, documents)
    for table in (rows.versions, rows.aliases, rows.policies, rows.attached):
        yield from _strays(tx, table, rows.functions)
    yield from _strays(tx, layer_records.layer_versions, layer_records.layers)


def _strays(tx: Tx, table: sa.Table, owners: sa.Table) -> Iterator[str]:
    """Rows of functions or layers that have no row themselves."""
    known = sa.select(sa.literal(1)).where(
        *(table.c[name] == owners.c[name] for name in ("account", "region", "name"))
    )
    for row in tx.run(sa.select(*table.primary_key).where(~known.exists())):
        yield f"row {'/'.join(map(str, row))} of table {table.name}: it belongs to nothing"


def _version(row: Mapping[str, Any]) -> None:
    rows.settings_of(row["settings"])
    rows.standing_of(row["state"])
    rows.standing_of(row["update"])


def packages(tx: Tx) -> dict[str, str]:
    """The digests of all packages that something refers to, each with the name of one of them."""
    found: dict[str, str] = {}
    for layer in layer_records.load(tx).values():
        for layer_version in layer.versions.values():
            found[layer_version.sha256] = layer_version.arn
    for function in rows.load(tx):
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
