"""Recorded answers and protocol vectors, where the checkout has them beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def golden(name: str) -> Path:
    """The folder or file of that name among the recorded facts; skips where it is absent.

    BODA_GOLDEN names another place.
    """
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
    root = Path(os.environ.get("BODA_GOLDEN", beside))
    path = root / name
    if not path.exists():
        pytest.skip(f"the recorded facts are not here ({name}); set BODA_GOLDEN to their folder")
    return path
