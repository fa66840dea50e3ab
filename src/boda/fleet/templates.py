"""The templates of a fleet: one for each version with SnapStart that is, or was lately, in use.

Law: an environment is forked from a template of its own version and revision or not at all. A
template goes when its version does, when nobody has used it for long, and when the machine's
memory runs short; the next environment that needs one waits until it is made again.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Protocol

from boda.core.errors import AwsError
from boda.fleet.context import FleetContext
from boda.fleet.refusals import could_not_start
from boda.fleet.status import EnvironmentStatus
from boda.fleet.template import SnapshotFailed, Template
from boda.runtime.function import FunctionVersion, VersionKey
from boda.sandbox.contract import Sandbox, SandboxError, SandboxSpec

_log = logging.getLogger(__name__)


class TemplatesOwner(Protocol):
    """The fleet, as its templates call it: it counts the memory that they take."""

    def template_begins(self, template: Template) -> None: ...

    def template_ready(self, template: Template) -> None: ...

    def template_dead(self, template: Template) -> None: ...

    def template_buried(self) -> None:
        """Called after a template's sandbox was destroyed, and its memory freed."""

    def killed_by_machine(self) -> None: ...


class ForkRequest(Protocol):
    """The environment that a fork is made for; its state may change meanwhile."""

    @property
    def version(self) -> FunctionVersion: ...
    @property
    def retiring(self) -> bool: ...
    @property
    def state(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Fork:
    """A sandbox forked from a template. begun_s: when the fork was ordered, monotonic.
    image_bytes: the memory that it started with."""

    sandbox: Sandbox
    begun_s: float
    image_bytes: int


class Templates:
    """Keeps at most one template for each function version.

    Environments ``join`` and ``leave`` the template of their version. A template that has no
    environments, and that is not being forked, rests: it may be destroyed for its memory.
    """

    def __init__(self, context: FleetContext, owner: TemplatesOwner) -> None:
        self._context = context
        self._owner = owner
        self._current: dict[VersionKey, Template] = {}
        self._alive: set[Template] = set()
        self._dying: set[Template] = set()
        self._environments: Counter[VersionKey] = Counter()
        # In the order in which they were used last.
        self._resting: OrderedDict[Template, None] = OrderedDict()

    @property
    def count(self) -> int:
        return len(self._alive)

    def offers(self, version: FunctionVersion) -> bool:
        """Whether environments of the version are forked from a template."""
        return version.snap_start and self._context.sandboxes.can_fork

    def has(self, key: VersionKey) -> bool:
        return key in self._current

    def want(self, version: FunctionVersion) -> Template:
        """Return the version's template; start to make it if there is none."""
        template = self._current.get(version.key)
        if template is None:
            template = Template(self._context, version, self)
            self._current[version.key] = template
            self._alive.add(template)
            self._owner.template_begins(template)
            template.start()
        return template

    def join(self, version: FunctionVersion) -> None:
        """Count one more environment of the version."""
        self._environments[version.key] += 1
        self._resting.pop(self.want(version), None)

    def leave(self, key: VersionKey) -> None:
        """Count one environment less."""
        self._environments[key] -= 1
        if not self._environments[key]:
            del self._environments[key]
        template = self._current.get(key)
        if template is not None:
            self._rest(template)

    async def fork(self, request: ForkRequest, spec: SandboxSpec) -> Fork:
        """Fork the version's template; if that fails, make a new template and fork that one.

        The template of a version that is retiring is destroyed after its last fork. Raises
        SandboxError, or AwsError if there is no template: init failed this time
        (SnapStartRegenerationFailureException, 409), or the platform did.
        """
        failed = False
        while True:
            template = await self._lease(request.version, retiring=request.retiring)
            try:
                begun_s = self._context.clock.monotonic()
                sandbox = await self._context.sandboxes.fork(template.sandbox, spec)
                return Fork(sandbox, begun_s, template.image_bytes)
            except SandboxError as error:
                template.destroy()
                if failed or request.state == "dead":
                    raise
                failed = True
                _log.warning("a new template of %s: %s", request.version.qualified_arn, error)
            finally:
                self._release(template)

    async def _lease(self, version: FunctionVersion, *, retiring: bool) -> Template:
        """Return a template that is ready to be forked, to be given back with ``_release``."""
        template = self.want(version)
        template.leases += 1
        template.retiring = template.retiring or retiring
        try:
            await template.ready()
        except SnapshotFailed as error:
            self._release(template)
            raise not_regenerated(error) from None
        except BaseException:
            self._release(template)
            raise
        return template

    def _release(self, template: Template) -> None:
        template.leases -= 1
        if template.retiring and not template.leases:
            template.destroy()
        self._rest(template)

    def _rest(self, template: Template) -> None:
        if template.state != "ready":
            return
        template.used_at = self._context.clock.monotonic()
        if not template.leases and template.version.key not in self._environments:
            self._resting[template] = None
            self._resting.move_to_end(template)

    def retire(self, key: VersionKey) -> None:
        """Destroy the template of a deleted version, once no fork of it is being made."""
        template = self._current.pop(key, None)
        if template is not None:
            template.retiring = True
            if not template.leases:
                template.destroy()

    def resting(self, but: VersionKey | None = None) -> Template | None:
        """Return the template that has rested longest, except the one of the version ``but``."""
        for template in self._resting:
            if template.version.key != but:
                return template
        return None

    def in_use(self) -> Template | None:
        """Return a template whose version has environments, which live on without it, but that is
        not being forked now."""
        for template in self._alive:
            if template.state == "ready" and not template.leases:
                return template
        return None

    def sweep(self, now_s: float) -> None:
        """Let go of those that nobody has used for long."""
        while (template := self.resting()) is not None:
            if now_s - template.used_at < self._context.settings.template_idle_s:
                return
            template.destroy()

    def statuses(self) -> list[EnvironmentStatus]:
        return [template.status() for template in list(self._alive)]

    async def close(self) -> None:
        """Destroy all templates and wait for their ends."""
        for template in list(self._alive):
            template.destroy()
        for template in list(self._dying):
            await template.destroyed()

    # TemplateOwner

    def template_ready(self, template: Template) -> None:
        self._owner.template_ready(template)
        self._rest(template)

    def template_dead(self, template: Template) -> None:
        self._alive.discard(template)
        self._resting.pop(template, None)
        if self._current.get(template.version.key) is template:
            del self._current[template.version.key]
        self._dying.add(template)
        self._owner.template_dead(template)

    def template_buried(self, template: Template) -> None:
        self._dying.discard(template)
        self._owner.template_buried()

    def killed_by_machine(self) -> None:
        self._owner.killed_by_machine()


def not_regenerated(error: SnapshotFailed) -> AwsError:
    """Return the error of a call for which a template could not be made again."""
    if error.cause in ("platform", "dropped"):
        return could_not_start()
    return AwsError(
        "SnapStartRegenerationFailureException",
        "Lambda couldn't regenerate the SnapStart snapshot for the function: "
        f"{error}. For more information, check the Amazon CloudWatch logs.",
        409,
        Type="User",
    )
