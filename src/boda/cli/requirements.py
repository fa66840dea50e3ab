"""A function's requirements: the files that list them, their installation, and its cache.

They are kept as a zip below the cache folder, by a digest of everything that determines pip's
result: the requirements' text, files they name, the runtime and the machine. An installed version
that the text does not pin stays until the text changes or ``--no-cache`` is given.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boda.cli.packing import MAX_UNZIPPED_BYTES, add, refuse_size
from boda.core.errors import PlatformError

_FORMAT = 1
"""The version of the cache. Another number has everything installed again."""
_KEPT_S = 30 * 86_400
"""How long an entry is kept that no deployment uses."""
_INCLUDES = re.compile(r"(?:-r|-c|--requirement|--constraint)[ =]?\s*(\S+)")


@dataclass(frozen=True, slots=True)
class Requirements:
    """The input of pip. source: the file's name. folder: the base of relative paths."""

    source: str
    text: str
    folder: Path


def requirements_of(folder: Path) -> tuple[Requirements | None, str]:
    """Return the requirements of a folder, and a warning for its author or "".

    requirements.txt comes before pyproject.toml, since versions are pinned there.
    """
    file = folder / "requirements.txt"
    if file.is_file():
        return Requirements(file.name, _read(file), folder), ""
    project = project_of(folder)
    listed = project.get("dependencies")
    if isinstance(listed, list) and all(isinstance(one, str) for one in listed):
        text = "\n".join(listed)
        return (Requirements("pyproject.toml", text, folder) if text else None), ""
    if listed is not None:
        raise PlatformError("pyproject.toml: project.dependencies is not a list of strings.")
    if "dependencies" in project.get("dynamic", ()):
        return None, "pyproject.toml leaves its dependencies to a tool: put them in " + file.name
    if project.get("poetry"):
        return None, "Dependencies under tool.poetry are not installed: `poetry export` writes " + (
            file.name
        )
    return None, ""


def project_of(folder: Path) -> dict[str, Any]:
    """Return the table ``project`` of pyproject.toml, empty if there is none.

    ``poetry``: whether Poetry's own table lists dependencies. Raises PlatformError if the file is
    no TOML.
    """
    file = folder / "pyproject.toml"
    if not file.is_file():
        return {}
    try:
        found = tomllib.loads(_read(file))
    except tomllib.TOMLDecodeError as error:
        raise PlatformError(f"{file.name} is not TOML: {error}.") from None
    project = found.get("project")
    tool = found.get("tool")
    poetry = tool.get("poetry") if isinstance(tool, dict) else None
    return {
        **(project if isinstance(project, dict) else {}),
        "poetry": isinstance(poetry, dict) and "dependencies" in poetry,
    }


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise PlatformError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise PlatformError(f"{file} is not UTF-8 text.") from None


class RequirementStore:
    """The zips of installed requirements. folder: None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder / "requirements" if folder is not None else None

    def find(self, key: str) -> Path | None:
        if self._folder is None or not key:
            return None
        file = self._folder / f"{key}.zip"
        try:
            os.utime(file)
        except OSError:
            return None
        return file

    def keep(self, key: str, made: Path) -> None:
        """Keep a zip and drop those that were not used for long. An unwritable cache does not stop
        a deployment."""
        if self._folder is None or not key:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            begun = self._folder / f".{key}.{os.getpid()}"
            shutil.copyfile(made, begun)
            begun.replace(self._folder / f"{key}.zip")
            oldest = time.time() - _KEPT_S
            for file in self._folder.iterdir():
                if file.stat().st_mtime < oldest:
                    file.unlink(missing_ok=True)


def key_of(requirements: Requirements, runtime: dict[str, Any]) -> str:
    """Return the digest to keep them by; "" if they name a source that may change, such as a
    folder."""
    parts: list[Any] = [
        _FORMAT,
        *(runtime["Name"], runtime["Version"], runtime["Interpreter"]),
        *(platform.machine(), *platform.libc_ver()),
    ]
    try:
        parts += _decisive(requirements.text, requirements.folder, requirements.folder, 0)
    except _ChangeableRequirement:
        return ""
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogateescape")).hexdigest()


class _ChangeableRequirement(Exception):
    """A requirement's content may change while its text stays the same."""


