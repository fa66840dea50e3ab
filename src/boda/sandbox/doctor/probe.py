"""A sandbox with a probe instead of a bootstrap, which answers questions about where it runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from boda.sandbox.contract import Interpreter, Sandbox

_GUEST = Path(__file__).parent.parent.parent / "guest"


@dataclass(frozen=True, slots=True)
class OwnPython:
    """The platform's own interpreter, which the probe runs in."""

    name: str
    interpreter: Path
    version: str
    prefix: Path
    kind: Literal["python", "provided"] = "python"


class ProbeLibrary:
    """The guest with the probe as its bootstrap; no boto3, so that it starts at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self, runtime: Interpreter) -> Path:
        package = self._folder / "_boda"
        package.mkdir(parents=True)
        for source in _GUEST.glob("*.py"):
            shutil.copyfile(source, package / source.name)
        shutil.copyfile(_GUEST / "probe.py", package / "bootstrap.py")
        for path in (self._folder, package, *package.iterdir()):
            path.chmod(0o755)
        return self._folder

    def finish(self, runtime: Interpreter) -> None:
        """Do nothing: the probe is all there is to compile."""


def own_python() -> OwnPython:
    version = ".".join(str(part) for part in sys.version_info[:3])
    executable = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
    return OwnPython("python", executable, version, Path(sys.base_prefix).resolve())


async def ask(sandbox: Sandbox, question: str, timeout_s: float = 15.0) -> dict[str, Any]:
    """Send a line to the probe and return its answer; {} if the question killed it."""
    loop = asyncio.get_running_loop()
    answer = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(timeout_s):
            await loop.sock_sendall(sandbox.channel, question.encode() + b"\n")
            while not answer.endswith(b"\n"):
                chunk = await loop.sock_recv(sandbox.channel, 1 << 16)
                if not chunk:
                    break
                answer += chunk
    return dict(json.loads(answer)) if answer.endswith(b"\n") else {}
