"""Inits that are made before they are needed.

Half of the work of starting a sandbox is the same for every function: the fork, namespaces, most
mounts, the listening sockets, the network. A few inits that have got so far are kept for each
zygote in use, so that a cold start finds one. Law: each becomes the sandbox of one function, once,
and is never used for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from boda.core.tasks import Tasks
from boda.sandbox.contract import SandboxError
from boda.sandbox.init_process import InitProcess
from boda.sandbox.zygote_pool import ZygoteKey


class InitPool:
    """Keeps a few inits for each zygote; any of them serves every function of that zygote.

    make: orders an init from a zygote. ready: how many to keep for each.
    """

    def __init__(
        self, make: Callable[[ZygoteKey], Awaitable[InitProcess]], *, ready: int = 2
    ) -> None:
        self._make = make
        self._ready = ready
        self._waiting: dict[ZygoteKey, list[InitProcess]] = {}
        self._refills: dict[ZygoteKey, asyncio.Task[None]] = {}
        self._ending = Tasks()
        self._closed = False

    def take(self, key: ZygoteKey) -> InitProcess | None:
        """Return an init that waits for its order, or None."""
        waiting = self._waiting.get(key, [])
        while waiting:
            init = waiting.pop(0)
            if not init.lost:
                return init
            self._ending.spawn(init.end())
        return None

    def refill(self, key: ZygoteKey) -> None:
        """Start to make inits until there are enough."""
        if not self._closed and key not in self._refills:
            self._refills[key] = asyncio.create_task(self._fill(key))

    async def _fill(self, key: ZygoteKey) -> None:
        waiting = self._waiting.setdefault(key, [])
        try:
            while len(waiting) < self._ready and not self._closed:
                init = await self._make(key)
                try:
                    await init.prepared()
                except BaseException:
                    await init.end()
                    raise
                waiting.append(init)
        except SandboxError:
            pass  # the next start makes one itself, and raises the error
        finally:
            del self._refills[key]

    async def drop(self, key: ZygoteKey) -> None:
        """End the inits of a zygote that is not needed any more."""
        if key in self._refills:
            await asyncio.wait({self._refills[key]})
        await asyncio.gather(*(init.end() for init in self._waiting.pop(key, [])))

    async def close(self) -> None:
        self._closed = True
        if self._refills:
            await asyncio.wait(list(self._refills.values()))
        every = [init for waiting in self._waiting.values() for init in waiting]
        self._waiting.clear()
        await asyncio.gather(self._ending.drain(), *(init.end() for init in every))
