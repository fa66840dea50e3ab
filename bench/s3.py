"""S3: small objects per second, one large object's megabytes per second and memory."""

from __future__ import annotations

import http.client
import os
import threading
import time
from pathlib import Path
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from bench.host import Boda
from bench.load import run_load, write_requests
from bench.memory import pss
from bench.signing import signed

SMALL = 4096
LARGE = 1 << 30
CONNECTIONS = 16


def run(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = {}
    with Boda(folder / "data") as boda:
        assert boda.process is not None
        boda.client("s3").create_bucket(Bucket="bench")
        key, secret = boda.keys
        body = os.urandom(SMALL)
        for method, content in (("PUT", body), ("GET", b"")):
            file = folder / f"{method}.requests"
            write_requests(
                file,
                [
                    signed(
                        f"{boda.url}/bench/small/{n % 2000}",
                        method,
                        content,
                        service="s3",
                        key=key,
                        secret=secret,
                    )
                    for n in range(4000)
                ],
            )
            found = run_load(boda.port, CONNECTIONS, 5.0, file)
            if found["errors"]:
                raise RuntimeError(found["sample_error"])
            report[f"4 KB {method.lower()}s per second x{CONNECTIONS}"] = round(found["per_second"])

        peak = Peak(boda.process.pid)
        with peak:
            report["1 GB put MB/s"] = round(_put_large(boda, key, secret))
            report["1 GB get MB/s"] = round(_get_large(boda, key, secret))
        report["platform peak MB"] = round(peak.kib / 1024, 1)
    return report


class Peak:
    """The highest PSS of a process while the block runs."""

    def __init__(self, pid: int) -> None:
        self.pid, self.kib, self._stop = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.kib = max(self.kib, pss(self.pid))


def _headers(url: str, method: str, key: str, secret: str) -> dict[str, str]:
    """The body is left out of the signature, so that it need not be read twice."""
    request = AWSRequest(method, url)
    request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
    S3SigV4Auth(Credentials(key, secret), "s3", "us-east-1").add_auth(request)
    return dict(request.headers.items())


def _put_large(boda: Boda, key: str, secret: str) -> float:
    url = f"{boda.url}/bench/large"
    piece = os.urandom(1 << 20)
    connection = http.client.HTTPConnection("127.0.0.1", boda.port, timeout=300)
    begin = time.perf_counter()
    connection.putrequest("PUT", "/bench/large", skip_host=True)
    for name, value in _headers(url, "PUT", key, secret).items():
        connection.putheader(name, value)
    connection.putheader("Host", f"127.0.0.1:{boda.port}")
    connection.putheader("Content-Length", str(LARGE))
    connection.endheaders()
    for _ in range(LARGE >> 20):
        connection.send(piece)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise RuntimeError(text.decode())
    return LARGE / 1e6 / (time.perf_counter() - begin)


def _get_large(boda: Boda, key: str, secret: str) -> float:
    url = f"{boda.url}/bench/large"
    connection = http.client.HTTPConnection("127.0.0.1", boda.port, timeout=300)
    begin = time.perf_counter()
    connection.request(
        "GET",
        "/bench/large",
        headers=_headers(url, "GET", key, secret) | {"Host": f"127.0.0.1:{boda.port}"},
    )
    answer = connection.getresponse()
    size = 0
    while piece := answer.read(1 << 20):
        size += len(piece)
    if answer.status != 200 or size != LARGE:
        raise RuntimeError(f"{answer.status}, {size} bytes")
    return size / 1e6 / (time.perf_counter() - begin)
