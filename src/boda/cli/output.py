"""Tables and JSON on the terminal, readable without colour."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


def print_table(
    columns: Sequence[tuple[str, bool]], rows: Iterable[Sequence[str]], *, title: str = ""
) -> None:
    """Print rows under columns given as (heading, is a number)."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title or None, title_justify="left")
    for heading, numeric in columns:
        table.add_column(
            heading,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=numeric,
        )
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def span(seconds: float) -> str:
    """A length of time as a person would say it: ``42 s``, ``5 min``, ``3 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
