"""``boda down``: stop the platform."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Annotated

import typer

from boda.cli.options import DataDir, data_dir
from boda.core.errors import PlatformError
from boda.storage.folder import DataFolder

EXAMPLES = (
    "boda down         running invocations finish first",
    "boda down --now   they are ended",
)
_POLL_S = 0.03
_PATIENCE_S = 1.0


def down(
    now: Annotated[bool, typer.Option("--now", help="End running invocations at once.")] = False,
    folder: DataDir = None,
) -> None:
    """Stop the boda that runs on the data folder.

    Returns once it has stopped, however it was started. Where none runs there is nothing to do.
    """
    place = DataFolder(data_dir(folder))
    pid = _pid(place)
    if pid is None:
        print(f"No boda runs on {place.path}.")
        return
    _signal(pid)
    begin = time.monotonic()
    told = False
    while place.holder() == pid:
        waited = time.monotonic() - begin
        if now and waited > _PATIENCE_S / 5:  # a second signal ends running invocations
            _signal(pid)
            now = False
        if not told and waited > _PATIENCE_S:
            told = True
            print("Waiting for running invocations (--now ends them) …", file=sys.stderr)
        time.sleep(_POLL_S)
    print(f"boda (process {pid}) has stopped.")


def _pid(place: DataFolder) -> int | None:
    """Return the id of the process that runs on the folder, once it is written down; None if none
    runs."""
    for _ in range(100):
        pid = place.holder()
        if pid != 0:
            return pid
        time.sleep(_POLL_S)
    raise PlatformError(f"The boda that runs on {place.path} does not say which process it is.")


def _signal(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has just ended, or has another number in this namespace
    except PermissionError:
        raise PlatformError(
            f"boda (process {pid}) belongs to another user, who can stop it."
        ) from None
