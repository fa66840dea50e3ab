"""``boda cost``: what ran, and what AWS would have charged for it."""

from __future__ import annotations

from typing import Annotated

import typer

from boda.cli.client import connect
from boda.cli.options import DataDir, Json, data_dir
from boda.cli.output import print_json, print_table


def cost(
    month: Annotated[
        str | None, typer.Option(help="As YYYY-MM; this month by default.", show_default=False)
    ] = None,
    folder: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show requests, milliseconds, GB-seconds and AWS's list price of a month."""
    parameters = {"Month": month} if month else {}
    answer = connect(data_dir(folder)).client("boda").get_cost(**parameters)
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
