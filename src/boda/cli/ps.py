"""``boda ps``: the execution environments."""

from __future__ import annotations

from boda.cli.options import DataDir, Json, Region, data_dir

EXAMPLES = (
    "boda ps          every execution environment",
    "boda ps --json   the same for programs",
)


def ps(region: Region = None, folder: DataDir = None, as_json: Json = False) -> None:
    """List execution environments: state, memory, age, invocations."""
    from boda.cli.client import connect
    from boda.cli.output import print_json, print_table, span

    found = connect(data_dir(folder), region).client("boda").list_environments()["Environments"]
    if as_json:
        print_json(found)
        return
    if not found:
        print("No execution environments: every function sleeps.")
        return
    print_table(
        [
            ("ID", "text"),
            ("FUNCTION", "text"),
            ("VERSION", "text"),
            ("STATE", "text"),
            ("MEMORY MB", "number"),
            ("AGE", "number"),
            ("INVOCATIONS", "number"),
        ],
        [
            (
                row["EnvironmentId"][:8],
                row["FunctionName"],
                row["Version"],
                row["State"],
                f"{row['MemoryBytes'] / 1048576:.0f} of {row['MemoryLimitMb']}",
                span(row["AgeSeconds"]),
                str(row["Invocations"]),
            )
            for row in found
        ],
    )
