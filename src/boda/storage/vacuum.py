"""Gives back pages that the database file no longer needs.

SQLite keeps the pages of deleted rows for later ones. Files made by boda can shrink step by step
(``auto_vacuum``). The steps are small, so that no write waits for long, and some free pages always
stay, since the next rows need them.
"""

from __future__ import annotations

import logging

from boda.core.clock import Clock
from boda.storage.rewrite import INCREMENTAL
from boda.storage.rows import Rows, Tx
from boda.storage.sqlite_tx import SqliteTx

LOOK_S = 600.0
STEP_S = 1.0
STEP_PAGES = 256
KEPT_PAGES = 2048
"""Free pages that stay, or a tenth of the file if that is more."""

_log = logging.getLogger("boda.storage")


class Vacuum:
    """Shrinks the database in the background; ``run`` until cancelled."""

    def __init__(self, rows: Rows, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock

    async def run(self) -> None:
        """Look every ten minutes; make a step each second while too many pages are free."""
        while True:
            try:
                again = await self.step()
            except Exception as error:
                _log.info("the database was not shrunk: %s", error)
                again = False
            await self._clock.sleep(STEP_S if again else LOOK_S)

    async def step(self) -> bool:
        """Give back a few pages; return whether there are more."""
        free, pages = await self._rows.read(_free)
        if free - max(KEPT_PAGES, pages // 10) < STEP_PAGES:
            return False
        await self._rows.write(_give_back)
        return True


def _free(tx: Tx) -> tuple[int, int]:
    assert isinstance(tx, SqliteTx)
    found = [
        int(tx.raw.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("freelist_count", "page_count", "auto_vacuum")
    ]
    free, pages, mode = found
    return (free if mode == INCREMENTAL else 0), pages


def _give_back(tx: Tx) -> None:
    assert isinstance(tx, SqliteTx)
    for _ in range(STEP_PAGES):  # Python's driver takes one step of this pragma, which is a page
        tx.raw.execute("PRAGMA incremental_vacuum(1)")
