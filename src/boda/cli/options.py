"""Options that several commands share, and where they find their defaults."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def default_data_dir() -> Path:
    """``$XDG_DATA_HOME/boda``, by the XDG base directory specification."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "boda"


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="BODA_DATA_DIR",
        help="Folder of everything boda keeps; ~/.local/share/boda by default.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def data_dir(chosen: Path | None) -> Path:
    return (chosen or default_data_dir()).expanduser().absolute()
