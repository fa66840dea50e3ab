"""Checksums of a blob's blocks, so that a range is verified without the rest.

The checksum is CRC64NVME, eight bytes: enough against chance, not against whoever can write the
file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from boda.core.crc import crc64nvme

BLOCK = 64 * 1024
"""Bytes with a checksum of their own."""

_CRC_BYTES = 8


@dataclass(frozen=True, slots=True)
class Verification:
    """The expected size and checksums of a blob, which are verified as it is read.

    size, crcs: as ``BlobStore.put`` returned them; b"" for an older blob, of which the size alone
    is verified. damaged: makes the exception to raise, from a description of the damage.
    """

    size: int
    crcs: bytes
    damaged: Callable[[str], Exception]


class BlockChecksums:
    """Computes the checksums of a stream's blocks."""

    def __init__(self) -> None:
        self._done = bytearray()
        self._crc = 0
        self._filled = 0

    def update(self, data: bytes) -> None:
        view = memoryview(data)
        at = 0
        while at < len(view):
            part = view[at : at + BLOCK - self._filled]
            self._crc = crc64nvme(part, self._crc)
            self._filled += len(part)
            at += len(part)
            if self._filled == BLOCK:
                self._end()

    def _end(self) -> None:
        self._done += self._crc.to_bytes(_CRC_BYTES, "big")
        self._crc, self._filled = 0, 0

    def crcs(self) -> bytes:
        """Return the checksums of all blocks, after the end; the last block may be shorter."""
        if self._filled:
            self._end()
        return bytes(self._done)


def wrong_block(data: bytes, crcs: bytes, first: int) -> int | None:
    """Return the number of the first block of ``data`` whose checksum is wrong, or None.

    data: whole blocks, except for the blob's last one; first: the number of the first of them.
    """
    view = memoryview(data)
    for at in range(0, len(view), BLOCK):
        number = first + at // BLOCK
        kept = crcs[number * _CRC_BYTES : (number + 1) * _CRC_BYTES]
        if crc64nvme(view[at : at + BLOCK], 0) != int.from_bytes(kept, "big"):
            return number
    return None
