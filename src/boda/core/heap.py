"""The memory that large requests take goes back to the machine when they have been answered."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE, _SPARE = 1 << 20, 16 << 20
_COUNTED, _COLLECTED_AFTER, _WHOLE_ROUNDS = 64 << 10, 64 << 20, 16


def give_back_large() -> None:
    """For the life of this process: what is larger than 1 MiB is given back as soon as it is free.

    glibc does so from 128 KiB at first, but learns from each that is freed to keep the next, up to
    32 MiB; a burst of large payloads then stays for ever. Of what is smaller, 16 MiB may be kept:
    without that, the heap would be cut and made longer again all the time. Elsewhere nothing is
    done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(ctypes.c_int(_M_MMAP_THRESHOLD), ctypes.c_int(_LARGE))
        mallopt(ctypes.c_int(_M_TRIM_THRESHOLD), ctypes.c_int(_SPARE))


class ByteCollector:
    """Collects garbage by the bytes of large payloads, beside Python's count of objects.

    Some thousands of objects may pass between two collections of Python's own. Were large payloads
    ever kept by cycles of references, gigabytes would.

    collect: called with the generation up to which garbage is to be looked for.
    """

    def __init__(self, collect: Callable[[int], object] = gc.collect) -> None:
        self._collect = collect
        self._bytes = 0
        self._rounds = 0

    def passed(self, size: int) -> None:
        """Called with the size of a payload that was read whole."""
        if size < _COUNTED:
            return
        self._bytes += size
        if self._bytes >= _COLLECTED_AFTER:
            self._bytes = 0
            self._rounds += 1
            # What outlived two collections is looked at rarely: that takes long.
            self._collect(1 if self._rounds % _WHOLE_ROUNDS else 2)
