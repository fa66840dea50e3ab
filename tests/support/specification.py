"""The promises of SPECIFICATION.md and the tests that each names."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_NAMED = re.compile(r"`(\w+/test_\w+\.py)::(\w+)`")


def promises() -> dict[int, str]:
    """Return the text of each promise by its number."""
    text = (ROOT / "SPECIFICATION.md").read_text()
    parts = re.split(r"^(?=\d+\. )", text, flags=re.M)[1:]
    found = {int(part.split(".")[0]): part for part in parts}
    assert len(found) == len(parts), "two promises have one number"
    return found


def named(promise: str) -> list[tuple[str, str]]:
    """Return the file below ``tests/`` and the function of each test that a promise names."""
    return _NAMED.findall(promise)
