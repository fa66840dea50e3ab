"""SnapStart, as far as a version's state goes: Pending while its init runs once, then Active, or
Failed with the reason.

A snapshot is a template in the fleet's memory. It is made when a version is published, and again
after a restart during that; a version that has been Active once stays so, and its template is made
again by the first call that finds none.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from boda.fleet.template import SnapshotFailed
from boda.invoke.function_table import LATEST
from boda.runtime.function import FunctionVersion
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.records import (
    ACTIVE,
    Function,
    FunctionSettings,
    Key,
    ReasonedState,
    Version,
)

_AT_ONCE = 4
"""How many inits of published versions run at a time."""
_AGAIN_S = 1.0
_ATTEMPTS = 3
"""How often a template is tried if the platform fails."""

_FAILED = {
    "timeout": ("FunctionError.InitTimeout", "The function's initialization timed out."),
    "init": ("FunctionError.RuntimeInitError", "The function failed to initialize."),
    "entrypoint": (
        "FunctionError.InvalidEntryPoint",
        "The function's entry point could not be run.",
    ),
    "memory": (
        "FunctionError.InitResourceExhausted",
        "The function's initialization ran out of memory.",
    ),
    "role": ("InsufficientRolePermissions", "The function's role cannot be assumed by Lambda."),
    "platform": ("InternalError", "The execution environment could not be started."),
}
"""Codes are those of the service's model; AWS's sentences for them are not recorded."""


class Snapshotter(Protocol):
    """The fleet's contract for making templates."""

    def offers_snapshots(self) -> bool: ...

    async def snapshot(self, version: FunctionVersion) -> None:
        """Return when environments can be forked of the version. Raises SnapshotFailed."""

    def retire(self, version: FunctionVersion) -> None: ...


class Snapshots:
    """The versions whose snapshot is being made."""

    def __init__(self, core: LambdaCore, snapshotter: Snapshotter) -> None:
        self._core = core
        self._snapshotter = snapshotter
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._pending: dict[Key, dict[str, FunctionVersion]] = {}
        core.on_dropped.append(self._dropped)

    def apply(self, settings: FunctionSettings) -> bool:
        """Return whether a version published with these settings gets a snapshot.

        False if this machine cannot fork, or lacks the runtime: such versions are initialised like
        any others, or cannot run at all.
        """
        return (
            settings.snap_start != "None"
            and self._snapshotter.offers_snapshots()
            and settings.runtime.startswith("python")
            and self._core.runnable(settings.runtime)
        )

    def marked(self, version: Version) -> bool:
        """Return the value of ``Version.snapshot`` after a start, with the machine's abilities of
        now."""
        return (
            version.version != LATEST
            and version.state.state in ("Pending", "Active")
            and self.apply(version.settings)
        )

    async def take(self, version: Version) -> ReasonedState:
        """Run the version's init; return the state that follows. The state is unused if it was
        deleted meanwhile."""
        key = (version.account, version.region, version.name)
        function = self._core.find(key)
        if function is None:
            return ACTIVE
        seen = self._core.seen(function, version)
        pending = self._pending.setdefault(key, {})
        pending[version.version] = seen
        try:
            async with self._turn:
                return await self._taken(seen)
        finally:
            if pending.get(version.version) is seen:
                del pending[version.version]
            if not pending:
                self._pending.pop(key, None)

    async def _taken(self, seen: FunctionVersion) -> ReasonedState:
        attempt = 1
        while True:
            if not self._wanted(seen):
                return ACTIVE
            try:
                await self._snapshotter.snapshot(seen)
                return ACTIVE
            except SnapshotFailed as failed:
                if failed.cause == "dropped":
                    return ACTIVE
                if failed.cause != "platform" or attempt == _ATTEMPTS:
                    return _standing(failed)
            attempt += 1
            await self._core.clock.sleep(_AGAIN_S)

    def _wanted(self, seen: FunctionVersion) -> bool:
        pending = self._pending.get((seen.account, seen.region, seen.name), {})
        return pending.get(seen.version) is seen

    def _dropped(self, function: Function, qualifier: str | None) -> None:
        """Stop making the snapshot of a deleted version."""
        pending = self._pending.get(function.key, {})
        for number in list(pending):
            if qualifier in (None, number):
                self._snapshotter.retire(pending.pop(number))


def _standing(failed: SnapshotFailed) -> ReasonedState:
    code, words = _FAILED[failed.cause]
    detail = f" Error type: {failed.error_type}." if failed.error_type else ""
    return ReasonedState("Failed", words + detail, code)
