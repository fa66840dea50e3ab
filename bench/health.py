"""How long a health check waits at most while somebody attacks, and what attacks leave in memory.

Each row of ``ATTACKS`` is a name and a function that carries the attack out and returns. The
checks come from a process of their own (``python -m bench.health PORT``), so that the attacker's
work is not measured. Rows of attacks by functions stand in ``health_inside.py``.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.health_inside import INSIDE
from bench.host import Boda
from bench.memory import pss
from bench.peers import ROOT
from bench.signing import signed

MOST_MS = 100
"""The aim for every row, on a quiet machine."""
MIB = 1024 * 1024
STORMS, STORM_BYTES = 64, 6 * 1000 * 1000
QUIET_S = 2.0
SOURCE = """
def lambda_handler(event, context):
    return [[]] * 1_200_000 if "requestContext" in event else 1
"""
_EVERY_S = 0.002


@dataclass(frozen=True, slots=True)
class Stage:
    """What an attack is made of.

    boda: the platform under attack. key, secret: of a user whom no policy allows anything.
    """

    boda: Boda
    key: str
    secret: str

    def signed(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        service: str,
        root: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """A request of the user without rights, or of root."""
        key, secret = self.boda.keys if root else (self.key, self.secret)
        return signed(
            f"{self.boda.url}{path}",
            method,
            body,
            service=service,
            key=key,
            secret=secret,
            headers=dict(headers or {}),
        )

    def unsigned(self, method: str, path: str, body: bytes, *fields: str) -> bytes:
        lines = (
            f"{method} {path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.boda.port}",
            *fields,
            f"Content-Length: {len(body)}",
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def send(self, request: bytes, *, connections: int = 4) -> list[int]:
        """The same request over several connections at once; the statuses of the answers."""
        statuses: list[int] = []

        def one() -> None:
            statuses.append(exchange(self.boda.port, request))

        threads = [threading.Thread(target=one) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return statuses


def exchange(port: int, request: bytes) -> int:
    """Send a request whole and read the first line of its answer; 0 if there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as line:
        with contextlib.suppress(OSError):
            line.sendall(request)
        with contextlib.suppress(OSError):
            answer = line.recv(65536)
            return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0
    return 0


Attack = Callable[[Stage], object]
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_FUNCTIONS = "/2015-03-31/functions"


def _nothing(stage: Stage) -> None:
    time.sleep(QUIET_S)


def _unsigned(method: str, path: str, body: Callable[[], bytes]) -> Attack:
    return lambda stage: stage.send(stage.unsigned(method, path, body()))


def _xml(method: str, path: str, body: Callable[[], bytes], *, root: bool = True) -> Attack:
    """To S3, with the digest that some of its operations ask for."""

    def attack(stage: Stage) -> object:
        document = body()
        digest = base64.b64encode(hashlib.md5(document, usedforsecurity=False).digest()).decode()
        headers = {"Content-MD5": digest}
        return stage.send(
            stage.signed(method, path, document, service="s3", root=root, headers=headers)
        )

    return attack


def _json(method: str, path: str, body: Callable[[], bytes], *, root: bool) -> Attack:
    """To Lambda."""
    return lambda stage: stage.send(stage.signed(method, path, body(), service="lambda", root=root))


def _form(body: Callable[[], bytes]) -> Attack:
    """To IAM."""
    return lambda stage: stage.send(
        stage.signed("POST", "/", body(), service="iam", root=True, headers=_FORM)
    )


def _logs(operation: str, body: Callable[[], bytes]) -> Attack:
    headers = {
        "X-Amz-Target": f"Logs_20140328.{operation}",
        "Content-Type": "application/x-amz-json-1.1",
    }
    return lambda stage: stage.send(
        stage.signed("POST", "/", body(), service="logs", root=True, headers=headers)
    )


