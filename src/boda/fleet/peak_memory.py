"""The most memory that the runtime process of an environment has used."""

from __future__ import annotations

import math

from boda.sandbox.contract import Sandbox

_SAMPLE_EVERY_S = 0.02


class PeakMemory:
    """Measures the memory that REPORT shows, of one environment.

    Invocations that follow closely share a measurement, which costs a system call.

    peak_bytes: the highest use seen since the runtime process started, without what the sandbox
    shares with others. image_bytes: the memory that a fork of a template started with. sandbox:
    set once there is one.
    """

    __slots__ = ("_limit_mb", "_sampled_s", "image_bytes", "peak_bytes", "sandbox")

    def __init__(self, limit_mb: int) -> None:
        self._limit_mb = limit_mb
        self._sampled_s = -math.inf
        self.image_bytes = 0
        self.peak_bytes = 0
        self.sandbox: Sandbox | None = None

    def reset(self) -> None:
        """Start over, with a new runtime process in the sandbox."""
        assert self.sandbox is not None
        self.peak_bytes, self._sampled_s = 0, -math.inf
        self.sandbox.reset_peak()

    def measure_mb(self, now_s: float) -> int:
        """Return the highest use so far in MiB, rounded up. now_s: monotonic."""
        sandbox = self.sandbox
        assert sandbox is not None
        if now_s - self._sampled_s > _SAMPLE_EVERY_S:
            self._sampled_s = now_s
            self.peak_bytes = max(self.peak_bytes, sandbox.peak_bytes())
        # The kernel allows a little more than AWS's limit, which is reported as the limit.
        used_bytes = self.image_bytes + sandbox.shared_bytes + self.peak_bytes
        return min(mib(used_bytes), self._limit_mb)


def mib(size_bytes: int) -> int:
    """Convert bytes to MiB, rounded up."""
    return -(-size_bytes // (1 << 20))
