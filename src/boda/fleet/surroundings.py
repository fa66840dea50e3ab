"""What the environments and templates of a fleet share, and how they describe themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from boda.core.clock import Clock
from boda.core.descriptors import Spare
from boda.core.ids import Ids
from boda.fleet.settings import FleetSettings
from boda.runtime.credentials import LONG_S, ContainerCredentials, RoleCredential
from boda.runtime.function import FunctionVersion
from boda.runtime.metadata import Metadata
from boda.sandbox.contract import Sandboxes, SandboxSpec
from boda.telemetry.contract import Telemetry


class Closable(Protocol):
    def close(self) -> object: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every environment of a fleet needs.

    serve_endpoint: begins to serve AWS requests on a listening socket inside a sandbox.
    connections: further ones to Runtime APIs.
    verify: returns when a version's code is known to be what was uploaded; AwsError otherwise.
    """

    sandboxes: Sandboxes
    telemetry: Telemetry
    clock: Clock
    ids: Ids
    credentials: Callable[[FunctionVersion], RoleCredential]
    serve_endpoint: Callable[[Any, str], Closable]
    settings: FleetSettings
    connections: Spare
    verify: Callable[[FunctionVersion], Awaitable[None]]

    def keys(self, version: FunctionVersion, longest_s: float = LONG_S) -> ContainerCredentials:
        """What a function with SnapStart fetches instead of finding keys in its variables.

        AwsError where its role does not give any.
        """
        self.credentials(version)
        return ContainerCredentials(
            self.ids.hex(32), partial(self.credentials, version), self.clock.now, longest_s
        )

    def metadata(self, version: FunctionVersion) -> Metadata:
        """What one more environment of the version is told of where it runs."""
        return Metadata(self.ids.uuid(), version.region)

    def since(self, begun_s: float) -> float:
        """A moment just past, of the monotonic clock, on the one of log events."""
        return self.clock.now() - max(0.0, self.clock.monotonic() - begun_s)


def spec_of(
    version: FunctionVersion,
    sandbox_id: str,
    environment: dict[str, str],
    template: bool = False,
) -> SandboxSpec:
    """What a sandbox for that version is made of. environment: the runtime's variables."""
    return SandboxSpec(
        sandbox_id=sandbox_id,
        runtime=version.runtime,
        code_dir=version.code_dir,
        layer_dirs=version.layer_dirs,
        memory_mb=version.memory_mb,
        ephemeral_mb=version.ephemeral_mb,
        environment=environment,
        template=template,
        architecture=version.architecture,
    )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What ``boda ps`` shows.

    state: an environment's, or ``template`` (``template-init`` until it can be forked).
    memory_bytes: now. memory_mb: the limit. pid: of the sandbox's init, or 0.
    """

    id: str
    account: str
    region: str
    function: str
    version: str
    state: str
    frozen: bool
    memory_bytes: int
    memory_mb: int
    age_s: float
    invocations: int
    pid: int

    @classmethod
    def of(
        cls,
        version: FunctionVersion,
        *,
        id: str,  # noqa: A002
        state: str,
        memory_bytes: int,
        age_s: float,
        pid: int,
        frozen: bool = False,
        invocations: int = 0,
    ) -> Snapshot:
        """Of what runs that version."""
        return cls(
            id,
            version.account,
            version.region,
            version.name,
            version.version,
            state,
            frozen,
            memory_bytes,
            version.memory_mb,
            age_s,
            invocations,
            pid,
        )


def mib(size_bytes: int) -> int:
    """In MiB, rounded up."""
    return -(-size_bytes // (1 << 20))
