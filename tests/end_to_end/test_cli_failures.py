"""Whatever goes wrong on the command line is one sentence: never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench.host import Boda
from botocore.exceptions import ClientError

from support.commands import run_cli
from support.person import person, why_no_person

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
COMMANDS = ("up", "env", "doctor", "runtimes", "deploy", "invoke", "logs", "ps", "cost")


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed command said, which is one line."""
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("boda: ")
    return line


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("localhost:4566", "write http://localhost:4566"),
        ("127.0.0.1", "write http://127.0.0.1"),
        ("http://", "not a URL"),
        ("http://localhost:99999", "not a URL"),
        ("http://[::1", "not a URL"),
        ("ftp://localhost", "not a URL"),
        ("http://localhost:1", "does not answer at http://localhost:1."),
    ],
)
def test_endpoints_that_lead_nowhere(tmp_path: Path, endpoint: str, says: str) -> None:
    done = run_cli(tmp_path, "ps", AWS_ENDPOINT_URL=endpoint, **KEYS)
    assert says in sentence(done)


@pytest.mark.parametrize(
    "environment",
    [{"BODA_PORT": "abc"}, {"BODA_PORT": "99999"}, {"BODA_HOST": "two words"}],
    ids=str,
)
def test_an_address_in_the_environment_that_is_none(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    (tmp_path / "root.json").write_text('{"access_key_id": "a", "secret_access_key": "b"}')
    said = sentence(run_cli(tmp_path, "ps", **environment))
    assert "BODA_HOST and BODA_PORT" in said


def test_what_is_set_for_aws_does_not_keep_anybody_from_boda(boda: Boda, tmp_path: Path) -> None:
    broken = tmp_path / "config"
    broken.write_text("[default\nregion == \n")
    done = run_cli(
        boda.folder,
        *("ps", "--json"),
        AWS_CONFIG_FILE=str(broken),
        AWS_SHARED_CREDENTIALS_FILE=str(broken),
        AWS_PROFILE="nobody",
        AWS_MAX_ATTEMPTS="many",
        AWS_RETRY_MODE="never",
        AWS_ENDPOINT_URL="http://localhost:1",  # without keys of its own it is not boda's
        http_proxy="http://localhost:1",
    )
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), list)


def test_keys_that_are_not_this_bodas(boda: Boda, tmp_path: Path) -> None:
    said = sentence(run_cli(tmp_path, "ps", AWS_ENDPOINT_URL=boda.url, **KEYS))
    assert "UnrecognizedClientException" in said and "boda env" in said


def test_the_region_that_was_looked_in_is_named(boda: Boda) -> None:
    for words in (("invoke", "missing"), ("logs", "missing")):
        said = sentence(run_cli(boda.folder, *words, "--region", "eu-west-1"))
        assert "That is region eu-west-1" in said and "--region" in said
    said = sentence(run_cli(boda.folder, "invoke", "missing", AWS_REGION="eu-west-2"))
    assert "eu-west-2" in said


def test_a_region_that_is_none(boda: Boda) -> None:
    for words in (("env",), ("ps",), ("runtimes",), ("invoke", "x"), ("logs", "x"), ("cost",)):
        said = sentence(run_cli(boda.folder, *words, "--region", "us-esat-1"))
        assert "us-east-1" in said and "--allow-region" in said
    assert "region" in sentence(run_cli(boda.folder, "ps", "--region", "two words"))


@pytest.mark.parametrize(
    "month", ["nov", "2026-13", "2026-1", "11-2026", "", "2026-11-01", "0000-01", "9999-12"]
)
def test_months_that_are_none(tmp_path: Path, month: str) -> None:
    said = sentence(run_cli(tmp_path, "cost", "--month", month))
    assert "a month like 2026-11" in said


def test_a_month_that_no_calendar_here_has_is_the_callers_mistake(boda: Boda) -> None:
    for month in ("0000-01", "1969-12", "9999-12"):
        with pytest.raises(ClientError) as refused:
            boda.client("boda").get_cost(Month=month)
        assert refused.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize("name", ["two words", "hello:1", "x" * 65])
def test_names_of_no_function_are_not_deleted(tmp_path: Path, name: str) -> None:
    said = sentence(run_cli(tmp_path, "delete", name))
    assert "cannot be a function's name" in said


@pytest.mark.parametrize("since", ["abc", "0", "-1h", "1y", "1.5h", ""])
def test_spans_that_are_none(tmp_path: Path, since: str) -> None:
    said = sentence(run_cli(tmp_path, "logs", "x", f"--since={since}"))
    assert "a span like" in said


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"access_key_id": 1', "\xff"], ids=repr)
def test_keys_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "root.json").write_text(text, encoding="latin-1")
    assert "is damaged" in sentence(run_cli(tmp_path, "env"))


def test_an_address_that_cannot_be_read_is_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text('{"access_key_id": "a", "secret_access_key": "b"}')
    (tmp_path / "address.json").write_text("[]")
    assert "=http://127.0.0.1:4566\n" in run_cli(tmp_path, "env").stdout


