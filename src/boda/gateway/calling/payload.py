"""The payload of a request: its part in the signature, and how it is received.

An operation with a streamed input gets its body while it arrives if its service streams; every
other operation gets it whole, bounded by its rule, when it is read (``receive``). ``aws-chunked``
is decoded here, and all of the client's digests and lengths are checked, so that operations need
not.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from boda.core.errors import AwsError, not_implemented
from boda.gateway.calling.bodies import BytesBody, StreamedBody
from boda.gateway.calling.checksums import (
    Check,
    ContentMd5,
    ContentSha256,
    checks_of,
    content_sha256_mismatch,
    is_sha256,
    missing_digest,
)
from boda.gateway.calling.exchange import Exchange
from boda.gateway.calling.installed_service import body_rule
from boda.gateway.http.body import Inbound
from boda.gateway.http.limits import BodyRule, Limits, too_large_upload
from boda.gateway.signing import sigv4
from boda.gateway.signing.chunked import AwsChunks
from boda.gateway.signing.claim import Claim

_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_OF_NOTHING = ("", sigv4.UNSIGNED, sigv4.EMPTY_SHA256)
_HASHED_IN_A_THREAD = 1024 * 1024
_CHUNKED = (_SIGNED, _SIGNED_TRAILER, _UNSIGNED_TRAILER)


def declared(x: Exchange, claim: Claim) -> str | None:
    """Return the payload's part of the string to sign, if it is known without the payload."""
    content = x.signed.headers.get("x-amz-content-sha256")
    if x.dialect.signatures.hash_in_header:
        if claim.signatory.presigned:
            signed = content is not None and "x-amz-content-sha256" in claim.signatory.signed
            return content if signed else sigv4.UNSIGNED
        if content is None:
            raise AwsError(
                "InvalidRequest",
                "Missing required header for this request: x-amz-content-sha256",
                400,
            )
        if (
            content != sigv4.UNSIGNED
            and not content.startswith("STREAMING-")
            and not is_sha256(content)
        ):
            raise _bad_content_sha256(content)
        return content
    if content is not None and (is_sha256(content) or content in _CHUNKED):
        return content
    if x.offered is not None and x.offered.unsigned_payload and content == sigv4.UNSIGNED:
        return content
    return sigv4.EMPTY_SHA256 if x.inbound.empty else None


def received(x: Exchange) -> bytes:
    """Return the payload of a request that was received whole."""
    body = x.request.body
    if isinstance(body, BytesBody):
        return body.data
    assert isinstance(body, bytes)
    return body


