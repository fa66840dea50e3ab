"""How a function moves from Pending to Active, and an update from InProgress to Successful.

The code is unpacked and verified before the create or update is answered, and what was updated
is what calls run from the answer on. A new function or version is let onto the invoke path when
it has become Active, at once. An update is seen in progress for ``settle_s`` all the same, because
it can be on AWS, and a second one meanwhile is refused.
A move that a crash interrupted is made at the next start.
"""

from __future__ import annotations

import logging

from boda.core.errors import AwsError
from boda.services.lambda_.core import Core
from boda.services.lambda_.records import ACTIVE, PENDING, UPDATED, UPDATING, Function, Version

_log = logging.getLogger(__name__)
_AGAIN_S = 1.0


class Transitions:
    """Moves versions on. settle_s: how long an update is seen in progress."""

    def __init__(self, core: Core, settle_s: float) -> None:
        self._core = core
        self._settle_s = settle_s

    def begin(self, version: Version, *, new: bool = False) -> None:
        """Move the version on, later. new: of a function just created, which is not waited with."""
        self._core.later(self._move(version, 0.0 if new else self._settle_s))

    def finished(self, version: Version) -> Version:
        """The version as it is after the move; with a new revision, as recorded."""
        return self._core.revised(version, state=ACTIVE, update=UPDATED)

    async def _move(self, version: Version, delay_s: float) -> None:
        core = self._core
        await core.clock.sleep(delay_s)
        while not await core.whole(self._finish(version)):
            await core.clock.sleep(_AGAIN_S)

    async def _finish(self, begun: Version) -> bool:
        core = self._core
        key = (begun.account, begun.region, begun.name)
        async with core.lock(key):
            function = core.find(key)
            version = function.versions.get(begun.version) if function is not None else None
            if function is None or version is None or version.build_id != begun.build_id:
                return True  # deleted or replaced meanwhile
            if not in_motion(version):
                return True
            try:
                await core.put(function, self.finished(version))
            except AwsError as error:
                _log.warning("%s stays %s: %s", begun.arn, version.state.state, error.message)
                return False
            core.expose(function, function.versions[begun.version])
            return True


def in_motion(version: Version) -> bool:
    """Whether a create or an update has not taken effect yet."""
    return version.state == PENDING or version.update == UPDATING


def busy(function: Function) -> bool:
    """Whether the function must not be changed now."""
    return in_motion(function.latest)
