"""The templates of a fleet: one for each version with SnapStart that is, or was lately, in use.

Law: an environment is forked from a template of its own version and revision or not at all. A
template goes when its version does, when nobody has used it for long, and when the machine's
memory runs short; the next environment that needs one waits until it is made again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Protocol

from boda.core.errors import AwsError
from boda.fleet.refusals import could_not_start
from boda.fleet.surroundings import Snapshot, Surroundings
from boda.fleet.template import SnapshotFailed, Template
from boda.runtime.function import FunctionVersion, VersionKey


class Owner(Protocol):
    """Whose room templates take."""

    def template_begins(self, template: Template) -> None: ...

    def template_ready(self, template: Template) -> None: ...

    def template_dead(self, template: Template) -> None: ...

    def template_buried(self) -> None:
        """One is gone altogether, and its memory with it."""

    def killed_by_machine(self) -> None: ...


class Templates:
    """Environments ``join`` and ``leave`` the template of their version; one that has none, and
    of which none is being made, rests."""

    def __init__(self, around: Surroundings, owner: Owner) -> None:
        self._around = around
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
        return version.snap_start and self._around.sandboxes.can_fork

    def has(self, key: VersionKey) -> bool:
        return key in self._current

    def want(self, version: FunctionVersion) -> Template:
        """The version's template; a new one is begun where there is none."""
        template = self._current.get(version.key)
        if template is None:
            template = Template(self._around, version, self)
            self._current[version.key] = template
            self._alive.add(template)
            self._owner.template_begins(template)
            template.start()
        return template

    def join(self, version: FunctionVersion) -> None:
        """An environment of the version is to be made."""
        self._environments[version.key] += 1
        self._resting.pop(self.want(version), None)

    def leave(self, key: VersionKey) -> None:
        """An environment that had joined has ended."""
        self._environments[key] -= 1
        if not self._environments[key]:
            del self._environments[key]
        template = self._current.get(key)
        if template is not None:
            self._rest(template)

    async def lease(self, version: FunctionVersion, *, retiring: bool = False) -> Template:
        """A template ready to be forked, to be given back with ``release``.

        retiring: of a version that is nobody's any more; the template then goes with the lease.
        AwsError where init failed this time (SnapStartRegenerationFailureException, 409), or the
        platform did.
        """
        template = self.want(version)
        template.leases += 1
        template.retiring = template.retiring or retiring
        try:
            await template.ready()
        except SnapshotFailed as error:
            self.release(template)
            raise not_regenerated(error) from None
        except BaseException:
            self.release(template)
            raise
        return template

    def release(self, template: Template) -> None:
        template.leases -= 1
        if template.retiring and not template.leases:
            template.destroy()
        self._rest(template)

    def _rest(self, template: Template) -> None:
        if template.state != "ready":
            return
        template.used_at = self._around.clock.monotonic()
        if not template.leases and template.version.key not in self._environments:
            self._resting[template] = None
            self._resting.move_to_end(template)

    def retire(self, key: VersionKey) -> None:
        """The version is no longer anybody's: its template goes once no fork of it is begun."""
        template = self._current.pop(key, None)
        if template is not None:
            template.retiring = True
            if not template.leases:
                template.destroy()

    def resting(self, but: VersionKey | None = None) -> Template | None:
        """The one that has rested longest, but not this version's."""
        for template in self._resting:
            if template.version.key != but:
                return template
        return None

    def in_use(self) -> Template | None:
        """One whose version has environments, none of which is just being forked: they live on
        without it."""
        for template in self._alive:
            if template.state == "ready" and not template.leases:
                return template
        return None

    def sweep(self, now_s: float) -> None:
        """Let go of those that nobody has used for long."""
        while (template := self.resting()) is not None:
            if now_s - template.used_at < self._around.settings.template_idle_s:
                return
            template.destroy()

    def snapshots(self) -> list[Snapshot]:
        return [template.snapshot() for template in list(self._alive)]

    async def close(self) -> None:
        """Destroy them all."""
        for template in list(self._alive):
            template.destroy()
        for template in list(self._dying):
            await template.destroyed()

    # Owner of each

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
    """The answer to a call for which a template could not be made again."""
    if error.cause in ("platform", "dropped"):
        return could_not_start()
    return AwsError(
        "SnapStartRegenerationFailureException",
        "Lambda couldn't regenerate the SnapStart snapshot for the function: "
        f"{error}. For more information, check the Amazon CloudWatch logs.",
        409,
        Type="User",
    )


def restore_failed() -> AwsError:
    """The answer to the call for which an environment was restored, when a hook failed."""
    return AwsError(
        "SnapStartException",
        "The afterRestore() runtime hook encountered an error. For more information, check the "
        "Amazon CloudWatch logs.",
        400,
        Type="User",
    )


def restore_timed_out() -> AwsError:
    return AwsError(
        "SnapStartTimeoutException",
        "Lambda couldn't restore the snapshot within the timeout limit.",
        408,
        Type="User",
    )
