"""Without root, without cgroups, without namespaces: what boda says of it, and what still runs."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bench.host import Boda

from support.person import (
    PERSON,
    Person,
    delegated,
    person,
    why_no_namespaces,
    why_no_person,
)

unprivileged = pytest.mark.skipif(bool(why_no_namespaces()), reason=why_no_namespaces() or "no")
anybody = pytest.mark.skipif(bool(why_no_person()), reason=why_no_person() or "no")

UNLIMITED = ["memory", "socket memory", "kernel memory", "processes together", "CPU"]
"""What only a cgroup limits, in the order in which it is told."""

LOOK = """
import os

def lambda_handler(event, context):
    return {
        "uid": os.getuid(),
        "processes": [int(name) for name in os.listdir("/proc") if name.isdigit()],
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")},
        "seen": [path for path in event if os.path.exists(path)],
        "writable": [path for path in ("/", "/usr", "/var/task") if os.access(path, os.W_OK)],
        "seccomp": [line for line in open("/proc/self/status") if line.startswith("Seccomp:")],
    }
"""  # noqa: E501


def look(boda: Boda) -> dict[str, Any]:
    boda.function("look", LOOK, Timeout=10)
    secrets = ["/root", str(boda.folder), str(boda.folder / "root.json"), "/home", "/etc/shadow"]
    answer = boda.client("lambda").invoke(FunctionName="look", Payload=json.dumps(secrets))
    assert "FunctionError" not in answer, answer["Payload"].read()
    return dict(json.loads(answer["Payload"].read()))


def warnings(boda: Boda) -> list[str]:
    return [line for line in boda.log.read_text().splitlines() if "WARNING" in line]


def health(boda: Boda) -> dict[str, Any]:
    with urllib.request.urlopen(f"{boda.url}/_boda/health") as answer:
        return dict(json.loads(answer.read()))


def lacking(findings: dict[str, Any]) -> set[str]:
    found = [one for one in findings.values() if one["Required"] and not one["Ok"]]
    assert all(one["Missing"] and one["Remedy"] for one in found)
    return {one["Name"] for one in found}


@pytest.fixture
def user() -> Iterator[Person]:
    with person() as made:
        yield made


@pytest.fixture
def barred() -> Iterator[Person]:
    """Somebody on a machine that gives no user namespaces."""
    with person(namespaces=False) as made:
        yield made


@unprivileged
def test_limits_for_each_process_are_not_taken_for_limits_of_the_sandbox(user: Person) -> None:
    code, findings = user.doctor()
    assert code == 1
    assert lacking(findings) == set(UNLIMITED)
    assert findings["sandbox"]["Enforced"] == "an unprivileged user namespace"
    for name in UNLIMITED:
        assert "root" in findings[name]["Remedy"] and "Delegate=yes" in findings[name]["Remedy"]
    said = user.run("doctor").stdout
    assert "`boda up` refuses to start" in said and "keeps every promise" not in said


@unprivileged
def test_weaker_isolation_is_refused_in_one_sentence(user: Person) -> None:
    done = user.run("up", "--port", "0")
    assert done.returncode == 1 and done.stdout == ""
    [sentence] = done.stderr.strip().splitlines()
    missing = f"(missing: {', '.join(UNLIMITED)})"
    for word in (missing, "as root", "Delegate=yes", "--isolation process."):
        assert word in sentence
    assert sentence.count("as root") == 1


@unprivileged
def test_what_this_machine_allows_is_in_force_all_the_same(user: Person) -> None:
    with user.boda("--isolation", "process") as boda:
        seen = look(boda)
        [warning] = warnings(boda)
        assert f"missing on this machine: {', '.join(UNLIMITED)}." in warning
        assert health(boda)["isolation_missing"] == ", ".join(UNLIMITED)
    assert seen["uid"] == 993 and seen["processes"] == [1, 2]
    assert seen["seen"] == ["/home"] and seen["writable"] == []  # the empty one of the sandbox
    assert seen["seccomp"] == ["Seccomp:\t2\n"]
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in seen["namespaces"]}
    same = {name for name, inode in seen["namespaces"].items() if own[name] == inode}
    assert same <= {"time", "time_for_children"}


@unprivileged
def test_with_cgroups_of_ones_own_every_promise_is_kept() -> None:
    with delegated() as cgroups, person(cgroups=cgroups) as user:
        if not cgroups:
            pytest.skip("this machine gives no cgroup")
        code, findings = user.doctor()
        assert (code, lacking(findings)) == (0, set()), findings
        assert findings["memory"]["Enforced"].startswith("by a cgroup")
        with user.boda() as boda:
            assert look(boda)["processes"] == [1, 2]
            assert warnings(boda) == [] and health(boda)["isolation_missing"] == ""


@anybody
def test_without_namespaces_there_are_plain_processes_for_who_asks(barred: Person) -> None:
    code, findings = barred.doctor()
    assert code == 1
    assert {"sandbox", "user", "namespace of network", "read-only root", "memory"} <= lacking(
        findings
    )
    assert "user.max_user_namespaces=15000" in findings["sandbox"]["Remedy"]
    assert findings["sandbox"]["Missing"].endswith("unshare: No space left on device")
    assert findings["seccomp"]["Ok"] and findings["no new privileges"]["Ok"]

    done = barred.run("up", "--port", "0")
    [sentence] = done.stderr.strip().splitlines()
    assert done.returncode == 1 and "namespaces (mounts, processes," in sentence
    assert "user.max_user_namespaces=15000" in sentence

    with barred.boda("--isolation", "process") as boda:
        seen = look(boda)
        [warning] = warnings(boda)
        assert "namespaces (mounts, processes," in warning and "read-only root" in warning
        # Nothing of the machine's network is kept from plain processes, which is said, too.
        assert "private networks" in warning and "this machine's ports" in warning
    assert seen["uid"] == PERSON and str(boda.folder) in seen["seen"]
    assert seen["seccomp"] == ["Seccomp:\t2\n"]

    done = barred.run("up", "--port", "0", "--isolation", "process", "--no-network")
    assert done.returncode == 1 and "which nothing can keep from its network" in done.stderr


@unprivileged
def test_the_root_of_a_container_without_other_ids_is_isolated_as_a_user_is() -> None:
    with person(uid=0) as root:
        _, findings = root.doctor()
        assert findings["sandbox"]["Enforced"] == "an unprivileged user namespace"
        assert findings["private networks"]["Ok"] and findings["this machine's ports"]["Ok"]
        assert findings["read-only root"]["Ok"] and findings["namespace of network"]["Ok"]


@unprivileged
def test_nothing_is_opened_to_functions_that_have_no_network() -> None:
    with person() as user:
        words = ("up", "--port", "0", "--isolation", "process", "--allow-host", "127.0.0.1:5432")
        done = user.run(*words)
        [sentence] = done.stderr.strip().splitlines()
        assert done.returncode == 1
        assert "127.0.0.1:5432 cannot be opened to functions, which have no network" in sentence


@pytest.mark.skipif(os.geteuid() != 0, reason="root has everything that is promised")
def test_asking_for_less_gives_root_no_less(tmp_path: Any) -> None:
    with Boda(tmp_path / "data", "--isolation", "process") as boda:
        assert health(boda)["isolation_missing"] == ""
        [warning] = warnings(boda)
        assert "nothing is missing" in warning
        seen = look(boda)
    assert seen["uid"] == 993 and seen["processes"] == [1, 2] and seen["seen"] == ["/home"]


SNAPPED = """
import os, uuid

BORN = str(uuid.uuid4())

def lambda_handler(event, context):
    return [BORN, str(uuid.uuid4()), os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], os.getpid()]
"""


@unprivileged
def test_an_ordinary_user_has_snapstart_too(user: Person) -> None:
    with user.boda("--isolation", "process") as boda:
        boda.function("snapped", SNAPPED, SnapStart={"ApplyOn": "PublishedVersions"})
        client = boda.client("lambda")
        version = client.publish_version(FunctionName="snapped")["Version"]
        client.get_waiter("published_version_active").wait(
            FunctionName="snapped", Qualifier=version, WaiterConfig={"Delay": 1}
        )

        def call(_: int) -> list[Any]:
            answer = client.invoke(FunctionName="snapped", Qualifier=version)
            assert "FunctionError" not in answer, answer["Payload"].read()
            return list(json.loads(answer["Payload"].read()))

        with ThreadPoolExecutor(4) as pool:
            said = list(pool.map(call, range(8)))
    assert len({born for born, *_ in said}) == 1
    assert len({own for _, own, *_ in said}) == 8
    assert {(kind, pid) for _, _, kind, pid in said} == {("snap-start", 2)}
