"""What holds the documents and the shape of the code true."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_the_specification_names_exists() -> None:
    text = (ROOT / "SPECIFICATION.md").read_text()
    named = re.findall(r"`(\w+/test_\w+\.py)::(\w+)`", text)
    assert len(named) > 40
    defined: dict[str, set[str]] = {}
    for file, test in named:
        if file not in defined:
            tree = ast.parse((ROOT / "tests" / file).read_text())
            defined[file] = {
                node.name
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        assert test in defined[file], f"{file} has no {test}"


def test_every_promise_names_a_test_or_is_pending() -> None:
    text = (ROOT / "SPECIFICATION.md").read_text()
    promises = re.split(r"^(?=\d+\. )", text, flags=re.M)[1:]
    numbers = [int(promise.split(".")[0]) for promise in promises]
    assert numbers == list(range(1, len(numbers) + 1))
    for promise in promises:
        assert "::" in promise or "*pending*" in promise, promise


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
