"""AWS Lambda's API: functions, their code, their settings, who may invoke them, and Invoke.

A folder for each idea, in it one file per group of operations; a further group is a class with
``@operation`` methods that ``build`` adds to its list. What the folders share stands here:

    identifiers.py  what a caller calls a function      quotas.py   limits, as data
    records.py      a function in memory                rows.py     the same on disk
    core.py         how it changes                      access.py   who may
    shelf.py        mappings and code signing configs in memory
    statements.py   of resource policies, their limit
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from boda.core import resource_policy
from boda.core.arn import Arn, split_qualifier
from boda.core.errors import AwsError
from boda.core.policy import Policy
from boda.core.principal import Principal
from boda.core.tasks import repeat
from boda.delivery.destination import AsyncRules
from boda.delivery.lambda_adapter import LambdaAdapter
from boda.gateway.asking import tag_keys
from boda.gateway.asking.need import Need
from boda.gateway.calling.exchange import RequestKeys
from boda.gateway.calling.operation import Context
from boda.gateway.calling.paging import Paging
from boda.gateway.calling.service import Service
from boda.plug import Host, Plug, Running
from boda.runtime.function import FunctionVersion
from boda.services.lambda_ import rows, rows_resources
from boda.services.lambda_.arn_pages import refused_marker
from boda.services.lambda_.code.download import CodeDownloads
from boda.services.lambda_.code.package_source import PackageSources
from boda.services.lambda_.code.signing import CodeSigning, CodeSigningOperations
from boda.services.lambda_.code.store import CodeStore
from boda.services.lambda_.condition_keys import CONDITION_KEYS
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.dialect import DIALECT
from boda.services.lambda_.functions.configuration import ConfigurationOperations
from boda.services.lambda_.functions.operations import FunctionOperations
from boda.services.lambda_.functions.recursion import RecursionOperations
from boda.services.lambda_.functions.runtime_management import RuntimeManagementOperations
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.invoking import event_invoke
from boda.services.lambda_.invoking.event_invoke import EventInvokeOperations
from boda.services.lambda_.invoking.operations import InvocationOperations
from boda.services.lambda_.layers.operations import LayerOperations
from boda.services.lambda_.layers.permissions import LayerPermissionOperations
from boda.services.lambda_.layers.store import Layers
from boda.services.lambda_.mappings.operations import (
    EventSourceMappingOperations,
    EventSourceMappings,
)
from boda.services.lambda_.policies.permissions import PermissionOperations
from boda.services.lambda_.policies.resource_policies import ResourcePolicyOperations
from boda.services.lambda_.quotas import Quotas, adjusted
from boda.services.lambda_.records import Function, ReasonedState, Version
from boda.services.lambda_.scaling.concurrency import ConcurrencyOperations
from boda.services.lambda_.scaling.provisioned import ProvisionedOperations
from boda.services.lambda_.scaling.provisioning import Provisioning
from boda.services.lambda_.settings.roles import ExecutionRoles, RoleCheck, RoleRules, adopt
from boda.services.lambda_.shelf import Shelf
from boda.services.lambda_.tags import TagOperations
from boda.services.lambda_.urls.configs import UrlConfigOperations, UrlIds
from boda.services.lambda_.urls.site import FunctionUrls
from boda.services.lambda_.versions.aliases import AliasOperations
from boda.services.lambda_.versions.operations import VersionOperations
from boda.services.lambda_.versions.snapshots import Snapshots
from boda.services.lambda_.versions.states import Transitions, in_motion
from boda.storage.lost import LostAndFound
from boda.telemetry.contract import NAMESPACE

__all__ = ["PLUG", "Lambda", "Options", "Quotas", "adjusted", "build", "plug_in"]

metadata = rows.metadata

_log = logging.getLogger(__name__)
_SWEEP_S = 60.0
ROLE_CREDENTIALS_S = 12 * 3600.0
"""How long a function's credentials hold; its environments are replaced before they lapse."""

_LOST = ReasonedState("Failed", "The code package is missing.", "InvalidZipFileException")


@dataclass(frozen=True, slots=True)
class Options:
    """quotas: the account's limits. update_settle_s: how long an update is seen in progress."""

    quotas: Quotas = Quotas()  # noqa: RUF009 (frozen)
    update_settle_s: float = 0.2


@dataclass(frozen=True, slots=True)
class OtherResources:
    """What there is besides functions, versions, aliases and layers."""

    mappings: EventSourceMappings
    signing: CodeSigning
    provisioning: Provisioning
    urls: UrlIds

    async def load(self, core: LambdaCore, functions: list[Function]) -> None:
        shelves: dict[str, Shelf] = {
            shelf.kind: shelf for shelf in (self.mappings.shelf, self.signing.shelf)
        }
        for place, kind, id_, content in await core.rows.read(rows_resources.load):
            if kind in shelves:  # else a later boda keeps it
                shelves[kind].remember(place, id_, content)
        await self.mappings.finish_all()
        for function in functions:
            self.provisioning.follow(function)
            self.urls.remember(function)


