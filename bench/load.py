"""A small HTTP load generator: many keep-alive connections, request bytes made beforehand.

Run as a process of its own, so that the client's work is the same whatever serves:

    python -m bench.load HOST PORT CONNECTIONS SECONDS FILE

FILE is written by `write_requests`. Every connection walks through its own share of the requests,
sends one, waits for the whole answer, and so on. Every answer's status is checked, and the body of
every 64th against what the request expects, after the clock has stopped. Prints JSON: requests,
errors, seconds, latencies and the generator's own CPU per request in microseconds, and how often
the server closed a connection that was then made anew (`reconnects`).

Client and server share the machine, so the client's own work counts against every server alike. It
is one thread over epoll with plain reads and writes on descriptors: no event loop, no task, no
timer, and of an answer it looks at the status, the length and the end.
"""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHECK_EVERY = 64
_READ = 65536
_LENGTH = re.compile(rb"\r\n(content-length):[ \t]*\d", re.IGNORECASE)


class Failure(Exception):
    """The server broke off, or answered in a way that is not understood."""


class Connection:
    """One keep-alive connection. Understands Content-Length, chunked, and answers with no body."""

    def __init__(self, address: tuple[str, int], requests: list[Request], poll: select.epoll):
        self.address = address
        self.requests = requests
        self.poll = poll
        self.next = 0
        self.buffer = b""
        self.length_name = b"\r\ncontent-length: "
        self.latencies: list[float] = []
        self.errors = 0
        self.reconnects = 0
        self.closed_after = -1
        self.sample = b""
        self.answers: list[tuple[bytes, bytes]] = []
        self.connect()

    def connect(self) -> None:
        self.socket = socket.create_connection(self.address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.fd = self.socket.fileno()
        self.poll.register(self.fd, select.EPOLLIN)

    def send(self, now: float) -> None:
        self.started = now
        data = self.requests[self.next][0]
        try:
            sent = os.write(self.fd, data)
        except (BrokenPipeError, ConnectionResetError):
            return  # closed meanwhile: the next read says so
        if sent < len(data):
            self.socket.settimeout(10)
            self.socket.sendall(data[sent:])
            self.socket.setblocking(False)

    def ready(self) -> float:
        """Something can be read. When the answer is whole: now; else 0."""
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return 0.0
        except ConnectionResetError:
            data = b""
        if not data:
            return self.closed()
        if self.buffer:
            data = self.buffer + data
        head = data.find(b"\r\n\r\n")
        if head < 0 or not self.whole(data, head):
            self.buffer = data
            return 0.0
        now = time.perf_counter()
        self.buffer = b""
        latencies = self.latencies
        latencies.append(now - self.started)
        if data[9:12] != self.requests[self.next][1]:
            self.errors += 1
            self.sample = self.sample or data[:400]
        elif len(latencies) % CHECK_EVERY == 1:
            self.answers.append((data[head + 4 :], self.requests[self.next][2]))
        self.next += 1
        if self.next == len(self.requests):
            self.next = 0
        return now

    def whole(self, data: bytes, head: int) -> bool:
        at = data.find(self.length_name, 0, head)
        if at < 0:
            # Another spelling, or none: looked up once, then remembered for the connection.
            found = _LENGTH.search(data, 0, head)
            if found is None:
                return _whole_without_length(data, head)
            at, self.length_name = found.start(), data[found.start() : found.end() - 1]
        at += len(self.length_name)
        length = int(data[at : data.find(b"\r", at)])
        return len(data) >= head + 4 + length

    def closed(self) -> float:
        """Closed between answers is a server's right: connect and send the same again."""
        if self.buffer:
            raise Failure(f"closed amid an answer: {self.buffer[:400]!r}")
        if self.closed_after == len(self.latencies):
            raise Failure("closed twice without an answer")
        self.closed_after = len(self.latencies)
        self.close()
        self.connect()
        self.reconnects += 1
        return -1.0

    def close(self) -> None:
        self.poll.unregister(self.fd)
        self.socket.close()


def complete(data: bytes) -> bool:
    """Whether an answer has come to its end."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return False
    found = _LENGTH.search(data, 0, head)
    if found is None:
        return _whole_without_length(data, head)
    at = found.end() - 1
    return len(data) >= head + 4 + int(data[at : data.find(b"\r", at)])


def _whole_without_length(data: bytes, head: int) -> bool:
    if data[9:12] in (b"204", b"304"):
        return True
    if b"transfer-encoding: chunked" in data[:head].lower():
        return data.endswith(b"\r\n0\r\n\r\n") or data[head + 4 :] == b"0\r\n\r\n"
    raise Failure(f"an answer without a length: {data[:400]!r}")


# The bytes, the status expected as three digits, and the JSON body expected (empty: any body).
Request = tuple[bytes, bytes, bytes]


def load(
    host: str, port: int, connections: int, seconds: float, requests: list[Request]
) -> dict[str, Any]:
    poll = select.epoll()
    shares = [requests[index::connections] or requests for index in range(connections)]
    opened = [Connection((host, port), share, poll) for share in shares]
    by_fd = {one.fd: one for one in opened}
    gc.disable()
    used = _cpu_s()
    begin = time.perf_counter()
    deadline = begin + seconds
    left = connections
    broken = ""
    try:
        for one in opened:
            one.send(time.perf_counter())
        while left:
            events = poll.poll(30)
            if not events:
                raise Failure("no answer for 30 s")
            for fd, _ in events:
                one = by_fd[fd]
                now = one.ready()
                if now > 0.0:
                    if now < deadline:
                        one.send(now)
                    else:
                        one.close()
                        left -= 1
                elif now < 0.0:
                    del by_fd[fd]
                    by_fd[one.fd] = one
                    one.send(time.perf_counter())
    except (OSError, Failure) as error:
        broken = str(error)
    elapsed = time.perf_counter() - begin
    used = _cpu_s() - used
    gc.enable()
    for one in opened:
        one.socket.close()
    return _report(opened, elapsed, used, broken)


def _report(opened: list[Connection], elapsed: float, used: float, broken: str) -> dict[str, Any]:
    latencies = sorted(value for one in opened for value in one.latencies)
    sample = next((one.sample for one in opened if one.sample), broken.encode())
    checked = wrong = 0
    for body, expected in (answer for one in opened for answer in one.answers):
        if expected:
            checked += 1
            if not same(body, expected):
                wrong += 1
                sample = sample or b"expected %s, got %s" % (expected[:200], body[:200])
    return {
        "requests": len(latencies),
        "errors": sum(one.errors for one in opened) + wrong + bool(broken),
        "checked": checked,
        "reconnects": sum(one.reconnects for one in opened),
        "seconds": elapsed,
        "per_second": len(latencies) / elapsed,
        "p50_us": _percentile(latencies, 0.50) * 1e6,
        "p99_us": _percentile(latencies, 0.99) * 1e6,
        "client_cpu_us": used / max(1, len(latencies)) * 1e6,
        "sample_error": sample.decode("latin-1"),
    }


def same(body: bytes, expected: bytes) -> bool:
    """Whether an answer's body says what is expected, however it is spaced and framed."""
    if b"\r\n" in body:
        body = b"".join(body.split(b"\r\n")[1::2])
    try:
        return bool(json.loads(body) == json.loads(expected))
    except ValueError:
        return False


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def read_requests(path: Path) -> list[Request]:
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        length, status, expected = struct.unpack_from(">I3sI", data, at)
        middle, end = at + 11 + length, at + 11 + length + expected
        found.append((data[at + 11 : middle], status, data[middle:end]))
        at = end
    return found


def write_requests(
    path: Path, requests: list[bytes], expected: list[bytes] | None = None, *, status: int = 200
) -> None:
    """Each request as it goes over the wire, with the answer's status and JSON body expected."""
    answers = expected or [b""] * len(requests)
    with path.open("wb") as file:
        for request, answer in zip(requests, answers, strict=True):
            file.write(struct.pack(">I3sI", len(request), b"%d" % status, len(answer)))
            file.write(request + answer)


def run_load(port: int, connections: int, seconds: float, file: Path) -> dict[str, Any]:
    """What `load` reports, from a process of its own."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.load", "127.0.0.1", str(port)),
            *(str(connections), str(seconds), str(file)),
        ],
        capture_output=True,
        check=True,
        cwd=ROOT,
        timeout=seconds + 90,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":
    host, port, connections, seconds, file = sys.argv[1:6]
    print(
        json.dumps(
            load(host, int(port), int(connections), float(seconds), read_requests(Path(file)))
        )
    )
