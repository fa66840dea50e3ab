"""The load generator tells right answers from wrong ones, against servers of each manner."""

from __future__ import annotations

import json
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bench.load import complete, read_requests, run_load, write_requests
from bench.memory import children
from bench.peers.install import PythonHome
from bench.peers.server import Peer, first_answer, runs

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}'


@contextmanager
def server(answer: Callable[[int], list[bytes]], close: bool = False) -> Iterator[int]:
    """Gives its port. answer: the pieces that the n-th request of a connection is answered with."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            number = 0
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self.request.recv(65536):
                for piece in answer(number):
                    self.request.sendall(piece)
                number += 1
                if close:
                    return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: Any, address: Any) -> None:
            """A client that has seen enough goes away; that is no news."""

    with Server(("127.0.0.1", 0), Handler) as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield one.server_address[1]
        finally:
            one.shutdown()
            thread.join()


def _load(tmp_path: Path, port: int, **settings: Any) -> dict[str, Any]:
    file = tmp_path / "requests"
    write_requests(file, [REQUEST] * 4, [b'{"a":1}'] * 4, **settings)
    return run_load(port, 2, 0.1, file)


@pytest.mark.parametrize(
    "pieces",
    [
        [GOOD],
        [GOOD[:10], GOOD[10:40], GOOD[40:]],
        [GOOD.replace(b"Content-Length: ", b"content-length:")],
        [b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"a": 1}\r\n', b"0\r\n\r\n"],
    ],
    ids=["at once", "in pieces", "other spelling", "chunked"],
)
def test_right_answers_are_counted_and_bodies_checked(tmp_path: Path, pieces: list[bytes]) -> None:
    with server(lambda _: pieces) as port:
        found = _load(tmp_path, port)
    assert found["errors"] == 0, found
    assert found["requests"] >= 2
    assert found["checked"] >= 2
    assert found["client_cpu_us"] > 0


def test_a_wrong_status_is_an_error_each_time(tmp_path: Path) -> None:
    with server(lambda _: [GOOD.replace(b"200 OK", b"502 No")]) as port:
        found = _load(tmp_path, port)
    assert found["errors"] == found["requests"] > 0
    assert "502 No" in found["sample_error"]


def test_a_wrong_body_is_an_error(tmp_path: Path) -> None:
    with server(lambda _: [GOOD.replace(b'{"a": 1}', b'{"a": 2}')]) as port:
        found = _load(tmp_path, port)
    assert found["errors"] == found["checked"] > 0
    assert "expected" in found["sample_error"]


def test_another_status_can_be_expected(tmp_path: Path) -> None:
    with server(lambda _: [GOOD.replace(b"200 OK", b"202 Ok")]) as port:
        assert _load(tmp_path, port, status=202)["errors"] == 0


def test_a_connection_closed_between_answers_is_made_anew(tmp_path: Path) -> None:
    with server(lambda _: [GOOD], close=True) as port:
        found = _load(tmp_path, port)
    assert found["errors"] == 0, found
    assert found["reconnects"] >= 1


def test_a_server_that_only_closes_is_an_error(tmp_path: Path) -> None:
    with server(lambda _: [], close=True) as port:
        found = _load(tmp_path, port)
    assert found["errors"] == 1
    assert found["requests"] == 0
    assert "closed twice" in found["sample_error"]


def test_an_answer_cut_short_is_an_error(tmp_path: Path) -> None:
    with server(lambda _: [GOOD[:-3]], close=True) as port:
        found = _load(tmp_path, port)
    assert found["errors"] == 1
    assert "closed amid an answer" in found["sample_error"]


def test_a_whole_answer_is_told_from_a_part_of_one() -> None:
    assert complete(GOOD)
    assert not any(complete(GOOD[:end]) for end in range(len(GOOD)))


SERVER = """
import os, socket, subprocess, sys
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                          preexec_fn=os.setpgrp)
while sum(os.times()[:2]) < 0.05:
    pass
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listening:
    while True:
        one = listening.accept()[0]
        with one:
            one.recv(65536)
            one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
"""


def test_a_server_ends_with_all_that_it_started(tmp_path: Path) -> None:
    peer = Peer(
        "made up", PythonHome("bench"), lambda port: [sys.executable, "-c", SERVER, str(port)]
    )
    with peer.running(tmp_path, REQUEST) as running:
        pids = [running.pid, *children(running.pid)]
        assert len(pids) == 2
        assert first_answer(running.port, REQUEST, alive=lambda: True).endswith(b"{}")
        assert running.cpu_s() >= 0.05
    assert not [pid for pid in pids if runs(pid)]


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no licence here')"]
    peer = Peer("made up", PythonHome("bench"), lambda port: command)
    with (
        pytest.raises(RuntimeError, match=r"made up: it ended before.*: no licence here"),
        peer.running(tmp_path, REQUEST),
    ):
        pass


def test_the_file_of_requests_gives_back_what_went_in(tmp_path: Path) -> None:
    file = tmp_path / "requests"
    bodies = [json.dumps({"n": n}).encode() for n in range(3)]
    write_requests(file, bodies, [b"1", b"", b"33"], status=202)
    assert read_requests(file) == list(zip(bodies, [b"202"] * 3, [b"1", b"", b"33"], strict=True))
