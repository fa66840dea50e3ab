"""The names of what boda lacks: operations of services it does not have, from botocore's models.

Read only when somebody asks for one, in a thread, and forgotten again but for the path table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader
from botocore.model import ServiceModel

from boda.gateway.calling.paths import PathTable

_KEPT = 8
_TRIED = 16


@dataclass(frozen=True, slots=True)
class Absent:
    """A service that boda lacks and whose requests do not tell all about it.

    names: botocore's names of it, where they do not begin as its signing name does. wire: the
    protocol of its errors, where its requests do not show it.
    """

    names: tuple[str, ...] = ()
    wire: str = ""


NONE_LACKING: Mapping[str, Absent] = MappingProxyType({})


class AbsentServices:
    """Keeps a few path tables. lacking: what is known beforehand, by signing name."""

    def __init__(self, lacking: Mapping[str, Absent] = NONE_LACKING) -> None:
        self._lacking = lacking
        self._tables: dict[str, list[PathTable]] = {}

    def name(self, signing_name: str) -> str:
        """Botocore's name of the service."""
        known = self._lacking.get(signing_name)
        return known.names[0] if known is not None and known.names else signing_name

    async def operation(
        self, signing_name: str, method: str, path: str, query: str, headers: Mapping[str, str]
    ) -> str:
        """The REST operation's name, or "" when no model of that name knows the path."""
        tables = self._tables.get(signing_name)
        if tables is None:
            tables = await asyncio.to_thread(
                _load, signing_name, self._lacking.get(signing_name, Absent()).names
            )
            if len(self._tables) >= _KEPT:
                del self._tables[next(iter(self._tables))]
            self._tables[signing_name] = tables
        for table in tables:
            found = table.match(method, path, query, headers)
            if found is not None:
                return found[0]
        return ""


def _load(signing_name: str, further: tuple[str, ...]) -> list[PathTable]:
    loader = Loader()
    names = loader.list_available_services("service-2")
    wanted = list(further)
    if signing_name in names:
        wanted.append(signing_name)
    bare = _bare(signing_name)
    wanted += [n for n in names if _bare(n).startswith(bare) and n not in wanted]
    tables = []
    for name in wanted[:_TRIED]:
        try:
            model = ServiceModel(loader.load_service_model(name, "service-2"), name)
            of_it = signing_name in (model.signing_name, name)
            if of_it and str(model.protocol).startswith("rest"):
                tables.append(PathTable(model))
        except BotoCoreError:
            continue
    return tables


def _bare(name: str) -> str:
    """``access-analyzer`` signs for ``accessanalyzer``: hyphens come and go."""
    return name.lower().replace("-", "")
