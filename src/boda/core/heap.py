"""Return the memory of large requests to the machine once they are answered."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE, _SPARE = 1 << 20, 16 << 20
_COUNTED, _COLLECTED_AFTER, _WHOLE_ROUNDS = 64 << 10, 64 << 20, 16


def give_back_large() -> None:
    """Let the C library return blocks of more than 1 MiB as soon as they are freed.

    glibc does so from 128 KiB at first, but raises the limit with each block that is freed, up to
    32 MiB; the memory of a burst of large payloads is then kept for ever. Up to 16 MiB of smaller
    blocks may be kept, so that the heap is not cut and extended all the time. With other C
    libraries nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(ctypes.c_int(_M_MMAP_THRESHOLD), ctypes.c_int(_LARGE))
        mallopt(ctypes.c_int(_M_TRIM_THRESHOLD), ctypes.c_int(_SPARE))


class ByteCollector:
    """Collects garbage by the bytes of large payloads, beside Python's count of objects.

    Python counts some thousands of objects between two collections. Payloads that are held by
    cycles of references could take gigabytes in between.

    collect: called with the generation up to which garbage is collected.
    """

    def __init__(self, collect: Callable[[int], object] = gc.collect) -> None:
        self._collect = collect
        self._bytes = 0
        self._rounds = 0

    def passed(self, size: int) -> None:
        """Count a payload that was read whole. size: bytes."""
        if size < _COUNTED:
            return
        self._bytes += size
        if self._bytes >= _COLLECTED_AFTER:
            self._bytes = 0
            self._rounds += 1
            # The oldest generation is collected rarely: that takes long.
            self._collect(1 if self._rounds % _WHOLE_ROUNDS else 2)
