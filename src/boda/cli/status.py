"""``boda status``: whether the platform runs, where, and how it is."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import typer

from boda.cli.options import DataDir, Json, Region, data_dir

EXAMPLES = (
    "boda status                 exit code 3 if no boda answers",
    "boda status --json",
    "boda status && boda ps",
)
NOT_RUNNING = 3
"""The exit code, as service managers use it."""


def status(region: Region = None, folder: DataDir = None, as_json: Json = False) -> None:
    """Say whether boda runs, where, and how it is."""
    from boda.cli.output import print_json

    found = _status(data_dir(folder), region)
    if as_json:
        print_json(found)
    else:
        for line in _lines(found):
            print(line)
    raise typer.Exit(0 if found["Running"] else NOT_RUNNING)


def _status(place: Path, region: str | None) -> dict[str, Any]:
    """Return the document of ``--json``. Unknown members are absent."""
    from boda.cli.client import connect
    from boda.cli.health import health_of
    from boda.storage.folder import DataFolder

    folder = DataFolder(place)
    elsewhere = all(
        os.environ.get(name)
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    )
    found: dict[str, Any] = {"Running": False}
    if not elsewhere:
        found["DataDir"] = str(place)
        pid = folder.holder()
        if pid is None:
            return found
        found |= {"Pid": pid} if pid else {}
        if folder.address() is None or not folder.has_root_keys():
            return found | {"Status": "starting"}
    connection = connect(place, region)
    found["Endpoint"] = connection.endpoint
    health = health_of(connection.endpoint)
    if health is None:
        return found
    found |= {"Running": True, "Status": health["status"], "Version": health.get("version")}
    found["Reasons"] = health.get("reasons", [])
    found["Isolation"] = health.get("isolation")
    if "Pid" in found:
        found |= _age(found["Pid"])
    rows = connection.client("boda").list_environments()["Environments"]
    found["Environments"] = dict(Counter(row["State"] for row in rows))
    found["MemoryBytes"] = sum(row["MemoryBytes"] for row in rows)
    return found


def _age(pid: int) -> dict[str, float]:
    """Return for how long a process has run, if the machine shows it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return {"UptimeSeconds": round(time.clock_gettime(time.CLOCK_BOOTTIME) - started, 1)}
    except (OSError, ValueError, IndexError):
        return {}


def _lines(found: dict[str, Any]) -> list[str]:
    from boda.cli.output import span

    place = found.get("DataDir") or found.get("Endpoint")
    if not found["Running"]:
        if found.get("Status") == "starting":
            return [f"boda is starting on {place}."]
        if "Pid" in found:
            return [f"boda (process {found['Pid']}) does not answer at {found['Endpoint']}."]
        return [f"No boda runs on {place}; `boda up --detach` starts one."]
    lines = [f"boda {found['Version']} runs at {found['Endpoint']}: {found['Status']}"]
    lines += [f"  {reason}" for reason in found["Reasons"]]
    if "Pid" in found:
        uptime = f", up {span(found['UptimeSeconds'])}" if "UptimeSeconds" in found else ""
        lines.append(f"process       {found['Pid']}{uptime}")
    if "DataDir" in found:
        lines.append(f"data folder   {found['DataDir']}")
    lines.append(f"isolation     {found['Isolation']}")
    states = ", ".join(f"{count} {state}" for state, count in sorted(found["Environments"].items()))
    memory = f" ({found['MemoryBytes'] / 1048576:.0f} MB)" if states else ""
    lines.append(f"environments  {states or 'none'}{memory}")
    return lines
