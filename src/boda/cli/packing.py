"""A function's folder and its requirements as one zip."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.progress import track

from boda.core.errors import PlatformError

MAX_UNZIPPED_BYTES = 262_144_000
"""What Lambda takes of code and layers together."""
_LEFT_OUT = {".git", ".hg", ".venv", "venv", "__pycache__", ".mypy_cache", ".ruff_cache"}


def install(interpreter: str, requirements: Path, target: Path) -> None:
    """Put the requirements into the target, for that interpreter. Raises PlatformError.

    Relative paths in the file are meant from the file's own folder.
    """
    done = subprocess.run(
        [
            *(*_pip(interpreter), "install", "--quiet", "--disable-pip-version-check"),
            *("--target", str(target), "--requirement", str(requirements)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=requirements.parent,
        env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"},
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["pip gave no reason"]
        told = [line for line in lines if line.startswith("ERROR: ")] or lines[-1:]
        reason = told[0].removeprefix("ERROR: ")
        raise PlatformError(f"The requirements could not be installed: {reason}")


def _pip(interpreter: str) -> list[str]:
    """pip, run for that interpreter, which need not have one of its own (Debian's has none)."""
    if importlib.util.find_spec("pip") is None:
        return [interpreter, "-m", "pip"]
    return [sys.executable, "-m", "pip", "--python", interpreter]


def pack(folders: list[Path], target: IO[bytes], console: Console) -> None:
    """Write a zip of the folders laid over each other, the later ones winning.

    The same files give the same bytes. Raises PlatformError where there is nothing, too much, or
    what cannot be read.
    """
    files = _files(folders)
    if not files:
        raise PlatformError(f"{folders[-1]} is empty.")
    size = sum(path.stat().st_size for path in files.values())
    if size > MAX_UNZIPPED_BYTES:
        raise PlatformError(
            f"The files of {folders[-1].name} and its requirements are {size / 1e6:,.0f} MB; "
            f"Lambda takes {MAX_UNZIPPED_BYTES / 1e6:,.0f} MB at most."
        )
    shown = track(
        files.items(), "Packing", console=console, transient=True, disable=not console.is_terminal
    )
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in shown:
            entry = zipfile.ZipInfo(name)
            # Whoever runs the function is somebody else.
            entry.external_attr = (0o755 if path.stat().st_mode & 0o100 else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(entry, "w") as written:
                while chunk := source.read(1 << 20):
                    written.write(chunk)


def _files(folders: list[Path]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if not _LEFT_OUT.intersection(relative.parts) and path.is_file():
                files[relative.as_posix()] = path
    return files
