"""The zygotes of a platform, by interpreter and tier or by template."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from boda.core.errors import PlatformError
from boda.core.locks import Locks
from boda.sandbox.contract import Interpreter, Library, SandboxError
from boda.sandbox.host import HostFacts
from boda.sandbox.mode import IsolationMode
from boda.sandbox.tiers import Tier
from boda.sandbox.zygote import AddressCollision, BareZygote, Zygote

_log = logging.getLogger(__name__)
_ATTEMPTS = 8
"""A zygote whose addresses overlap those of its image is started so often, each time at others."""


class ZygoteKey(NamedTuple):
    """Names a zygote. Runtimes of one interpreter share it: custom ones use a Python's.

    template: the number of the template whose image its forks become; 0 for those of a tier.
    """

    interpreter: Path
    tier: Tier
    template: int = 0


class ZygotePool:
    """All zygotes of a platform, started at their first need and again after their death.

    state: a folder in which each may make an empty one. hidden: folders that must not show in a
    sandbox's root. endpoint_name: a host name of functions' AWS endpoint, or "".
    """

    def __init__(
        self,
        library: Library,
        host: HostFacts,
        mode: IsolationMode,
        state: Path,
        hidden: Sequence[Path],
        *,
        endpoint_name: str = "",
    ) -> None:
        self._endpoint_name = endpoint_name
        self._library = library
        self._host = host
        self._mode = mode
        self._state = state
        self._hidden = hidden
        self._made = 0
        self._closed = False
        self._known: dict[ZygoteKey, Zygote] = {}
        self._locks: Locks[ZygoteKey] = Locks()
        self._compiling: dict[Path, asyncio.Task[None]] = {}

    def __iter__(self) -> Iterator[Zygote]:
        return iter([zygote for zygote in self._known.values() if zygote.alive])

    def ready(self, key: ZygoteKey) -> Zygote | None:
        """Return the zygote if it runs already, else None."""
        zygote = self._known.get(key)
        return zygote if zygote is not None and zygote.alive else None

    async def get(self, runtime: Interpreter, tier: Tier) -> Zygote:
        """Return the zygote, and start it if needed. Raises SandboxError."""
        key = ZygoteKey(runtime.interpreter, tier)
        async with self._locks.of(key):
            zygote = self._known.get(key)
            if zygote is not None:
                if zygote.alive:
                    return zygote
                await zygote.close()
            if tier == "bare":
                zygote = await self._start(runtime)
            else:
                bare = await self.get(runtime, "bare")
                assert isinstance(bare, BareZygote)
                await asyncio.shield(self._compiling[runtime.interpreter])
                zygote = await bare.grow(tier)
            if self._closed:
                await zygote.close()
                raise SandboxError("the sandboxes are closed")
            self._known[key] = zygote
            return zygote

    async def of_image(self, key: ZygoteKey, runtime: Interpreter, image: int) -> Zygote:
        """Return the zygote of a template's image, and start it if needed. Raises SandboxError.

        image: a descriptor of the image's file, which may not change any more.
        """
        image = os.dup(image)  # the caller may close it meanwhile
        try:
            async with self._locks.of(key):
                zygote = self._known.get(key)
                if zygote is not None:
                    if zygote.alive:
                        return zygote
                    await zygote.close()
                for attempt in range(_ATTEMPTS):
                    made = await self._bare(runtime, image)
                    try:
                        await made.start()
                        break
                    except AddressCollision:
                        if attempt == _ATTEMPTS - 1:
                            raise
                if self._closed:
                    await made.close()
                    raise SandboxError("the sandboxes are closed")
                self._known[key] = made
                return made
        finally:
            os.close(image)

    async def dismiss(self, key: ZygoteKey) -> None:
        """End a zygote that is not needed any more. Its forks live on."""
        async with self._locks.of(key):
            zygote = self._known.pop(key, None)
            if zygote is not None:
                await zygote.close()

    async def _bare(self, runtime: Interpreter, image: int | None = None) -> BareZygote:
        try:
            folder = await asyncio.to_thread(self._library.prepare, runtime)
        except (OSError, PlatformError) as error:
            raise _not_laid_out(error) from None
        self._made += 1
        place = self._state / f"root-{self._made}"
        return BareZygote(
            *(runtime, folder, self._host, self._mode, place, self._hidden),
            *(self._endpoint_name, image),
        )

    async def _start(self, runtime: Interpreter) -> Zygote:
        zygote = await self._bare(runtime)
        await zygote.start()
        if runtime.interpreter not in self._compiling:
            task = asyncio.create_task(self._compile(runtime))
            self._compiling[runtime.interpreter] = task
        return zygote

    async def _compile(self, runtime: Interpreter) -> None:
        """Compile the modules that the bare zygote does not need, for the other tiers."""
        try:
            await asyncio.to_thread(self._library.finish, runtime)
        except (OSError, PlatformError) as error:
            _log.warning("%s", _not_laid_out(error))

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*self._compiling.values())
        await asyncio.gather(*(zygote.close() for zygote in self._known.values()))


def _not_laid_out(error: Exception) -> SandboxError:
    """Return the error for a library that cannot be written, as on a full disk."""
    return SandboxError(f"what functions find beside their code could not be laid out: {error}")
