"""What a sandbox sees and may do: its user, namespaces, mounts, devices and capabilities."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any

from boda.sandbox import plan
from boda.sandbox.doctor.examination import Examination
from boda.sandbox.doctor.findings import NAMESPACE, WITH_SANDBOX

_ABSENT, _OTHER = "is missing", "is no device"
_MINORS = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
"""Of the memory devices, whose major number is 1. Source: Linux, admin-guide/devices.txt."""


def check_user(examined: Examination, facts: dict[str, Any]) -> None:
    isolated, privileged = examined.mode.isolated, examined.mode.privileged
    examined.add(
        "user",
        isolated and facts["uid"] == 993,
        "each sandbox has a uid of its own"
        if privileged
        else "a user namespace; outside of it all sandboxes are the platform's user",
        "functions run as the platform's user",
        WITH_SANDBOX,
    )


def check_namespaces(examined: Examination, facts: dict[str, Any]) -> None:
    words = {
        "mnt": "mounts",
        "pid": "processes",
        "ipc": "shared memory and queues",
        "uts": "host name",
        "user": "users",
        "net": "network",
        "cgroup": "cgroups",
    }
    for name, inside in facts["namespaces"].items():
        examined.add(
            NAMESPACE + words[name],
            inside != os.readlink(f"/proc/self/ns/{name}"),
            "separate from this machine's",
            "shared with this machine",
            WITH_SANDBOX,
        )


def check_mounts(examined: Examination, facts: dict[str, Any]) -> None:
    remedy = WITH_SANDBOX
    counted = "memory" in examined.sandboxes.hierarchy.can
    code = facts["writable"][-1:] == [facts["task"]]
    examined.add(
        "read-only root",
        examined.mode.isolated and not facts["hidden"] and not facts["writable"],
        "only the runtime's files show, none can be written",
        "the machine's files show",
        remedy,
    )
    examined.add(
        "read-only code",
        not code,
        "/var/task cannot be written",
        "the code's folder can be written",
        remedy,
    )
    examined.add(
        "size of /tmp",
        48 <= facts["tmp_mb"] <= 72,
        "a file system of its own"
        if examined.sandboxes.has_volumes
        else "memory of its own, " + ("counted as the function's" if counted else "not counted"),
        "it is a folder without a limit",
        remedy,
    )
    examined.add(
        "own /proc",
        facts["processes"] <= 3 and not facts["sysctl"],
        "only the sandbox's processes show",
        "this machine's processes show",
        remedy,
    )
    examined.add(
        "minimal /dev",
        len(facts["devices"]) <= 10,
        ", ".join(facts["devices"]) if len(facts["devices"]) <= 10 else "",
        "this machine's devices show",
        remedy,
    )


def check_devices(examined: Examination, facts: dict[str, Any]) -> None:
    """Check the devices' modes, which are this machine's own."""
    wrong = {f"/dev/{name}": mode for name in plan.DEVICES if (mode := _wrong_mode(name))}
    unusable = dict.fromkeys(facts["closed_devices"], "cannot be opened") | wrong
    examined.add(
        "modes of devices",
        not unusable,
        "everybody may use them",
        "; ".join(f"{path} {what}" for path, what in sorted(unusable.items())),
        "; ".join(_device_commands(unusable)),
    )


def check_privileges(examined: Examination, facts: dict[str, Any]) -> None:
    held, bounding = facts["capabilities"], int(facts["bounding"], 16)
    held_none = all(int(value, 16) == 0 for value in held)
    examined.add(
        "no capabilities",
        held_none and (not bounding or facts["no_new_privs"] == "1"),
        "none is held, and no program gives any" if bounding else "every set is empty",
        "some are left",
        WITH_SANDBOX,
    )
    examined.add(
        "no new privileges",
        facts["no_new_privs"] == "1",
        "setuid programs give nothing",
        "the kernel refused",
        "a kernel that knows no_new_privs",
    )
    examined.add(
        "seccomp",
        facts["seccomp"] == "2" and facts["unshare"] == facts["mount"] == "EPERM",
        "an allow-list of system calls",
        "no filter is in force",
        "a kernel with CONFIG_SECCOMP_FILTER",
    )


def _wrong_mode(name: str) -> str:
    """Return a description of a device's wrong mode, or ""."""
    try:
        mode = os.stat(f"/dev/{name}").st_mode
    except OSError:
        return _ABSENT
    if not stat.S_ISCHR(mode):
        return _OTHER
    wanted = 0o444 if "random" in name else 0o666
    return "" if mode & wanted == wanted else f"has mode {stat.S_IMODE(mode):04o}"


def _device_commands(unusable: Mapping[str, str]) -> Iterator[str]:
    """Yield the commands that make devices usable.

    unusable: what is wrong with them, by path.
    """
    closed = sorted(path for path, what in unusable.items() if what not in (_ABSENT, _OTHER))
    if closed:
        yield f"chmod 666 {' '.join(closed)}"
    for path, what in sorted(unusable.items()):
        if what in (_ABSENT, _OTHER):
            minor = _MINORS[path.removeprefix("/dev/")]
            cleared = f"rm -r {path} && " if what == _OTHER else ""
            yield f"{cleared}mknod -m 666 {path} c 1 {minor}"
