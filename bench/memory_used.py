"""Max Memory Used, as REPORT tells it, beside what the function's process has in memory.

A function for each of some packages, installed for this bench, imports it and does nothing. The
first row is a function without any. ``resident`` is VmRSS of its process, ``own`` the part of that
which it shares with nobody, which is all that a further environment costs this machine.
"""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.host import Boda

# What is imported, and the distribution that it is in where that has another name.
PACKAGES = {
    "requests": "",
    "numpy": "",
    "pandas": "",
    "PIL.Image": "pillow",
    "boto3": "",
    "pydantic": "",
    "sqlalchemy": "",
    "httpx": "",
    "yaml": "pyyaml",
    "jinja2": "",
}
BESIDE_RUNTIME = ("boto3",)
"""Functions find it without bringing it along."""

SOURCE = """
%s
def lambda_handler(event, context):
    with open("/proc/self/status") as file:
        status = file.read()
    with open("/proc/self/smaps_rollup") as file:
        rollup = file.read()
    def kib(text, name):
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))
    return {"resident": kib(status, "VmRSS:"), "own": kib(rollup, "Private_")}
"""


def run(folder: Path) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    with Boda(folder / "data") as boda:
        for module in ("", *PACKAGES):
            packed = folder / (module or "nothing")
            packed.mkdir()
            distribution = PACKAGES.get(module) or module
            if (
                module
                and module not in BESIDE_RUNTIME
                and not _install(boda.runtime(), distribution, packed)
            ):
                failures.append(module)
                continue
            rows.append({"package": distribution or "none", **_measured(boda, module, packed)})
    return {"rows": rows, "failures": failures}


def show(figures: dict[str, Any]) -> None:
    table = Table("package", "Max Memory Used, MB", "resident, MB", "own, MB", box=None)
    for row in figures["rows"]:
        table.add_row(
            row["package"],
            str(row["max_memory_used_mb"]),
            f"{row['resident_mb']:.1f}",
            f"{row['own_mb']:.1f}",
        )
    Console().print(table)


def _install(runtime: str, distribution: str, target: Path) -> bool:
    """Whether it could be, here and now."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--only-binary", ":all:", "--python-version", runtime.removeprefix("python")),
            *("--target", str(target), distribution),
        ],
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def _measured(boda: Boda, module: str, packed: Path) -> dict[str, Any]:
    name = "memory-" + (module or "nothing").replace(".", "-")
    (packed / "lambda_function.py").write_text(SOURCE % (f"import {module}" if module else ""))
    archive = packed.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(packed.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                made.write(path, path.relative_to(packed))
    # By way of S3: some are larger than what may be uploaded directly.
    s3 = boda.client("s3")
    if "memory" not in [each["Name"] for each in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket="memory")
    s3.put_object(Bucket="memory", Key=name, Body=archive.read_bytes())
    boda.function(name, {"S3Bucket": "memory", "S3Key": name}, MemorySize=512, Timeout=60)
    answer = boda.client("lambda").invoke(FunctionName=name, LogType="Tail")
    log = base64.b64decode(answer["LogResult"]).decode()
    found = re.search(r"Max Memory Used: (\d+) MB", log)
    kib = boda.call(name)
    return {
        "max_memory_used_mb": int(found[1]) if found else 0,
        "resident_mb": round(kib["resident"] / 1024, 1),
        "own_mb": round(kib["own"] / 1024, 1),
    }
