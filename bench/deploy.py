"""`boda deploy` as a developer waits for it: the first time, with nothing changed, with a line
changed; of a function alone and of one that requires numpy."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.host import Boda

ROUNDS = 5
SMALL = "def lambda_handler(event, context):\n    return 'ok'\n"
NUMPY = "import numpy\ndef lambda_handler(event, context):\n    return int(numpy.arange(9).sum())\n"


def run(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = {}
    failures = []
    with Boda(folder / "data") as boda:
        for name, source, requires in (("small", SMALL, ""), ("numpy", NUMPY, "numpy\n")):
            try:
                report[name] = _measure(boda, folder, name, source, requires)
            except subprocess.CalledProcessError as error:  # such as without an index to ask
                print(f"  {name}: {error.stderr.strip()}", flush=True)
                failures.append(name)
    return report | ({"failures": failures} if failures else {})


def _measure(boda: Boda, folder: Path, name: str, source: str, requires: str) -> dict[str, Any]:
    code = folder / name
    code.mkdir()
    if requires:
        (code / "requirements.txt").write_text(requires)
    main = code / "lambda_function.py"
    main.write_text(source)

    def deploy() -> float:
        return _timed(boda, folder, "deploy", str(code), "--memory", "1769")

    first = deploy()
    unchanged = [deploy() for _ in range(ROUNDS)]
    changed, calls = [], []
    for number in range(ROUNDS):
        main.write_text(f"{source}# {number}\n")
        changed.append(deploy())
        begin = time.perf_counter()
        boda.client("lambda").invoke(FunctionName=name)["Payload"].read()
        calls.append(time.perf_counter() - begin)
    return {
        "first_s": round(first, 2),
        "unchanged_s": round(statistics.median(unchanged), 2),
        "changed_s": round(statistics.median(changed), 2),
        "first_call_ms": round(statistics.median(calls) * 1000),
    }


def _timed(boda: Boda, folder: Path, *words: str) -> float:
    dropped = ("AWS_", "BODA_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    environment |= {"BODA_DATA_DIR": str(boda.folder), "XDG_CACHE_HOME": str(folder / "cache")}
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "boda", *words],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return time.perf_counter() - begin
