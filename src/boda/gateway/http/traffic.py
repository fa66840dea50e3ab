"""How many requests are being worked on, and whether new ones are taken."""

from __future__ import annotations

import asyncio


class Traffic:
    """Each request says when it begins and ends. draining: only what must be is taken."""

    __slots__ = ("_quiet", "draining", "running")

    def __init__(self) -> None:
        self.running = 0
        self.draining = False
        self._quiet = asyncio.Event()

    def begin(self) -> None:
        self.running += 1

    def end(self) -> None:
        self.running -= 1
        if self.draining and not self.running:
            self._quiet.set()

    async def drain(self, grace_s: float) -> bool:
        """Let what runs end; whether all of it did in time."""
        self.draining = True
        if self.running:
            try:
                async with asyncio.timeout(grace_s):
                    await self._quiet.wait()
            except TimeoutError:
                return False
        return True
