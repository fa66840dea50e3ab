"""IAM and STS alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boda.core.clock import Clock
from boda.core.principal import Principal
from support.world import World, world


@dataclass
class Platform(World):
    async def user(self, name: str, *documents: str, **params: Any) -> Principal:  # type: ignore[override]
        """A new user with inline policies, as the principal of its new key."""
        await self.iam("CreateUser", UserName=name, **params)
        for number, document in enumerate(documents):
            await self.iam(
                "PutUserPolicy", UserName=name, PolicyName=f"p{number}", PolicyDocument=document
            )
        made = await self.iam("CreateAccessKey", UserName=name)
        return self.principal(made["AccessKey"]["AccessKeyId"])


@contextlib.asynccontextmanager
async def platform(folder: Path, clock: Clock | None = None) -> AsyncIterator[Platform]:
    async with world(folder, "iam", "sts", clock=clock) as made:
        yield Platform(made.house, made.gateway)
