"""How a service stands in the house: it hands over a Plug, and is given a Host.

    PLUG = Plug("sqs", build, dialect=DIALECT, tables=(metadata,))

    def build(host: Host) -> Running: ...

Nothing registers itself: the house is built from a tuple of plugs. A service that keeps identities
comes before those that use them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from boda.core.arn import Arn
from boda.core.clock import Clock
from boda.core.ids import Ids
from boda.core.policy import Policy
from boda.core.principal import Principal
from boda.core.regions import Regions
from boda.delivery.destination import AsyncRules
from boda.delivery.post_office import LocalPostOffice, TargetAdapter
from boda.delivery.queue import EventQueue
from boda.fleet.fleet import Fleet
from boda.gateway.asking.authorization import Authorizer
from boda.gateway.asking.callers import OpenCallers
from boda.gateway.calling.models import Models
from boda.gateway.calling.operation import Context
from boda.gateway.calling.service import Service
from boda.gateway.dialect import Dialect
from boda.gateway.gateway import Site
from boda.gateway.http.hosts import Hosts
from boda.gateway.signing.authentication import Authenticator
from boda.gateway.signing.identities import Identities
from boda.gateway.signing.identity import Credential
from boda.invoke.concurrency import Concurrency
from boda.invoke.function_table import FunctionTable
from boda.invoke.path import Invoker
from boda.runtime.catalogue import RuntimeCatalogue
from boda.runtime.function import FunctionVersion
from boda.storage.blobs import BlobStore
from boda.storage.rows import Rows
from boda.storage.schema import Schema
from boda.telemetry.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Compute:
    """The parts that run functions: the invoke path's tables, and the machine behind it."""

    functions: FunctionTable
    invoker: Invoker
    queue: EventQueue
    concurrency: Concurrency
    fleet: Fleet
    runtimes: RuntimeCatalogue


class OperationCall(Protocol):
    """Calls an operation of any service, in process; see ``Gateway.call``."""

    def __call__(
        self,
        service: str,
        operation: str,
        params: Mapping[str, Any],
        principal: Principal,
        *,
        region: str = ...,
        account: str = ...,
        forwarded: Context | None = None,
    ) -> Awaitable[dict[str, Any]]: ...


class FunctionKeeper(Protocol):
    """The contract of the service that keeps functions with the rooms that run them."""

    @property
    def runtimes(self) -> frozenset[str]:
        """Return the names of the runtimes of all functions, once they are loaded."""

    def async_rules(self, version: FunctionVersion, qualifier: str) -> AsyncRules:
        """Return the retries and destinations of asynchronous events sent under a qualifier."""

    async def verify(self, version: FunctionVersion) -> None:
        """Return once a version's code and layers are verified against the upload. Raises
        AwsError."""

    def credentials(self, version: FunctionVersion) -> Credential:
        """Return credentials of a version's execution role. Raises AwsError if it cannot be
        assumed."""

    def principal(self, version: FunctionVersion) -> Principal | None:
        """Return the principal of a function, None if its role cannot be assumed."""


PolicyOf = Callable[[Arn, Principal], Policy | None]


async def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Running:
    """A service, put together.

    sites: host names and paths that it answers beside its operations. adapters: deliver events to
    its ARNs, by the service in the ARN. policy_of: the policy of one of its resources as it holds
    for a principal. load: reads its rows, before the first request. start: begins its work in the
    background. stop: ends it, after the last request. identities, functions: of the one service
    that keeps them.
    """

    service: Service
    sites: Sequence[Site] = ()
    adapters: Mapping[str, TargetAdapter] = field(default_factory=dict)
    policy_of: PolicyOf | None = None
    load: Callable[[], Awaitable[None]] = _nothing
    start: Callable[[], Awaitable[None]] = _nothing
    stop: Callable[[], Awaitable[None]] = _nothing
    identities: Identities | None = None
    functions: FunctionKeeper | None = None


@dataclass(frozen=True, slots=True)
class Plug:
    """A service to be plugged in.

    name: botocore's. tables: its rows. models: the folder of its model where botocore has none.
    """

    name: str
    build: Callable[[Host], Running]
    dialect: Dialect | None = None
    tables: tuple[Schema, ...] = ()
    models: Path | None = None


