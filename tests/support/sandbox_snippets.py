"""Run Python snippets inside a sandbox: a bootstrap that executes what it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from boda.sandbox.contract import Exit, Interpreter, Sandbox

GUEST = Path(sys.modules["boda.sandbox.contract"].__file__ or "").parent.parent / "guest"

BOOTSTRAP = """
import contextlib, io, json, socket


def main(channel_fd, log_fd, environ):
    channel = socket.socket(fileno=channel_fd)
    lines = channel.makefile("rwb")
    names = {"channel_fd": channel_fd, "log_fd": log_fd, "given": environ}
    for line in lines:
        names["answer"] = None
        out = {}
        try:
            exec(json.loads(line), names)
            out["answer"] = names["answer"]
        except SystemExit:
            raise
        except BaseException as error:
            out["error"] = type(error).__name__
            out["message"] = str(error)
            out["errno"] = getattr(error, "errno", None)
        lines.write(json.dumps(out).encode() + b"\\n")
        lines.flush()
"""


_EXECUTABLE = Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()
_PREFIX = Path(sys.base_prefix).resolve()


@dataclass(frozen=True)
class ThisPython:
    """The interpreter that runs the tests, as a runtime."""

    name: str = "python"
    interpreter: Path = _EXECUTABLE
    version: str = ".".join(str(part) for part in sys.version_info[:3])
    prefix: Path = _PREFIX
    kind: Literal["python", "provided"] = "python"


class SnippetLibrary:
    """The guest with that bootstrap, and nothing else."""

    def __init__(self, folder: Path, bootstrap: str = BOOTSTRAP) -> None:
        self.folder = folder
        self._bootstrap = bootstrap

    def prepare(self, runtime: Interpreter) -> Path:
        package = self.folder / "_boda"
        if not package.exists():
            package.mkdir(parents=True)
            for source in GUEST.glob("*.py"):
                shutil.copyfile(source, package / source.name)
            (package / "bootstrap.py").write_text(self._bootstrap)
            for path in (self.folder, package, *package.iterdir()):
                path.chmod(0o755)
        return self.folder

    def finish(self, runtime: Interpreter) -> None:
        """There is nothing else in it."""


class Died(Exception):
    """The runtime process ended instead of answering."""

    def __init__(self, how: Exit, console: str) -> None:
        super().__init__(f"{how} {console}")
        self.how = how


class Refused(Exception):
    """The snippet raised."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(f"{answer['error']}: {answer['message']}")
        self.error: str = answer["error"]
        self.errno: int | None = answer["errno"]


def console(sandbox: Sandbox) -> str:
    """What has been written to stdout and stderr so far."""
    out = b""
    with contextlib.suppress(BlockingIOError, OSError):
        while chunk := os.read(sandbox.console, 65536):
            out += chunk
    return out.decode("utf-8", "replace")


async def run(sandbox: Sandbox, snippet: str, timeout_s: float = 20.0) -> Any:
    """What the snippet leaves in ``answer``. Refused when it raised, Died when it ended."""
    loop = asyncio.get_running_loop()
    data = b""
    async with asyncio.timeout(timeout_s):
        await loop.sock_sendall(sandbox.channel, json.dumps(snippet).encode() + b"\n")
        while not data.endswith(b"\n"):
            try:
                chunk = await loop.sock_recv(sandbox.channel, 1 << 20)
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise Died(await sandbox.wait_runtime(), console(sandbox))
            data += chunk
    answer = json.loads(data)
    if "error" in answer:
        raise Refused(answer)
    return answer["answer"]


@contextlib.asynccontextmanager
async def serving(listener: Any, reply: bytes) -> AsyncIterator[list[int]]:
    """Answer every connection on a listening socket with the same bytes; yields a count."""
    seen: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(1)
        writer.write(reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, sock=listener.dup())
    try:
        yield seen
    finally:
        server.close()
        await server.wait_closed()


def why_not_root() -> str:
    """Empty, or why this machine cannot run sandboxes as promised to root."""
    if os.geteuid() != 0:
        return "needs root"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:") and not int(line.split()[1], 16) >> 21 & 1:
            return "needs CAP_SYS_ADMIN"
    return ""
