"""The command line: one file per command, errors as one clear sentence.

This module imports nothing heavy: an interrupt during the imports of the others must not become
a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INTERRUPTED = 130
"""The exit code after SIGINT, as in shells."""


def main() -> None:
    """Run the command in ``sys.argv``; every failure is a sentence on stderr and an exit code."""
    _interrupt_quietly()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    from boda.cli.commands import run

    code = run()
    _interrupt_quietly()  # an event loop restores Python's own handler
    sys.exit(code)


def _interrupt_quietly() -> None:
    """Make SIGINT end the process at once, unless the caller ignores the signal."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block, SIGINT raises KeyboardInterrupt: for commands that have to clean up."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def __getattr__(name: str) -> Any:
    if name == "app":  # for programs that embed the commands
        from boda.cli.commands import app

        return app
    raise AttributeError(name)