def _decisive(text: str, folder: Path, start: Path, depth: int) -> Iterator[str]:
    """Yield the text, and of each file that it names the text or the digest.

    folder: of the file that the text is from, where pip looks for further requirements. start:
    where pip looks for everything else.
    """
    yield text
    for line in text.replace("\\\n", " ").splitlines():
        words = re.sub(r"(^|\s)#.*", "", line).strip()
        if words.startswith(("-e", "--editable")):
            raise _ChangeableRequirement
        included = _INCLUDES.match(words)
        if included is not None and "://" not in included[1] and depth < 20:
            file = folder / included[1]
            yield from _decisive(_read(file), file.parent, start, depth + 1)
            continue
        for word in re.split(r"[\s=;\[]|@\s", words):
            named = re.sub(r"^file:(?://)?", "", word)
            if "://" in named or not ("/" in named or named.startswith(".")):
                continue
            place = start / named
            if place.is_dir():
                raise _ChangeableRequirement
            if place.is_file():
                yield hashlib.sha256(place.read_bytes()).hexdigest()


def install(requirements: Requirements, runtime: dict[str, Any], build: Path) -> Path:
    """Install and compile below the folder ``build``; return a zip of it. Raises PlatformError."""
    target, listed = build / "installed", build / "requirements.txt"
    target.mkdir()
    interpreter = runtime["Interpreter"]
    here = os.access(interpreter, os.X_OK)
    file = requirements.folder / requirements.source
    if requirements.source != "requirements.txt":
        listed.write_text(requirements.text, "utf-8")
        file = listed
    done = subprocess.run(
        [
            *(_pip(interpreter) if here else _foreign_pip(runtime)),
            *("--quiet", "--disable-pip-version-check", "--no-compile"),
            *("--target", str(target), "--requirement", str(file)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        cwd=requirements.folder,
        env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"},
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["pip gave no reason"]
        told = [line for line in lines if line.startswith("ERROR: ")] or lines[-1:]
        reason = told[0].removeprefix("ERROR: ")
        raise PlatformError(f"The requirements could not be installed: {reason}")
    if here and runtime["Name"].startswith("python"):
        _compile(interpreter, target)
    made = build / "installed.zip"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path in _installed(target):
            add(archive, name, path)
    return made


def _pip(interpreter: str) -> list[str]:
    """Return the command of pip for that interpreter, which need not have one (Debian's has
    none)."""
    if importlib.util.find_spec("pip") is None:
        return [interpreter, "-m", "pip", "install"]
    return [sys.executable, "-m", "pip", "--python", interpreter, "install"]


def _foreign_pip(runtime: dict[str, Any]) -> list[str]:
    """Return the command of pip for a Python that only the platform's machine has: built packages
    only, since this machine cannot build for it."""
    if not runtime["Name"].startswith("python"):
        raise PlatformError(f"Requirements cannot be installed for {runtime['Name']} from here.")
    version = runtime["Name"].removeprefix("python")
    chosen = ("--python-version", version, "--implementation", "cp", "--only-binary=:all:")
    return [sys.executable, "-m", "pip", "install", *chosen]


def _compile(interpreter: str, target: Path) -> None:
    """Compile all files that compile; some packages have files for other Python versions."""
    subprocess.run(
        [
            *(interpreter, "-I", "-m", "compileall", "-q", "-j", "0"),
            *("--invalidation-mode", "unchecked-hash", "-s", str(target), "-p", "/var/task"),
            str(target),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


def _installed(target: Path) -> list[tuple[str, Path]]:
    """Return all files in order; without compiled ones if the package would be too large."""
    files = {
        path.relative_to(target).as_posix(): path
        for path in sorted(target.rglob("*"))
        if path.is_file()
    }
    sizes = {name: path.stat().st_size for name, path in files.items()}
    plain = sum(size for name, size in sizes.items() if not name.endswith(".pyc"))
    refuse_size(plain)
    if sum(sizes.values()) > MAX_UNZIPPED_BYTES * 3 // 4:
        return [(name, path) for name, path in files.items() if not name.endswith(".pyc")]
    return list(files.items())
