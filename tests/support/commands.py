"""Run `boda` commands as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_cli(
    folder: Path, *words: str, stdin: str | None = None, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BODA_"))}
    return subprocess.run(
        [python, "-m", "boda", *words],
        env=environment | {"BODA_DATA_DIR": str(folder), "COLUMNS": "160"},
        capture_output=True,
        text=True,
        input=stdin,
        timeout=90,
        check=False,
    )
