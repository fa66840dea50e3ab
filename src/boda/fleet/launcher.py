"""Makes the sandbox of an environment, and the variables of the runtime process in it."""

from __future__ import annotations

import logging
import math

from boda.core.errors import AwsError
from boda.fleet.context import FleetContext, sandbox_spec
from boda.fleet.environment_log import EnvironmentLog
from boda.fleet.peak_memory import PeakMemory
from boda.fleet.templates import ForkRequest, Templates
from boda.fleet.variables import variables
from boda.runtime.credentials import ContainerCredentials, RoleCredential
from boda.runtime.function import FunctionVersion, Initialization
from boda.sandbox.contract import Sandbox, SandboxError

_log = logging.getLogger(__name__)


class Launcher:
    """Starts, or forks, the sandbox of one environment.

    initialization: as ``AWS_LAMBDA_INITIALIZATION_TYPE`` has it. credentials: what the environment
    serves at its credentials endpoint, if it is forked. retire_at: when the keys among its
    variables are near their end, epoch seconds.
    """

    def __init__(
        self,
        context: FleetContext,
        version: FunctionVersion,
        environment_id: str,
        log: EnvironmentLog,
        memory: PeakMemory,
        templates: Templates | None,
        initialization: Initialization,
        metadata_token: str,
    ) -> None:
        self.credentials: ContainerCredentials | None = None
        self.retire_at = math.inf
        self._context = context
        self._version = version
        self._id = environment_id
        self._stream_log = log
        self._memory = memory
        self._templates = templates
        self._initialization: Initialization = initialization
        self._metadata_token = metadata_token

    async def launch(self, request: ForkRequest) -> Sandbox:
        """Make the sandbox, in which the runtime process starts at once.

        Raises SandboxError, or AwsError if the role gives no keys, the code is not what was
        uploaded, or there is no template.
        """
        context, version = self._context, self._version
        try:
            spec = sandbox_spec(version, self._id, self.variables())
            if self._templates is None:
                await context.verify(version)
                sandbox = await context.sandboxes.start(spec)
                # The process ran before the platform was informed.
                begun_s = min(context.clock.monotonic(), sandbox.began_s)
            else:
                fork = await self._templates.fork(request, spec)
                sandbox, begun_s = fork.sandbox, fork.begun_s
                self._memory.image_bytes = fork.image_bytes
        except SandboxError as error:
            _log.warning("no environment for %s: %s", version.qualified_arn, error)
            raise
        except AwsError:
            raise
        except Exception:
            _log.exception("no environment for %s", version.qualified_arn)
            raise
        self._stream_log.init_begun_s = begun_s
        self._memory.sandbox = sandbox
        return sandbox

    def variables(self) -> dict[str, str]:
        """Return the runtime process's variables, with keys of the function's role as of now."""
        settings, version = self._context.settings, self._version
        keys: RoleCredential | ContainerCredentials
        if self._templates is not None:
            keys = self.credentials = self._context.keys(version)
        else:
            keys = self._context.credentials(version)
            if keys.expires_at is not None:
                margin_s = settings.credentials_margin_s + version.timeout_s
                self.retire_at = keys.expires_at - margin_s
        return variables(
            version,
            self._stream_log.stream,
            keys,
            self._metadata_token,
            self._initialization,
            endpoint_url=settings.endpoint_url,
        )
