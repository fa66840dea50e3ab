"""Warm synchronous Invoke, signed, and a warm function URL against uvicorn with FastAPI.

All serve the same handler, JSON in and out, in alternating rounds; medians and ratios.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from bench import peers
from bench.compare import OF_A_URL
from bench.host import Boda
from bench.load import run_load, write_requests
from bench.signing import signed

ROUNDS = 5
SECONDS = 2.0


def run(folder: Path) -> dict[str, Any]:
    peers.install()
    rows: dict[tuple[str, int], list[dict[str, Any]]] = {}
    options = ("--quota", "requests_per_environment=0")
    with Boda(folder / "data", *options) as boda, peers.fastapi(folder) as peer_port:
        boda.function("Hello", peers.HANDLER, MemorySize=1769)
        host = _url(boda)
        key, secret = boda.keys
        files = {name: folder / f"{name}.requests" for name in ("boda", "url", "fastapi")}
        target = f"{boda.url}/2015-03-31/functions/Hello/invocations"
        bodies = [
            json.dumps({"name": f"rider {n}", "numbers": [n, 2, 3]}).encode() for n in range(4000)
        ]
        write_requests(
            files["boda"],
            [
                signed(target, "POST", body, service="lambda", key=key, secret=secret)
                for body in bodies
            ],
        )
        for name, named in (("url", host.encode()), ("fastapi", b"127.0.0.1")):
            write_requests(
                files[name],
                [
                    b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (named, len(body), body)
                    for body in bodies
                ],
            )
        ports = {"boda": boda.port, "url": boda.port, "fastapi": peer_port}
        for connections in (1, 16):
            for name in ports:
                run_load(ports[name], connections, 1.0, files[name])  # warm up
            for _ in range(ROUNDS):
                for name in ports:
                    found = run_load(ports[name], connections, SECONDS, files[name])
                    if found["errors"]:
                        raise RuntimeError(f"{name} failed: {found['sample_error']}")
                    rows.setdefault((name, connections), []).append(found)
    return _report(rows)


def _url(boda: Boda) -> str:
    """The host name of the same handler's function URL, which asks for no signature."""
    boda.function("Page", peers.HANDLER + OF_A_URL, MemorySize=1769)
    return boda.open_url("Page")


def _report(rows: dict[tuple[str, int], list[dict[str, Any]]]) -> dict[str, Any]:
    report: dict[str, Any] = {}
    for (name, connections), rounds in rows.items():
        report[f"{name} x{connections}"] = {
            "per_second": round(statistics.median(one["per_second"] for one in rounds)),
            "p50_ms": round(statistics.median(one["p50_us"] for one in rounds) / 1000, 3),
            "p99_ms": round(statistics.median(one["p99_us"] for one in rounds) / 1000, 3),
        }
    for connections in (1, 16):
        theirs = report[f"fastapi x{connections}"]["per_second"]
        for name, ratio in (("boda", "ratio"), ("url", "ratio of the URL")):
            ours = report[f"{name} x{connections}"]["per_second"]
            report[f"{ratio} x{connections}"] = round(ours / theirs, 2)
    return report
