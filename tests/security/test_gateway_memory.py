"""What large requests leave behind: nothing, and not only after a collection of garbage.

Garbage is collected once some thousands of objects were made; a request with 6 MB makes some
hundred. Whatever keeps a body in a cycle of references therefore grows the platform by gigabytes.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import tracemalloc
from collections.abc import Iterator

import pytest
from bench import signing

from boda.core.principal import ANONYMOUS
from boda.gateway.signing.identity import Credential
from support.rig import KEY, SECRET, USER_KEY, USER_SECRET, rig
from support.wire import Line, plain, signed

BODY_BYTES = 300_000
ROUNDS = 3
INVOKE = "/2015-03-31/functions/f/invocations"
CREATE = "/2015-03-31/functions"
_BODY = b'"' + b"x" * (BODY_BYTES - 2) + b'"'


def _undated(path: str, body: bytes) -> bytes:
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/lambda/aws4_request, "
        "SignedHeaders=host, Signature=0"
    )
    return plain("POST", path, _fields(body, Authorization=authorization), body)


def _fields(body: bytes, **more: str) -> dict[str, str]:
    return {"Host": "127.0.0.1", "Content-Length": str(len(body)), **more}


def _signed(path: str, body: bytes, key: str = KEY, secret: str = SECRET) -> bytes:
    return signed(Credential(key, secret, ANONYMOUS), path, body, at=time.time())


def _to(port: int, service: str, method: str, path: str, body: bytes, **headers: str) -> bytes:
    return signing.signed(
        f"http://127.0.0.1:{port}{path}",
        method,
        body,
        service=service,
        key=KEY,
        secret=SECRET,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def requests(port: int) -> dict[str, bytes]:
    """Each is refused, fails or is answered in another place of the code."""
    tail = _signed(INVOKE, _BODY)[:-1000]
    return {
        "an Authorization without a date": _undated(INVOKE, _BODY),
        "an Authorization that is none": plain(
            "POST", INVOKE, _fields(_BODY, Authorization="AWS4-HMAC-SHA256 x"), _BODY
        ),
        "a date that is none": plain(
            "POST",
            INVOKE,
            _fields(
                _BODY,
                Authorization="AWS4-HMAC-SHA256 Credential=a/b/c/lambda/aws4_request, "
                "SignedHeaders=host, Signature=0",
                **{"X-Amz-Date": "x"},
            ),
            _BODY,
        ),
        "presigned twice": plain(
            "POST", f"{INVOKE}?X-Amz-Algorithm=x&X-Amz-Algorithm=x", _fields(_BODY), _BODY
        ),
        "an invocation": _signed(INVOKE, _BODY),
        "a wrong signature": _signed(INVOKE, _BODY).replace(b"Signature=", b"Signature=0"),
        "no permission": _signed(INVOKE, _BODY, USER_KEY, USER_SECRET),
        "a document that is none": _signed(CREATE, _BODY),
        "a document that does not end": _signed(CREATE, b'{"a":"' + _BODY[1:-1]),
        "a document without what is required": _signed(CREATE, b'{"Handler":' + _BODY + b"}"),
        "XML that is none": plain("POST", "/b?delete", _fields(_BODY), _BODY),
        "a form without an action": plain(
            "POST",
            "/",
            _fields(_BODY[:200_000], **{"Content-Type": "application/x-www-form-urlencoded"}),
            _BODY[:200_000],
        ),
        "no such operation": _signed("/2015-03-31/nothing", _BODY),
        "a failure of the platform's own": _to(
            port,
            "logs",
            "POST",
            "/",
            b'{"logGroupNamePrefix":"boom","x":' + _BODY + b"}",
            X_Amz_Target="Logs_20140328.DescribeLogGroups",
        ),
        "keys to delete": _to(
            port,
            "s3",
            "POST",
            "/b?delete",
            b"<Delete>" + b"<Object><Key>k</Key></Object>" * 10_000 + b"</Delete>",
            Content_MD5="1B2M2Y8AsgTpgAmY7PhCfg==",
        ),
        "an upload whose digest is another": _to(port, "s3", "PUT", "/b/k", _BODY).replace(
            b'"xx', b'"yy'
        ),
        "a client that goes": tail,
    }


@pytest.fixture
def uncollected() -> Iterator[None]:
    logging.disable()  # a test run keeps what is logged, with its tracebacks
    gc.collect()
    gc.disable()
    tracemalloc.start(12)
    try:
        yield
    finally:
        tracemalloc.stop()
        gc.enable()
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("auth", ["sigv4", "open"])
async def test_no_body_outlives_its_answer(auth: str, uncollected: None) -> None:
    async with rig(auth=auth) as up:
        for name, request in requests(up.server.port).items():
            tracemalloc.clear_traces()
            for _ in range(ROUNDS):
                line = await Line.open(up.server.port)
                line.writer.write(request)
                if name != "a client that goes":
                    assert (await line.answer()).startswith(b"HTTP/1.1 "), name
                else:
                    await line.writer.drain()
                    await asyncio.sleep(0)
                line.close()
                await line.writer.wait_closed()
            up.objects.errors.clear()
            for _ in range(500):
                kept = [
                    one for one in tracemalloc.take_snapshot().traces if one.size > BODY_BYTES // 2
                ]
                if not kept:
                    break
                await asyncio.sleep(0.01)
            assert not kept, (name, kept[0], [str(f) for f in kept[0].traceback])
