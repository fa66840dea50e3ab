"""Cyclic redundancy checks: CRC32, CRC32C and CRC64NVME, of bytes at hand, running and combined."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from awscrt import checksums

Value = Callable[[bytes | bytearray | memoryview, int], int]

# Each takes bytes and the value of the bytes before them, 0 at the beginning.
crc32: Value = zlib.crc32
crc32c: Value = checksums.crc32c
crc64nvme: Value = checksums.crc64nvme


@dataclass(frozen=True, slots=True)
class CrcAlgorithm:
    """size: bytes of a value. combine: returns the value of two pieces, given theirs and a size."""

    value: Value
    size: int
    combine: Callable[[int, int, int], int]


ALGORITHMS: Mapping[str, CrcAlgorithm] = {
    "crc32": CrcAlgorithm(crc32, 4, checksums.combine_crc32),
    "crc32c": CrcAlgorithm(crc32c, 4, checksums.combine_crc32c),
    "crc64nvme": CrcAlgorithm(crc64nvme, 8, checksums.combine_crc64nvme),
}


class RunningCrc:
    """A CRC with the interface of a ``hashlib`` hash. algorithm: a key of ALGORITHMS."""

    __slots__ = ("_value", "_value_of", "digest_size")

    def __init__(self, algorithm: str) -> None:
        found = ALGORITHMS[algorithm]
        self._value_of = found.value
        self._value = 0
        self.digest_size = found.size

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._value = self._value_of(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self.digest_size, "big")


def combined(algorithm: str, parts: Iterable[tuple[bytes, int]]) -> bytes:
    """Return the digest of pieces one behind the other, from their digests and sizes in bytes."""
    found = ALGORITHMS[algorithm]
    whole = 0
    for digest, size in parts:
        whole = found.combine(whole, int.from_bytes(digest, "big"), size)
    return whole.to_bytes(found.size, "big")
