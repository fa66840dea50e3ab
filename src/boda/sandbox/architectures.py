"""The processor architectures whose functions run on this machine.

They are the machine's own and, for custom runtimes, those of programs that the kernel runs with an
emulator: QEMU's user mode, registered with an open file, so that it needs none in a sandbox (the
flag ``F``, as Debian's qemu-user-static registers it). There are no foreign Pythons.
"""

from __future__ import annotations

import platform
import re
from pathlib import Path

from boda.core.errors import AwsError

_NAMES = {"aarch64": "arm64", "arm64": "arm64"}
_EMULATORS = {"arm64": "qemu-aarch64", "x86_64": "qemu-x86_64"}
_REGISTERED = Path("/proc/sys/fs/binfmt_misc")


def own() -> str:
    """Return this machine's architecture, by AWS's name."""
    return _NAMES.get(platform.machine(), "x86_64")


def runs_here(runtime: str, architecture: str, registered: Path = _REGISTERED) -> bool:
    """Whether functions of this runtime and architecture run here."""
    if architecture == own():
        return True
    return runtime.startswith("provided") and _emulated(architecture, registered)


def _emulated(architecture: str, registered: Path) -> bool:
    try:
        said = (registered / _EMULATORS[architecture]).read_text()
    except (OSError, KeyError):
        return False
    flags = re.search(r"^flags: *(\w*)$", said, re.M)
    return said.startswith("enabled") and flags is not None and "F" in flags[1]


def foreign(runtime: str, architecture: str) -> AwsError:
    """Return the error of an invoke of a function whose architecture does not run here."""
    remedy = f"Update its code with Architectures=[{own()}]"
    if runtime.startswith("provided"):
        remedy += ", or install QEMU's user mode (the package qemu-user-static)"
    return AwsError(
        "InvalidRuntimeException",
        f"The function is for {architecture} and this machine is {own()}. {remedy}.",
        502,
        Type="Service",
    )
