"""This checkout against another of the same project, in alternating rounds.

    python -m bench.against CHECKOUT [ROUNDS]

CHECKOUT has its own virtual environment (`make setup` there). Both platforms run at the same time,
each in a folder of its own, and one of them at a time is loaded over 16 connections. Prints for
each kind of request the medians of both and the ratio of this checkout to the other: requests a
second, and the platform's CPU time for one request.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from bench import peers
from bench.__main__ import show
from bench.compare import OF_A_URL
from bench.host import Boda, scratch
from bench.load import run_load, write_requests
from bench.peers.server import cpu_s
from bench.signing import signed

ROUNDS = 7
SECONDS = 2.0
CONNECTIONS = 16
REQUESTS = 4000
OBJECTS = 500


def main(checkout: Path, rounds: int) -> None:
    with scratch() as name:
        folder = Path(name)
        options = ("--quota", "requests_per_environment=0")
        other = str(checkout.resolve() / ".venv/bin/python")
        with (
            Boda(folder / "this", *options) as this,
            Boda(folder / "other", *options, python=other) as that,
        ):
            platforms = {"this": this, "other": that}
            files = {side: write_all(boda, folder / f"{side}.") for side, boda in platforms.items()}
            found: dict[tuple[str, str], list[tuple[float, float]]] = {}
            for kind in files["this"]:
                for round_ in range(rounds + 1):
                    for side, boda in platforms.items():
                        one = measured(boda, files[side][kind])
                        if round_:  # the first warms up
                            found.setdefault((kind, side), []).append(one)
                show(report(kind, found))


def measured(boda: Boda, file: Path) -> tuple[float, float]:
    """Requests a second, and the platform's CPU time for one in microseconds."""
    assert boda.process is not None
    used = cpu_s(boda.process.pid)
    one = run_load(boda.port, CONNECTIONS, SECONDS, file)
    used = cpu_s(boda.process.pid) - used
    if one["errors"]:
        raise RuntimeError(one["sample_error"])
    return one["per_second"], used / one["requests"] * 1e6


def report(
    kind: str, found: dict[tuple[str, str], list[tuple[float, float]]]
) -> dict[str, dict[str, float]]:
    medians = {
        side: [statistics.median(column) for column in zip(*found[kind, side], strict=True)]
        for side in ("this", "other")
    }
    (rate, cpu), (other_rate, other_cpu) = medians["this"], medians["other"]
    return {
        kind: {
            "per_second": round(rate),
            "other": round(other_rate),
            "ratio": round(rate / other_rate, 3),
            "cpu_us": round(cpu, 1),
            "other_cpu_us": round(other_cpu, 1),
            "cpu_ratio": round(cpu / other_cpu, 3),
        }
    }


def write_all(boda: Boda, prefix: Path) -> dict[str, Path]:
    """Prepare a platform; a file of requests for each kind of request."""
    boda.function("Hello", peers.HANDLER, MemorySize=1769)
    boda.function("Page", peers.HANDLER + OF_A_URL, MemorySize=1769)
    host = boda.open_url("Page").encode()
    bucket = boda.client("s3")
    bucket.create_bucket(Bucket="bench")
    key, secret = boda.keys
    bodies = [
        json.dumps({"name": f"rider {n}", "numbers": [n, 2, 3]}).encode() for n in range(REQUESTS)
    ]
    small = os.urandom(4096)
    for n in range(OBJECTS):
        bucket.put_object(Bucket="bench", Key=f"{n}", Body=small)

    def request(
        method: str, path: str, body: bytes, service: str, headers: dict[str, str] | None = None
    ) -> bytes:
        return signed(
            boda.url + path, method, body, service=service, key=key, secret=secret, headers=headers
        )

    describe = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "Logs_20140328.DescribeLogGroups",
    }
    page = (
        b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b"
    )
    kinds: dict[str, Callable[[int], bytes]] = {
        "lambda:Invoke": lambda n: request(
            "POST", "/2015-03-31/functions/Hello/invocations", bodies[n], "lambda"
        ),
        "function URL": lambda n: page % (host, len(bodies[n]), bodies[n]),
        "s3:PutObject 4 KB": lambda n: request("PUT", f"/bench/{n % OBJECTS}", small, "s3"),
        "s3:GetObject 4 KB": lambda n: request("GET", f"/bench/{n % OBJECTS}", b"", "s3"),
        "logs:DescribeLogGroups": lambda n: request(
            "POST", "/", b'{"limit":%d}' % (1 + n % 50), "logs", describe
        ),
    }
    files = {}
    for place, (kind, make) in enumerate(kinds.items()):
        files[kind] = Path(f"{prefix}{place}")
        write_requests(files[kind], [make(n) for n in range(REQUESTS)])
    return files


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m bench.against CHECKOUT [ROUNDS]")
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else ROUNDS)
