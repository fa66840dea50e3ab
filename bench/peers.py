"""Servers to compare with, installed by the benchmark itself into `.bench/venv`."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".bench" / "venv"

FASTAPI = """
from fastapi import FastAPI, Request

app = FastAPI()

@app.post("/")
async def handler(event: dict):
    return {"hello": event["name"], "total": sum(event["numbers"])}
"""

HANDLER = """
def lambda_handler(event, context):
    return {"hello": event["name"], "total": sum(event["numbers"])}
"""


def install() -> None:
    """Make the peers' virtual environment from the hashed lock, once."""
    lock = ROOT / "requirements" / "bench.txt"
    stamp = VENV / ".ready"
    if stamp.exists() and stamp.read_text() == lock.read_text():
        return
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    subprocess.run(
        [
            *(str(VENV / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"),
            *("--require-hashes", "-r", str(lock)),
        ],
        check=True,
    )
    stamp.write_text(lock.read_text())


@contextmanager
def fastapi(folder: Path, workers: int = 1) -> Iterator[int]:
    """uvicorn with FastAPI; gives its port."""
    (folder / "peer_fastapi.py").write_text(FASTAPI)
    port = free_port()
    process = subprocess.Popen(
        [
            *(str(VENV / "bin" / "uvicorn"), "peer_fastapi:app", "--port", str(port)),
            *("--workers", str(workers), "--loop", "uvloop", "--http", "httptools"),
            *("--no-access-log", "--log-level", "error"),
        ],
        cwd=folder,
    )
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


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
