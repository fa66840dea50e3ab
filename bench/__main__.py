"""Runs the benchmarks, prints tables, and writes `.bench/results.json`.

python -m bench                 everything
python -m bench invoke cold     only these

A part that fails is told, the rest goes on, and the exit code is 1. The figures of parts that are
not run again stay in the file, each with the time of its own run.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

# Each is a module beside this one with ``run(folder) -> dict``, and ``show(report)`` where its
# figures are better read in a form of their own. What stands under ``failures`` of the figures
# could not be measured.
PARTS = (
    "compare",
    "invoke",
    "stages",
    "gateway",
    "cold",
    "burst",
    "deploy",
    "idle",
    "memory",
    "memory_used",
    "s3",
    "listing",
    "async",
    "backlog",
    "many",
    "crash",
    "again",
    "backup",
    "attacks",
    "health",
)

MODULES = {"async": "delivery"}
"""Parts whose module has another name: this one is a keyword."""


def main(chosen: list[str], *, package: str = "bench", out: Path = ROOT / ".bench") -> int:
    """0 when every chosen part gave its figures, 1 when one failed, 2 for an unknown name."""
    chosen = chosen or list(PARTS)
    unknown = [name for name in chosen if name not in PARTS]
    if unknown:
        print(f"bench: no such benchmark: {', '.join(unknown)}; there are {', '.join(PARTS)}")
        return 2
    out.mkdir(exist_ok=True)
    file = out / "results.json"
    results = _earlier(file)
    failed: list[str] = []
    begin = time.monotonic()
    for name in chosen:
        print(f"== {name}", flush=True)
        part = _run(f"{package}.{MODULES.get(name, name)}")
        results["parts"][name] = part
        if "failed" in part:
            failed.append(name)
        _write(file, results)
    print(f"written to {file}; {_took(time.monotonic() - begin)} in all")
    if failed:
        print(f"bench: FAILED: {', '.join(failed)}")
    return 1 if failed else 0


def _run(module_name: str) -> dict[str, Any]:
    """One part: when, how long, where, and its figures or why there are none."""
    folder = Path(tempfile.mkdtemp(prefix=f"boda-bench-{module_name.rpartition('.')[2]}-"))
    part: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load_before": round(os.getloadavg()[0], 2),
        },
    }
    begin = time.monotonic()
    try:
        module = importlib.import_module(module_name)
        part["figures"] = module.run(folder)
        getattr(module, "show", show)(part["figures"])
        if part["figures"].get("failures"):
            part["failed"] = "without " + ", ".join(part["figures"]["failures"])
    except Exception as error:
        part["failed"] = f"{type(error).__name__}: {error}"
        traceback.print_exc(file=sys.stdout)
    finally:
        part["seconds"] = round(time.monotonic() - begin, 1)
        shutil.rmtree(folder, ignore_errors=True)
    print(f"  {'FAILED after ' if 'failed' in part else ''}{_took(part['seconds'])}", flush=True)
    return part


def _earlier(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        found = {}
    return found if isinstance(found.get("parts"), dict) else {"parts": {}}


def _write(file: Path, results: dict[str, Any]) -> None:
    """Whole or not at all, after each part: an interrupted run keeps what it measured."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps(results, indent=2) + "\n")
    new.replace(file)


def _took(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def show(report: dict[str, Any], indent: str = "  ") -> None:
    width = max((len(key) for key in report), default=0)
    for key, value in report.items():
        if isinstance(value, dict):
            text = "   ".join(f"{name} {number}" for name, number in value.items())
        else:
            text = str(value)
        print(f"{indent}{key:<{width}}  {text}", flush=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # Asked to end, it unwinds like any program: servers are stopped and folders removed.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nbench: interrupted")
        sys.exit(130)
