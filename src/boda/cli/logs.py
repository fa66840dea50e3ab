"""``boda logs``: what a function wrote."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Annotated, Any

import typer

from boda.cli.client import connect
from boda.cli.options import DataDir, Json, data_dir
from boda.cli.output import print_json


def logs(
    name: Annotated[str, typer.Argument(help="Name of the function.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    since: Annotated[int, typer.Option(help="So many minutes back.", min=1)] = 60,
    folder: DataDir = None,
    as_json: Json = False,
) -> None:
    """Print a function's log."""
    connection = connect(data_dir(folder))
    group = _group(connection.client("lambda"), name)
    client = connection.client("logs")
    start = int((time.time() - since * 60) * 1000)
    seen: set[str] = set()
    while True:
        newest = start
        for event in _events(client, group, start):
            if event["eventId"] in seen:
                continue
            seen.add(event["eventId"])
            newest = max(newest, event["timestamp"])
            if as_json:
                print_json(event)
            else:
                print(event["message"].rstrip("\n"), flush=True)
        if not follow:
            if not seen:
                print(f"{name} has logged nothing in the last {since} min.", file=sys.stderr)
            return
        # Keep a little overlap: a batch may arrive behind events with a later time.
        start = max(start, newest - 10_000)
        if len(seen) > 200_000:
            seen.clear()
            start = newest + 1
        time.sleep(0.5)


def _group(client: Any, name: str) -> str:
    found = client.get_function_configuration(FunctionName=name)
    return str(found["LoggingConfig"]["LogGroup"])


def _events(client: Any, group: str, start: int) -> Any:
    # The group is made with the first line.
    with contextlib.suppress(client.exceptions.ResourceNotFoundException):
        for page in client.get_paginator("filter_log_events").paginate(
            logGroupName=group, startTime=start
        ):
            yield from page["events"]
