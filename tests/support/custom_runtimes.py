"""Functions that bring their own runtime, made in a real `boda up`."""

from __future__ import annotations

import io
import zipfile

from bench.host import Boda


def custom(
    boda: Boda, name: str, bootstrap: str | None, mode: int = 0o755, timeout_s: int = 10
) -> None:
    """A function of one file, ``bootstrap``; None: of another file. Waits until it is active."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        entry = zipfile.ZipInfo("other" if bootstrap is None else "bootstrap")
        entry.external_attr = (0o100000 | mode) << 16
        archive.writestr(entry, bootstrap or "")
    client = boda.client("lambda")
    client.create_function(
        FunctionName=name,
        Runtime="provided.al2023",
        Role=boda.role(),
        Handler="my.handler",
        Code={"ZipFile": memory.getvalue()},
        Timeout=timeout_s,
    )
    client.get_waiter("function_active_v2").wait(
        FunctionName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 500}
    )
