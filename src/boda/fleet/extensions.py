"""The extensions that a function's layers bring along, which this platform does not start yet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def extensions_of(layer_dirs: Sequence[Path]) -> list[str]:
    """Names of the executables in ``/opt/extensions``, as the layers make it up."""
    found: dict[str, bool] = {}
    for folder in layer_dirs:
        try:
            entries = list(os.scandir(folder / "extensions"))
        except OSError:
            continue
        for entry in entries:
            found[entry.name] = entry.is_file() and bool(entry.stat().st_mode & 0o111)
    return sorted(name for name, runs in found.items() if runs)
