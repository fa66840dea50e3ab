"""Looking at what is stored, row by row and file by file, for damage.

What looks is a generator of steps, each of a bounded size, so that the same code serves
``boda check``, which runs it as fast as it goes, and a scrub, which pauses between steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from boda.storage.blobs import BLOCK, READ_PIECE, wrong_block
from boda.storage.database import driver

T = TypeVar("T")
Read = Callable[[Callable[[Connection], T]], T]
"""Runs work on a read connection, in the calling thread."""

_SHOWN = 120


class Step(NamedTuple):
    """read: bytes looked at. fault: one line that names what is damaged, or ""."""

    read: int
    fault: str = ""


def damaged_rows(
    connection: Connection,
    table: sa.Table,
    documents: Collection[str] = (),
    make: Callable[[Mapping[str, Any]], object] = dict,
) -> Iterator[str]:
    """One line for each row of a table that cannot be read; never a value of it, which may be a
    secret.

    documents: columns that hold JSON. make: given the row's values, raises where they do not fit.
    """
    raw = driver(connection)
    if not raw.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table.name,)).fetchone():
        return
    names = ", ".join(f'CAST("{each.name}" AS BLOB), typeof("{each.name}")' for each in table.c)
    for found in raw.execute(f'SELECT {names} FROM "{table.name}"'):  # noqa: S608
        pairs = list(zip(found[::2], found[1::2], strict=True))
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
    """A value as SQLAlchemy gives it. ValueError, TypeError."""
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
) -> Iterator[Step]:
    """Read a blob from end to end; at most one step has a fault.

    whole: sees every byte, for a blob without checksums of its blocks.
    """
    try:
        with path.open("rb", buffering=0) as file:
            offset = 0
            while data := file.read(READ_PIECE):
                if crcs:
                    bad = wrong_block(data, crcs, offset // BLOCK)
                    if bad is not None:
                        yield Step(len(data), f"the checksum of its block {bad} is wrong")
                        return
                elif whole is not None:
                    whole(data)
                offset += len(data)
                yield Step(len(data))
    except FileNotFoundError:
        yield Step(0, f"its blob {path.name} is missing")
        return
    except OSError as error:
        yield Step(0, f"its blob {path.name} cannot be read ({error.strerror})")
        return
    if offset != size:
        yield Step(0, f"it has {offset} bytes instead of {size}")
