"""Print how many of the recorded answers beside the checkout the tests hold, by service.

.venv/bin/python scripts/recorded.py

Runs the tests that compare with recordings (`tests/conformance`) and counts the cases they ask for:
held where every test that asked for the case passed, differing where one failed.
"""

from __future__ import annotations

import collections
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from support import recorded as recordings  # noqa: E402
from support.golden import golden  # noqa: E402


class Notes:
    """Which recorded cases a test asked for, and whether it passed."""

    def __init__(self) -> None:
        self._asked: set[tuple[str, str]] = set()
        self.held: set[tuple[str, str]] = set()
        self.differing: set[tuple[str, str]] = set()
        self.transcripts: collections.Counter[str] = collections.Counter()
        self._read = recordings.recorded

    def recorded(self, service: str, name: str, case: str) -> dict[str, Any]:
        self._asked.add((service, case))
        return self._read(service, name, case)

    def pytest_runtest_setup(self) -> None:
        self._asked = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # Tests have the function under their own names by now.
        for module in {item.module for item in items if isinstance(item, pytest.Function)}:
            if getattr(module, "recorded", None) is self._read:
                module.recorded = self.recorded  # type: ignore[attr-defined]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call":
            return
        if "test_a_recorded_conversation" in report.nodeid:
            self.transcripts[report.outcome] += 1
        (self.held if report.passed else self.differing).update(self._asked)


def main() -> int:
    notes = Notes()
    recordings.recorded = notes.recorded
    status = pytest.main(["-q", "--no-header", "-p", "no:xdist", "tests/conformance"], [notes])
    held = notes.held - notes.differing
    print(f"{'service':<18}{'recorded':>9}{'held':>6}{'differing':>11}")
    for folder in sorted(golden("recorded").iterdir()):
        cases = sum(len(json.loads(file.read_text())) for file in folder.rglob("*.json"))
        of = [sum(1 for service, _ in found if service == folder.name)
              for found in (held, notes.differing)]  # fmt: skip
        if any(of):
            print(f"{folder.name:<18}{cases:>9}{of[0]:>6}{of[1]:>11}")
    told = ", ".join(f"{count} {outcome}" for outcome, count in notes.transcripts.items())
    print(f"conversations with the Lambda API: {told or 'none'}")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
