"""Patterns of .bodaignore mean what they mean to git, which is asked where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from boda.cli.ignore import IgnoreFile

PATHS = (
    "a.py", "b.txt", "a/b.py", "a/b/c.py", "data/x.csv", "data/keep/x.csv", "src/data/x.csv",
    "docs/a.md", "docs/deep/er/a.md", "build/out", "lib/build/out", "#hash", "!bang", "a b",
    "x[1].py", "x1.py", "xa.py", "x-.py", "x].py", "café.txt", "a.pyc", "dir.py/f", "foo/bar",
    "foo/x/bar", "foo/x/y/bar", "trailing ", "back\\slash", "^x", "deep/foo/bar", "A.PY",
)  # fmt: skip
FILES = [
    [],
    ["*.py"],
    ["/*.py", "!a.py"],
    ["data/", "!data/keep/"],
    ["data/*", "!data/keep/"],
    ["**/data/"],
    ["data/**"],
    ["docs/**/*.md"],
    ["foo/**/bar"],
    ["/build/"],
    ["build"],
    ["lib/build"],
    ["# comment", "\\#hash", "\\!bang"],
    ["a b", "trailing\\ ", "b.txt   "],
    ["x[1].py"],
    ["x\\[1\\].py"],
    ["x[0-9].py", "x[!a].py"],
    ["x[^a-z0-9].py"],
    ["x[]-].py"],
    ["x[a"],
    ["x?.py"],
    ["*a*"],
    ["**"],
    ["*", "!*/", "!*.py"],
    ["/", "//", "!"],
    ["foo/*"],
    ["a\\"],
    ["back\\\\slash"],
    ["***.py", "a**b"],
    ["[]"],
    ["[!]x"],
    ["café.*"],
    ["dir.py/"],
    ["/**/bar"],
    ["\\^x", "[\\^]x"],
]


def left_out(ignore: IgnoreFile, path: str) -> bool:
    parts = path.split("/")
    above = ("/".join(parts[:length]) for length in range(1, len(parts)))
    return any(ignore.matches(one, folder=True) for one in above) or ignore.matches(
        path, folder=False
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_same_as_git(tmp_path: Path) -> None:
    for number, lines in enumerate(FILES):
        folder = tmp_path / str(number)
        folder.mkdir()
        subprocess.run(["git", "init", "-q", folder], check=True)
        (folder / ".gitignore").write_text("\n".join(lines) + "\n")
        for path in PATHS:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
        asked = subprocess.run(
            [
                *("git", "-C", folder, "-c", "core.excludesFile="),
                *("check-ignore", "--no-index", "-z", "--stdin"),
            ],
            input="\0".join(PATHS),
            capture_output=True,
            text=True,
        )
        expected = {path for path in asked.stdout.split("\0") if path}
        ignore = IgnoreFile(lines)
        assert {path for path in PATHS if left_out(ignore, path)} == expected, lines


def test_the_last_line_that_matches_counts() -> None:
    ignore = IgnoreFile(["*.log\r\n", "!keep.log\n", "", "  "])
    assert ignore.matches("deep/a.log", folder=False)
    assert not ignore.matches("keep.log", folder=False)
    assert not ignore.matches("other", folder=False)
