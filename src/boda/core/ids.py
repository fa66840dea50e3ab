"""Identifiers that never collide, from a source of chance given by constructor."""

from __future__ import annotations

import os
import random

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class Ids:
    """Makes identifiers. A seed gives the same ones again, for tests and simulation."""

    def __init__(self, seed: int | None = None) -> None:
        self._random: random.Random | None = random.Random(seed) if seed is not None else None
        self._pool = b""
        self._offset = 0
        self._digits = ""
        self._digits_offset = 0

    def bytes(self, count: int) -> bytes:
        if self._random is not None:
            return self._random.randbytes(count)
        if count > 256:
            return os.urandom(count)
        # One system call serves many identifiers: request ids are made on the hot path.
        if self._offset + count > len(self._pool):
            self._pool = os.urandom(4096)
            self._offset = 0
        chunk = self._pool[self._offset : self._offset + count]
        self._offset += count
        return chunk

    def uuid(self) -> str:
        """Return a version 4 UUID in its usual form."""
        # Put together by hand: the uuid module takes five times as long, on every request.
        digits = self.hex(32)
        variant = "89ab"[int(digits[16], 16) & 3]
        return (
            f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
        )

    def hex(self, digits: int) -> str:
        """Return so many lower-case hexadecimal digits."""
        if self._random is not None or digits > 512:
            return self.bytes((digits + 1) // 2).hex()[:digits]
        begin = self._digits_offset
        end = begin + digits
        if end > len(self._digits):
            self._digits = os.urandom(4096).hex()
            begin, end = 0, digits
        self._digits_offset = end
        return self._digits[begin:end]

    def base32(self, length: int) -> str:
        """Return so many characters of A-Z and 2-7, as in access key ids and IAM unique ids."""
        return "".join(_ALPHABET[byte & 31] for byte in self.bytes(length))
