"""Raw HTTP requests, signed or not, and their raw answers, without any client's help."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from boda.gateway.signing import sigv4
from boda.gateway.signing.identity import Credential

_VARYING = (
    (rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", b"<uuid>"),
    (rb"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", b"Root=<root>"),
    (rb"Parent=[0-9a-f]{16}", b"Parent=<parent>"),
    (rb"(?m)^date: [^\r]+", b"date: <date>"),
)


def plain(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """The bytes of a request; its headers as they are, and no others."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


def signed(
    key: Credential,
    path: str,
    body: bytes = b"",
    *,
    at: float,
    method: str = "POST",
    host: str = "127.0.0.1",
    headers: Mapping[str, str] | None = None,
    also: tuple[str, ...] = (),
    query: str = "",
    region: str = "us-east-1",
    date: str = "",
    payload_hash: str = "",
    service: str = "lambda",
) -> bytes:
    """A request as an SDK signs it.

    headers: further ones. also: which of them are signed. date: of the scope, if another.
    """
    stamp = datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")
    fields = {"Host": host, "X-Amz-Date": stamp, **(headers or {})}
    if key.session_token:
        fields["X-Amz-Security-Token"] = key.session_token
        also = (*also, "x-amz-security-token")
    lower = {name.lower(): value for name, value in fields.items()}
    names = sorted({"host", "x-amz-date", *also})
    signs = sigv4.Canonical(
        method, [sigv4.canonical_uri(path)], sigv4.canonical_query(query), names
    )
    digest = payload_hash or hashlib.sha256(body).hexdigest()
    (canonical,) = signs.requests(sigv4.trimmed(lower, names), digest)
    day = date or stamp[:8]
    scope = f"{day}/{region}/{service}/aws4_request"
    signer = sigv4.Signer(sigv4.signing_key(key.secret, day, region, service))
    signature = signer.sign(sigv4.string_to_sign(stamp, scope, canonical))
    fields["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key.access_key_id}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    fields.setdefault("Content-Length", str(len(body)))
    return plain(method, f"{path}?{query}" if query else path, fields, body)


class Line:
    """One connection, kept alive; answers are read by their length."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Line:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, *pieces: bytes) -> bytes:
        """Send, and read one answer. b"": the server closed without one."""
        for piece in pieces:
            self.writer.write(piece)
        return await self.answer(bodiless=pieces[0].startswith(b"HEAD "))

    async def answer(self, *, bodiless: bool = False) -> bytes:
        async with asyncio.timeout(10):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?mi)^content-length: (\d+)\r$", head)
                size = int(length[1]) if length and not bodiless else 0
                return head + await self.reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""

    def close(self) -> None:
        self.writer.close()


def settled(data: bytes) -> bytes:
    """An answer or an event without what differs from one to the next."""
    for pattern, word in _VARYING:
        data = re.sub(pattern, word, data)
    return data
