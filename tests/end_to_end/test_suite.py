"""The suite itself: rooms by name, and no green run that left out what it should hold."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from support.specification import ROOT, named, promises

NEEDS_FACTS = (
    "tests/conformance/test_protocol_vectors.py",
    "tests/conformance/test_sigv4.py",
    "tests/unit/test_core_urls.py",
)


def suite(golden: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a few tests with the recorded facts in the folder ``golden``."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", *NEEDS_FACTS, *options],
        cwd=ROOT,
        env=environment | {"BODA_GOLDEN": str(golden)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_without_the_facts_says_what_it_left_out(tmp_path: Path) -> None:
    done = suite(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "THE RECORDED FACTS ARE ABSENT" in done.stdout
    assert "5 tests were left out, 3 of them whole tables of recorded cases" in done.stdout
    vectors = ("conformance/test_protocol_vectors.py", "test_a_request_is_parsed")
    (number,) = (number for number, text in promises().items() if vectors in named(text))
    told = f"NOT HELD by this run, for every test of theirs was left out: promise {number} of"
    assert told in done.stdout
    assert "\nconformance " in done.stdout and "\nunit " in done.stdout  # their time


def test_a_run_that_must_have_the_facts_fails_without_them(tmp_path: Path) -> None:
    done = suite(tmp_path, "--require-facts")
    assert done.returncode == 1 and "failed" not in done.stdout, done.stdout
    assert "NOT HELD by this run" in done.stdout
    done = suite(tmp_path / "nowhere", "--require-facts")
    assert done.returncode == 4
    assert f"the recorded facts are not in {tmp_path}/nowhere" in done.stderr


def test_a_run_in_the_background_of_a_script_can_interrupt_what_it_starts() -> None:
    """Such a run has SIGINT ignored, as its children would."""
    interrupts = (
        "tests/end_to_end/test_cli_failures.py::test_an_interrupt_in_the_first_second[up-0.0]"
    )
    pytest_ = shlex.join([sys.executable, "-m", "pytest", "-n", "1", interrupts])
    done = subprocess.run(
        ["/bin/sh", "-c", f"trap '' INT; exec {pytest_}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


def test_a_unit_test_that_sleeps_fails(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import asyncio, pytest, time\n"
        "def sleeps(): time.sleep(0.06)\n"
        "def waits(): asyncio.run(asyncio.sleep(0.06))\n"
        "def lets_pass(): asyncio.run(asyncio.wait_for(asyncio.sleep(0), 9))\n"
        "@pytest.mark.parametrize('act', [sleeps, waits, lets_pass])\n"
        "def test_it(act): act()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "unit.conftest", "-c", "/dev/null", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 failed, 1 passed" in done.stdout, done.stdout
    assert done.stdout.count("A unit test slept for 0.06 s of real time.") >= 2


@pytest.mark.parametrize(
    ("variables", "options"), [({}, "--require-facts"), ({"BODA_WITHOUT_FACTS": "1"}, "")]
)
def test_continuous_integration_needs_the_facts_or_a_variable(
    tmp_path: Path, variables: dict[str, str], options: str
) -> None:
    (tmp_path / "make").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "make").chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k != "BODA_WITHOUT_FACTS"}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    done = subprocess.run(
        [ROOT / ".ci" / "run"], env=environment | variables, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout == f"test\nOPTIONS={options}\n"


def make(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "--no-print-directory", "-n", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_room_is_run_by_its_name() -> None:
    done = make("test", "ROOM=unit contract", "OPTIONS=-x")
    assert "scripts/test.sh -x tests/unit tests/contract\n" in done.stdout
    assert "ruff" not in done.stdout
    assert "ruff" in make("test").stdout


@pytest.mark.parametrize("name", ["units", "support", "../unit"])
def test_an_unknown_room_is_named(name: str) -> None:
    done = make("test", f"ROOM=unit {name}")
    assert done.returncode == 2 and done.stdout == ""
    assert f"There is no room of tests called {name}; the rooms are conformance " in done.stderr