class Lambda:
    """The service. ``load`` before the first request, ``stop`` after the last.

    runtimes: those of the functions that were there at ``load``.
    """

    def __init__(
        self,
        service: Service,
        core: LambdaCore,
        layers: Layers,
        transitions: Transitions,
        beside: OtherResources,
        host: Host,
        roles: ExecutionRoles,
    ) -> None:
        self.service = service
        self.runtimes: frozenset[str] = frozenset()
        self._core = core
        self._layers = layers
        self._transitions = transitions
        self._beside = beside
        self._host = host
        self.credentials = roles.credentials
        self.principal = roles.principal

    async def load(self) -> None:
        """Read every function, finish what a crash interrupted, fill the invoke path's tables."""
        core = self._core
        await self._layers.load()
        found = await core.rows.read(rows.load)
        for function in found:
            core.remember(function)
        await asyncio.to_thread(core.code.open, needed=core.refers_to_any())
        whole = await asyncio.to_thread(self._whole_packages)
        moved: list[Version] = []
        for function in found:
            for version in list(function.versions.values()):
                after = await self._settled(version, whole)
                function.versions[after.version] = after
                if after.revision_id != version.revision_id or after.state != version.state:
                    moved.append(after)
        if moved:
            await core.rows.write(lambda tx: rows.put_versions(tx, moved))
        for function in found:
            self._expose(function)
        every = (version for function in found for version in function.versions.values())
        self.runtimes = frozenset(version.settings.runtime for version in every)
        await self._beside.load(core, found)

    async def start(self) -> None:
        """Go on with what a stop interrupted, and clean up now and then."""
        core = self._core
        for function in core.all():
            for version in list(function.versions.values()):
                if in_motion(version):
                    self._transitions.start(version, new=True)
        core.later(repeat(core.code.sweep, "removing old packages", core.clock, _SWEEP_S))

    async def stop(self) -> None:
        """Finish changes that have begun."""
        await self._core.stop()

    def async_rules(self, version: FunctionVersion, qualifier: str) -> AsyncRules:
        """What holds for asynchronous events sent to a version under this qualifier."""
        function = self._core.find((version.account, version.region, version.name))
        return AsyncRules() if function is None else event_invoke.rules(function, qualifier)

    def permits(
        self,
        principal: Principal,
        action: str,
        resource: str,
        policy: Policy | None,
        account: str,
        context: Mapping[str, str],
    ) -> bool:
        """Whether a service, or the role of another function, may send events to a function."""
        tags = tag_keys.of_resource(self._core.resource_tags(split_qualifier(resource)[0]))
        need = Need(action, resource, policy, {**tags, **context}, account)
        keys = RequestKeys(None, Arn.parse(resource).region)
        if principal.is_service:  # in open mode too
            return self._host.authorizer.decide(principal, need, keys).allowed
        return self._host.authorizer.allows(principal, need, keys)

    def urls(self) -> FunctionUrls:
        """The site that answers function URLs."""
        host = self._host
        return FunctionUrls(
            self._core,
            self._beside.urls,
            host.compute.invoker,
            host.callers,
            host.authorizer,
            host.labelled,
        )

    async def verify(self, version: FunctionVersion) -> None:
        """Return when a version's code and layers are what was uploaded; AwsError otherwise."""
        for folder in (version.code_dir, *version.layer_dirs):
            await self._core.code.check(folder.parent.name, version.qualified_arn)

    def code_blob(self, sha256: str) -> Path:
        """The package with this digest (hexadecimal), as it was uploaded."""
        return self._core.code.archive(sha256)

    def package_damaged(self, sha256: str) -> None:
        """Report that the package with this digest has another one."""
        self._core.code.report_damage(f"package {sha256}: it has another digest")

    def verify_code_url(self, sha256: str, expires: str, signature: str) -> bool:
        """Whether ``/_boda/code/<sha256>?expires=…&signature=…`` is ours and still holds."""
        return self._core.code.verify(sha256, expires, signature)

    def _whole_packages(self) -> set[str]:
        code = self._core.code
        wanted = {
            sha256
            for function in self._core.all()
            for version in function.versions.values()
            for sha256 in version.packages
        }
        return {sha256 for sha256 in wanted if code.has(sha256)}

    async def _settled(self, version: Version, whole: set[str]) -> Version:
        """The version as it should be after a start. One whose snapshot is not made yet stays
        Pending."""
        for sha256 in version.packages:
            if sha256 in whole:
                continue
            try:
                await self._core.code.restore(sha256)
                whole.add(sha256)
            except (OSError, AwsError) as error:
                _log.error("The code of %s is lost: %s", version.arn, error)
                return dataclasses.replace(version, state=_LOST)
        if version.state == _LOST:  # and has been put back
            return self._transitions.finished(version)
        snapshot = self._transitions.snapshots.marked(version)
        if snapshot != version.snapshot:
            version = dataclasses.replace(version, snapshot=snapshot)
        if not in_motion(version) or version.snapshot:
            return version
        return self._transitions.finished(version)

    def _expose(self, function: Function) -> None:
        core = self._core
        for version in function.versions.values():
            if version.state.state == "Active":
                core.expose_later(function, version)
        for alias in function.aliases.values():
            core.expose_alias(function, alias)
        for qualifier, statements in function.policies.items():
            core.hot.set_policy(function.arn, qualifier, resource_policy.stored(statements))
        if function.reserved is not None:
            core.reservations.reserve(*function.key, function.reserved)


