"""Checks of a body's content, fed while it passes and decided at its end.

Sources: S3 User Guide, "Checking object integrity"; the error texts are S3's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from boda.core import crc
from boda.core.errors import AwsError, not_implemented

PREFIX = "x-amz-checksum-"
_NOT_ALGORITHMS = frozenset(("algorithm", "type", "mode"))
_MARKS = frozenset("0123456789abcdef")


class Check(Protocol):
    """One condition on a body."""

    def update(self, data: bytes) -> None: ...

    def finish(self, trailers: Mapping[str, str]) -> None:
        """Decide at the end of the body. Raises AwsError if the condition does not hold."""


class ContentSha256:
    """``x-amz-content-sha256`` with a literal hash."""

    def __init__(self, expected: str) -> None:
        self._expected = expected
        self._hash = hashlib.sha256()

    def update(self, data: bytes) -> None:
        self._hash.update(data)

    def finish(self, trailers: Mapping[str, str]) -> None:
        computed = self._hash.hexdigest()
        if computed != self._expected:
            raise content_sha256_mismatch(self._expected, computed)


class ContentMd5:
    """The ``Content-MD5`` header. Raises AwsError InvalidDigest if it is malformed."""

    def __init__(self, header: str) -> None:
        digest = _decoded(header)
        fields: dict[str, Any] = {"Content-MD5": header}
        if digest is None or len(digest) != 16:
            raise AwsError(
                "InvalidDigest",
                "The Content-MD5 you specified was invalid.",
                400,
                **fields,
            )
        self._expected = digest
        self._hash = hashlib.md5(usedforsecurity=False)

    def update(self, data: bytes) -> None:
        self._hash.update(data)

    def finish(self, trailers: Mapping[str, str]) -> None:
        if self._hash.digest() != self._expected:
            raise AwsError(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                400,
                ExpectedDigest=self._expected.hex(),
                CalculatedDigest=base64.b64encode(self._hash.digest()).decode(),
            )


class RequestChecksum:
    """An ``x-amz-checksum-…``, given in a header or promised in a trailer.

    expected: the header's value; None if a trailer brings it.
    """

    def __init__(self, algorithm: str, expected: str | None) -> None:
        maker = _ALGORITHMS.get(algorithm)
        if maker is None:
            raise AwsError(
                "InvalidRequest",
                "Checksum algorithm provided is unsupported. Please try again with any of the "
                "valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
                400,
            )
        self._name = algorithm
        self._running = maker()
        if expected is not None:
            self._check_form(expected)
        self._expected = expected

    def update(self, data: bytes) -> None:
        self._running.update(data)

    def finish(self, trailers: Mapping[str, str]) -> None:
        expected = self._expected
        if expected is None:
            expected = trailers[PREFIX + self._name]
            self._check_form(expected)
        if _decoded(expected) != self._running.digest():
            raise AwsError(
                "BadDigest",
                f"The {self._name.upper()} you specified did not match the calculated checksum.",
                400,
            )

    def _check_form(self, value: str) -> None:
        digest = _decoded(value)
        if digest is None or len(digest) != self._running.digest_size:
            raise AwsError(
                "InvalidRequest", f"Value for {PREFIX}{self._name} header is invalid.", 400
            )


def checks_of(headers: Mapping[str, str], trailer_names: frozenset[str]) -> list[Check]:
    """Return the checks of headers and promised trailers. Raises AwsError if they are malformed.

    Only for operations whose model has checksums of the body: elsewhere (CompleteMultipartUpload)
    the same headers have another meaning.
    """
    checks: list[Check] = []
    named: list[tuple[str, str | None]] = []
    for name, value in headers.items():
        if name.startswith(PREFIX) and name[len(PREFIX) :] not in _NOT_ALGORITHMS:
            named.append((name[len(PREFIX) :], value))
    for name in trailer_names:
        if name.startswith(PREFIX):
            named.append((name[len(PREFIX) :], None))
    if len(named) > 1:
        raise AwsError(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            400,
        )
    declared = headers.get("x-amz-sdk-checksum-algorithm")
    if declared and declared.upper() != "MD5":
        if not named and "content-md5" not in headers:
            raise AwsError(
                "InvalidRequest",
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* "
                "or x-amz-trailer headers were found.",
                400,
            )
        if named and named[0][0] != declared.lower():
            raise AwsError(
                "InvalidRequest",
                "Value for x-amz-sdk-checksum-algorithm header is invalid.",
                400,
            )
    for algorithm, expected in named:
        if algorithm.startswith("xxhash"):
            raise not_implemented("checksum", algorithm.upper())
        checks.append(RequestChecksum(algorithm, expected))
    return checks


def content_sha256_mismatch(claimed: str, computed: str) -> AwsError:
    return AwsError(
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
        400,
        ClientComputedContentSHA256=claimed,
        S3ComputedContentSHA256=computed,
    )


def is_sha256(text: str) -> bool:
    """Return whether a text is 64 lower-case hexadecimal digits."""
    return len(text) == 64 and _MARKS.issuperset(text)


_ALGORITHMS: Mapping[str, Callable[[], Any]] = {
    **{name: partial(crc.RunningCrc, name) for name in crc.ALGORITHMS},
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
}


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def missing_digest() -> AwsError:
    """Return the refusal of a request that must not be changed on its way and has no digest."""
    return AwsError(
        "InvalidRequest",
        "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        400,
    )
