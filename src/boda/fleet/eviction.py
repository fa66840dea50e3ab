"""Which idle environment or template is destroyed when the machine's memory runs short."""

from __future__ import annotations

from collections import OrderedDict

from boda.fleet.capacity import Capacity
from boda.fleet.environment import Environment
from boda.fleet.template import Template
from boda.fleet.templates import Templates
from boda.runtime.function import VersionKey


class Eviction:
    """Destroys environments and templates, the least recently used first.

    idle: environments that may be evicted, the longest idle first.
    """

    def __init__(self, capacity: Capacity, templates: Templates) -> None:
        self._capacity = capacity
        self._templates = templates
        self.idle: OrderedDict[Environment, None] = OrderedDict()

    def evict_one(self, but: VersionKey | None = None) -> Environment | Template | None:
        """Destroy the one that was used before all others, and return it.

        but: a version whose own template is needed.
        """
        oldest = self._least_used(but)
        if oldest is not None:
            oldest.destroy()
        return oldest

    def _least_used(self, but: VersionKey | None = None) -> Environment | Template | None:
        environment = next(iter(self.idle), None)
        template = self._templates.resting(but)
        if template is None or environment is None:
            return template or environment
        return template if template.used_at < environment.idle_since else environment

    def evict_idle(self, now_s: float, idle_s: float) -> None:
        """Destroy environments that have been idle for idle_s or longer."""
        for environment in list(self.idle):
            if now_s - environment.idle_since < idle_s:
                break
            environment.destroy()

    async def relieve(self) -> None:
        """Free memory while it is short; if nothing is idle, destroy templates in use as well."""
        while (missing_mb := self._capacity.missing_mb()) > 0:
            destroyed: list[Environment | Template] = []
            while missing_mb > 0:
                oldest = self._least_used() or self._templates.in_use()
                if oldest is None:
                    break
                missing_mb -= max(1, oldest.memory_mb())
                oldest.destroy()
                destroyed.append(oldest)
            if not destroyed:
                return
            for each in destroyed:  # its memory is free only after its end
                await each.destroyed()
