"""Run `boda` commands as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_cli(
    folder: Path,
    *words: str,
    stdin: str | None = None,
    python: str = sys.executable,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """variables: of the command's environment, in which nothing else is set for AWS or boda."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BODA_"))}
    return subprocess.run(
        [python, "-m", "boda", *words],
        env=environment
        | {"BODA_DATA_DIR": str(folder), "COLUMNS": "160"}
        | {"XDG_CACHE_HOME": str(folder.parent / "cache")}
        | variables,
        capture_output=True,
        text=True,
        input=stdin,
        timeout=90,
        check=False,
    )
