"""What hostile or broken clients may try on the socket: each is refused, none hangs or crashes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import socket
import time
from collections.abc import AsyncIterator

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from boda.core.errors import PlatformError
from boda.gateway.http.acceptor import AT_ONCE
from boda.gateway.http.connection import HttpConnection
from boda.gateway.http.cycle import Cycle
from boda.gateway.http.departures import AT_ONCE as CLOSED_AT_ONCE
from boda.gateway.http.limits import Limits
from boda.gateway.server import HttpServer
from support.rig import KEY, SECRET, Rig, rig

TIGHT = Limits(
    head_bytes=64 * 1024,
    headers=100,
    head_timeout_s=0.3,
    body_idle_s=0.3,
    keep_alive_s=0.3,
    drain_s=0.3,
    write_stall_s=0.3,
    body_bytes=100_000,
    stream_bytes=1_000_000,
)


@pytest.fixture
async def up() -> AsyncIterator[Rig]:
    async with rig() as made:
        yield made


@pytest.fixture
async def tight() -> AsyncIterator[Rig]:
    async with rig(limits=TIGHT) as made:
        yield made


def head(up: Rig, method: str, path: str, body: bytes = b"", *, service: str = "s3",
         length: int | None = None, secret: str = SECRET, **extra: str) -> bytes:  # fmt: skip
    """A signed request's head, as bytes; ``length`` lies about its body."""
    request = AWSRequest(method, f"{up.url}{path}", data=body)
    kind = S3SigV4Auth if service == "s3" else SigV4Auth
    kind(Credentials(KEY, secret), service, "us-east-1").add_auth(request)
    fields = {
        "Host": f"127.0.0.1:{up.server.port}",
        **request.headers,
        "Content-Length": str(len(body) if length is None else length),
        **{name.replace("_", "-"): value for name, value in extra.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHo\x00st: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET ://:: HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\nA: b\r c\n\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_not_http_gets_400(
    up: Rig, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await up.raw(data)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"Traceback" not in answer
    assert not [one for one in caplog.records if one.exc_info]


async def test_two_requests_cannot_be_made_of_one(up: Rig) -> None:
    """A trailer of a chunked body is no header, and none is left over for a next request."""
    up.objects.kept["b", "k"] = b"x"
    smuggled = (
        b"POST /b/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\nauthorization: AWS4-HMAC-SHA256 broken\r\n\r\n"
    )
    answer = await up.raw(
        smuggled + b"GET /_boda/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert b"AuthorizationHeaderMalformed" not in answer
    assert answer.count(b"HTTP/1.1 ") in (1, 2)


async def test_heads_too_large(tight: Rig) -> None:
    for data in (
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 400_000,
    ):
        assert (await tight.raw(data)).startswith(b"HTTP/1.1 431 ")


async def test_a_target_as_long_as_a_head_may_be(up: Rig) -> None:
    for size in (65_535, 65_536, 1_000_000):
        answer = await up.raw(
            b"GET /_boda/health?" + b"a" * size + b" HTTP/1.1\r\nHost: x\r\n"
            b"Connection: close\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 200 "), size
    assert (await up.raw(b"GET /" + b"\xff" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(
        b"HTTP/1.1 400 "
    )


async def test_an_endless_trailer_ends(tight: Rig) -> None:
    start = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: "
    answer = await tight.raw(start + b"b" * 400_000)
    assert answer.startswith(b"HTTP/1.1 4")
    answer = await tight.raw(start[:-6] + b"5;" + b"e" * 400_000)
    assert answer.startswith(b"HTTP/1.1 4")


async def test_slow_heads_and_idle_connections_end(tight: Rig) -> None:
    began = time.monotonic()
    slow, silent, idle = await asyncio.gather(
        tight.raw(b"GET / HTTP/1.1\r\nHost:"),
        tight.raw(b""),
        tight.raw(b"GET /_boda/health HTTP/1.1\r\nHost: x\r\n\r\n"),
    )
    assert slow.startswith(b"HTTP/1.1 408 ")
    assert silent.startswith(b"HTTP/1.1 408 ")
    assert idle.startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - began < 5


async def test_a_head_that_drips_ends(tight: Rig) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", tight.server.port)
    writer.write(b"GET / HTTP/1.1\r\n")
    answer = asyncio.create_task(reader.read())
    while not answer.done():
        writer.write(b"A: b\r\n")
        await asyncio.sleep(0.02)
    # Bytes that were on their way while the server closed may reset what it said.
    with contextlib.suppress(ConnectionResetError):
        assert (await answer).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_slow_bodies_end(tight: Rig) -> None:
    upload = head(tight, "PUT", "/b/k", b"x" * 50)
    answer = await tight.raw(upload + b"x" * 10)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"<Code>RequestTimeout</Code>" in answer
    path = "/2015-03-31/functions/f/invocations"
    answer = await tight.raw(head(tight, "POST", path, b"{}  ", service="lambda") + b"{}")
    assert answer.startswith(b"HTTP/1.1 400 ") and b"RequestTimeout" in answer
    assert not tight.objects.kept


@pytest.mark.parametrize("service", ["s3", "lambda"])
async def test_a_body_that_drips_ends(tight: Rig, service: str) -> None:
    """Streamed or held, sent nearly whole at first: a byte now and then keeps nothing open."""
    path = "/b/k" if service == "s3" else "/2015-03-31/functions/f/invocations"
    method = "PUT" if service == "s3" else "POST"
    reader, writer = await asyncio.open_connection("127.0.0.1", tight.server.port)
    writer.write(head(tight, method, path, service=service, length=90_000) + b"x" * 70_000)
    answer = asyncio.create_task(reader.read())
    async with asyncio.timeout(30):
        while not answer.done():
            writer.write(b"x")
            await asyncio.sleep(0.02)
    # Bytes that were on their way while the server closed may reset what it said.
    with contextlib.suppress(ConnectionResetError):
        assert b"RequestTimeout" in await answer
    assert not tight.objects.kept and not tight.functions.finished
    writer.close()


async def test_bodies_that_never_end_are_bounded_together() -> None:
    """However many clients send a part: those who began first are given up, others are served."""
    limits = Limits(held_bytes=5_000_000)
    path = "/2015-03-31/functions/f/invocations"
    async with rig(limits=limits) as up:
        intake = up.gateway._intake
        clients = []
        newest = None
        for _ in range(6):
            reader, writer = await asyncio.open_connection("127.0.0.1", up.server.port)
            writer.write(head(up, "POST", path, service="lambda", length=2_000_000))
            writer.write(b"x" * 1_900_000)
            clients.append((reader, writer))
            async with asyncio.timeout(10):
                while True:
                    assert intake.total <= limits.held_bytes
                    last, size = next(reversed(intake._held.items()), (None, 0))
                    if last is not newest and size >= 1_900_000:
                        break
                    await asyncio.sleep(0.005)
            newest = last
        for reader, _ in clients[:4]:
            answer = await asyncio.wait_for(reader.read(65_536), 10)
            assert answer.startswith(b"HTTP/1.1 503 ") and b"ServiceUnavailable" in answer
        body = b'"%s"' % (b"x" * 1_000_000)
        request = head(up, "POST", path, body, service="lambda", HttpConnection="close")
        assert (await up.raw(request + body)).startswith(b"HTTP/1.1 200 ")
        for _, writer in clients:
            writer.close()
        async with asyncio.timeout(10):
            while intake.total:
                await asyncio.sleep(0.005)


async def test_aborted_uploads_are_noticed(up: Rig) -> None:
    for cut in (0, 10, 100_000):
        _, writer = await asyncio.open_connection("127.0.0.1", up.server.port)
        writer.write(head(up, "PUT", "/b/k", b"x" * 200_000) + b"x" * cut)
        await writer.drain()
        while not up.objects.seen:
            await asyncio.sleep(0.005)
        writer.transport.abort()
        async with asyncio.timeout(5):
            while not up.objects.errors:
                await asyncio.sleep(0.005)
        assert up.objects.errors.pop().code == "IncompleteBody"
        up.objects.seen = {}
    assert not up.objects.kept


async def test_bodies_over_their_limits(tight: Rig) -> None:
    path = "/2015-03-31/functions"
    create = head(tight, "POST", path, service="lambda", length=70_167_212)
    answer = await tight.raw(create)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Request must be smaller than 70167211 bytes for the CreateFunction operation" in answer
    assert b"x-amzn-errortype: RequestEntityTooLargeException" in answer.lower().replace(
        b"requestentitytoolargeexception", b"RequestEntityTooLargeException"
    )
    answer = await tight.raw(
        head(tight, "POST", f"{path}/f/invocations", service="lambda", length=6_291_557)
    )
    assert answer.startswith(b"HTTP/1.1 413 ") and b"RequestTooLargeException" in answer
    answer = await tight.raw(head(tight, "PUT", "/b/k", length=1_000_001))
    assert answer.startswith(b"HTTP/1.1 400 ") and b"<Code>EntityTooLarge</Code>" in answer
    assert b"<MaxSizeAllowed>1000000</MaxSizeAllowed>" in answer
    md5 = "1B2M2Y8AsgTpgAmY7PhCfg=="
    answer = await tight.raw(head(tight, "POST", "/b?delete", length=100_001, Content_MD5=md5))
    assert answer.startswith(b"HTTP/1.1 400 ") and b"MaxMessageLengthExceeded" in answer
    chunked = (
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        )
        + b"10000\r\n"
        + b"a" * 65_536
        + b"\r\n"
    )
    answer = await tight.raw(chunked * 1 + (b"10000\r\n" + b"a" * 65_536 + b"\r\n") * 20)
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_numbers_of_things_are_bounded(up: Rig) -> None:
    """Nothing that is cheap to send may be dear to read."""
    began = time.monotonic()
    answer = await first(up, b"GET /b?" + b"a&" * 30_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ") and b"RequestHeaderSectionTooLarge" in answer
    form = b"Action=GetCallerIdentity" + b"&a" * 100_000
    answer = await first(
        up,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(form), form),
    )
    assert answer.startswith(b"HTTP/1.1 403 ")
    names = b";".join(b"x%d" % one for one in range(100_000))
    signed = head(up, "GET", "/b/k").replace(b"SignedHeaders=", b"SignedHeaders=" + names + b";")
    answer = await first(up, signed)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"Too many SignedHeaders." in answer
    assert time.monotonic() - began < 5


async def test_uploads_need_a_length(up: Rig) -> None:
    bare = head(up, "PUT", "/b/k").replace(b"Content-Length: 0\r\n", b"")
    answer = await asyncio.wait_for(first(up, bare), 10)
    assert answer.startswith(b"HTTP/1.1 411 ") and b"<Code>MissingContentLength</Code>" in answer
    chunked = bare.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    answer = await asyncio.wait_for(first(up, chunked), 10)
    assert answer.startswith(b"HTTP/1.1 501 ") and b"Transfer-Encoding" in answer


async def first(up: Rig, data: bytes) -> bytes:
    """One answer, on a connection that stays open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", up.server.port)
    writer.write(data)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    answer += await reader.readexactly(length)
    writer.close()
    return answer


async def test_an_answer_gets_through_while_a_body_is_still_sent(up: Rig) -> None:
    """The refused upload of a client that reads only after it has sent everything."""
    reader, writer = await asyncio.open_connection("127.0.0.1", up.server.port)
    size = 8_000_000
    writer.write(head(up, "PUT", "/b/k", length=size, secret="wrong"))
    for _ in range(size // 80_000):
        writer.write(b"x" * 80_000)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(65_536), 10)
    assert answer.startswith(b"HTTP/1.1 403 ")
    writer.write(b"GET /_boda/health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(65_536), 10)).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_refused_body_is_not_read_for_ever(tight: Rig) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", tight.server.port)
    writer.write(head(tight, "PUT", "/b/k", length=900_000, secret="wrong") + b"x")
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 403 ")
    writer.close()


async def test_header_values_cannot_split_an_answer(up: Rig) -> None:
    up.objects.kept["b", "k"] = b"x"
    client = up.client("s3")
    got = await asyncio.to_thread(
        client.get_object, Bucket="b", Key="k",
        ResponseContentDisposition="a\r\nSet-Cookie: evil=1\r\n\x00ü",
    )  # fmt: skip
    headers = got["ResponseMetadata"]["HTTPHeaders"]
    assert "set-cookie" not in headers
    assert headers["content-disposition"].startswith("a  Set-Cookie: evil=1")


async def test_streams_are_closed_when_the_client_goes(up: Rig) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", up.server.port)
    writer.write(head(up, "GET", "/b/endless"))
    data = await reader.readuntil(b"first")
    assert data.startswith(b"HTTP/1.1 200 ")
    writer.transport.abort()
    async with asyncio.timeout(5):
        while not up.objects.closed:
            await asyncio.sleep(0.005)


async def test_an_unread_answer_is_given_up(tight: Rig) -> None:
    tight.objects.kept["b", "k"] = b"x" * 30_000_000
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", tight.server.port))
        await loop.sock_sendall(client, head(tight, "GET", "/b/k"))
        async with asyncio.timeout(10):
            while not tight.server._state.tasks:
                await asyncio.sleep(0.005)
            while tight.server._state.connections:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("start", "filling"),
    [
        (b"GET / HTTP/1.1\r\nx: ", b"x" * 900_000),
        (b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 500 + b"z:" + b"z" * 900_000),
    ],
)
async def test_heads_that_never_end_are_bounded_together(start: bytes, filling: bytes) -> None:
    """However many clients send a part: those who began first are given up, others are served."""
    limits = Limits(held_bytes=3_000_000)
    async with rig(limits=limits) as up:
        connections = up.server._state.connections
        clients = []
        for _ in range(8):
            reader, writer = await asyncio.open_connection("127.0.0.1", up.server.port)
            writer.write(start + filling)
            clients.append((reader, writer))
            await asyncio.sleep(0.02)
        async with asyncio.timeout(10):
            for reader, _ in clients[:5]:
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read(65_536) == b""
            while sum(one.half_read()[1] for one in connections) > limits.held_bytes:
                await asyncio.sleep(0.02)
        assert connections
        body = b"{}"
        path = "/2015-03-31/functions/f/invocations"
        request = head(up, "POST", path, body, service="lambda", HttpConnection="close")
        assert (await up.raw(request + body)).startswith(b"HTTP/1.1 200 ")
        for _, writer in clients:
            writer.close()


async def test_answers_that_nobody_reads_are_bounded_together() -> None:
    """However many clients leave theirs: whoever has waited longest is given up first."""
    limits = Limits(unread_bytes=5_000_000)
    body = b'"%s"' % (b"x" * 6_000_000)
    path = "/2015-03-31/functions/f/invocations"
    async with rig(limits=limits) as up, contextlib.AsyncExitStack() as stack:
        request = head(up, "POST", path, body, service="lambda") + body
        loop = asyncio.get_running_loop()
        clients = []
        for count in range(1, 7):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            clients.append(client)
            await loop.sock_connect(client, ("127.0.0.1", up.server.port))
            await loop.sock_sendall(client, request)
            async with asyncio.timeout(10):
                while up.functions.finished < count:
                    await asyncio.sleep(0.005)
        connections = up.server._state.connections
        async with asyncio.timeout(10):
            while len(connections) == 6 or (
                sum(one.unread()[1] for one in connections) > limits.unread_bytes
            ):
                await asyncio.sleep(0.02)
        assert connections

        async def read(client: socket.socket) -> int:
            size = 0
            with contextlib.suppress(ConnectionResetError):
                while size < len(body) and (data := await loop.sock_recv(client, 1 << 20)):
                    size += len(data)
            return size

        async with asyncio.timeout(10):
            assert await read(clients[0]) < len(body) <= await read(clients[-1])


async def test_a_handler_outlives_its_client(up: Rig) -> None:
    up.functions.gate.clear()
    _, writer = await asyncio.open_connection("127.0.0.1", up.server.port)
    path = "/2015-03-31/functions/f/invocations"
    writer.write(head(up, "POST", path, b"{}", service="lambda") + b"{}")
    await asyncio.wait_for(up.functions.started.wait(), 5)
    writer.transport.abort()
    while up.server._state.connections:
        await asyncio.sleep(0.005)
    up.functions.gate.set()
    async with asyncio.timeout(5):
        while not up.functions.finished:
            await asyncio.sleep(0.005)


async def test_pipelined_requests_are_answered_in_order(up: Rig) -> None:
    up.objects.kept["public", "a"], up.objects.kept["public", "b"] = b"first", b"second"
    one = b"GET /public/%s HTTP/1.1\r\nHost: x\r\n%s\r\n"
    answer = await up.raw(one % (b"a", b"") + one % (b"b", b"Connection: close\r\n"), 5)
    while b"second" not in answer:
        pytest.fail(f"only {answer!r}")
    assert answer.index(b"first") < answer.index(b"second")


async def test_requests_that_wait_on_a_connection_are_bounded(up: Rig) -> None:
    """Each takes much more memory than its few bytes."""
    up.objects.kept["public", "a"] = b"first"
    one = b"GET /public/a HTTP/1.1\r\nHost: x\r\n%s\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", up.server.port)
    writer.write(one % b"" * 99 + one % b"Connection: close\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.count(b"first") == 100
    reader, writer = await invoking(up, ODD)
    writer.write(one % b"" * 200)
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    up.functions.gate.set()


ODD = b"TE: trailers\r\n"
"""Makes a request one for the general way."""


async def invoking(up: Rig, more: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with an Invoke that runs until the gate is set. more: header lines."""
    up.functions.gate.clear()
    path = "/2015-03-31/functions/f/invocations"
    reader, writer = await asyncio.open_connection("127.0.0.1", up.server.port)
    request = head(up, "POST", path, b"{}", service="lambda")
    writer.write(request.replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n") + b"{}")
    await asyncio.wait_for(up.functions.started.wait(), 5)
    return reader, writer


async def test_what_comes_behind_a_call_waits_in_the_kernel(up: Rig) -> None:
    """However much it is, and then it is read on."""
    up.objects.kept["public", "a"] = b"first"
    one = b"GET /public/a HTTP/1.1\r\nHost: x\r\n\r\n"
    reader, writer = await invoking(up, b"")
    sending = asyncio.create_task(flood(writer, one * 500))
    (connection,) = up.server._state.connections
    for _ in range(50):
        await asyncio.sleep(0.01)
        assert isinstance(connection, HttpConnection) and connection.half_read()[1] < 2**20
    assert not sending.done()
    up.functions.gate.set()
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    sending.cancel()
    writer.transport.abort()


async def test_a_refusal_does_not_break_into_an_earlier_answer(up: Rig) -> None:
    reader, writer = await invoking(up, ODD)
    writer.write(b"POST /public/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    up.functions.gate.set()


async def test_no_more_is_read_while_requests_wait(up: Rig) -> None:
    """However fast one is answered, others come faster."""
    up.objects.kept["public", "a"] = b"first"
    one = b"GET /public/a HTTP/1.1\r\nHost: x\r\n\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", up.server.port)
    sending = asyncio.create_task(flood(writer, one * 50))
    most = 0
    async with asyncio.timeout(20):
        for _ in range(400):
            await asyncio.sleep(0)
            for connection in up.server._state.connections:
                most = max(most, len(connection.pipeline))
    assert 0 < most <= 101
    sending.cancel()
    writer.transport.abort()


async def flood(writer: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(data)
            await writer.drain()


async def test_an_upgrade_is_declined(up: Rig) -> None:
    """Java's client offers HTTP/2 with every first request."""
    offered = (
        b"GET /_boda/health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n\r\n"
    )
    answer = await up.raw(offered)
    assert answer.startswith(b"HTTP/1.1 200 ") and b"connection: close" in answer


async def test_too_many_connections() -> None:
    """A newcomer is served, in the place of whoever has kept the platform waiting longest."""
    async with rig(limits=Limits(connections=2)) as up:
        held = [await asyncio.open_connection("127.0.0.1", up.server.port) for _ in range(2)]
        await healthy(held[1])
        newcomer = await asyncio.open_connection("127.0.0.1", up.server.port)
        await healthy(newcomer)
        assert await read_all(held[0]) == b""
        await healthy(held[1])
        for _, writer in (newcomer, *held):
            writer.close()


async def test_nobody_who_is_being_served_makes_room() -> None:
    async with rig(limits=Limits(connections=2)) as up:
        up.functions.gate.clear()
        path = "/2015-03-31/functions/f/invocations"
        held = []
        for _ in range(2):
            up.functions.started.clear()
            held.append(await asyncio.open_connection("127.0.0.1", up.server.port))
            held[-1][1].write(head(up, "POST", path, service="lambda"))
            await up.functions.started.wait()
        assert (await up.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
        up.functions.gate.set()
        for reader, writer in held:
            assert (await reader.read(100)).startswith(b"HTTP/1.1 200 ")
            writer.close()


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x",
        b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        b"GET /_boda/health HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "idle"],
)
async def test_one_client_does_not_take_the_others_connections(half: bytes) -> None:
    async with rig(limits=Limits(connections=64)) as up:
        old = await asyncio.open_connection("127.0.0.1", up.server.port)
        await healthy(old)
        hoard = []
        for number in range(300):
            pair = await asyncio.open_connection(
                "127.0.0.1", up.server.port, local_addr=("127.0.0.2", 0)
            )
            pair[1].write(half)
            hoard.append(pair)
            if number % 50 == 0:  # and nobody else has to open another one
                await healthy(old)
                fresh = await asyncio.open_connection("127.0.0.1", up.server.port)
                await healthy(fresh)
                hoard.append(fresh)
        await healthy(old)
        for _, writer in (old, *hoard):
            writer.close()


async def test_environments_have_so_many_connections_each_and_together() -> None:
    limits = Limits(connections=4, endpoint_connections=20, endpoints_connections=32)
    async with rig(limits=limits) as up:
        endpoints, addresses = [], []
        for number in range(3):
            listening = socket.create_server(("127.0.0.1", 0))
            addresses.append(listening.getsockname())
            endpoints.append(up.server.serve_socket(listening, f"env-{number}"))
            await endpoints[-1].ready()
        modest = await asyncio.open_connection(*addresses[0])
        await healthy(modest)
        hoard = []
        for _ in range(25):  # more than either may have, and than both may have together
            for address in addresses[1:]:
                hoard.append(await asyncio.open_connection(*address))
                await healthy(hoard[-1])
        for number, endpoint in enumerate(endpoints):
            assert len(endpoint.state.connections) <= (1 if number == 0 else 20)
        assert sum(len(endpoint.state.connections) for endpoint in endpoints) <= 32
        await healthy(modest)
        outside = await asyncio.open_connection("127.0.0.1", up.server.port)
        await healthy(outside)
        for _, writer in (modest, outside, *hoard):
            writer.close()
        for endpoint in endpoints:
            endpoint.close()


async def healthy(pair: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """One request and its whole answer on a connection that is kept."""
    pair[1].write(b"GET /_boda/health HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await pair[0].readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    length = re.search(rb"content-length: (\d+)", answer)
    assert length is not None
    await pair[0].readexactly(int(length[1]))


async def test_who_connects_by_the_thousand_waits_for_who_is_connected(up: Rig) -> None:
    """Of 200 that have come at once a few are accepted before anybody else is answered."""
    old = await asyncio.open_connection("127.0.0.1", up.server.port)
    await healthy(old)
    hoard = []
    for _ in range(200):  # the platform's loop is this one: none of them is accepted yet
        one = socket.create_connection(("127.0.0.1", up.server.port))
        hoard.append(one)
    state = up.server._state
    before = len(state.connections)
    await healthy(old)
    assert len(state.connections) < before + 150
    while len(state.connections) < before + 200:
        before_turn = len(state.connections)
        await asyncio.sleep(0)
        assert len(state.connections) - before_turn <= 2 * AT_ONCE
    for one in hoard:
        one.close()
    old[1].close()


async def test_clients_that_leave_by_the_thousand_keep_nobody_waiting(up: Rig) -> None:
    """Of 300 that leave at once a few connections are closed before anybody else is answered."""
    old = await asyncio.open_connection("127.0.0.1", up.server.port)
    await healthy(old)
    state = up.server._state
    hoard = []
    for _ in range(300):
        hoard.append(socket.create_connection(("127.0.0.1", up.server.port)))
        hoard[-1].sendall(b"GET / HTTP/1.1\r\nHost: x")
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while len(state.connections) < 301:
            await asyncio.sleep(0)
        for one in hoard:
            one.close()
        most = 0
        while (before := len(state.connections)) > 1:
            await asyncio.sleep(0)
            most = max(most, before - len(state.connections))
    assert 1 < most <= 2 * CLOSED_AT_ONCE
    await healthy(old)
    old[1].close()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x",
        b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["half a head", "half a body", "whole"],
)
async def test_connections_leave_no_garbage_that_must_be_looked_for(up: Rig, sent: bytes) -> None:
    """To look through thousands of them for it at once would keep everybody waiting."""
    state = up.server._state
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            _, writer = await asyncio.open_connection("127.0.0.1", up.server.port)
            writer.write(sent)
            await asyncio.sleep(0.02)
            writer.close()
        async with asyncio.timeout(10):
            while state.connections:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        left = [one for one in gc.get_objects() if isinstance(one, HttpConnection | Cycle)]
    finally:
        gc.enable()
    assert not left


async def read_all(pair: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bytes:
    """Until the other end is gone."""
    try:
        return await pair[0].read()
    except ConnectionError:
        return b""


async def test_addresses_that_cannot_be_had(up: Rig) -> None:
    for host, port, words in (
        ("127.0.0.1", up.server.port, "is in use by another program"),
        ("no-such-host.invalid", 0, "boda cannot listen on no-such-host.invalid"),
        ("203.0.113.7", 0, "boda cannot listen on 203.0.113.7"),
        ("127.0.0.1", 70_000, "boda cannot listen on 127.0.0.1 port 70000"),
    ):
        with pytest.raises(PlatformError, match=words) as raised:
            await HttpServer(up.gateway, host, port).start()
        assert "\n" not in str(raised.value)
    # The one that was there is not disturbed.
    assert (await up.raw(b"GET /_boda/health HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_nothing_is_logged_about_bad_requests(
    up: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await up.raw(b"nonsense\r\n\r\n")
    await first(up, head(up, "GET", "/b/k", secret="wrong"))
    assert not caplog.records
