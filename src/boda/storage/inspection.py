"""Inspects stored rows and files for damage.

An inspection is a generator of steps, each of a bounded size, so that the same code serves
``boda check``, which runs it at full speed, and a scrub, which pauses between steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from boda.storage.blob_reader import READ_PIECE
from boda.storage.block_checksums import BLOCK, wrong_block
from boda.storage.rows import Tx

T = TypeVar("T")
Read = Callable[[Callable[[Tx], T]], T]
"""Reads in the calling thread; ``Rows.read_now``."""

_SHOWN = 120


class InspectionStep(NamedTuple):
    """One step of an inspection. read: bytes. fault: one line that names the damage, or ""."""

    read: int
    fault: str = ""


def damaged_rows(
    tx: Tx,
    table: sa.Table,
    documents: Collection[str] = (),
    make: Callable[[Mapping[str, Any]], object] = dict,
) -> Iterator[str]:
    """Yield one line for each damaged row of a table, without its values, which may be secret.

    documents: columns that hold JSON. make: called with a row's values, raises if they do not fit.
    """
    for pairs in tx.stored(table):
        values: dict[str, Any] = {}
        fault = ""
        for column, (value, kind) in zip(table.c, pairs, strict=True):
            try:
                values[column.name] = _value(column, value, kind, column.name in documents)
            except (ValueError, TypeError):
                fault = f"its {column.name} cannot be read"
                break
        if not fault:
            try:
                make(values)
            except Exception:
                fault = "its values do not fit together"
        if fault:
            key = "/".join(
                _shown(pairs[index][0]) for index, c in enumerate(table.c) if c.primary_key
            )
            yield f"row {key} of table {table.name}: {fault}"


def _value(column: sa.Column[Any], value: bytes | None, kind: str, document: bool) -> Any:
    """Convert a value as SQLAlchemy does. Raises ValueError or TypeError."""
    if kind == "null" or value is None:
        if not column.nullable:
            raise TypeError
        return None
    if document or isinstance(column.type, sa.JSON):
        return json.loads(value.decode())
    match column.type:
        case sa.Boolean():
            return bool(int(value))
        case sa.Integer():
            if kind != "integer":
                raise TypeError
            return int(value)
        case sa.Float():
            if kind not in ("integer", "real"):
                raise TypeError
            return float(value)
        case sa.LargeBinary():
            if kind != "blob":
                raise TypeError
            return value
        case _:
            if kind != "text":
                raise TypeError
            return value.decode()


def _shown(value: object) -> str:
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    return "".join(each if each.isprintable() else "?" for each in text[:_SHOWN])


def blob_steps(
    path: Path, size: int, crcs: bytes, whole: Callable[[bytes], None] | None = None
) -> Iterator[InspectionStep]:
    """Read a blob from end to end; at most one step has a fault.

    whole: called with all bytes in order, for a blob without checksums of its blocks.
    """
    try:
        with path.open("rb", buffering=0) as file:
            offset = 0
            while data := file.read(READ_PIECE):
                if crcs:
                    bad = wrong_block(data, crcs, offset // BLOCK)
                    if bad is not None:
                        yield InspectionStep(len(data), f"the checksum of its block {bad} is wrong")
                        return
                elif whole is not None:
                    whole(data)
                offset += len(data)
                yield InspectionStep(len(data))
    except FileNotFoundError:
        yield InspectionStep(0, f"its blob {path.name} is missing")
        return
    except OSError as error:
        yield InspectionStep(0, f"its blob {path.name} cannot be read ({error.strerror})")
        return
    if offset != size:
        yield InspectionStep(0, f"it has {offset} bytes instead of {size}")