def test_homes_and_folders_that_are_not_there(tmp_path: Path) -> None:
    said = sentence(run_cli(Path("~nobody-here/x"), "ps"))
    assert "set HOME" in said
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", f'cd {gone} && rmdir {gone} && "$0" -m boda ps', sys.executable],
        env={**os.environ, "BODA_DATA_DIR": "relative"},
        capture_output=True,
        text=True,
    )
    assert "The current folder is no longer there" in sentence(done)
    (tmp_path / "file").touch()
    assert "cannot be" in sentence(run_cli(tmp_path / "file", "up", "--port", "0"))
    assert "cannot be" in sentence(run_cli(tmp_path / "file", "ps"))


def test_payloads_that_cannot_be_read(tmp_path: Path) -> None:
    for payload in (f"@{tmp_path}", "@/nowhere", "@" + "x" * 300, f"@{tmp_path}/a\udcff"):
        assert "cannot be read" in sentence(run_cli(tmp_path, "invoke", "x", payload))


def test_words_that_are_not_utf_8(boda: Boda) -> None:
    for words in (("invoke", "a\udcff"), ("logs", "a\udcff"), ("delete", "arn:\udcff")):
        assert "not UTF-8" in sentence(run_cli(boda.folder, *words))


def test_a_span_longer_than_time(boda: Boda, name: str) -> None:
    boda.function(name, "def lambda_handler(e, c): ...\n")
    done = run_cli(boda.folder, "logs", name, "--since", "999999999w")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(bool(why_no_person()), reason=why_no_person() or "-")
def test_folders_in_path_that_may_not_be_read() -> None:
    with person() as somebody:
        locked = somebody.home / "locked"
        (locked / "shims").mkdir(parents=True)
        (locked / "shims" / "python3").touch(0o755)
        locked.chmod(0o700)  # root's, as all of it
        half = somebody.home / "half"
        half.mkdir()
        (half / "python3").touch(0o755)
        half.chmod(0o744)  # its names may be read and nothing else
        somebody.environ["PATH"] = f"{locked}/shims:{locked}:{half}:/usr/bin:/bin"
        done = somebody.run("runtimes", "--json")
        assert done.returncode == 0 and json.loads(done.stdout), done.stderr
        assert "Traceback" not in done.stderr
        # What cannot be used is named, and nothing else is blamed for it.
        done = somebody.run("deploy", str(locked))
        assert "Traceback" not in done.stderr and str(locked) in done.stderr


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script that calls ``boda``."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BODA_"))}
    return subprocess.run(
        ["/bin/bash", "-c", f'boda() {{ "{sys.executable}" -m boda "$@"; }}; {script}'],
        env=environment | {"BODA_DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_readers_that_went_away_and_full_disks(boda: Boda) -> None:
    done = shell("boda env | true; boda env >&-; boda --help | true; boda env 2>&-", boda.folder)
    assert done.returncode == 0 and done.stderr == ""
    assert "export AWS_REGION" in done.stdout
    done = shell("boda env >/dev/full", boda.folder)
    assert "No space left on device" in sentence(done)
    done = shell("boda invoke x - <&-", boda.folder)
    assert "no standard input" in sentence(done)


def test_an_encoding_that_lacks_a_letter(boda: Boda, name: str) -> None:
    boda.function(name, "def lambda_handler(e, c): return 'ünï → 走る'\n")
    done = run_cli(boda.folder, "invoke", name, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == "ünï → 走る"


# Says when it comes to the first of the imports that take their time.
_STARTED = """
import sys
from boda.cli import main

class Announce:
    def find_spec(self, name, path=None, target=None):
        if name == "boda.cli.commands":
            print("started", flush=True)

sys.meta_path.insert(0, Announce())
sys.argv[0] = "boda"
main()
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
@pytest.mark.parametrize("command", ["up", "logs", "deploy"])
def test_an_interrupt_in_the_first_second(tmp_path: Path, command: str, delay_s: float) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "app.py").write_text("def handler(event, context): ...\n")
    words = {
        "up": ("up", "--port", "0", "--isolation", "process"),
        "logs": ("logs", "x", "--follow"),
        "deploy": ("deploy", str(folder)),
    }[command]
    # Nobody answers, or is slow to: the command is interrupted wherever it is by then.
    process = subprocess.Popen(
        [sys.executable, "-c", _STARTED, *words],
        env={**os.environ, "BODA_DATA_DIR": str(tmp_path / "data")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(delay_s)  # where in its start the command is interrupted: any will do
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in said and "KeyboardInterrupt" not in said, said
    # "up" stops cleanly once it has begun; the others may have ended by themselves, or are about
    # to: the interpreter gives the signal back its default then.
    assert process.returncode in (0, 1, 130, -signal.SIGINT)


def test_interrupts_without_end_are_quiet(own_boda: Boda) -> None:
    own_boda.start()
    process = own_boda.process
    assert process is not None
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        process.send_signal(signal.SIGINT)
        time.sleep(0.005)  # between two presses of the keys
    assert process.wait(1) in (0, 130, -signal.SIGINT)
    said = own_boda.log.read_text()
    assert "Traceback" not in said and "KeyboardInterrupt" not in said, said
