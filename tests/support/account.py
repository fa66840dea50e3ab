"""Every service of one account behind one gateway: in process, and over HTTP with ``served``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from boda.core.clock import Clock
from support import lambda_world
from support.world import World


@dataclass
class Account(World):
    """functions: Lambda and its surroundings."""

    functions: lambda_world.World = field(kw_only=True)


@contextlib.asynccontextmanager
async def account(folder: Path, clock: Clock | None = None) -> AsyncIterator[Account]:
    async with lambda_world.world(folder, "sts", "s3", "logs", clock=clock) as here:
        yield Account(here.house, here.gateway, functions=here)
