"""Checksums as S3 computes them.

An object has one MD5 (its ETag) and one checksum, by default CRC64NVME. A multipart object's
checksum is either FULL_OBJECT (the parts' CRCs combined: as if computed over the whole) or
COMPOSITE (the checksum of the parts' checksums, with ``-N``).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from boda.core import crc
from boda.core.errors import AwsError
from boda.services.s3 import errors

DEFAULT = "CRC64NVME"
FULL_OBJECT = "FULL_OBJECT"
COMPOSITE = "COMPOSITE"

_BYTES = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}
ALGORITHMS = tuple(sorted(_BYTES))
_HEADER = "x-amz-checksum-"


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


def hasher(algorithm: str) -> Hash:
    match algorithm:
        case "SHA1":
            return hashlib.sha1(usedforsecurity=False)
        case "SHA256":
            return hashlib.sha256()
        case _:
            return crc.RunningCrc(algorithm.lower())


def of(algorithm: str, data: bytes) -> bytes:
    """Return the checksum of bytes in memory."""
    found = hasher(algorithm)
    found.update(data)
    return found.digest()


class Digest:
    """Computes MD5 and the wanted checksums of a stream of bytes, in one pass."""

    def __init__(self, algorithms: Iterable[str] = ()) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._others = {name: hasher(name) for name in algorithms}

    def update(self, data: bytes) -> None:
        self._md5.update(data)
        for other in self._others.values():
            other.update(data)

    @property
    def md5(self) -> bytes:
        return self._md5.digest()

    @property
    def etag(self) -> str:
        return self._md5.hexdigest()

    def checksum(self, algorithm: str) -> str:
        """Return a checksum in base64, as in headers."""
        return encode(self._others[algorithm].digest())


@dataclass(frozen=True, slots=True)
class ObjectChecksum:
    """An object's checksum. value: base64, with ``-N`` behind it if composite."""

    algorithm: str
    value: str
    type: str = FULL_OBJECT

    def members(self) -> dict[str, str]:
        """Return it as output members."""
        return {f"Checksum{self.algorithm}": self.value, "ChecksumType": self.type}


@dataclass(frozen=True, slots=True)
class ClaimedChecksum:
    """The checksum that the caller announces: a value now, or one that a trailer will bring."""

    algorithm: str
    value: str = ""
    trailer: bool = field(default=False)

    def check(self, found: str, trailers: Mapping[str, str]) -> None:
        said = trailers.get(_HEADER + self.algorithm.lower(), "") if self.trailer else self.value
        if said and said != found:
            raise AwsError(
                "BadDigest",
                f"The {self.algorithm} you specified did not match the calculated checksum.",
            )


def claim_of(given: Mapping[str, str | None], headers: Mapping[str, str]) -> ClaimedChecksum | None:
    """Return the checksum a request announces.

    given: header values by algorithm; headers: the request's, for ``x-amz-trailer``.
    """
    said = [(name, value) for name, value in given.items() if value]
    if len(said) > 1:
        raise errors.invalid_request(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    if said:
        algorithm, value = said[0]
        check_form(algorithm, value)
        return ClaimedChecksum(algorithm, value)
    for name in headers.get("x-amz-trailer", "").lower().split(","):
        algorithm = name.strip().removeprefix(_HEADER).upper()
        if algorithm in _BYTES:
            return ClaimedChecksum(algorithm, trailer=True)
    return None


def check_form(algorithm: str, value: str) -> None:
    raw = decode(value)
    if raw is None or len(raw) != _BYTES[algorithm]:
        raise errors.invalid_request(
            f"Value for x-amz-checksum-{algorithm.lower()} header is invalid."
        )


def check_md5(content_md5: str | None, digest: Digest) -> None:
    """Compare the ``Content-MD5`` header with the received bytes. Raises AwsError."""
    if content_md5 is None:
        return
    said = decode(content_md5)
    if said is None or len(said) != 16:
        raise AwsError("InvalidDigest", "The Content-MD5 you specified was invalid.")
    if said != digest.md5:
        raise AwsError(
            "BadDigest",
            "The Content-MD5 you specified did not match what we received.",
            ExpectedDigest=said.hex(),
            CalculatedDigest=encode(digest.md5),
        )


def check_algorithm(algorithm: str) -> str:
    if algorithm.upper() not in _BYTES:
        raise errors.invalid_request(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid "
            f"types: [{', '.join(ALGORITHMS)}]"
        )
    return algorithm.upper()


def multipart_type(algorithm: str, wanted: str | None) -> str:
    """Return the checksum type of an upload: the wanted one, if the algorithm supports it."""
    full_only = algorithm == "CRC64NVME"
    composite_only = algorithm in ("SHA1", "SHA256")
    chosen = wanted or (FULL_OBJECT if full_only else COMPOSITE)
    if chosen not in (FULL_OBJECT, COMPOSITE):
        raise errors.invalid_request("Value for x-amz-checksum-type header is invalid.")
    if (chosen == COMPOSITE and full_only) or (chosen == FULL_OBJECT and composite_only):
        raise errors.invalid_request(
            f"The {chosen} checksum type cannot be used with the {algorithm.lower()} checksum "
            "algorithm."
        )
    return chosen


def composite(algorithm: str, parts: Sequence[str]) -> str:
    """Return the checksum of the parts' checksums, base64 with ``-N``."""
    whole = hasher(algorithm)
    for part in parts:
        whole.update(base64.b64decode(part))
    return f"{encode(whole.digest())}-{len(parts)}"


def combined(algorithm: str, parts: Sequence[tuple[str, int]]) -> str:
    """Return the checksum of the whole from the parts' (checksum, size in bytes)."""
    digests = ((base64.b64decode(part), size) for part, size in parts)
    return encode(crc.combined(algorithm.lower(), digests))


def multipart_etag(parts: Sequence[str]) -> str:
    """Return the MD5 of the parts' MD5s, with ``-N``. parts: hexadecimal."""
    whole = hashlib.md5(b"".join(bytes.fromhex(part) for part in parts), usedforsecurity=False)
    return f"{whole.hexdigest()}-{len(parts)}"


def encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