def _many(before: bytes, member: bytes, after: bytes, size: int) -> Callable[[], bytes]:
    """A document of about ``size`` bytes with one member over and over."""
    return lambda: before + member * (size // len(member)) + after


def _dense_event(stage: Stage) -> object:
    body = _many(b"[", b"[],", b"1]", 6_000_000)()
    return stage.send(
        stage.signed("POST", f"{_FUNCTIONS}/f/invocations", body, service="lambda", root=True)
    )


def _dense_answers(stage: Stage) -> object:
    """Of a function's URL."""
    host = stage.boda.open_url("f")
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    return stage.send(request)


_LAYERS = _many(
    b'{"FunctionName":"f","Layers":[',
    b'"arn:aws:lambda:us-east-1:000000000000:layer:l:1",',
    b'"x"]}',
    14 * MIB,
)
_TAGS = _many(
    b"<Tagging><TagSet>",
    b"<Tag><Key>k</Key><Value>v</Value></Tag>",
    b"</TagSet></Tagging>",
    15 * MIB,
)
_MOST_XML = 4 * MIB - 4096

ATTACKS: dict[str, Attack] = {
    "nothing": _nothing,
    "unsigned: 15 MB of XML for the tags of no bucket": _unsigned(
        "PUT", "/nosuchbucket?tagging", _TAGS
    ),
    "unsigned: a million keys to delete": _unsigned(
        "POST",
        "/attacked?delete",
        _many(b"<Delete>", b"<Object><Key>k</Key></Object>", b"</Delete>", 28 * MIB),
    ),
    "unsigned: a form of 250 KB": _unsigned(
        "POST", "/", _many(b"Action=x", b"&a.1.b=", b"", 250_000)
    ),
    "no rights: 14 MB of Layers for a function": _json(
        "PUT", f"{_FUNCTIONS}/f/configuration", _LAYERS, root=False
    ),
    "no rights: 14 MB of Layers for a new function": _json("POST", _FUNCTIONS, _LAYERS, root=False),
    "no rights: notifications of 4 MB": _xml(
        "PUT",
        "/attacked?notification",
        _many(
            b"<NotificationConfiguration>",
            b"<QueueConfiguration/>",
            b"</NotificationConfiguration>",
            _MOST_XML,
        ),
        root=False,
    ),
    "root: 70 MB of empty lists for a new function": _json(
        "POST", _FUNCTIONS, _many(b'{"a":[', b"[],", b"1]}", 70_000_000), root=True
    ),
    "root: 70 MB of digits for a new function": _json(
        "POST", _FUNCTIONS, _many(b'{"Timeout":', b"9", b"}", 70_000_000), root=True
    ),
    "root: 70 MB of brackets for a new function": _json(
        "POST", _FUNCTIONS, _many(b"", b"[", b"", 70_000_000), root=True
    ),
    "root: a handler of 70 MB": _json(
        "POST", _FUNCTIONS, _many(b'{"Handler":"', b"a", b'"}', 70_000_000), root=True
    ),
    "root: 70 MB that is no package": _json(
        "POST",
        _FUNCTIONS,
        _many(
            b'{"FunctionName":"f","Role":"arn:aws:iam::000000000000:role/r",'
            b'"Handler":"a.b","Runtime":"python3.11","Code":{"ZipFile":"',
            b"QUJD",
            b'"}}',
            70_000_000,
        ),
        root=True,
    ),
    "root: a million keys to delete": _xml(
        "POST",
        "/attacked?delete",
        _many(b"<Delete>", b"<Object><Key/></Object>", b"</Delete>", _MOST_XML),
    ),
    "root: a million parts to complete": _xml(
        "POST",
        "/attacked/k?uploadId=x",
        _many(b"<CompleteMultipartUpload>", b"<Part/>", b"</CompleteMultipartUpload>", _MOST_XML),
    ),
    "root: a tag with a million attributes": _xml(
        "PUT",
        "/attacked?tagging",
        lambda: b"<Tagging " + b" ".join(b'a%d=""' % n for n in range(400_000)) + b"/>",
    ),
    "root: 4 MB of XML in which nothing ends": _xml(
        "PUT", "/attacked?tagging", _many(b"", b"<a>", b"", _MOST_XML)
    ),
    "root: 8 MB of log events": _logs(
        "PutLogEvents",
        _many(b'{"logGroupName":"g","logStreamName":"s","logEvents":[', b"{},", b"{}]}", 8_000_000),
    ),
    "root: 10,000 log events, none of which is one": _logs(
        "PutLogEvents",
        _many(b'{"logGroupName":"g","logStreamName":"s","logEvents":[', b"{},", b"{}]}", 29_990),
    ),
    "root: 1 MB of names of log groups": _logs(
        "StartLiveTail", _many(b'{"logGroupIdentifiers":[', b'"a",', b'"a"]}', 1_000_000)
    ),
    "root: a form of 100,000 members": _form(
        lambda: (
            b"Action=TagUser&Version=2010-05-08&UserName=u"
            + b"".join(b"&Tags.member.%d.Key=k" % n for n in range(40_000))
        )
    ),
    "root: a form of deep names": _form(
        _many(b"Action=TagUser&Version=2010-05-08", b"&" + b"a." * 60 + b"a=", b"", 1_000_000)
    ),
    "root: an event of two million lists": _dense_event,
    "anybody: a function that answers a million lists": _dense_answers,
}
"""By name, in the order in which they are tried."""


def run(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = {}
    with Boda(folder / "data") as boda:
        iam = boda.client("iam")
        iam.create_user(UserName="nobody")
        key = iam.create_access_key(UserName="nobody")["AccessKey"]
        stage = Stage(boda, key["AccessKeyId"], key["SecretAccessKey"])
        boda.client("s3").create_bucket(Bucket="attacked")
        boda.function("f", SOURCE, MemorySize=1024, Timeout=60)
        for name, attack in (ATTACKS | INSIDE).items():
            report[name] = measured(boda.port, lambda attack=attack: attack(stage))  # type: ignore[misc]
    for mode in ("sigv4", "open"):
        report[f"{STORMS} storms of large bodies, --auth {mode}"] = _storms(folder / mode, mode)
    return report


def measured(port: int, attack: Callable[[], object]) -> dict[str, Any]:
    """Carry an attack out while a process of its own checks the platform's health."""
    probe = subprocess.Popen(
        [sys.executable, "-m", "bench.health", str(port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert probe.stdout is not None and probe.stdin is not None
    try:
        probe.stdout.readline()  # it has had its first answer
        begin = time.monotonic()
        attack()
        seconds = time.monotonic() - begin
        probe.stdin.close()
        figures = json.loads(probe.stdout.readline())
        return {**figures, "attack_s": round(seconds, 2)}
    finally:
        probe.stdin.close()
        probe.stdout.close()
        probe.wait()


def check(port: int) -> None:
    """Ask for the platform's health again and again until standard input ends."""
    request = b"GET /_boda/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    over = threading.Event()

    def watch() -> None:
        sys.stdin.buffer.read()
        over.set()

    threading.Thread(target=watch, daemon=True).start()
    waits: list[float] = []
    with socket.create_connection(("127.0.0.1", port)) as line:
        while not over.is_set():
            begin = time.perf_counter()
            line.sendall(request)
            if not line.recv(65536).startswith(b"HTTP/1.1 200 "):
                raise RuntimeError("the platform is not healthy")
            waits.append(time.perf_counter() - begin)
            if len(waits) == 1:
                print(flush=True)
            time.sleep(_EVERY_S)
    longest_ms = round(1000 * max(waits), 1)
    print(json.dumps({"longest_ms": longest_ms, "checks": len(waits)}), flush=True)


def _storms(folder: Path, mode: str) -> dict[str, Any]:
    """Memory before and after storms of bodies that come with an Authorization without a date."""
    with Boda(folder, "--auth", mode) as boda:
        assert boda.process is not None
        key, secret = boda.keys
        stage = Stage(boda, key, secret)
        authorization = (
            f"Authorization: AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/lambda/"
            "aws4_request, SignedHeaders=host, Signature=0"
        )
        path = "/2015-03-31/functions/f/invocations"
        time.sleep(QUIET_S)
        before = pss(boda.process.pid)
        for _ in range(STORMS):
            body = os.urandom(16).hex().encode() * (STORM_BYTES // 32)
            stage.send(stage.unsigned("POST", path, body, authorization), connections=4)
            stage.send(stage.signed("POST", path, body, service="lambda"), connections=4)
        time.sleep(QUIET_S)
        after = pss(boda.process.pid)
    return {"mb_before": round(before / 1024), "mb_after": round(after / 1024)}


if __name__ == "__main__":
    check(int(sys.argv[1]))
