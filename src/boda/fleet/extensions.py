"""The extensions in a function's layers, which this platform does not start yet."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path


def extensions_of(layer_dirs: Sequence[Path]) -> list[str]:
    """Return the names of the executables in ``/opt/extensions``, from all layers."""
    found: dict[str, bool] = {}
    for folder in layer_dirs:
        try:
            entries = list(os.scandir(folder / "extensions"))
        except OSError:
            continue
        for entry in entries:
            # A link has another target inside a sandbox than here, so it is not followed.
            mode = entry.stat(follow_symlinks=False).st_mode
            found[entry.name] = stat.S_ISLNK(mode) or bool(stat.S_ISREG(mode) and mode & 0o111)
    return sorted(name for name, runs in found.items() if runs)
