"""A command on a terminal of 80 columns, as a user sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path


def on_terminal(folder: Path, *words: str, columns: int = 80, **variables: str) -> tuple[int, str]:
    """Run ``boda`` with the words. Returns its exit code and all that the terminal got."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    dropped = ("AWS_", "BODA_", "COLUMNS", "LINES", "NO_COLOR")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    process = subprocess.Popen(
        [sys.executable, "-m", "boda", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment | {"BODA_DATA_DIR": str(folder), "TERM": "xterm-256color"} | variables,
        start_new_session=True,
    )
    os.close(slave)
    said = b""
    end = time.monotonic() + 60
    try:
        while time.monotonic() < end:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    chunk = os.read(master, 65_536)
                except OSError:  # the terminal's other side is closed
                    break
                if not chunk:
                    break
                said += chunk
        return process.wait(10), said.decode().replace("\r\n", "\n")
    finally:
        process.kill()
        process.wait()
        os.close(master)
