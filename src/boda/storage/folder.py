"""The data folder: its layout, its lock, and the files that other processes may read.

boda.db       rows (SQLite, WAL)
folder.json   the folder's id and the generation of its database
blobs/        objects' bytes
code/         functions' code, unpacked, by digest
lost+found/   blobs and code that no row names, by the day they were found
library/      the folders that functions see as /var/runtime
sandbox/      state of running environments
root.json     the root user's key pair, mode 0600
address.json  the address of a running boda
boda.log      the output of a detached boda, and boda.log.1, its older output
backup.lock   held by a backup, which keeps files from deletion
lock          locked by the running boda, with its process id
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from boda.core.errors import PlatformError
from boda.core.urls import in_url
from boda.storage import disk
from boda.storage.durable import replace_durably

_START_BYTES = 1 << 20
"""The space on the disk that a start needs at least."""
_LOCK_ATTEMPTS = 10
_LOCK_PAUSE_S = 0.03


@dataclass(frozen=True, slots=True)
class RootKeys:
    access_key_id: str
    secret: str


@dataclass(frozen=True, slots=True)
class PlatformAddress:
    """The address of a running boda.

    regions: names that it accepts beside AWS's. public: the URL for clients.
    """

    endpoint: str
    pid: int
    regions: tuple[str, ...]
    public: str


class DataFolder:
    """One data folder. The constructor touches no file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "boda.db"
        self.blobs = path / "blobs"
        self.marker = path / "folder.json"
        self.code = path / "code"
        self.lost = path / "lost+found"
        self.library = path / "library"
        self.sandbox = path / "sandbox"
        self.log = path / "boda.log"
        self._root = path / "root.json"
        self._address = path / "address.json"
        self._lock: IO[str] | None = None
        self._name: socket.socket | None = None

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
        if not _lock(lock):
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            by = f" by process {holder}" if holder else ""
            raise PlatformError(
                f"The data folder {self.path} is in use{by}: another boda runs on it. "
                "Stop that one (`boda down`) or choose another --data-dir."
            )
        try:
            self._hold_name()
        except PlatformError:
            lock.close()
            raise
        self._lock = lock
        try:
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            why = disk.why_unwritable(self.path, _START_BYTES)
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            self.release()
            raise PlatformError(
                f"The disk of the data folder {self.path} refuses writes ({why}); free some space "
                "or choose another folder with --data-dir."
            )

    def _hold_name(self) -> None:
        """Hold an abstract socket name of the folder as long as this process lives.

        If the folder is removed, its lock file is too, but boda still runs on the removed files.
        """
        digest = hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()
        address = f"\0boda-folder-{os.geteuid()}-{digest}"
        name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            name.bind(address)
            name.listen(1)
        except OSError as error:
            holder = _holder(address)
            name.close()
            if error.errno != errno.EADDRINUSE:
                return  # no abstract names here: the lock alone has to do
            raise PlatformError(
                f"The data folder {self.path} was removed while another boda{holder} ran on it, "
                "which it still does. Stop that one or choose another --data-dir."
            ) from None
        self._name = name

    def holder(self) -> int | None:
        """The process id of the boda that holds the lock: 0 before it is written, None if no
        process holds it. Raises PlatformError if the lock cannot be read."""
        try:
            lock = (self.path / "lock").open(encoding="ascii", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise PlatformError(
                f"The data folder {self.path} cannot be read ({error.strerror})."
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                text = lock.read().strip()
                return int(text) if text.isdecimal() else 0
        return None

    def release(self) -> None:
        """Give the folder back. Idempotent."""
        if self._lock is None:
            return
        self._address.unlink(missing_ok=True)
        if self._name is not None:
            self._name.close()
            self._name = None
        with contextlib.suppress(OSError):  # it tries to write what a full disk did not take
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
        except OSError as error:
            raise PlatformError(
                f"The keys in {self._root} cannot be read ({error.strerror})."
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise PlatformError(
                f"The key file {self._root} is damaged ({error}); delete it and start boda, which "
                "writes it anew from its database."
            ) from None

    def has_root_keys(self) -> bool:
        return self._root.exists()

    def write_address(self, endpoint: str, regions: Sequence[str] = (), public: str = "") -> None:
        """Write the address of this boda; see ``PlatformAddress``."""
        written = {
            "endpoint": endpoint,
            "public": public or endpoint,
            "pid": os.getpid(),
            "regions": list(regions),
        }
        _write_private(self._address, written)

    def address(self) -> PlatformAddress | None:
        """Return the address of the running boda; None if there is none, or it is not ready."""
        try:
            data = json.loads(self._address.read_text())
            return PlatformAddress(
                str(data["endpoint"]),
                data["pid"],
                tuple(data.get("regions", ())),
                str(data.get("public") or data["endpoint"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def endpoint(self) -> str:
        """Return the endpoint of this folder's boda, or the default one."""
        host = in_url(os.environ.get("BODA_HOST", "127.0.0.1"))
        default = f"http://{host}:{os.environ.get('BODA_PORT') or 4566}"
        return self.written_endpoint() or default

    def written_endpoint(self) -> str | None:
        """Return the endpoint that this folder's boda has written; None after a clean stop."""
        address = self.address()
        return None if address is None else address.endpoint


def _holder(name: str) -> str:
    """Describe the process that listens under a name; "" if it is unknown."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.setblocking(False)
            asking.connect(name)
            found = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError:
            return ""
    pid = struct.unpack("3i", found)[0]
    return f" (process {pid})" if pid else ""


def _lock(lock: IO[str], sleep: Callable[[float], None] = time.sleep) -> bool:
    """Take the lock exclusively; False if another process has it.

    Tries for a moment, since ``holder`` takes the lock briefly to see whether it is free.
    """
    for attempt in range(_LOCK_ATTEMPTS):
        if attempt:
            sleep(_LOCK_PAUSE_S)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        return True
    return False


def _write_private(path: Path, data: dict[str, object]) -> None:
    """Replace a file atomically and durably, readable by its owner only."""
    replace_durably(path, json.dumps(data).encode())
