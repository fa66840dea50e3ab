"""What follows from what the doctor has found."""

from __future__ import annotations

import pytest

from boda.sandbox.doctor.findings import (
    NAMESPACE,
    SANDBOX,
    WITH_SANDBOX,
    Finding,
    can_isolate,
    can_start,
    missing,
    remedies,
    strong_enough,
)
from boda.sandbox.mode import IsolationMode, _covers

GOOD = [Finding(SANDBOX, True), Finding("memory", True), Finding("internet", False, required=False)]


def lacks(name: str, remedy: str = "be root") -> Finding:
    return Finding(name, False, missing="no", remedy=remedy)


def test_what_is_not_required_is_not_missing() -> None:
    assert (
        strong_enough(GOOD) and can_isolate(GOOD) and missing(GOOD) == "" == "".join(remedies(GOOD))
    )


def test_what_is_missing_is_named_once_with_each_remedy_once() -> None:
    found = [*GOOD, lacks("CPU"), lacks("seccomp", "another kernel"), lacks("processes")]
    assert not strong_enough(found) and can_isolate(found)
    assert missing(found) == "CPU, seccomp, processes"
    assert remedies(found) == ["be root", "another kernel"]


def test_without_sandboxes_the_names_say_what_that_means() -> None:
    parts = [lacks(NAMESPACE + kind, WITH_SANDBOX) for kind in ("mounts", "users")]
    found = [lacks(SANDBOX), lacks("user", WITH_SANDBOX), *parts, lacks("memory", "cgroups")]
    assert not can_isolate(found) and can_start(found)
    assert missing(found) == "user, namespaces (mounts, users), memory"
    assert remedies(found) == ["be root", "cgroups"]
    assert missing([*GOOD, parts[0]]) == "namespace of mounts"


def test_alternatives_to_root_are_one_remedy() -> None:
    spaces = "run boda as root, or let root allow user namespaces: sysctl a=1"
    cgroups = "run boda as root, or give it cgroups of its own: x"
    found = [lacks(SANDBOX, spaces), lacks("memory", cgroups), lacks("pipes", f"boot; {cgroups}")]
    both = "let root allow user namespaces: sysctl a=1 and give it cgroups of its own: x"
    assert remedies(found) == [f"run boda as root, or {both}", "boot"]
    outside = "run boda as root, outside of containers that refuse namespaces"
    assert remedies([lacks(SANDBOX, outside), lacks("memory", cgroups)]) == [outside]


def test_when_nothing_starts_there_is_one_finding() -> None:
    assert not can_start([lacks(SANDBOX)]) and missing([lacks(SANDBOX)]) == "sandbox"


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        ("         0          0 4294967295\n", True),
        ("0 1000 1\n", False),
        ("0 1000 1\n1 100000 65536\n", False),
        ("0 0 1\n2000000 3000000 65536\n", True),
        ("2000001 3000000 65536\n", False),
        ("", False),
    ],
)
def test_roots_powers_need_ids_to_give_away(text: str, covered: bool) -> None:
    assert _covers(text, range(2_000_000, 2_065_536)) is covered


def test_plain_processes_are_never_privileged() -> None:
    assert IsolationMode.of_this_process(range(1), plain=True) == IsolationMode(
        isolated=False, privileged=False
    )
