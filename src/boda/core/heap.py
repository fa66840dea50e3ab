"""The memory that large requests take goes back to the machine when they have been answered."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE, _SPARE = 1 << 20, 16 << 20


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
