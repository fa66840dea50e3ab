"""Tables, JSON and log lines on the terminal, readable without colour."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TextIO

Kind = Literal["text", "number", "prose"]
_PROSE_WIDTH = 30
"""The least width of a column of prose."""
_BETWEEN = 3
_COLOURS = {"dim": "2", "red": "31", "yellow": "33", "bold": "1"}
# Control characters but tab and newline. Colour sequences ("SGR") are matched whole, to be kept.
_CONTROL = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


def print_table(
    columns: Sequence[tuple[str, Kind]], rows: Iterable[Sequence[str]], *, title: str = ""
) -> None:
    """Print rows under columns given as (heading, kind).

    Only prose is broken into lines. If the terminal is too narrow for the rest, the table is wider
    than the terminal: a number cut short would be a wrong one.
    """
    from rich import box  # late: most commands print no table
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

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


def has_colours(stream: TextIO) -> bool:
    """Return whether colours are shown and wanted there (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str, colour: str) -> str:
    """Colour a text. colour: one of ``dim``, ``red``, ``yellow``, ``bold``."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def shown(text: str, *, colours: bool) -> str:
    """Return a function's text for a terminal: its lines, its colours if colours are shown, and no
    other control characters, which could move the cursor or type for the reader."""

    def replace(match: re.Match[str]) -> str:
        found = match[0]
        if len(found) > 1:
            return found if colours else ""
        return f"\\x{ord(found):02x}"

    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub(replace, lines)


def span(seconds: float) -> str:
    """Format a length of time for people: ``42 s``, ``5 min``, ``3 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
