"""How a function moves from Pending to Active, and an update from InProgress to Successful.

The code is unpacked and verified before the create or update is answered, and calls run the updated
version from the answer on. A new function or version is put on the invoke path when it has become
Active: at once, or with SnapStart when its init has been run. An update is seen in progress for
``settle_s`` all the same, because it can be on AWS, and a second one meanwhile is refused.
A move that a crash interrupted is made at the next start.
"""

from __future__ import annotations

import dataclasses
import logging
from functools import partial

from boda.core.errors import AwsError
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.records import (
    ACTIVE,
    PENDING,
    UPDATED,
    UPDATING,
    Function,
    ReasonedState,
    Version,
)
from boda.services.lambda_.versions.snapshots import Snapshots

_log = logging.getLogger(__name__)


class Transitions:
    """Moves versions on. settle_s: how long an update is seen in progress."""

    def __init__(self, core: LambdaCore, snapshots: Snapshots, settle_s: float) -> None:
        self.core = core
        self.snapshots = snapshots
        self._settle_s = settle_s

    def start(self, version: Version, *, new: bool = False) -> None:
        """Move the version on, later. new: of a function just created, which is moved without
        delay."""
        if version.state == PENDING:
            self.core.hot.announce(version.arn, version.version)
        delay_s = 0.0 if new else self._settle_s
        if version.snapshot:
            self.core.later(self._snapshot(version, delay_s))
        else:
            self._settle(version, ACTIVE, delay_s)

    def finished(self, version: Version, state: ReasonedState = ACTIVE) -> Version:
        """Return the version after the move; with a new revision, as recorded."""
        after = self.core.revised(version, state=state, update=UPDATED)
        if state != ACTIVE:
            return dataclasses.replace(after, snapshot=False)
        return after

    async def _snapshot(self, version: Version, delay_s: float) -> None:
        await self.core.clock.sleep(delay_s)
        self._settle(version, await self.snapshots.take(version), 0.0)

    def _settle(self, version: Version, state: ReasonedState, delay_s: float) -> None:
        self.core.settling.schedule(partial(self._finish, version, state), after_s=delay_s)

    async def _finish(self, begun: Version, state: ReasonedState) -> bool:
        core = self.core
        key = (begun.account, begun.region, begun.name)
        async with core.lock(key):
            function = core.find(key)
            version = function.versions.get(begun.version) if function is not None else None
            if function is None or version is None or version.build_id != begun.build_id:
                return True  # deleted or replaced meanwhile
            if not in_motion(version):
                return True
            try:
                await core.put(function, self.finished(version, state))
            except AwsError as error:
                _log.warning("%s stays %s: %s", begun.arn, version.state.state, error.message)
                return False
            if state == ACTIVE:
                core.expose(function, function.versions[begun.version])
            else:
                core.hot.announce(begun.arn, begun.version, False)
            return True


def in_motion(version: Version) -> bool:
    """Return whether a create or an update has not taken effect yet."""
    return version.state == PENDING or version.update == UPDATING


def busy(function: Function) -> bool:
    """Return whether the function must not be changed now."""
    return in_motion(function.latest)
