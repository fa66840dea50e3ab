"""Templates and their forks, with the real bootstrap and a session to hear what they say."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import textwrap
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from boda.runtime.api import RuntimeApi
from boda.runtime.credentials import ContainerCredentials
from boda.runtime.frames import Invocation
from boda.runtime.library import RuntimeLibrary
from boda.runtime.session import RuntimeSession
from boda.runtime.stream import ResponseSink
from boda.sandbox.contract import Sandbox, SandboxSpec
from boda.sandbox.linux import LinuxSandboxes
from support.sandbox_snippets import ThisPython

HEARD_S = 30.0


class InitFailed(Exception):
    """The runtime said so: its type and JSON."""


class Ended(Exception):
    """The runtime process ended without a word."""


class Runtime:
    """One sandbox whose runtime process is spoken with."""

    def __init__(self, sandbox: Sandbox, keys: ContainerCredentials | None = None) -> None:
        self.sandbox = sandbox
        self._said: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._session = RuntimeSession(sandbox.channel, self)
        self._session.open()
        self._api = RuntimeApi(sandbox.runtime_api, self._session, keys)
        self._watch = asyncio.ensure_future(self._end())

    async def _end(self) -> None:
        end = await self.sandbox.wait_runtime()
        self._session.drain()
        self._said.put_nowait(("end", end))

    async def hear(self) -> tuple[str, Any]:
        return await asyncio.wait_for(self._said.get(), HEARD_S)

    async def until(self, wanted: str) -> Any:
        what, detail = await self.hear()
        if what == "init_failed":
            raise InitFailed(*detail)
        if what == "end" and wanted != "end":
            raise Ended(detail, self.output())
        assert what == wanted, (what, detail)
        return detail

    async def invoke(self, event: object = None) -> Any:
        """What the handler returns for an event; what it raises is an AssertionError."""
        self._session.invoke(
            Invocation(secrets.token_bytes(8), "id", 1 << 42, "arn", json.dumps(event).encode())
        )
        return json.loads(await self.until("answered"))

    def output(self) -> str:
        """What came out of console and log so far."""
        said = b""
        for fd in (self.sandbox.console, self.sandbox.log):
            try:
                while data := os.read(fd, 1 << 16):
                    said += data
            except OSError:
                pass
        return said.decode("utf-8", "replace")

    async def destroy(self) -> None:
        self._api.close()
        self._session.close()
        await self.sandbox.destroy()
        await self._watch

    # RuntimeListener

    def runtime_ready(self) -> None:
        self._said.put_nowait(("ready", None))

    def runtime_snapshotted(self) -> None:
        self._said.put_nowait(("snapshotted", None))

    def runtime_init_failed(self, error_type: str, body: bytes) -> None:
        self._said.put_nowait(("init_failed", (error_type, json.loads(body))))

    def runtime_answered(self, payload: bytes, ready: bool) -> None:
        self._said.put_nowait(("answered", payload))

    def runtime_failed(self, error_type: str, body: bytes, ready: bool) -> None:
        self._said.put_nowait(("failed", (error_type, body.decode())))

    def runtime_streams(self, content_type: str, source: object) -> ResponseSink | None:
        raise AssertionError("nobody streams here")

    def runtime_streamed(self, ready: bool) -> bool:
        raise AssertionError("nobody streams here")

    def runtime_broke(self, reason: str) -> None:
        self._said.put_nowait(("broke", reason))


class Stage:
    """Sandboxes of one kind, and functions written for a test."""

    def __init__(self, folder: Path, *, plain: bool = False, network: bool = False) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._made: list[Runtime] = []
        python = ThisPython()
        self.sandboxes = LinuxSandboxes(
            folder / "state",
            {python.name: python},
            RuntimeLibrary(folder / "library"),
            plain=plain,
            network=network,
            instance=f"templates-{os.getpid()}-{folder.name}",
        )

    def function(self, code: str, files: Mapping[str, str] | None = None) -> Path:
        folder = self._folder / f"code-{next(self._numbers)}"
        folder.mkdir()
        for name, text in {"app.py": code, **(files or {})}.items():
            (folder / name).write_text(textwrap.dedent(text))
        return folder

    def spec(self, code: Path, *, template: bool = False, **fields: Any) -> SandboxSpec:
        number = next(self._numbers)
        environment = {
            "_HANDLER": "app.handler",
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "LAMBDA_TASK_ROOT": "/var/task",
            "PYTHONPATH": "/var/runtime",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"stream-{number}",
        }
        environment |= fields.pop("environment", {})
        values: dict[str, Any] = {
            "sandbox_id": f"templates-{number}",
            "runtime": "python",
            "code_dir": code,
            "ephemeral_mb": 64,
            "network": False,
            "environment": environment,
            "template": template,
        }
        return SandboxSpec(**(values | fields))

    async def template(
        self, code: Path, keys: ContainerCredentials | None = None, **fields: Any
    ) -> Runtime:
        """One that has said that it is snapshotted."""
        sandbox = await self.sandboxes.start(self.spec(code, template=True, **fields))
        runtime = self._keep(sandbox, keys)
        await runtime.until("snapshotted")
        return runtime

    async def fork(self, template: Runtime, **fields: Any) -> Runtime:
        """One that is ready."""
        runtime = await self.fork_unready(template, **fields)
        await runtime.until("ready")
        return runtime

    async def fork_unready(
        self, template: Runtime, keys: ContainerCredentials | None = None, **fields: Any
    ) -> Runtime:
        spec = self.spec(template.sandbox.spec.code_dir, **fields)
        return self._keep(await self.sandboxes.fork(template.sandbox, spec), keys)

    def _keep(self, sandbox: Sandbox, keys: ContainerCredentials | None = None) -> Runtime:
        runtime = Runtime(sandbox, keys)
        self._made.append(runtime)
        return runtime

    async def clear(self) -> None:
        for runtime in self._made:
            await runtime.destroy()
        self._made.clear()

    async def close(self) -> None:
        await self.clear()
        await self.sandboxes.close()


@contextlib.asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    """A stage of templates; where this machine has none, what asks for it is skipped."""
    made = Stage(folder)
    if not made.sandboxes.can_fork:
        pytest.skip("no templates on this machine")
    try:
        yield made
    finally:
        await made.close()
