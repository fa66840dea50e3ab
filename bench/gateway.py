"""The gateway's share of a request: a JSON call of any service beside an Invoke and a function URL.

The platform runs in this process, with a toy service whose operation does nothing, and with an
invoke path whose functions answer at once; so what a request costs the process is the gateway's.
Kinds of requests are loaded in turns over 16 connections by a process of its own; medians of the
rounds, in microseconds of CPU a request, all threads, kernel included.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvloop
from tests.support.shelf_service import PLUG as SHELF

from bench.load import write_requests
from bench.signing import signed
from bench.stages import load, prepare
from boda import app
from boda.core.principal import root_of
from boda.invoke.call import Call, Done, Outcome
from boda.invoke.path import Invoker
from boda.services import lambda_
from boda.storage.folder import DataFolder

ROUNDS = 7
SECONDS = 1.0
AIM = 1.5


def run(folder: Path) -> dict[str, Any]:
    with (
        patch.object(app, "PLUGS", (*app.PLUGS, SHELF)),
        patch.object(app, "SCHEMAS", (*app.SCHEMAS, *SHELF.tables)),
        patch.object(Invoker, "dispatch", _answer),
    ):
        return uvloop.run(_run(folder))


def _answer(self: Invoker, call: Call, done: Done) -> None:
    done(Outcome(b'{"hello":"rider"}', call.version.version), None)


async def _run(folder: Path) -> dict[str, Any]:
    settings = app.Settings(
        folder / "data", port=0, quotas=lambda_.adjusted(["requests_per_environment=0"])
    )
    platform = app.Platform(settings)
    try:
        await platform.start()
        files = await prepare(platform, folder)
        files["json"] = await _calls(platform, folder)
        found: dict[str, list[float]] = {name: [] for name in files}
        for round_ in range(ROUNDS + 1):
            for name, file in files.items():
                begin = time.process_time()
                loaded = await load(platform, file, SECONDS)
                used = (time.process_time() - begin) / int(loaded["requests"])
                if round_:  # the first warms up
                    found[name].append(used * 1e6)
    finally:
        await platform.stop()
    medians = {name: statistics.median(each) for name, each in found.items()}
    report: dict[str, Any] = {f"{name} us": round(one, 1) for name, one in medians.items()}
    report["json / invoke"] = round(medians["json"] / medians["invoke"], 2)
    report["aim"] = AIM
    return report


async def _calls(platform: app.Platform, folder: Path) -> Path:
    await platform.gateway.call("shelf", "PutThing", {"Name": "one", "Text": "x"}, root_of())
    keys = DataFolder(folder / "data").root_keys()
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Shelf.GetThing"}
    body = json.dumps({"Name": "one"}).encode()
    file = folder / "json.requests"
    sign = {"service": "shelf", "key": keys.access_key_id, "secret": keys.secret}
    made = [
        signed(f"{platform.endpoint}/", "POST", body + b" " * n, headers=headers, **sign)
        for n in range(64)
    ]
    write_requests(file, made * 60)
    return file
