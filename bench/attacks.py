"""The attack suite: every attack that `tests/security` tries, and whether it was refused.

An attack is a test; its name, read as a sentence, says what holds against it. What this machine
cannot try (no root, no internet, no cgroups …) is listed as such and never as refused.
"""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from bench.peers import ROOT

SUITE = ROOT / "tests" / "security"


def run(folder: Path) -> dict[str, Any]:
    """RuntimeError when an attack was not refused, after the table has been printed."""
    report = folder / "attacks.xml"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider"),
            *(f"--junitxml={report}", str(SUITE)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if not report.exists():
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    table = outcomes(report)
    failed = [attack for attack, outcome in table.items() if outcome == FAILED]
    if failed:
        for attack, outcome in table.items():
            print(f"  {outcome:<10} {attack}")
        raise RuntimeError("not refused: " + "; ".join(failed))
    tried = sum(outcome == REFUSED for outcome in table.values())
    return {**table, "attacks refused": f"{tried} of {len(table)}"}


REFUSED, FAILED = "refused", "NOT REFUSED"


def outcomes(report: Path) -> dict[str, str]:
    """Sentence to outcome, in the order of the suite. report: pytest's JUnit file, our own."""
    table: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            outcome = FAILED
        elif skipped is not None:
            outcome = f"not tried here: {skipped.get('message', '')}"
        else:
            outcome = REFUSED
        group = case.get("classname", "").rpartition(".")[2].removeprefix("test_")
        table[f"{sentence(group)}: {sentence(case.get('name', ''))}"] = outcome
    return dict(sorted(table.items()))


def sentence(name: str) -> str:
    """``test_a_fork_bomb_ends[8]`` → ``a fork bomb ends (8)``."""
    words, bracket, case = name.removeprefix("test_").partition("[")
    return words.replace("_", " ") + (f" ({case.rstrip(']')})" if bracket else "")
