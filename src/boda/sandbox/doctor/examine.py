"""Compares what a sandbox sees and may do on this machine with what is promised.

``examine`` blocks for a fraction of a second, or for a few when ``thorough``: then the limits are
tried by running into them, instead of by asking whether the kernel accepted them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boda.sandbox.contract import SandboxError
from boda.sandbox.doctor.confinement import (
    check_devices,
    check_mounts,
    check_namespaces,
    check_privileges,
    check_user,
)
from boda.sandbox.doctor.examination import Examination
from boda.sandbox.doctor.findings import AS_ROOT, SANDBOX, Finding, can_isolate, can_start
from boda.sandbox.doctor.limits import check_freezing, check_limits
from boda.sandbox.doctor.network import check_network
from boda.sandbox.doctor.probe import ProbeLibrary, ask, own_python
from boda.sandbox.linux import LinuxSandboxes
from boda.sandbox.reach import NOTHING, Reach


def examine(
    folder: Path,
    *,
    network: bool = True,
    reach: Reach = NOTHING,
    thorough: bool = True,
    plain: bool = False,
) -> list[Finding]:
    """Try every promise on this machine.

    folder: of the platform's sandboxes; only a folder inside is used, and removed again. network,
    reach: the platform's settings.

    If sandboxes cannot be isolated at all, or with ``plain``, the findings are those of plain
    processes; a single finding means that not even those can be started.
    """
    wanted = _ExaminationRequest(folder, network, reach, thorough)
    return _in_own_thread(lambda: _examine(wanted, plain))


@dataclass(frozen=True, slots=True)
class _ExaminationRequest:
    """The parameters of ``examine``."""

    folder: Path
    network: bool
    reach: Reach
    thorough: bool


def _in_own_thread(
    make: Callable[[], Coroutine[Any, Any, list[Finding]]],
) -> list[Finding]:
    """Run a coroutine to its end, also if the caller's thread runs an event loop."""
    result: list[list[Finding] | BaseException] = []

    def work() -> None:
        try:
            result.append(asyncio.run(make()))
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=work, name="boda-doctor")
    thread.start()
    thread.join()
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def _working_folder(folder: Path) -> Path:
    """Make a folder in the given one, or in the nearest one that can be written."""
    base = folder
    while not base.is_dir():
        base = base.parent
    if not os.access(base, os.W_OK):
        base = Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix=".doctor-", dir=base))


async def _examine(wanted: _ExaminationRequest, plain: bool) -> list[Finding]:
    findings = [] if plain else await _examine_sandboxes(wanted, "")
    if can_isolate(findings):
        return findings
    # Examine plain processes; the first finding gives the reason why they are plain.
    reason = findings[0].missing if findings else "not asked for"
    weaker = await _examine_sandboxes(wanted, reason)
    return weaker if can_start(weaker) or not findings else findings


async def _examine_sandboxes(wanted: _ExaminationRequest, why_plain: str) -> list[Finding]:
    """Examine isolated sandboxes, or plain processes if why_plain gives a reason for them."""
    place, python = _working_folder(wanted.folder), own_python()
    sandboxes = LinuxSandboxes(
        place / "state",
        {python.name: python},
        ProbeLibrary(place / "library"),
        plain=bool(why_plain),
        network=wanted.network,
        reach=wanted.reach,
        instance=f"doctor-{os.getpid()}-{place.name}",
    )
    code = place / "code"
    code.mkdir()
    try:
        examined = Examination(
            *(sandboxes, code),
            thorough=wanted.thorough,
            reach=wanted.reach,
            why_plain=why_plain,
        )
        return await _run(examined)
    finally:
        await sandboxes.close()
        shutil.rmtree(place, ignore_errors=True)


def _sysctl(name: str) -> str:
    try:
        return Path("/proc/sys", *name.split(".")).read_text().strip()
    except OSError:
        return ""


async def _run(examined: Examination) -> list[Finding]:
    try:
        sandbox = await examined.start(128)
    except SandboxError as error:
        return [Finding(SANDBOX, False, missing=str(error), remedy=_remedy())]
    facts = await ask(sandbox, "facts")
    if not facts:
        await sandbox.destroy()
        why = "what was started in it ended without a word"
        return [Finding(SANDBOX, False, missing=why, remedy=_remedy())]
    examined.add(
        SANDBOX,
        examined.mode.isolated,
        examined.mode.describe(),
        f"only {examined.mode.describe()}: {examined.why_plain}",
        _remedy(),
    )
    check_user(examined, facts)
    check_namespaces(examined, facts)
    check_mounts(examined, facts)
    check_devices(examined, facts)
    check_privileges(examined, facts)
    await check_limits(examined, facts)
    await check_freezing(examined, sandbox)
    await check_network(examined, sandbox, facts)
    await sandbox.destroy()
    return examined.findings


def _remedy() -> str:
    """Return how to get isolated sandboxes."""
    if os.geteuid() == 0:
        return f"{AS_ROOT} of the machine itself, or in a container with --privileged"
    closed = [
        f"{name}={open_}"
        for name, shut, open_ in (
            ("user.max_user_namespaces", "0", "15000"),
            ("kernel.unprivileged_userns_clone", "0", "1"),
            ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
        )
        if _sysctl(name) == shut
    ]
    if closed:
        return f"{AS_ROOT}, or let root allow user namespaces: sysctl {' '.join(closed)}"
    return f"{AS_ROOT}, outside of containers that refuse namespaces"
