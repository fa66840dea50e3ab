"""The operations of services that boda lacks, from botocore's models.

Models are read only when one of their operations is called, in a thread; only the path table is
kept.
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
    """A service that boda lacks and that its requests do not fully identify.

    names: botocore's names of it, if they do not begin with its signing name. wire: the protocol of
    its errors, if its requests do not show it.
    """

    names: tuple[str, ...] = ()
    wire: str = ""


NONE_LACKING: Mapping[str, Absent] = MappingProxyType({})


class AbsentServices:
    """Keeps a few path tables. lacking: facts known beforehand, by signing name."""

    def __init__(self, lacking: Mapping[str, Absent] = NONE_LACKING) -> None:
        self._lacking = lacking
        self._tables: dict[str, list[PathTable]] = {}

    def name(self, signing_name: str) -> str:
        """Return botocore's name of the service."""
        known = self._lacking.get(signing_name)
        return known.names[0] if known is not None and known.names else signing_name

    async def operation(
        self, signing_name: str, method: str, path: str, query: str, headers: Mapping[str, str]
    ) -> str:
        """Return the REST operation's name, or "" if no model of that name has the path."""
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
    """Return a name without hyphens: ``access-analyzer`` signs for ``accessanalyzer``."""
    return name.lower().replace("-", "")
