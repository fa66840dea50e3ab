"""The memory that large requests take goes back to the machine when they have been answered."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 20


def give_back_large() -> None:
    """For the life of this process: what is larger than 1 MiB is given back as soon as it is free.

    glibc does so from 128 KiB at first, but learns from each that is freed to keep the next, up to
    32 MiB; a burst of large payloads then stays for ever. Elsewhere nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(ctypes.c_int(_M_MMAP_THRESHOLD), ctypes.c_int(_LARGE))
