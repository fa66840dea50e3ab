"""A small, fast HTTP load generator: many keep-alive connections, prepared request bytes.

Run as a process of its own, so that the client's work is the same whatever serves:

    python -m bench.load HOST PORT CONNECTIONS SECONDS FILE

FILE holds prepared requests: each a u32 length and the raw bytes. Every connection walks through
its own share of them, sends one, waits for the whole answer, and so on. Prints JSON:
requests, errors (answers that are not 2xx), seconds, and latencies in microseconds.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from pathlib import Path

import uvloop


class Connection(asyncio.Protocol):
    """One keep-alive connection. Understands Content-Length and chunked answers."""

    def __init__(self, requests: list[bytes], deadline: float, done: asyncio.Future[None]) -> None:
        self.requests = requests
        self.deadline = deadline
        self.done = done
        self.next = 0
        self.buffer = b""
        self.latencies: list[float] = []
        self.errors = 0
        self.sample = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        now = time.perf_counter()
        if now >= self.deadline:
            self.transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self.started = now
        self.transport.write(self.requests[self.next])  # type: ignore[attr-defined]
        self.next = (self.next + 1) % len(self.requests)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = self.buffer[:head].lower()
        at = lower.find(b"content-length:")
        if at >= 0:
            end = lower.find(b"\r\n", at)
            length = int(lower[at + 15 : end if end >= 0 else None])
            if len(self.buffer) < head + 4 + length:
                return
        elif b"transfer-encoding: chunked" in lower and not self.buffer.endswith(b"0\r\n\r\n"):
            return
        self.latencies.append(time.perf_counter() - self.started)
        if self.buffer[9:10] != b"2":
            self.errors += 1
            self.sample = self.sample or self.buffer[:400]
        self.buffer = b""
        self.send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.errors += 1
            self.done.set_result(None)


async def load(
    host: str, port: int, connections: int, seconds: float, requests: list[bytes]
) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    begin = time.perf_counter()
    protocols = []
    for index in range(connections):
        share = requests[index::connections] or requests
        done = loop.create_future()
        _, protocol = await loop.create_connection(
            lambda share=share, done=done: Connection(share, begin + seconds, done),  # type: ignore[misc]
            host,
            port,
        )
        protocols.append(protocol)
    await asyncio.gather(*(one.done for one in protocols))
    elapsed = time.perf_counter() - begin
    latencies = sorted(value for one in protocols for value in one.latencies)
    sample = next((one.sample for one in protocols if one.sample), b"")
    return {
        "requests": len(latencies),
        "errors": sum(one.errors for one in protocols),
        "seconds": elapsed,
        "per_second": len(latencies) / elapsed,
        "p50_us": _percentile(latencies, 0.50) * 1e6,
        "p99_us": _percentile(latencies, 0.99) * 1e6,
        "sample_error": sample.decode("latin-1"),
    }


def _percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def read_requests(path: Path) -> list[bytes]:
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def write_requests(path: Path, requests: list[bytes]) -> None:
    path.write_bytes(b"".join(struct.pack(">I", len(one)) + one for one in requests))


if __name__ == "__main__":
    host, port, connections, seconds, file = sys.argv[1:6]
    print(
        json.dumps(
            uvloop.run(
                load(host, int(port), int(connections), float(seconds), read_requests(Path(file)))
            )
        )
    )
