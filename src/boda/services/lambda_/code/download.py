"""The address in GetFunction's ``Code.Location``: the package as uploaded, by a signed path."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import parse_qs

from boda.gateway.http.wire import Stream, TruncatedStream, WireRequest, WireResponse

PREFIX = "/_boda/code/"
_PIECE = 1 << 18


class Packages(Protocol):
    def verify_code_url(self, sha256: str, expires: str, signature: str) -> bool: ...

    def code_blob(self, sha256: str) -> Path: ...

    def package_damaged(self, sha256: str) -> None: ...


class CodeDownloads:
    """A site of the gateway. The signature in the path is the only permission."""

    def __init__(self, packages: Packages) -> None:
        self._packages = packages

    def matches(self, request: WireRequest) -> bool:
        return request.path.startswith(PREFIX)

    async def handle(self, request: WireRequest) -> WireResponse:
        sha256 = request.path.removeprefix(PREFIX)
        query = parse_qs(request.query)
        expires, signature = (query.get(name, [""])[0] for name in ("expires", "signature"))
        if request.method not in ("GET", "HEAD"):
            return _refusal(405, "MethodNotAllowed")
        if not self._packages.verify_code_url(sha256, expires, signature):
            return _refusal(403, "AccessDenied")
        try:
            file = await asyncio.to_thread(self._packages.code_blob(sha256).open, "rb")
        except OSError:
            return _refusal(404, "NoSuchKey")
        size = await asyncio.to_thread(file.seek, 0, 2)
        pieces = self._verified(file, sha256)
        headers = [("Content-Type", "application/zip")]
        if size > _PIECE:
            return WireResponse(200, headers, Stream(pieces, size))
        try:
            return WireResponse(200, headers, b"".join([piece async for piece in pieces]))
        except TruncatedStream:
            return _refusal(500, "InternalError")

    async def _verified(self, file: IO[bytes], sha256: str) -> AsyncIterator[bytes]:
        """Yield the package; raises TruncatedStream instead of the last piece if its digest is
        wrong."""
        digest, held = hashlib.sha256(), b""
        try:
            file.seek(0)
            while piece := await asyncio.to_thread(file.read, _PIECE):
                await asyncio.to_thread(digest.update, piece)
                if held:
                    yield held
                held = piece
            if digest.hexdigest() != sha256:
                self._packages.package_damaged(sha256)
                raise TruncatedStream
            yield held
        finally:
            file.close()


def _refusal(status: int, code: str) -> WireResponse:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    return WireResponse(status, [("Content-Type", "application/xml")], body)
