"""The Python bootstrap as a process of its own, spoken to in frames."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from boda.runtime import frames

GUEST = Path(frames.__file__).parents[1] / "guest"


def interpreters() -> list[str]:
    found: dict[str, str] = {sys.version.split()[0].rpartition(".")[0]: sys.executable}
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for path in sorted(versions.glob("3.1[0-9].*/bin/python")):
        found.setdefault(path.parents[1].name.rpartition(".")[0], str(path))
    for minor in range(10, 15):
        path = shutil.which(f"python3.{minor}", path="/usr/local/bin:/usr/bin")
        if path:
            found.setdefault(f"3.{minor}", path)
    return [found[name] for name in sorted(found, key=lambda v: int(v.split(".")[1]))]


PYTHONS = interpreters()

BOOT = """
import os, sys
task, guest = os.environ["LAMBDA_TASK_ROOT"], sys.argv[3]
sys.path.insert(0, guest)
import bootstrap
sys.path[:0] = [task, task + "/opt/python"]
bootstrap.main(int(sys.argv[1]), int(sys.argv[2]), {k: v for k, v in os.environ.items()})
"""


class Guest:
    """One bootstrap process, spoken to in frames."""

    def __init__(self, python: str, task: Path, handler: str, **environ: str) -> None:
        self.channel, theirs = socket.socketpair()
        self.log, log_end = os.pipe()
        variables = {
            "_HANDLER": handler,
            "LAMBDA_TASK_ROOT": str(task),
            "LAMBDA_RUNTIME_DIR": str(GUEST),
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
            "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
            "PATH": "/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            **environ,
        }
        self.process = subprocess.Popen(
            [python, "-c", BOOT, str(theirs.fileno()), str(log_end), str(GUEST)],
            pass_fds=(theirs.fileno(), log_end),
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        theirs.close()
        os.close(log_end)
        self.reader = frames.FrameReader()
        self.channel.settimeout(20)
        self.events: list[frames.GuestFrame] = []
        self._logged = b""

    def event(self) -> frames.GuestFrame:
        while not self.events:
            data = self.channel.recv(65536)
            if not data:
                raise EOFError
            self._drain()
            self.events += self.reader.feed(data)
        return self.events.pop(0)

    def call(self, payload: object, request_id: str = "r-1", **fields: object) -> frames.GuestFrame:
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.channel.sendall(
            frames.encode_invoke(
                frames.Invocation(
                    os.urandom(8),
                    request_id,
                    int(time.time() * 1000) + 3000,
                    "arn:aws:lambda:us-east-1:000000000000:function:f",
                    raw,
                    **fields,  # type: ignore[arg-type]
                )
            )
        )
        return self.event()

    def result(self, payload: object, **fields: object) -> object:
        event = self.call(payload, **fields)
        assert isinstance(event, frames.ResponseFrame), event
        return json.loads(event.payload)

    def failure(self, payload: object, **fields: object) -> dict[str, object]:
        event = self.call(payload, **fields)
        assert isinstance(event, frames.ErrorFrame), event
        error = json.loads(event.body)
        assert event.error_type == error["errorType"]
        return error

    def init_failure(self) -> dict[str, object]:
        event = self.event()
        assert isinstance(event, frames.InitErrorFrame), event
        return json.loads(event.body)

    def _drain(self) -> None:
        while select.select([self.log], [], [], 0)[0]:
            data = os.read(self.log, 1 << 16)
            if not data:
                return
            self._logged += data

    def logged(self) -> list[str]:
        """What came framed so far."""
        self._drain()
        lines = []
        while self._logged:
            kind, length, _ = struct.unpack_from(">IIQ", self._logged)
            assert kind >> 8 == 0xA55A00
            lines.append(self._logged[16 : 16 + length].decode())
            self._logged = self._logged[16 + length :]
        return lines

    def exit_status(self) -> int:
        return self.process.wait(20)

    def close(self) -> None:
        self.channel.close()
        os.close(self.log)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
