"""``boda doctor``: which isolation this machine provides, how to get the rest, and the faults of a
boda that runs on the data folder.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

import typer

from boda.cli.health import health_of
from boda.cli.options import AllowHost, DataDir, Json, NetworkAllow, data_dir, reach_of

EXAMPLES = (
    "boda doctor          exit code 0 if isolation is as promised",
    "boda doctor --json   the same for programs",
)


def doctor(
    folder: DataDir = None,
    network_allow: NetworkAllow = None,
    allow_host: AllowHost = None,
    as_json: Json = False,
) -> None:
    """Say what is enforced here, what is not, and how to get it."""
    from boda.cli.output import print_json, print_table
    from boda.sandbox.doctor.examine import examine
    from boda.sandbox.doctor.findings import SANDBOX, Finding, strong_enough

    place = data_dir(folder)
    reach = reach_of(network_allow, allow_host)
    reasons = _reasons(place)
    # A disk that refuses writes does not affect isolation, which is then tried elsewhere.
    on_disk = any(one.startswith("disk:") for one in reasons)
    try:
        folder_of_it = Path(tempfile.gettempdir()) if on_disk else place
        findings = examine(folder_of_it / "sandbox", reach=reach)
    except OSError as error:
        why = error.strerror or str(error)
        findings = [Finding(SANDBOX, False, missing=why, remedy="free some space")]
    enough = strong_enough(findings)
    if as_json:
        print_json(
            {
                "StrongEnough": enough,
                "Reasons": reasons,
                "Findings": [dataclasses.asdict(one) for one in findings],
            }
        )
    else:
        print_table(
            [
                ("PROMISE", "prose"),
                ("HERE", "text"),
                ("WHAT IS ENFORCED, OR HOW TO GET IT", "prose"),
            ],
            [
                (
                    one.name,
                    "yes" if one.ok else "NO",
                    one.enforced if one.ok else f"{one.missing}; to get it: {one.remedy}",
                )
                for one in findings
            ],
        )
        if enough:
            print("This machine keeps every promise of isolation; `boda up` starts as it is.")
        else:
            print(
                "Isolation is weaker than promised here. `boda up` refuses to start unless told "
                "--isolation process; do so only for code that you trust."
            )
        for reason in reasons:
            print(f"degraded: {reason}")
    raise typer.Exit(0 if enough and not reasons else 1)


def _reasons(place: Path) -> list[str]:
    """Return the faults: those that the boda on the folder reports, and the disk's by trying it."""
    from boda.core.health import sentence
    from boda.storage import disk
    from boda.storage.folder import DataFolder

    reasons = _told(DataFolder(place).written_endpoint())
    if not any(one.startswith("disk:") for one in reasons):
        while not place.is_dir():
            place = place.parent
        why = disk.why_short(place)
        if not why and os.access(place, os.W_OK):
            why = disk.why_unwritable(place)
        if why:
            reasons.append(sentence("disk", why))
    return reasons


def _told(endpoint: str | None) -> list[str]:
    """Return the reasons that a running boda reports; none if none answers."""
    if endpoint is None:
        return []
    found = health_of(endpoint) or {}
    return [str(one) for one in found.get("reasons", [])]
