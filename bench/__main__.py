"""Runs the benchmarks, prints a table, and writes `.bench/results.json`.

python -m bench                 everything
python -m bench invoke cold     only these
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import attacks, cold, crash, invoke, many, memory, s3, stages
from bench.peers import ROOT

BENCHES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "invoke": invoke.run,
    "stages": stages.run,
    "cold": cold.run,
    "memory": memory.run,
    "s3": s3.run,
    "many": many.run,
    "crash": crash.run,
    "attacks": attacks.run,
}


def main() -> int:
    chosen = sys.argv[1:] or list(BENCHES)
    unknown = [name for name in chosen if name not in BENCHES]
    if unknown:
        print(f"bench: no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHES)}")
        return 2
    out = ROOT / ".bench"
    out.mkdir(exist_ok=True)
    results: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    for name in chosen:
        folder = Path(tempfile.mkdtemp(prefix=f"boda-bench-{name}-"))
        try:
            print(f"== {name}", flush=True)
            results[name] = BENCHES[name](folder)
            _print(results[name])
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    (out / "results.json").write_text(json.dumps(results, indent=2))
    print(f"written to {(out / 'results.json').relative_to(ROOT)}")
    return 0


def _print(report: dict[str, Any], indent: str = "  ") -> None:
    width = max((len(key) for key in report), default=0)
    for key, value in report.items():
        if isinstance(value, dict):
            text = "   ".join(f"{name} {number}" for name, number in value.items())
        else:
            text = str(value)
        print(f"{indent}{key:<{width}}  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
