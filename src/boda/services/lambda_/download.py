"""Where GetFunction's ``Code.Location`` leads: the package as it was uploaded, by a signed path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import parse_qs

from boda.gateway.service import Stream
from boda.gateway.wire import WireRequest, WireResponse

PREFIX = "/_boda/code/"
_PIECE = 1 << 18


class Packages(Protocol):
    def verify_code_url(self, sha256: str, expires: str, signature: str) -> bool: ...

    def code_blob(self, sha256: str) -> Path: ...


class CodeDownloads:
    """A site of the gateway. The signature in the path is all the permission there is."""

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
        headers = [("Content-Type", "application/zip")]
        return WireResponse(200, headers, Stream(_pieces(file), size))


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    try:
        file.seek(0)
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece
    finally:
        file.close()


def _refusal(status: int, code: str) -> WireResponse:
    body = f"<Error><Code>{code}</Code></Error>".encode()
    return WireResponse(status, [("Content-Type", "application/xml")], body)
