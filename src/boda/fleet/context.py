"""What the environments and templates of a fleet share: its collaborators and its settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from boda.core.clock import Clock
from boda.core.descriptors import SharedCount
from boda.core.ids import Ids
from boda.fleet.settings import FleetSettings
from boda.runtime.credentials import LONG_S, ContainerCredentials, RoleCredential
from boda.runtime.function import FunctionVersion
from boda.runtime.metadata import Metadata
from boda.sandbox.contract import Sandboxes, SandboxSpec
from boda.telemetry.contract import Telemetry


class ServedEndpoint(Protocol):
    """The AWS endpoint inside one sandbox, while it is served."""

    def close(self) -> object: ...


@dataclass(frozen=True, slots=True)
class FleetContext:
    """The collaborators of every environment and template of a fleet.

    credentials: returns short-lived keys of a version's role, or raises AwsError.
    serve_endpoint: starts to serve AWS requests on a listening socket inside a sandbox; called
    with the socket and the environment's id.
    connections: the pool of further connections to Runtime APIs.
    verify: returns once a version's code is known to be what was uploaded; raises AwsError.
    """

    sandboxes: Sandboxes
    telemetry: Telemetry
    clock: Clock
    ids: Ids
    credentials: Callable[[FunctionVersion], RoleCredential]
    serve_endpoint: Callable[[Any, str], ServedEndpoint]
    settings: FleetSettings
    connections: SharedCount
    verify: Callable[[FunctionVersion], Awaitable[None]]

    def keys(self, version: FunctionVersion, longest_s: float = LONG_S) -> ContainerCredentials:
        """Return the credentials endpoint's document for one environment with SnapStart.

        Its functions fetch keys there, instead of finding them in their variables. Raises AwsError
        if the role gives no keys.
        """
        self.credentials(version)
        return ContainerCredentials(
            self.ids.hex(32), partial(self.credentials, version), self.clock.now, longest_s
        )

    def metadata(self, version: FunctionVersion) -> Metadata:
        """Return the metadata endpoint's document for one more environment of the version."""
        return Metadata(self.ids.uuid(), version.region)

    def epoch_s(self, monotonic_s: float) -> float:
        """Convert a moment in the recent past from the monotonic clock to epoch seconds."""
        return self.clock.now() - max(0.0, self.clock.monotonic() - monotonic_s)


def sandbox_spec(
    version: FunctionVersion,
    sandbox_id: str,
    environment: dict[str, str],
    template: bool = False,
) -> SandboxSpec:
    """Describe a sandbox for the version. environment: the runtime process's variables."""
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
