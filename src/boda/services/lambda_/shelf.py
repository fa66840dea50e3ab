"""What stands beside functions, in memory and on disk: one shelf per kind.

Law: as with functions, the row first and memory after the commit; changes of one kind in one
account and region one after the other.
"""

from __future__ import annotations

import asyncio
from typing import Any

from boda.core.locks import Locks
from boda.services.lambda_ import rows_resources
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.rows_resources import Place

Document = dict[str, Any]


class Shelf:
    """Documents of one kind by place and id. A document is replaced, never changed."""

    def __init__(self, core: LambdaCore, kind: str) -> None:
        self.kind = kind
        self._core = core
        self._held: dict[Place, dict[str, Document]] = {}
        self._locks: Locks[Place] = Locks()

    def find(self, place: Place, id_: str) -> Document | None:
        return self._held.get(place, {}).get(id_)

    def all(self, place: Place) -> list[tuple[str, Document]]:
        """By id."""
        return sorted(self._held.get(place, {}).items())

    def everything(self) -> list[tuple[Place, str, Document]]:
        return [(place, id_, each) for place, held in self._held.items() for id_, each in
                held.items()]  # fmt: skip

    def lock(self, place: Place) -> asyncio.Lock:
        """Held by whoever changes something on the shelf."""
        return self._locks.of(place)

    async def put(self, place: Place, id_: str, document: Document) -> None:
        """Call under the lock. AwsError when the disk refuses."""
        await self._core.write(lambda tx: rows_resources.put(tx, place, self.kind, id_, document))
        self.remember(place, id_, document)

    async def drop(self, place: Place, id_: str) -> None:
        """Call under the lock. AwsError when the disk refuses."""
        await self._core.write(lambda tx: rows_resources.delete(tx, place, self.kind, id_))
        self._held.get(place, {}).pop(id_, None)

    def remember(self, place: Place, id_: str, document: Document) -> None:
        """Put one whose row exists into memory."""
        self._held.setdefault(place, {})[id_] = document
