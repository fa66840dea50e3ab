"""``boda cost``: what ran, and what AWS would have charged for it."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from boda.cli.options import DataDir, Json, Region, data_dir

EXAMPLES = (
    "boda cost                  this month",
    "boda cost --month 2026-10",
    "boda cost --json           for programs",
)
_MONTH = re.compile(r"(19[7-9]|2[0-9]{2})[0-9]-(0[1-9]|1[0-2])")


def cost(
    month: Annotated[
        str | None,
        typer.Option(
            metavar="YYYY-MM", help="Such as 2026-11; this month by default.", show_default=False
        ),
    ] = None,
    region: Region = None,
    folder: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show what ran in a month and what AWS charges for it."""
    from boda.cli.client import connect
    from boda.cli.output import print_json, print_table
    from boda.core.errors import PlatformError

    if month is not None and _MONTH.fullmatch(month) is None:
        raise PlatformError(f"--month takes a month like 2026-11, not {month!r}.")
    parameters = {"Month": month} if month else {}
    answer = connect(data_dir(folder), region).client("boda").get_cost(**parameters)
    answer.pop("ResponseMetadata", None)
    if as_json:
        print_json(answer)
        return
    total = {"FunctionName": "total", **answer["Total"]}
    print_table(
        [
            ("FUNCTION", "text"),
            ("REQUESTS", "number"),
            ("ERRORS", "number"),
            ("MS", "number"),
            ("BILLED MS", "number"),
            ("GB-SECONDS", "number"),
            ("AWS USD", "number"),
        ],
        [
            (
                row["FunctionName"],
                f"{row['Requests']:,}",
                f"{row['Errors']:,}",
                f"{row['DurationMs']:,.0f}",
                f"{row['BilledMs']:,}",
                f"{row['GbSeconds']:,.3f}",
                f"{float(row['AwsPriceWithoutFreeTierUsd']):.7f}",
            )
            for row in [*answer["Functions"], total]
        ],
        title=f"Lambda usage in {answer['Month']}",
    )
    print(
        f"AWS would have charged {answer['AwsPriceUsd']} USD after its monthly free tier of "
        f"{answer['FreeTierRequests']:,} requests and {answer['FreeTierGbSeconds']:,.0f} "
        f"GB-seconds ({answer['AwsPriceWithoutFreeTierUsd']} USD without it). boda charges nothing."
    )
