"""``boda doctor``: what isolation this machine gives, and how to get the rest."""

from __future__ import annotations

import dataclasses

import typer

from boda.cli.options import DataDir, Json, data_dir
from boda.cli.output import print_json, print_table


def doctor(folder: DataDir = None, as_json: Json = False) -> None:
    """Say what is enforced here, what is not, and how to get it."""
    from boda.sandbox.doctor import examine
    from boda.sandbox.findings import strong_enough

    findings = examine(data_dir(folder) / "sandbox")
    enough = strong_enough(findings)
    if as_json:
        print_json(
            {"StrongEnough": enough, "Findings": [dataclasses.asdict(one) for one in findings]}
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
    raise typer.Exit(0 if enough else 1)
