"""What holds the documents and the shape of the code true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.specification import ROOT, named, promises
from support.summary import Summary


def test_every_test_that_the_specification_names_exists() -> None:
    tests = {test for promise in promises().values() for test in named(promise)}
    assert len(tests) > 40
    defined: dict[str, set[str]] = {}
    for file, test in tests:
        if file not in defined:
            tree = ast.parse((ROOT / "tests" / file).read_text())
            defined[file] = {
                node.name
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        assert test in defined[file], f"{file} has no {test}"


def test_every_promise_names_a_test_or_is_pending() -> None:
    found = promises()
    assert list(found) == list(range(1, len(found) + 1))
    for promise in found.values():
        assert named(promise) or "*pending*" in promise, promise


def test_a_promise_is_not_held_by_tests_that_were_all_skipped() -> None:
    """Nor is it named where a test of it ran, or was not asked for."""
    numbers = [number for number, promise in promises().items() if len(named(promise)) > 1]
    skipped, some, few = numbers[:3]
    summary = Summary(strict=False)
    for number in (skipped, some, few):
        tests = named(promises()[number])
        for file, test in tests[: -1 if number == few else None]:
            ran = number == some and test == tests[-1][1]
            report = pytest.TestReport(
                f"tests/{file}::{test}[x]",
                (file, 1, test),
                {},
                "passed" if ran else "skipped",
                None if ran else (file, 1, "Skipped: not here"),
                "call",
            )
            summary.pytest_runtest_logreport(report)
    assert summary.not_held() == ([skipped], [some])


def test_imports_point_downward() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_the_locks_name_no_index() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert not re.search(r"https?:|--(extra-)?index-url|--find-links", text), lock.name


def test_every_difference_from_aws_names_a_test() -> None:
    text = (ROOT / "docs" / "differs-from-aws.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    told = [line for line in lines if not line.startswith(("| on AWS", "|---"))]
    assert len(told) > 15
    for line in told:
        named = re.search(r"`(\w+/test_\w+\.py)::(\w+)` \|$", line)
        assert named, line
        assert f"def {named[2]}(" in (ROOT / "tests" / named[1]).read_text(), line


DRIVERS = re.compile(r"(sqlite3|psycopg|sqlalchemy\.(engine|exc|dialects|pool))(\.|$)")
NO_ROWS = {"core/json_check.py", "guest"}
"""Where SQLite reads JSON, and where its random numbers are seeded anew."""


def test_storage_alone_calls_the_drivers_of_databases() -> None:
    source = ROOT / "src" / "boda"
    found = []
    for path in source.rglob("*.py"):
        place = path.relative_to(source)
        if place.parts[0] == "storage" or place.parts[0] in NO_ROWS or str(place) in NO_ROWS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                module = node.module or ""
                names = [module, *(f"{module}.{one.name}" for one in node.names)]
            found += [f"{place} imports {name}" for name in names if DRIVERS.match(name)]
    assert not found
