"""Recorded answers and protocol vectors, where the checkout has them beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

ABSENT = "the recorded facts are not here"
"""How the reason begins for which a test that needs them is skipped."""


def root() -> Path:
    """The folder of the recorded facts, present or not. BODA_GOLDEN names another one."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
    return Path(os.environ.get("BODA_GOLDEN", beside))


def golden(name: str) -> Path:
    """Return the folder or file of that name among the recorded facts; skip if it is absent."""
    path = root() / name
    if not path.exists():
        pytest.skip(f"{ABSENT} ({name}); set BODA_GOLDEN to their folder")
    return path


def cases(find: Callable[[], Iterable[Any]], arguments: int = 1) -> list[Any]:
    """Return the parameters that ``find`` reads from the recorded facts.

    Without the facts: one set of parameters, which is skipped, so that the run counts the test as
    left out. arguments: how many arguments each set has.
    """
    try:
        return list(find())
    except pytest.skip.Exception as absent:
        mark = pytest.mark.skip(reason=str(absent))
        return [pytest.param(*[None] * arguments, marks=mark, id="absent")]