class Host:
    """The collaborators that services are built from.

    code_dir: of code packages. account: the platform's own. open_mode: signatures are not verified.
    quotas: the operator's, by service. compute: None if nothing runs functions. call, policy_of: of
    every service of the house, once it is built. damaged: called with a sentence, from any thread,
    when damage of stored data is found.
    """

    call: OperationCall
    policy_of: PolicyOf
    dialects: Mapping[str, Dialect]

    def __init__(
        self,
        rows: Rows,
        blobs: BlobStore,
        code_dir: Path,
        clock: Clock,
        ids: Ids,
        post: LocalPostOffice,
        telemetry: Recorder,
        *,
        account: str,
        damaged: Callable[[str], None],
        open_mode: bool = False,
        hosts: Hosts | None = None,
        regions: Regions | None = None,
        quotas: Mapping[str, Any] | None = None,
        compute: Compute | None = None,
        identities: Identities | None = None,
    ) -> None:
        self.rows = rows
        self.blobs = blobs
        self.code_dir = code_dir
        self.clock = clock
        self.ids = ids
        self.post = post
        self.telemetry = telemetry
        self.account = account
        self.damaged = damaged
        self.open_mode = open_mode
        self.hosts = hosts or Hosts()
        self.regions = regions or Regions()
        self.quotas = quotas or {}
        self._compute = compute
        self._identities = identities

    @property
    def compute(self) -> Compute:
        assert self._compute is not None, "nothing runs functions here"
        return self._compute

    @property
    def identities(self) -> Identities:
        assert self._identities is not None, "the service that answers for them comes first"
        return self._identities

    @cached_property
    def authorizer(self) -> Authorizer:
        return Authorizer(
            self.identities, self.clock, open_mode=self.open_mode, dialects=self.dialects
        )

    @cached_property
    def callers(self) -> Authenticator | OpenCallers:
        """Return the object that authenticates the requests of a site."""
        if self.open_mode:
            return OpenCallers(self.identities, self.account, self.hosts)
        return Authenticator(self.identities, self.clock)

    def labelled(self, host: str) -> bool:
        """Return whether a host name stands for the first segment of a service's paths."""
        labels = (one.addressing.label for one in self.dialects.values())
        return any(label(host) for label in labels if label is not None)

    def answered_by(self, identities: Identities) -> None:
        """Set the implementation that users, roles and sessions come from."""
        self._identities = identities


class House:
    """The services of a platform, built in the order of their plugs.

    running: by name. functions: the keeper of functions, None if no service keeps any.
    """

    def __init__(self, plugs: Sequence[Plug], host: Host, models: Models | None = None) -> None:
        """models: read earlier, for plugs with the same dialects."""
        self.host = host
        self.running: dict[str, Running] = {}
        self.functions: FunctionKeeper | None = None
        dialects = {one.name: one.dialect for one in plugs if one.dialect is not None}
        folders = [one.models for one in plugs if one.models is not None]
        self.models = models or Models(folders, dialects)
        host.dialects = dialects
        host.policy_of = self._policy_of
        for plug in plugs:
            made = self.running[plug.name] = plug.build(host)
            if made.identities is not None:
                host.answered_by(made.identities)
            if made.functions is not None:
                self.functions = made.functions
            for service, adapter in made.adapters.items():
                host.post.add(service, adapter)

    @property
    def services(self) -> list[Service]:
        return [one.service for one in self.running.values()]

    @property
    def sites(self) -> list[Site]:
        return [site for one in self.running.values() for site in one.sites]

    async def load(self) -> None:
        for one in self.running.values():
            await one.load()

    async def start(self) -> None:
        for one in self.running.values():
            await one.start()

    async def stop(self) -> None:
        """Stop in reverse; one failure does not keep the rest from stopping."""
        failures = []
        for one in reversed(self.running.values()):
            try:
                await one.stop()
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _policy_of(self, resource: Arn, principal: Principal) -> Policy | None:
        found = self.running.get(resource.service)
        if found is None or found.policy_of is None:
            return None
        return found.policy_of(resource, principal)