class Payloads:
    """limits: sizes. checked: False (open mode) allows a body to differ from its signed hash."""

    def __init__(self, limits: Limits, *, checked: bool) -> None:
        self._limits = limits
        self._checked = checked

    def take(self, x: Exchange, chain: sigv4.ChunkSignatures | None) -> None:
        """Make the body ready without reading it: as a StreamingBody for an operation that streams
        it, else as ``x.arriving`` for ``receive``.

        chain: continues the request's signature over its chunks; None if there is none.
        """
        content = x.request.headers.get("x-amz-content-sha256", "")
        if content and (content in _CHUNKED or content.startswith("STREAMING-")):
            self._take_chunked(x, content, chain)
        elif x.dialect.bodies.streamed:
            self._take_checked(x, content)
        elif content and self._checked and is_sha256(content):
            x.arriving = partial(_checked, x.inbound, self._rule(x), content)
        else:
            x.arriving = partial(_whole, x.inbound, self._rule(x))

    def give(self, x: Exchange, body: bytes) -> bool:
        """Do the same for a body that is in memory, whole, and verified against the signed digest,
        if any; for a service that streams, one that the request's ``inbound`` gives.

        Return False if it is larger than allowed.
        """
        if x.dialect.bodies.streamed:
            self.take(x, None)
            return True
        if len(body) > self._rule(x).limit:
            return False
        streams = x.offered is not None and x.offered.streams
        x.request.body = BytesBody(body) if streams else body
        return True

    async def receive(self, x: Exchange) -> None:
        """Read the body of an operation that takes it whole, unless it has been read."""
        arriving = x.arriving
        if arriving is None:
            return
        x.arriving = None
        data = await arriving()
        streams = x.offered is not None and x.offered.streams
        x.request.body = BytesBody(data) if streams else data

    def whole(self, inbound: Inbound) -> StreamedBody:
        """Return a body undecoded, for a site."""
        return self._upload(inbound, inbound.announced if not inbound.empty else 0, None, ())

    def _take_checked(self, x: Exchange, content: str) -> None:
        if x.offered is None:
            # It will be refused; the client need not send it.
            return
        if not x.offered.streams:
            if (
                x.inbound.empty
                and content in _OF_NOTHING
                and not x.offered.checks
                and "content-md5" not in x.request.headers
            ):
                return  # nothing comes, and nothing was declared
            x.arriving = partial(self._receive_checked, x, content)
            return
        checks = self._checks(x, content, frozenset())
        announced = _upload_length(x.request.headers, x.inbound)
        x.request.body = self._upload(x.inbound, announced, None, checks)

    async def _receive_checked(self, x: Exchange, content: str) -> bytes:
        checks = self._checks(x, content, frozenset())
        if not checks:
            return await _whole(x.inbound, self._rule(x))
        length = 0 if x.inbound.empty else x.inbound.announced
        return await self._bounded(x, length, None, checks)

    def _take_chunked(self, x: Exchange, content: str, chain: sigv4.ChunkSignatures | None) -> None:
        if content not in _CHUNKED:
            if "ECDSA" in content:
                raise not_implemented("signing", content, "SigV4A")
            raise _bad_content_sha256(content)
        headers = dict(x.request.headers)
        text = headers.get("x-amz-decoded-content-length", "")
        if not (text.isascii() and text.isdecimal() and len(text) < 19):
            raise AwsError(
                "MissingContentLength", "You must provide the Content-Length HTTP header.", 411
            )
        length = int(text)
        names = frozenset(
            name.strip().lower()
            for name in headers.get("x-amz-trailer", "").split(",")
            if name.strip() and content != _SIGNED
        )
        chunks = AwsChunks(
            length,
            signatures=chain if content != _UNSIGNED_TRAILER else None,
            trailer_names=names,
            signed_trailer=content == _SIGNED_TRAILER,
        )
        checks = self._checks(x, "", names)
        _remove_aws_chunked(headers)
        headers["content-length"] = text
        x.request = replace(x.request, headers=headers)
        if x.offered is not None and x.offered.streams and x.dialect.bodies.streamed:
            x.request.body = self._upload(x.inbound, length, chunks, checks)
            return
        x.arriving = partial(self._bounded, x, length, chunks, checks)

    def _upload(
        self,
        inbound: Inbound,
        length: int | None,
        chunks: AwsChunks | None,
        checks: Sequence[Check],
    ) -> StreamedBody:
        limit = self._limits.stream_bytes
        return StreamedBody(
            inbound,
            length=length,
            limit=limit,
            too_large=lambda size: too_large_upload(size, limit),
            chunks=chunks,
            checks=checks,
        )

    async def _bounded(
        self,
        x: Exchange,
        length: int | None,
        chunks: AwsChunks | None,
        checks: Sequence[Check],
    ) -> bytes:
        rule = self._rule(x)
        body = StreamedBody(
            x.inbound,
            length=length,
            limit=rule.limit,
            too_large=lambda _size: rule.error(),
            chunks=chunks,
            checks=checks,
        )
        return await body.read()

    def _rule(self, x: Exchange) -> BodyRule:
        if x.offered is not None:
            return x.offered.rule
        return body_rule(x.dialect.bodies, x.route.operation, self._limits)

    @staticmethod
    def _checks(x: Exchange, content: str, trailers: frozenset[str]) -> list[Check]:
        headers = x.request.headers
        checks: list[Check] = []
        if is_sha256(content) and not (x.inbound.empty and content == sigv4.EMPTY_SHA256):
            checks.append(ContentSha256(content))
        if "content-md5" in headers:
            checks.append(ContentMd5(headers["content-md5"]))
        if x.offered is not None and x.offered.checks:
            found = checks_of(headers, trailers)
            if x.offered.digest_required and not found and "content-md5" not in headers:
                raise missing_digest()
            checks += found
        return checks


async def sha256_of(data: bytes) -> str:
    """Return the digest in hexadecimal; of large data, computed off the event loop."""
    if len(data) > _HASHED_IN_A_THREAD:
        return await asyncio.to_thread(_sha256, data)
    return _sha256(data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def _whole(inbound: Inbound, rule: BodyRule) -> bytes:
    return await inbound.read(rule.limit, lambda _size: rule.error())


async def _checked(inbound: Inbound, rule: BodyRule, content: str) -> bytes:
    data = await _whole(inbound, rule)
    computed = await sha256_of(data)
    if computed != content:
        raise content_sha256_mismatch(content, computed)
    return data


def _upload_length(headers: Mapping[str, str], inbound: Inbound) -> int:
    if inbound.announced is not None:
        return inbound.announced
    if "transfer-encoding" in headers:
        raise AwsError(
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
            501,
            Header="Transfer-Encoding",
        )
    raise AwsError("MissingContentLength", "You must provide the Content-Length HTTP header.", 411)


def _remove_aws_chunked(headers: dict[str, str]) -> None:
    """Remove the encoding of the transfer from that of the content."""
    encodings = [one.strip() for one in headers.pop("content-encoding", "").split(",")]
    kept = [one for one in encodings if one and one.lower() != "aws-chunked"]
    if kept:
        headers["content-encoding"] = ",".join(kept)


def _bad_content_sha256(content: str) -> AwsError:
    return AwsError(
        "InvalidArgument",
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, or a "
        "valid sha256 value.",
        400,
        ArgumentName="x-amz-content-sha256",
        ArgumentValue=content[:128],
    )
