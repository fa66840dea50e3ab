"""Run the platform in the background: its output goes to a file, and the caller returns once it is
ready.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from boda.cli import interruptible
from boda.core.errors import PlatformError
from boda.storage.folder import DataFolder

_POLL_S = 0.03
_MAX_LOG_BYTES = 16 * 1024 * 1024


def detach(place: Path) -> None:
    """Fork. Return in the child, whose output goes to the folder's log from then on; the parent
    exits once the child is ready or has ended. Call before any thread starts.

    If a boda runs on the folder already, there is no child: the parent says so and exits.
    """
    folder = DataFolder(place)
    if folder.holder() is not None:
        address = folder.address()
        where = f"at {address.endpoint} (process {address.pid})" if address else "or is starting"
        print(f"boda already runs {where}.")
        sys.exit(0)
    log, begin = _open_log(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child != 0:
        os.close(log)
        _wait(folder, child, begin)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, stream in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, stream)
    os.close(nothing)
    os.close(log)


def _open_log(folder: DataFolder) -> tuple[int, int]:
    """Open the log for appending; return it and the position of its end. A long one is kept once,
    as boda.log.1."""
    try:
        folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.log.exists() and folder.log.stat().st_size > _MAX_LOG_BYTES:
            folder.log.replace(folder.log.with_name(f"{folder.log.name}.1"))
        log = os.open(folder.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PlatformError(
            f"The data folder {folder.path} cannot be used ({error.strerror}); "
            "choose another with --data-dir."
        ) from None
    return log, os.fstat(log).st_size


def _wait(folder: DataFolder, child: int, begin: int) -> NoReturn:
    try:
        with interruptible():
            while True:
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    _tell_failure(folder, begin)
                    sys.exit(os.waitstatus_to_exitcode(status) or 1)
                address = folder.address()
                if address is not None and address.pid == child:
                    print(f"boda is ready at {address.endpoint} (process {child})")
                    print(f"Its log is {folder.log}; `boda down` stops it.")
                    sys.exit(0)
                time.sleep(_POLL_S)
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        raise


def _tell_failure(folder: DataFolder, begin: int) -> None:
    """Print the child's output from before it ended."""
    with folder.log.open("rb") as log:
        log.seek(begin)
        said = log.read(65_536).decode("utf-8", "replace").strip()
    print(said or f"boda: It ended at once; see {folder.log}.", file=sys.stderr)
