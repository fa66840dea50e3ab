"""Count the running requests, and refuse new ones while the platform stops."""

from __future__ import annotations

import asyncio


class Traffic:
    """``begin`` and ``end`` are called once for each request. draining: new requests are
    refused."""

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
        """Wait until running requests have ended. Return whether all did in time."""
        self.draining = True
        if self.running:
            try:
                async with asyncio.timeout(grace_s):
                    await self._quiet.wait()
            except TimeoutError:
                return False
        return True
