"""Chooses the zygote of a function's environments: a bare one, or one with boto3 loaded.

A fork of the bare interpreter is small and fast; a function that uses boto3 starts far faster from
a zygote that has it in memory. Its code is searched once for imports of boto3. A wrong guess costs
time and never changes the function's behaviour: if boto3 was not loaded the import loads it, and a
boto3 that was loaded in vain, or beside the function's own, is not in the way. Code too large to
search is taken to use boto3, since that mistake is the cheaper one.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

Tier = Literal["bare", "boto3"]

# Of bounded length, so that no line, however hostile, takes long.
_IMPORT = re.compile(
    rb"^[ \t]*(?:import|from)[ \t][^\n#]{0,200}\b(?:boto3|botocore)\b"
    rb"|import_module\([ \t]{0,20}['\"](?:boto3|botocore)\b",
    re.M,
)
_FILES = 500
_BYTES = 2 << 20
_REMEMBERED = 4096


class TierFinder:
    """Finds tiers, and remembers them by the folders of code, which never change."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Path, ...], tuple[Tier, bool]] = OrderedDict()

    def known(self, code_dir: Path, layer_dirs: Sequence[Path]) -> Tier | None:
        found = self._known.get((code_dir, *layer_dirs))
        return None if found is None else found[0]

    def guessed(self, code_dir: Path, layer_dirs: Sequence[Path]) -> bool:
        """Whether the code was too large to be searched, and may not use boto3."""
        return self._known.get((code_dir, *layer_dirs), ("bare", False))[1]

    def find(self, code_dir: Path, layer_dirs: Sequence[Path]) -> Tier:
        """Return the tier; search at the first call. Blocking: milliseconds for many files."""
        folders = (code_dir, *layer_dirs)
        found = self._known.get(folders)
        if found is None:
            found = self._known[folders] = _look(code_dir, layer_dirs)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found[0]


def tier_of(code_dir: Path, layer_dirs: Sequence[Path] = ()) -> Tier:
    """Search the code of a function and its layers. Blocking."""
    return _look(code_dir, layer_dirs)[0]


def _look(code_dir: Path, layer_dirs: Sequence[Path]) -> tuple[Tier, bool]:
    """Return the tier, and whether it is a guess."""
    roots = [code_dir, *(folder / "python" for folder in layer_dirs)]
    if any((root / "botocore").is_dir() for root in roots):
        return "bare", False  # the function has a boto3 of its own
    files, size = 0, 0
    for path in _sources(roots):
        files += 1
        if files > _FILES or size > _BYTES:
            return "boto3", True
        try:
            with open(path, "rb") as file:
                text = file.read(_BYTES)
        except OSError:
            continue
        size += len(text)
        if _IMPORT.search(text):
            return "boto3", False
    return "bare", False


def _sources(roots: Sequence[Path]) -> Iterator[str]:
    """Yield Python files below the folders, those nearest to the top first."""
    waiting = [str(root) for root in roots]
    while waiting:
        below = []
        for folder in waiting:
            try:
                entries = list(os.scandir(folder))
            except OSError:
                continue
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif entry.name.endswith(".py") and entry.is_file(follow_symlinks=False):
                    yield entry.path
        waiting = below
