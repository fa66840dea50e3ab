"""The folder that functions see as ``/var/runtime``: the guest, and boto3 with its dependencies.

It is copied from the platform's own installation, once per set of versions, into the data folder;
its name is a digest, so that an upgrade makes a new folder and a running zygote keeps its own. It
is compiled for each interpreter at the first use of that: names in ``__pycache__`` include the
version, so one folder serves all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Protocol

from boda.core.errors import PlatformError

DISTRIBUTIONS = (
    "boto3",
    "botocore",
    "s3transfer",
    "jmespath",
    "python-dateutil",
    "six",
    "urllib3",
)
GUEST = "_boda"
"""The guest's package; a name that no function uses by accident."""

BESIDE = ("snapshot_restore_py.py", "_multiprocessing.py", "awslambdaric")
"""Modules of the guest that functions import as on AWS, and that lie beside boto3."""


class LibraryInterpreter(Protocol):
    @property
    def interpreter(self) -> Path: ...
    @property
    def version(self) -> str: ...


class RuntimeLibrary:
    """Builds the folder. folder: its parent. guest: the guest's sources. bootstrap: replaces the
    guest's own bootstrap."""

    def __init__(
        self, folder: Path, *, guest: Path | None = None, bootstrap: Path | None = None
    ) -> None:
        self._folder = folder
        self._guest = guest or Path(__file__).parent.parent / "guest"
        self._bootstrap = bootstrap

    def lay_out(self) -> Path:
        """Return the folder, complete but possibly not compiled. Blocking. Raises PlatformError."""
        place = self._folder / self._digest()
        if not place.is_dir():
            self._build(place)
        return place

    def prepare(self, runtime: LibraryInterpreter) -> Path:
        """Return the folder, with the guest compiled for this interpreter. Blocking.

        Raises PlatformError.
        """
        place = self.lay_out()
        marker = place / f".compiled-guest-{runtime.version}"
        self._compile(runtime, [place / GUEST, *(place / name for name in BESIDE)], marker)
        return place

    def finish(self, runtime: LibraryInterpreter) -> None:
        """Compile the rest as well, which takes long. Blocking. Raises PlatformError."""
        place = self.lay_out()
        self._compile(runtime, [place], place / f".compiled-{runtime.version}")

    def _compile(self, runtime: LibraryInterpreter, places: list[Path], marker: Path) -> None:
        if marker.exists():
            return
        done = subprocess.run(
            [runtime.interpreter, "-I", "-m", "compileall", "-q", *places],
            capture_output=True,
            text=True,
            check=False,
            umask=0o022,
        )
        if done.returncode:
            raise PlatformError(
                f"{runtime.interpreter} cannot compile the library of functions: "
                f"{(done.stdout + done.stderr).strip()[-300:]}"
            )
        marker.touch()

    def _sources(self) -> dict[str, Path]:
        """Return the guest's files by their names in the package."""
        found = [*self._guest.glob("*.py"), *self._guest.glob("*/*.py")]
        files = {path.relative_to(self._guest).as_posix(): path for path in sorted(found)}
        if self._bootstrap is not None:
            files["bootstrap.py"] = self._bootstrap
        return files

    def _digest(self) -> str:
        state = hashlib.sha256()
        for name in DISTRIBUTIONS:
            state.update(f"{name} {_distribution(name).version}\n".encode())
        for name, path in self._sources().items():
            state.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
        return state.hexdigest()[:20]

    def _build(self, place: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".library-", dir=self._folder))
        try:
            package = unfinished / GUEST
            package.mkdir()
            for name, path in self._sources().items():
                beside = name.partition("/")[0] in BESIDE
                target = (unfinished if beside else package) / name
                target.parent.mkdir(exist_ok=True)
                _copy(path, target)
            for name in DISTRIBUTIONS:
                _copy_distribution(name, unfinished)
            for folder, _, _ in os.walk(unfinished):
                os.chmod(folder, 0o755)  # noqa: S103  functions run as users of their own
            try:
                unfinished.rename(place)
            except OSError:
                if not place.is_dir():  # another platform may have made it meanwhile
                    raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _distribution(name: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise PlatformError(f"{name} is not installed; run `make setup` again.") from error


def _copy_distribution(name: str, target: Path) -> None:
    distribution = _distribution(name)
    for file in distribution.files or ():
        parts = file.parts
        if parts[0] in ("..", "/") or "__pycache__" in parts or file.is_absolute():
            continue  # files outside the library, such as scripts
        source = Path(str(distribution.locate_file(file)))
        if source.is_file():
            destination = target.joinpath(*parts)
            destination.parent.mkdir(parents=True, exist_ok=True)
            _copy(source, destination)


def _copy(source: Path, target: Path) -> None:
    """Copy a file readable by the functions' users, with its time, which byte code refers to."""
    shutil.copy2(source, target)
    target.chmod(0o644)
