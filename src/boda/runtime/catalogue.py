"""The runtimes of this machine: every CPython found here that the installed boto3 supports.

They are looked for in this order: PATH, pyenv (``PYENV_ROOT``, or the folder of its shims),
interpreters installed by uv (``UV_PYTHON_INSTALL_DIR``), /usr/local/bin, /usr/bin. Each candidate
is run to report its own facts: a script without an interpreter or a broken build drops out, a
virtual environment counts as the interpreter that it was made from. There is one runtime per minor
version: the newest patch release; among equals the one found first.

``provided.al2023`` and ``provided.al2`` need no interpreter; their sandboxes are forked from the
newest Python's zygote and execute ``/var/task/bootstrap``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

PROVIDED = ("provided.al2023", "provided.al2")

# Run by each candidate. The modules are those that the guest and boto3 need.
_PROBE = """
import json, sys, sysconfig
import ctypes, select, socket, ssl, zlib
print(json.dumps({
    "implementation": sys.implementation.name,
    "version": list(sys.version_info[:3]),
    "final": sys.version_info[3] == "final",
    "prefix": sys.base_prefix,
    "exec_prefix": sys.base_exec_prefix,
    "executable": getattr(sys, "_base_executable", None) or sys.executable,
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
}))
"""
_NAME = re.compile(r"python(3(\.\d+)?)?")


@dataclass(frozen=True, slots=True)
class InstalledRuntime:
    """A runtime of this machine. interpreter: the executable, below prefix. version: as
    ``3.12.1``."""

    name: str
    interpreter: Path
    version: str
    prefix: Path
    kind: Literal["python", "provided"] = "python"

    @property
    def minor(self) -> str:
        """The version without its patch release: ``3.12``."""
        return ".".join(self.version.split(".")[:2])


class RuntimeCatalogue(Mapping[str, InstalledRuntime]):
    """Runtimes by name, the oldest Python first."""

    def __init__(self, runtimes: Iterable[InstalledRuntime]) -> None:
        self._runtimes = {runtime.name: runtime for runtime in runtimes}

    def __getitem__(self, name: str) -> InstalledRuntime:
        return self._runtimes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._runtimes)

    def runtimes(self) -> list[InstalledRuntime]:
        return list(self._runtimes.values())

    def __len__(self) -> int:
        return len(self._runtimes)

    @classmethod
    def discover(
        cls, environ: Mapping[str, str] | None = None, requires: str | None = None
    ) -> RuntimeCatalogue:
        """Find the runtimes, by running all interpreters at the same time. Blocking.

        requires: a version specifier, by default that of the installed boto3.
        """
        environ = os.environ if environ is None else environ
        requires = boto3_requires() if requires is None else requires
        candidates = list(candidate_interpreters(environ))
        with ThreadPoolExecutor(max_workers=4) as pool:
            found = [answer for answer in pool.map(probe, candidates) if answer is not None]
        return cls(choose(found, requires))


def boto3_requires() -> str:
    """Return the installed boto3's Requires-Python, for example ``>=3.10``."""
    return metadata.metadata("boto3")["Requires-Python"] or ">=3.10"


def satisfies(version: tuple[int, ...], specifier: str) -> bool:
    """Whether a version meets a specifier such as ``>=3.10,!=3.12.0,<4``, ignoring unknown
    operators."""
    for clause in specifier.split(","):
        match = re.fullmatch(r"\s*(>=|<=|==|!=|>|<)\s*(\d+(?:\.\d+)*)(\.\*)?\s*", clause)
        if match is None:
            continue
        operator, number, star = match.groups()
        wanted = tuple(int(part) for part in number.split("."))
        have = version[: len(wanted)] if star else version + (0,) * (len(wanted) - len(version))
        wanted += (0,) * (len(have) - len(wanted))
        holds = {
            ">=": have >= wanted,
            "<=": have <= wanted,
            "==": have == wanted,
            "!=": have != wanted,
            ">": have > wanted,
            "<": have < wanted,
        }[operator]
        if not holds:
            return False
    return True


def candidate_interpreters(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the paths of possible interpreters, each once, in the order of preference.

    Folders that cannot be read are skipped: Path.is_file and Path.is_dir would raise there.
    """
    home = Path(environ.get("HOME") or "/nonexistent")
    pyenv = Path(environ.get("PYENV_ROOT") or home / ".pyenv") / "versions"
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    uv = Path(environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    folders: list[Path] = []
    roots = [pyenv, uv]
    for folder in (Path(part) for part in environ.get("PATH", "").split(os.pathsep) if part):
        versions = folder.parent / "versions"
        if folder.name == "shims" and os.path.isdir(versions):
            # pyenv's shims take long to run; they start interpreters in the folder beside them.
            roots.insert(0, versions)
        else:
            folders.append(folder)
    for root in dict.fromkeys(roots):
        folders += sorted((entry / "bin" for entry in _entries(root)), reverse=True)
    folders += [Path("/usr/local/bin"), Path("/usr/bin")]
    seen: set[Path] = set()
    for folder in folders:
        for entry in sorted(_entries(folder), key=lambda path: (len(path.name), path.name)):
            if not _NAME.fullmatch(entry.name) or not os.access(entry, os.X_OK):
                continue
            # Links to one interpreter count once; a virtual environment's python is such a link.
            real = Path(os.path.realpath(entry))
            if real not in seen and os.path.isfile(entry):
                seen.add(real)
                yield entry


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def probe(candidate: Path) -> InstalledRuntime | None:
    """Run an interpreter and describe it; None if it cannot be a runtime."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    if "PYENV_ROOT" in os.environ:
        environ["PYENV_ROOT"] = os.environ["PYENV_ROOT"]
    try:
        done = subprocess.run(
            [candidate, "-I", "-c", _PROBE],
            capture_output=True,
            timeout=20,
            env=environ,
            stdin=subprocess.DEVNULL,
            check=True,
        )
        facts = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    prefix = Path(facts["prefix"]).resolve()
    executable = Path(facts["executable"]).resolve()
    if (
        facts["implementation"] != "cpython"
        or not facts["final"]
        or facts["free_threaded"]
        or Path(facts["exec_prefix"]).resolve() != prefix
        or not executable.is_relative_to(prefix)
    ):
        return None
    version = ".".join(str(part) for part in facts["version"])
    return InstalledRuntime(f"python{version.rpartition('.')[0]}", executable, version, prefix)


def choose(found: Iterable[InstalledRuntime], requires: str) -> list[InstalledRuntime]:
    """Choose one runtime per minor version; add the custom runtimes if there is any Python."""
    best: dict[str, InstalledRuntime] = {}
    for runtime in found:
        if not satisfies(_numbers(runtime), requires):
            continue
        present = best.get(runtime.name)
        if present is None or _numbers(runtime) > _numbers(present):
            best[runtime.name] = runtime
    chosen = sorted(best.values(), key=_numbers)
    if chosen:
        newest = chosen[-1]
        for name in PROVIDED:
            chosen.append(
                InstalledRuntime(
                    name, newest.interpreter, newest.version, newest.prefix, "provided"
                )
            )
    return chosen


def _numbers(runtime: InstalledRuntime) -> tuple[int, ...]:
    return tuple(int(part) for part in runtime.version.split("."))
