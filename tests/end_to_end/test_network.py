"""A database of the machine, opened to functions with one option, and shown by `boda doctor`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from bench.host import Boda

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a bridge and NAT are root's to make")

ASK = """
import socket
def lambda_handler(event, context):
    try:
        with socket.create_connection(("127.0.0.1", event), 5) as there:
            return there.recv(100).decode()
    except OSError as error:
        return type(error).__name__
"""


def invoke(boda: Boda, event: Any) -> Any:
    answer = boda.client("lambda").invoke(FunctionName="ask", Payload=json.dumps(event).encode())
    return json.loads(answer["Payload"].read())


def test_a_port_of_the_machine(tmp_path: Path) -> None:
    def serve(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"the database")

    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as another,
    ):
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        port = server.getsockname()[1]
        with Boda(tmp_path / "closed") as boda:
            boda.function("ask", ASK, Timeout=10)
            assert invoke(boda, port) == "ConnectionRefusedError"
        with Boda(tmp_path / "open", "--allow-host", f"127.0.0.1:{port}") as boda:
            boda.function("ask", ASK, Timeout=10)
            assert invoke(boda, port) == "the database"
            assert invoke(boda, another.getsockname()[1]) == "ConnectionRefusedError"
        server.shutdown(socket.SHUT_RDWR)


def test_the_doctor_shows_what_is_open(tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "BODA_NETWORK_ALLOW": "10.1.0.0/16:443 10.2.0.0/16",
        "BODA_ALLOW_HOST": "127.0.0.1:5432",
        "BODA_DATA_DIR": str(tmp_path / "data"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "boda", "doctor", "--json"],
        capture_output=True,
        text=True,
        env=environ,
        timeout=60,
    )
    found = {one["name"]: one for one in json.loads(done.stdout)["Findings"]}
    networks, ports = found["private networks"], found["this machine's ports"]
    assert networks["ok"] and networks["enforced"].endswith("open: 10.1.0.0/16:443, 10.2.0.0/16")
    assert ports["ok"] and ports["enforced"].endswith("open: 127.0.0.1:5432")
