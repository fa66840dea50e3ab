"""The data folder: what lies where, its lock, and what other processes may read of it.

boda.db       rows (SQLite, WAL)
blobs/        objects' bytes
code/         functions' code, unpacked, by digest
library/      what functions find under /var/runtime
sandbox/      state of running environments
root.json     the root user's key pair, mode 0600
address.json  where a running boda answers
lock          held by the running boda
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from boda.core.errors import PlatformError


@dataclass(frozen=True, slots=True)
class RootKeys:
    access_key_id: str
    secret: str


class Folder:
    """One data folder. Making the object touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "boda.db"
        self.blobs = path / "blobs"
        self.code = path / "code"
        self.library = path / "library"
        self.sandbox = path / "sandbox"
        self._root = path / "root.json"
        self._address = path / "address.json"
        self._lock: IO[str] | None = None

    def take(self) -> None:
        """Make the folder and hold its lock until ``release``. Raises PlatformError."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self.path / "lock").open("a+", encoding="ascii")
        except OSError as error:
            raise PlatformError(
                f"The data folder {self.path} cannot be used ({error.strerror}); "
                "choose another with --data-dir."
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            by = f" by process {holder}" if holder else ""
            raise PlatformError(
                f"The data folder {self.path} is in use{by}: another boda runs on it. "
                "Stop that one or choose another --data-dir."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def release(self) -> None:
        """Give the folder back. Idempotent."""
        if self._lock is None:
            return
        self._address.unlink(missing_ok=True)
        self._lock.close()
        self._lock = None

    def write_root_keys(self, keys: RootKeys) -> None:
        _write_private(
            self._root, {"access_key_id": keys.access_key_id, "secret_access_key": keys.secret}
        )

    def root_keys(self) -> RootKeys:
        """Raises PlatformError before the first start."""
        try:
            data = json.loads(self._root.read_text())
            return RootKeys(data["access_key_id"], data["secret_access_key"])
        except FileNotFoundError:
            raise PlatformError(
                f"There is no boda in {self.path} yet; start one with `boda up`, "
                "or name its folder with --data-dir."
            ) from None
        except (OSError, ValueError, KeyError) as error:
            raise PlatformError(f"The keys in {self._root} cannot be read ({error}).") from None

    def has_root_keys(self) -> bool:
        return self._root.exists()

    def write_address(self, endpoint: str) -> None:
        _write_private(self._address, {"endpoint": endpoint, "pid": os.getpid()})

    def endpoint(self) -> str:
        """Where the boda of this folder answers, or would by default."""
        try:
            endpoint = json.loads(self._address.read_text())["endpoint"]
            return str(endpoint)
        except (OSError, ValueError, KeyError):
            host = os.environ.get("BODA_HOST", "127.0.0.1")
            return f"http://{host}:{os.environ.get('BODA_PORT', '4566')}"


def _write_private(path: Path, data: dict[str, object]) -> None:
    """Replace the file at once, readable by its owner only, and on disk when this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(data, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