def build(host: Host, *, roles: RoleRules | None = None, options: Options | None = None) -> Lambda:
    """Put the service together; touches no disk. roles: instead of the host's identities."""
    compute, clock, ids = host.compute, host.clock, host.ids
    chosen = options or Options(host.quotas.get("lambda") or Quotas())
    execution = ExecutionRoles(
        host.identities,
        host.authorizer,
        lambda resource, principal: host.policy_of(resource, principal),
        ROLE_CREDENTIALS_S,
    )
    core = LambdaCore(host.rows, compute.functions, compute.concurrency, clock, ids, chosen.quotas)
    core.runnable = compute.runtimes.__contains__
    core.answered = host.telemetry.url_requested
    lost = LostAndFound.beside(host.code_dir, clock)
    core.code = CodeStore(host.code_dir, chosen.quotas, clock, ids, core.refers, lost, host.damaged)
    snapshots = Snapshots(core, compute.fleet)
    transitions = Transitions(core, snapshots, chosen.update_settle_s)
    sources = PackageSources(core.code, host)
    layers = Layers(core)
    check = RoleCheck(roles or execution, partial(adopt, host) if host.open_mode else None)
    mappings = EventSourceMappings(core, chosen.update_settle_s)
    signing = CodeSigning(core, partial(_count, host))
    core.signing = signing
    provisioning = Provisioning(core, compute.fleet)
    urls = UrlIds(core)

    def location(ctx: Context, sha256: str) -> str:
        return ctx.endpoint + core.code.sign(sha256)

    service = Service(
        "lambda",
        [
            FunctionOperations(core, sources, check, layers, transitions, location),
            ConfigurationOperations(core, sources, check, layers, transitions),
            VersionOperations(core, transitions),
            AliasOperations(core, provisioning),
            LayerOperations(core, layers, sources, location),
            LayerPermissionOperations(core, layers),
            InvocationOperations(core, compute.invoker, compute.queue),
            PermissionOperations(core),
            ResourcePolicyOperations(core),
            TagOperations(core, [mappings.shelf, signing.shelf]),
            ConcurrencyOperations(core),
            ProvisionedOperations(core, provisioning),
            RecursionOperations(core),
            RuntimeManagementOperations(core),
            EventInvokeOperations(core, check),
            EventSourceMappingOperations(core, mappings, check),
            UrlConfigOperations(core, urls),
            CodeSigningOperations(core, signing),
        ],
        condition_keys=CONDITION_KEYS,
        paging=Paging(refused_marker, chosen.quotas.page, chosen.quotas.page),
    )
    beside = OtherResources(mappings, signing, provisioning, urls)
    return Lambda(service, core, layers, transitions, beside, host, execution)


def plug_in(host: Host, made: Callable[[Host], Lambda] = build) -> Running:
    functions = made(host)
    compute = host.compute
    adapter = LambdaAdapter(compute.functions, compute.queue, host.ids, functions.permits)
    return Running(
        functions.service,
        sites=(CodeDownloads(functions), functions.urls()),
        adapters={"lambda": adapter},
        policy_of=lambda resource, principal: compute.functions.policy_of(str(resource)),
        load=functions.load,
        start=functions.start,
        stop=functions.stop,
        functions=functions,
    )


def _count(host: Host, function: Identifier, metric: str) -> None:
    host.telemetry.metric(
        function.account, function.region, NAMESPACE, metric, 1.0, {"FunctionName": function.name}
    )


PLUG = Plug("lambda", plug_in, dialect=DIALECT, tables=(metadata,))
