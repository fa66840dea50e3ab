"""Tables and JSON on the terminal, readable without colour."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

Kind = Literal["text", "number", "prose"]
_PROSE_WIDTH = 30
"""Columns that prose gets at least."""
_BETWEEN = 3


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


def print_table(
    columns: Sequence[tuple[str, Kind]], rows: Iterable[Sequence[str]], *, title: str = ""
) -> None:
    """Print rows under columns given as (heading, kind).

    Only prose is broken into lines. Where the terminal is too narrow for the rest, the table is
    wider than the terminal, which shows it badly but whole: a number cut short is a wrong one.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title or None, title_justify="left")
    for heading, kind in columns:
        table.add_column(
            heading,
            justify="right" if kind == "number" else "left",
            overflow="fold",
            no_wrap=kind != "prose",
        )
    width = _BETWEEN
    lines = [list(row) for row in rows]
    for number, (heading, kind) in enumerate(columns):
        longest = max(cell_len(text) for text in (heading, *(line[number] for line in lines)))
        width += _BETWEEN + (min(longest, _PROSE_WIDTH) if kind == "prose" else longest)
    for line in lines:
        table.add_row(*line)
    wide = max(Console().width, width)
    Console(width=wide, highlight=False, markup=False).print(table)


def span(seconds: float) -> str:
    """A length of time as a person would say it: ``42 s``, ``5 min``, ``3 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
