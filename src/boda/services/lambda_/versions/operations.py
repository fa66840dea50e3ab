"""PublishVersion, ListVersionsByFunction, and the rules of publishing.

A version is a copy of ``$LATEST`` under the next number. Nothing is published if code and settings
are those of the newest version already (recorded): that version is answered instead.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from boda.gateway.calling.operation import Context, operation
from boda.gateway.calling.paging import READABLE, Listing, Walk
from boda.invoke.function_table import LATEST
from boda.services.lambda_.access import on_function
from boda.services.lambda_.arn_pages import start
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import (
    FUNCTIONS_ONLY,
    invalid,
    stale_revision,
    update_in_progress,
    wrong_state,
)
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.records import (
    ACTIVE,
    NEVER_UPDATED,
    PENDING,
    UPDATED,
    UPDATING,
    Function,
    Version,
    fingerprint,
)
from boda.services.lambda_.settings import answers
from boda.services.lambda_.versions.states import Transitions


def unqualified(core: LambdaCore, ctx: Context, function_name: str) -> Identifier:
    """Return the function a caller names as a whole. Raises AwsError if it names a version or an
    alias."""
    identifier = core.identify(ctx, function_name)
    if identifier.qualifier not in (None, LATEST):
        raise invalid(FUNCTIONS_ONLY)
    return Identifier(*identifier.key)


def next_version(
    transitions: Transitions, function: Function, latest: Version, description: str | None = None
) -> Version | None:
    """Return the version that publishing ``latest`` adds; None if the newest version is the same
    already.

    A version of code that has not taken effect is Pending; so is one with SnapStart, as on AWS,
    whose snapshot is being made. One whose init failed is not answered again: the cause may be
    gone.
    """
    core = transitions.core
    origin = fingerprint(latest)
    newest = function.versions.get(str(function.last_version))
    if newest is not None and newest.origin == origin and newest.state.state != "Failed":
        return None
    settings = latest.settings
    if description is not None:
        settings = dataclasses.replace(settings, description=description)
    snapshot = transitions.snapshots.apply(settings)
    ready = latest.state == ACTIVE and latest.update != UPDATING and not snapshot
    return dataclasses.replace(
        latest,
        version=str(function.last_version + 1),
        settings=settings,
        revision_id=core.ids.uuid(),
        build_id=core.ids.uuid(),
        state=ACTIVE if ready else PENDING,
        update=UPDATED if ready else NEVER_UPDATED,
        origin=origin,
        snapshot=snapshot,
    )


class VersionOperations:
    """Numbered versions. Deleting one is DeleteFunction with its number."""

    def __init__(self, core: LambdaCore, transitions: Transitions) -> None:
        self.core = core
        self._transitions = transitions

    @operation("PublishVersion", authorize=on_function("lambda:PublishVersion"))
    async def publish_version(
        self,
        ctx: Context,
        *,
        function_name: str,
        code_sha256: str | None = None,
        description: str | None = None,
        revision_id: str | None = None,
    ) -> dict[str, Any]:
        identifier = unqualified(self.core, ctx, function_name)
        return await self.core.whole(
            self._publish(identifier, code_sha256, description, revision_id)
        )

    async def _publish(
        self,
        identifier: Identifier,
        code_sha256: str | None,
        description: str | None,
        revision_id: str | None,
    ) -> dict[str, Any]:
        core = self.core
        async with core.lock(identifier.key):
            function = core.function(identifier)
            latest = function.latest
            if latest.state != ACTIVE:
                raise wrong_state(latest.state.state)
            if latest.update == UPDATING:
                raise update_in_progress(function.arn)
            if revision_id and revision_id != latest.revision_id:
                raise stale_revision()
            current = answers.code_sha256(latest)
            if code_sha256 and code_sha256 != current:
                raise invalid(
                    f"CodeSHA256 ({code_sha256}) is different from current CodeSHA256 in $LATEST "
                    f"({current}). Please try again with the CodeSHA256 in $LATEST."
                )
            made = next_version(self._transitions, function, latest, description)
            if made is None:
                made = function.versions[str(function.last_version)]
            else:
                core.refuse_over_storage(identifier.key, made.unzipped_bytes)
                await core.put(function, made, core.revised(latest))  # recorded: $LATEST changes
                if made.state == ACTIVE:
                    core.expose(function, made)
                else:
                    self._transitions.start(made)
            return answers.configuration(made, self.core.runnable, qualifier=made.version)

    @operation(
        "ListVersionsByFunction",
        authorize=on_function("lambda:ListVersionsByFunction"),
        paged=READABLE,
    )
    async def list_versions_by_function(
        self, ctx: Context, *, function_name: str, marker: str | None = None
    ) -> Listing:
        """Return ``$LATEST`` first, then versions by number."""
        identifier = unqualified(self.core, ctx, function_name)
        function = self.core.function(identifier)
        first = order(start(marker, f"{function.arn}:"))
        return Walk(
            (each for each in function.numbered if order(each.version) >= first),
            lambda version: f"{function.arn}:{version.version}",
            lambda version: answers.summary(version, qualifier=version.version),
        )


def order(version: str) -> int:
    """Return a version's place in a list; 0 for ``$LATEST`` and for other texts."""
    return int(version) if version.isascii() and version.isdigit() and len(version) < 20 else 0
