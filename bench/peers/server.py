"""One server to compare with: started, asked until it answers, and ended with all it started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.load import complete
from bench.memory import children
from bench.peers.install import Home

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Running:
    """A server's process and where it answers."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """Of the server and all its descendants, since each began; kernel included."""
        return cpu_s(self.pid)


@dataclass(frozen=True)
class Peer:
    """command, variables: called with the port to listen on."""

    name: str
    home: Home
    command: Callable[[int], list[str]]
    variables: Callable[[int], dict[str, str]] = lambda port: {"PORT": str(port)}

    @contextmanager
    def running(self, folder: Path, request: bytes = b"") -> Iterator[Running]:
        """Started and ready: it has answered ``request``, or without one it takes connections.

        RuntimeError, with what it wrote last, when it does not.
        """
        port = free_port()
        cwd = self.home.prepare(folder)
        log = folder / f"{'-'.join(self.name.replace(',', '').split())}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.command(port),
                cwd=cwd,
                env=_environment(folder) | self.variables(port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            try:
                if request:
                    first_answer(port, request, alive=lambda: process.poll() is None)
                else:
                    wait_for(port)
            except RuntimeError as error:
                told = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise RuntimeError(f"{self.name}: {error}: {' '.join(told)[:300]}") from None
            yield Running(port, process.pid)
        finally:
            _end(process)

    def cold_start_s(self, folder: Path, request: bytes) -> float:
        """Seconds from its spawn to its first answer."""
        begin = time.perf_counter()
        with self.running(folder, request):
            return time.perf_counter() - begin


def _environment(folder: Path) -> dict[str, str]:
    """Little of ours: neither keys nor settings of the one who measures."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "NODE_ENV": "production",
        # serverless would ask for news and tell of its use.
        "SLS_TELEMETRY_DISABLED": "1",
        "SLS_TRACKING_DISABLED": "1",
        "SLS_NOTIFICATIONS_MODE": "off",
        "CI": "1",
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and its descendants, politely first."""
    group = process.pid
    descendants = children(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    for pid in descendants:
        # Those that made a process group of their own, within the session that is the server's.
        with suppress(ProcessLookupError):
            if os.getsid(pid) == group:
                os.kill(pid, signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 10
    while time.monotonic() < end and any(runs(pid) for pid in descendants):
        time.sleep(0.005)


def first_answer(
    port: int, request: bytes, *, alive: Callable[[], bool], timeout_s: float = 60
) -> bytes:
    """Asks until an answer of status 200 comes; gives that answer. RuntimeError when none does."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            answer = ask(port, request)
            if answer[9:12] == b"200":
                return answer
            refused = answer[:200].decode("latin-1")
        except OSError as error:
            refused = str(error)
        if not alive():
            raise RuntimeError("it ended before its first answer")
        if time.monotonic() > end:
            raise RuntimeError(f"no answer after {timeout_s:.0f} s ({refused})")
        time.sleep(0.001)


def ask(port: int, request: bytes, timeout_s: float = 30) -> bytes:
    """One request on a connection of its own; the answer's bytes up to its end."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(request)
        answer = b""
        while not complete(answer):
            more = connection.recv(65536)
            if not more:
                raise ConnectionError("closed before the answer's end")
            answer += more
        return answer


def runs(pid: int) -> bool:
    """Whether it is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def cpu_s(pid: int) -> float:
    total = 0
    for one in [pid, *children(pid)]:
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nothing answers on port {port}")
