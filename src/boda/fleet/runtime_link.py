"""The platform's ends of the runtime process in one sandbox.

Law: a runtime process that was detached is never heard again; the next one gets a session of its
own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from boda.core.tasks import Tasks
from boda.fleet.context import FleetContext, ServedEndpoint
from boda.fleet.output import Output
from boda.runtime.api import RuntimeApi
from boda.runtime.credentials import ContainerCredentials
from boda.runtime.function import FunctionVersion
from boda.runtime.session import RuntimeListener, RuntimeSession
from boda.sandbox.contract import Exit, Sandbox


class RuntimeLink:
    """Connects an environment or a template with its runtime process.

    It holds the session, the Runtime API, the AWS endpoint, the reading of output and the task
    that waits for the process's exit. ``attach`` once per runtime process, ``close`` in the end.

    listener: receives what the runtime sends. on_exit: called after an attached process has
    ended and all that it had sent was received. session: of the attached process, or None.
    """

    def __init__(
        self,
        context: FleetContext,
        version: FunctionVersion,
        output: Output,
        listener: RuntimeListener,
        tasks: Tasks,
        on_exit: Callable[[Exit], None],
    ) -> None:
        self.session: RuntimeSession | None = None
        self.metadata = context.metadata(version)
        self._context = context
        self._output = output
        self._listener = listener
        self._tasks = tasks
        self._on_exit = on_exit
        self._api: RuntimeApi | None = None
        self._endpoint: ServedEndpoint | None = None
        self._watcher: asyncio.Task[None] | None = None

    def serve_endpoint(self, sandbox: Sandbox, environment_id: str) -> None:
        """Serve AWS requests of the function, until ``close``."""
        self._endpoint = self._context.serve_endpoint(sandbox.endpoint, environment_id)

    def attach(self, sandbox: Sandbox, keys: ContainerCredentials | None) -> None:
        """Start to receive from the present runtime process of the sandbox.

        keys: the document of its credentials endpoint, if it has one.
        """
        session = RuntimeSession(sandbox.channel, self._listener)
        self.session = session
        self._output.attach(sandbox.console, sandbox.log)
        if self._api is None:
            self._api = RuntimeApi(
                sandbox.runtime_api,
                session,
                keys,
                self._context.clock,
                self._context.connections,
                self.metadata,
            )
        else:
            self._api.renew(session)
        session.open()
        self._watcher = self._tasks.spawn(self._watch(sandbox, session))

    def hold(self) -> None:
        """Let connections to the Runtime API wait until the next runtime process is attached."""
        if self._api is not None:
            self._api.hold()

    def detach(self) -> None:
        """Receive nothing more from the runtime process; its output so far is kept. Idempotent."""
        if self.session is not None:
            self.session.close()
            self.session = None
        self._output.detach()

    def close(self) -> None:
        """Detach, stop both listeners and stop waiting for the exit. Idempotent."""
        if self._api is not None:
            self._api.close()
        self.detach()
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None
        if self._watcher is not None and self._watcher is not asyncio.current_task():
            self._watcher.cancel()

    async def _watch(self, sandbox: Sandbox, session: RuntimeSession) -> None:
        end = await sandbox.wait_runtime()
        if self.session is not session:
            return
        session.drain()  # an answer that was given before the end counts
        if self.session is session:
            self._on_exit(end)
