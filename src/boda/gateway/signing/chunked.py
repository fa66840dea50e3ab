"""The ``aws-chunked`` encoding, without I/O: bytes in, content out, trailers at the end.

    size[;chunk-signature=…]\\r\\n content \\r\\n … 0[;chunk-signature=…]\\r\\n
    [name:value\\r\\n … [x-amz-trailer-signature:…\\r\\n]] \\r\\n

Content is returned before its chunk's signature is verified: the consumer must commit only after
``finish``. Source: Amazon S3 API Reference, "Signature calculations … chunked upload".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

from boda.core.errors import AwsError
from boda.gateway.signing.sigv4 import EMPTY_SHA256, ChunkSignatures

MIN_CHUNK_BYTES = 8192
_LINE_BYTES = 1024
_TRAILER_BYTES = 16_384
_TRAILER_SIGNATURE = "x-amz-trailer-signature"
_HEX = frozenset(b"0123456789abcdefABCDEF")


class AwsChunks:
    """Decodes one body.

    decoded_length: the value of ``x-amz-decoded-content-length``. signatures: the chain to verify,
    or None if the payload is unsigned. trailer_names: lower-case names promised by
    ``x-amz-trailer``.
    """

    def __init__(
        self,
        decoded_length: int,
        *,
        signatures: ChunkSignatures | None = None,
        trailer_names: frozenset[str] = frozenset(),
        signed_trailer: bool = False,
    ) -> None:
        self._expected = decoded_length
        self._signatures = signatures
        self._names = trailer_names
        self._signed_trailer = signed_trailer
        self._state: Literal["size", "data", "after", "trailer", "end"] = "size"
        self._line = bytearray()
        self._left = 0
        self._size = 0
        self._index = 0
        self._total = 0
        self._claimed = ""
        self._hash = hashlib.sha256()
        self._trailer_bytes = 0
        self.trailers: dict[str, str] = {}

    def feed(self, data: bytes) -> list[bytes]:
        """Return the content in these bytes. Raises AwsError if they break the encoding or a
        promise."""
        content: list[bytes] = []
        at = 0
        while at < len(data):
            if self._state == "data":
                piece = data[at : at + self._left] if at or self._left < len(data) else data
                at += len(piece)
                self._left -= len(piece)
                if self._signatures is not None:
                    self._hash.update(piece)
                content.append(piece)
                if not self._left:
                    self._state = "after"
                continue
            newline = data.find(b"\n", at)
            end = newline + 1 if newline >= 0 else len(data)
            self._line += data[at:end]
            at = end
            if len(self._line) > _LINE_BYTES:
                raise _incomplete()
            if newline >= 0:
                line = bytes(self._line).rstrip(b"\r\n")
                self._line.clear()
                self._take(line)
        return content

    def finish(self) -> Mapping[str, str]:
        """Return the trailers at the end of the body. Raises AwsError if a part is missing."""
        if self._state == "trailer" and not self._awaited() and not self._line:
            self._close_trailer()
        if self._state != "end" or self._total != self._expected:
            raise _incomplete()
        return self.trailers

    def _take(self, line: bytes) -> None:
        if self._state == "size":
            self._begin_chunk(line)
        elif self._state == "after":
            if line:
                raise _incomplete()
            self._end_chunk()
            self._state = "size"
        elif self._state == "trailer":
            self._take_trailer(line)
        elif line:
            raise _incomplete()

    def _begin_chunk(self, line: bytes) -> None:
        digits, *extensions = line.split(b";")
        digits = digits.strip()
        if not digits or len(digits) > 16 or not _HEX.issuperset(digits):
            raise _incomplete()
        if self._index and 0 < self._size < MIN_CHUNK_BYTES and int(digits, 16):
            raise AwsError(
                "InvalidChunkSizeError",
                "Only the last chunk is allowed to have a size less than 8192 bytes",
                403,
                Chunk=str(self._index),
                BadChunkSize=str(self._size),
            )
        self._size = self._left = int(digits, 16)
        self._index += 1
        self._total += self._size
        if self._total > self._expected:
            raise _incomplete()
        if self._signatures is not None:
            self._claimed = _extension(extensions, b"chunk-signature")
            self._hash = hashlib.sha256()
        if self._size:
            self._state = "data"
            return
        self._end_chunk()
        self._state = "trailer"

    def _end_chunk(self) -> None:
        if self._signatures is None:
            return
        digest = self._hash.hexdigest() if self._size else EMPTY_SHA256
        if not self._signatures.chunk(digest, self._claimed):
            raise _unsigned()

    def _awaited(self) -> bool:
        """Return whether a promised trailing header has not come yet."""
        if not self._names <= self.trailers.keys():
            return True
        return self._signed_trailer and _TRAILER_SIGNATURE not in self.trailers

    def _take_trailer(self, line: bytes) -> None:
        if not line:
            # A signed trailer may have an empty line before its signature.
            if self._awaited() and (self.trailers or not self._names):
                return
            self._close_trailer()
            return
        self._trailer_bytes += len(line)
        name, colon, value = line.decode("latin-1").partition(":")
        name = name.strip().lower()
        known = name in self._names or (self._signed_trailer and name == _TRAILER_SIGNATURE)
        if not colon or not known or name in self.trailers or self._trailer_bytes > _TRAILER_BYTES:
            raise _malformed_trailer()
        self.trailers[name] = value.strip()

    def _close_trailer(self) -> None:
        if self._awaited():
            raise _malformed_trailer()
        claimed = self.trailers.pop(_TRAILER_SIGNATURE, "")
        if self._signed_trailer and self._signatures is not None:
            lines = "".join(f"{name}:{self.trailers[name]}\n" for name in sorted(self.trailers))
            if not self._signatures.trailer(hashlib.sha256(lines.encode()).hexdigest(), claimed):
                raise _unsigned()
        self._state = "end"


def _extension(extensions: list[bytes], wanted: bytes) -> str:
    for extension in extensions:
        name, _, value = extension.partition(b"=")
        if name.strip() == wanted:
            return value.strip().decode("latin-1")
    raise _unsigned()


def _incomplete() -> AwsError:
    return AwsError("IncompleteBody", "The request body terminated unexpectedly", 400)


def _malformed_trailer() -> AwsError:
    return AwsError(
        "MalformedTrailerError",
        "The request contained trailing data that was not well-formed or did not conform to our "
        "published schema.",
        400,
    )


def _unsigned() -> AwsError:
    return AwsError(
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check "
        "your key and signing method.",
        403,
    )
