"""Servers to compare with: the same handler, JSON in and out, behind what a user could run instead.

Installed by the benchmark itself from hashed locks into `.bench`: Python servers from
`requirements/bench.txt` and `ministack.txt`, Node servers from `node/package-lock.json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.install import (
    MINISTACK_HOME,
    NODE,
    NODE_HOME,
    PYTHON,
    ROOT,
    Missing,
    workerd_binary,
)
from bench.peers.server import Peer, Running, free_port, wait_for

__all__ = [
    "FASTAPI",
    "FASTAPI_2",
    "HANDLER",
    "MINISTACK",
    "MINISTACK_HOME",
    "NODE_HOME",
    "PEERS",
    "PYTHON",
    "ROOT",
    "WORKERD",
    "Missing",
    "Peer",
    "Running",
    "fastapi",
    "free_port",
    "install",
    "wait_for",
]

HANDLER = (ROOT / "bench" / "peers" / "python" / "handler.py").read_text()


def _uvicorn(port: int, workers: int) -> list[str]:
    return [
        *(PYTHON.command("uvicorn"), "app_fastapi:app", "--port", str(port)),
        *("--workers", str(workers), "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "error"),
    ]


def _gunicorn(port: int) -> list[str]:
    return [
        *(PYTHON.command("gunicorn"), "app_flask:app", "--bind", f"127.0.0.1:{port}"),
        *("--workers", "2", "--threads", "8", "--log-level", "error"),
    ]


def _functions(port: int, target: str, *options: str) -> list[str]:
    return [
        *(PYTHON.command("functions-framework"), "--source", "main_functions.py"),
        *("--target", target, "--host", "127.0.0.1", "--port", str(port), *options),
    ]


def _functions_node(port: int) -> list[str]:
    return [
        *(str(NODE / "node_modules" / ".bin" / "functions-framework"), "--source", "functions.js"),
        *("--target", "handle", "--port", str(port)),
    ]


def _offline(port: int) -> list[str]:
    return [
        *(str(NODE / "node_modules" / ".bin" / "serverless"), "offline", "start"),
        *("--host", "127.0.0.1", "--httpPort", str(port), "--noPrependStageInUrl"),
        *("--lambdaPort", str(free_port()), "--websocketPort", str(free_port())),
        *("--albPort", str(free_port())),
    ]


def _workerd(port: int) -> list[str]:
    return [
        *(str(workerd_binary()), "serve", "workerd.capnp"),
        *("--socket-addr", f"http=127.0.0.1:{port}"),
    ]


FASTAPI = Peer("uvicorn + FastAPI, 1 worker", PYTHON, lambda port: _uvicorn(port, 1))
FASTAPI_2 = Peer("uvicorn + FastAPI, 2 workers", PYTHON, lambda port: _uvicorn(port, 2))
WORKERD = Peer("workerd", NODE_HOME, _workerd)
# Speaks Lambda's API as boda does: functions are made in it and invoked.
MINISTACK = Peer(
    "ministack, Invoke",
    MINISTACK_HOME,
    lambda port: [MINISTACK_HOME.command("ministack")],
    lambda port: {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1"},
)
PEERS = (
    FASTAPI,
    FASTAPI_2,
    Peer("gunicorn + Flask, 2 workers", PYTHON, _gunicorn),
    Peer("functions-framework, Python", PYTHON, lambda port: _functions(port, "handle")),
    Peer(
        "functions-framework, Python ASGI",
        PYTHON,
        lambda port: _functions(port, "handle_async", "--asgi"),
    ),
    Peer("functions-framework, Node", NODE_HOME, _functions_node),
    Peer("serverless-offline", NODE_HOME, _offline),
    WORKERD,
)


def install() -> None:
    """The Python servers; RuntimeError with the reason where that cannot be."""
    PYTHON.install()


@contextmanager
def fastapi(folder: Path, workers: int = 1) -> Iterator[int]:
    """uvicorn with FastAPI; gives its port."""
    with (FASTAPI if workers == 1 else FASTAPI_2).running(folder) as server:
        yield server.port
