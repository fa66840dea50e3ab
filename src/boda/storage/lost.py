"""Unreferenced files, kept for some days before they are deleted.

Law of this file: a file that is deleted because the database does not name it is moved here first.
The database may be the one that is wrong.

    lost+found/2026-11-29/blobs/<id>      lost+found/2026-11-29/code/<sha256>/
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from pathlib import Path

from boda.core.clock import Clock
from boda.core.errors import PlatformError

_log = logging.getLogger(__name__)

KEPT_DAYS = 7
_DAY_S = 86_400.0


class LostAndFound:
    """The folder ``lost+found`` beside the folders whose files it takes in."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    @classmethod
    def beside(cls, contents: Path, clock: Clock) -> LostAndFound:
        return cls(contents.parent / "lost+found", clock)

    def keep(self, path: Path, kind: str) -> bool:
        """Move a file or a folder here. kind: the name of the subfolder. Blocking.

        Returns False if it stays in its place, since the disk refuses the move or is another one.
        """
        today = self._folder / _day(self._clock.now()) / kind
        try:
            today.mkdir(parents=True, exist_ok=True, mode=0o700)
            place = today / path.name
            number = 1
            while os.path.lexists(place):
                number += 1
                place = today / f"{path.name}.{number}"
            path.rename(place)
        except FileNotFoundError:
            return False
        except OSError as error:
            _log.warning("%s is named by nothing and cannot be set aside: %s", path, error)
            return False
        return True

    def sweep(self) -> int:
        """Delete files that were moved here more than ``KEPT_DAYS`` ago. Blocking.

        Returns how many days' folders were deleted.
        """
        last = _day(self._clock.now() - KEPT_DAYS * _DAY_S)
        dropped = 0
        with contextlib.suppress(FileNotFoundError):
            for entry in self._folder.iterdir():
                if _is_day(entry.name) and entry.name < last:
                    shutil.rmtree(entry, ignore_errors=True)
                    dropped += 1
        return dropped


def missing_contents(folder: Path, what: str) -> PlatformError:
    """Return the error for a missing folder in which the database names ``what``."""
    return PlatformError(
        f"The folder {folder} is missing or empty, but the database names {what} in it: nothing "
        "was touched; put it back (is its disk mounted?), or go on without by `boda check "
        f"--accept --data-dir {folder.parent}`."
    )


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def _is_day(name: str) -> bool:
    try:
        time.strptime(name, "%Y-%m-%d")
    except ValueError:
        return False
    return len(name) == 10
