"""``boda logs``: a function's output."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from boda.cli.invoke import error_lines
from boda.cli.options import DataDir, Region, data_dir
from boda.core.errors import PlatformError

EXAMPLES = (
    "boda logs hello                          the last hour",
    "boda logs hello --follow --since 5m      and what comes",
    "boda logs hello --since 2d --filter ERROR",
    "boda logs hello --filter '{$.level = \"ERROR\"}' --json",
)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "": 60}
_SPAN = re.compile(r"([0-9]{1,9})([smhdw]?)")
_POLL_S = 0.5
_SEEN = 200_000


def logs(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the function.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    since: Annotated[
        str, typer.Option(metavar="SPAN", help="How far back: 90s, 30m, 2h, 3d.")
    ] = "1h",
    pattern: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="PATTERN",
            help="Only what a CloudWatch filter pattern matches.",
            show_default=False,
        ),
    ] = None,
    times: Annotated[
        bool | None,
        typer.Option(
            "--times/--no-times", help="The time before each line; on a terminal by default."
        ),
    ] = None,
    region: Region = None,
    folder: DataDir = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each event as one line of JSON.")
    ] = False,
) -> None:
    """Print a function's log."""
    from boda.cli.client import connect

    start = max(0, int((time.time() - seconds_of(since)) * 1000))
    connection = connect(data_dir(folder), region)
    client = connection.client("logs")
    group = _group(connection.client("lambda"), client, name)
    show = _Lines(times=times)
    found = 0
    for event in _events(client, group, start, pattern, follow=follow):
        found += 1
        print(_json_line(event) if as_json else show.line(event), flush=True)
    if not found:
        matching = " that matches" if pattern else ""
        print(f"{name} has logged nothing{matching} in the last {since}.", file=sys.stderr)


def seconds_of(span: str) -> int:
    """Convert ``90s``, ``30m``, ``2h``, ``3d`` or ``1w``; a plain number is minutes. Raises
    PlatformError."""
    match = _SPAN.fullmatch(span.strip().lower())
    if match is None or int(match[1]) == 0:
        raise PlatformError(f"--since takes a span like 90s, 30m, 2h or 3d, not {span!r}.")
    return int(match[1]) * _UNITS_S[match[2]]


class _Lines:
    """Formats events for a reader on this standard output."""

    def __init__(self, *, times: bool | None) -> None:
        from boda.cli.output import has_colours

        self._terminal = sys.stdout.isatty()
        self._colours = has_colours(sys.stdout)
        self._times = self._terminal if times is None else times

    def line(self, event: dict[str, Any]) -> str:
        from boda.cli.output import coloured, shown

        text = str(event["message"]).rstrip("\n")
        if self._terminal:
            text = shown(_with_trace(text), colours=self._colours)
            colour = _colour(text) if self._colours else ""
            if colour:
                text = coloured(text, colour)
        if not self._times:
            return text
        moment = time.localtime(event["timestamp"] / 1000)
        at = f"{time.strftime('%Y-%m-%d %H:%M:%S', moment)}.{event['timestamp'] % 1000:03d}"
        return f"{coloured(at, 'dim') if self._colours else at}  {text}"


def _with_trace(text: str) -> str:
    """Format an error that was logged as JSON, with the lines of its traceback."""
    if not text.startswith("{") or '"errorMessage"' not in text:
        return text
    return error_lines(text)


def _colour(text: str) -> str:
    if text.startswith(("START RequestId", "END RequestId", "REPORT RequestId", "INIT_")):
        return "dim"
    head = text[:400]
    if "[ERROR]" in head or "Traceback (most recent call last)" in head or '"ERROR"' in head:
        return "red"
    if "[CRITICAL]" in head or "Task timed out" in head or '"CRITICAL"' in head:
        return "red"
    return "yellow" if "[WARNING]" in head or '"WARN' in head else ""


def _json_line(event: dict[str, Any]) -> str:
    readable = (sys.stdout.encoding or "").lower() == "utf-8"
    return json.dumps(event, default=str, ensure_ascii=not readable)


def _group(functions: Any, client: Any, name: str) -> str:
    """Return the function's log group; for a deleted function the default one, if it still
    exists."""
    try:
        found = functions.get_function_configuration(FunctionName=name)
    except functions.exceptions.ResourceNotFoundException:
        group = f"/aws/lambda/{name}"
        try:
            listed = client.describe_log_groups(logGroupNamePrefix=group, limit=1)["logGroups"]
        except client.exceptions.ClientError:
            listed = []
        if not any(one["logGroupName"] == group for one in listed):
            raise
        return group
    return str(found["LoggingConfig"]["LogGroup"])


def _events(
    client: Any, group: str, start: int, pattern: str | None, *, follow: bool
) -> Iterator[dict[str, Any]]:
    """Yield each event once. follow: wait for more, without end."""
    seen: set[str] = set()
    while True:
        newest = start
        for event in _page(client, group, start, pattern):
            if event["eventId"] in seen:
                continue
            seen.add(event["eventId"])
            newest = max(newest, event["timestamp"])
            yield event
        if not follow:
            return
        # Keep a little overlap: a batch may arrive behind events with a later time.
        start = max(start, newest - 10_000)
        if len(seen) > _SEEN:
            seen.clear()
            start = newest + 1
        time.sleep(_POLL_S)


def _page(client: Any, group: str, start: int, pattern: str | None) -> Iterator[dict[str, Any]]:
    chosen = {"filterPattern": pattern} if pattern else {}
    # The group is made with the first line.
    with contextlib.suppress(client.exceptions.ResourceNotFoundException):
        for page in client.get_paginator("filter_log_events").paginate(
            logGroupName=group, startTime=start, **chosen
        ):
            yield from page["events"]
