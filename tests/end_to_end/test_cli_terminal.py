"""Commands on a terminal of 80 columns, and the platform in the background."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from bench.host import Boda

from support import waiting
from support.commands import run_cli
from support.terminal import on_terminal

eventually = partial(waiting.eventually, timeout_s=30)

SOURCE = """
import logging, json
def lambda_handler(event, context):
    print("plain", event.get("n"))
    print("wipe \\x1b[2J the screen")
    logging.getLogger().warning("careful")
    if event.get("json"):
        print(json.dumps({"level": "ERROR", "errorMessage": "m", "errorType": "T",
                          "stackTrace": ["  File \\"x.py\\", line 1"]}))
    return event["name"]
"""


def test_logs_on_a_terminal_and_in_a_pipe(boda: Boda, name: str) -> None:
    boda.function(name, SOURCE)
    run_cli(boda.folder, "invoke", name, '{"n": 1, "json": true}')
    eventually(lambda: "REPORT" in run_cli(boda.folder, "logs", name).stdout)

    code, seen = on_terminal(boda.folder, "logs", name, "--since", "1h")
    assert code == 0
    assert re.search(r"\x1b\[2m\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\x1b\[0m  plain 1\n", seen)
    assert "\x1b[2J" not in seen and r"\x1b[2J" in seen
    # An error with the lines of its traceback, in red.
    error = seen.index("\x1b[31m[ERROR] KeyError: 'name'\n")
    assert "Traceback (most recent call last):\n" in seen[error:]
    assert re.search(r"\n[ \xa0]+File \"/var/task/lambda_function.py\", line 10", seen[error:])
    assert 'Traceback (most recent call last):\n  File "x.py", line 1\nT: m' in seen
    assert "\x1b[33m[WARNING]" in seen

    code, seen = on_terminal(boda.folder, "logs", name, "--no-times", NO_COLOR="1")
    assert code == 0 and "\x1b" not in seen and "\nplain 1\n" in seen

    piped = run_cli(boda.folder, "logs", name).stdout
    assert "\nplain 1\n" in piped and "\x1b[2J" in piped and "\x1b[3" not in piped
    timed = run_cli(boda.folder, "logs", name, "--times").stdout
    assert re.search(r"\n\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  plain 1\n", timed)

    rows = [
        json.loads(line)
        for line in run_cli(boda.folder, "logs", name, "--json").stdout.splitlines()
    ]
    assert any(row["message"] == "plain 1\n" for row in rows)
    assert {"timestamp", "logStreamName", "eventId"} <= rows[0].keys()

    chosen = run_cli(boda.folder, "logs", name, "--filter", "careful").stdout
    assert "careful" in chosen and "plain" not in chosen
    nothing = run_cli(boda.folder, "logs", name, "--filter", "nowhere")
    assert nothing.stdout == "" and "nothing that matches in the last 1h" in nothing.stderr
    wrong = run_cli(boda.folder, "logs", name, "--filter", "{ bad")
    assert wrong.returncode == 1 and len(wrong.stderr.splitlines()) == 1


def test_a_failed_call_on_a_terminal_shows_where(boda: Boda, name: str) -> None:
    boda.function(name, SOURCE)
    code, seen = on_terminal(boda.folder, "invoke", name)
    assert code == 1
    assert "Traceback (most recent call last):\n" in seen
    assert 'lambda_function.py", line 10' in seen and "KeyError: 'name'\n" in seen
    piped = run_cli(boda.folder, "invoke", name)
    assert json.loads(piped.stdout)["errorType"] == "KeyError"


@pytest.mark.parametrize("command", ["ps", "runtimes", "status", "cost", "doctor"])
def test_tables_on_a_terminal(boda: Boda, command: str) -> None:
    code, seen = on_terminal(boda.folder, command)
    assert code in (0, 1) and "Traceback" not in seen
    if command == "status":
        assert all(len(line) <= 200 for line in seen.splitlines())


def test_completion_knows_the_commands(tmp_path: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = run_cli(tmp_path, "--show-completion", shell, SHELL=f"/bin/{shell}")
        assert done.returncode == 0 and "_BODA_COMPLETE" in done.stdout, done
    done = run_cli(tmp_path, _BODA_COMPLETE="complete_bash", COMP_WORDS="boda d", COMP_CWORD="1")
    assert set(done.stdout.split()) == {"doctor", "deploy", "delete", "down"}


# In the background


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_up_in_the_background_status_down(folder: Path) -> None:
    isolation = {"BODA_ISOLATION": os.environ.get("BODA_ISOLATION", "full")}
    assert run_cli(folder, "status").returncode == 3
    assert "No boda runs" in run_cli(folder, "down").stdout
    started = run_cli(folder, "up", "--detach", "--port", "0", **isolation)
    assert started.returncode == 0, started.stderr
    try:
        found = re.search(r"ready at (http://\S+) \(process (\d+)\)", started.stdout)
        assert found is not None
        pid = int(found[2])
        again = run_cli(folder, "up", "--detach", **isolation)
        assert again.returncode == 0
        assert again.stdout == f"boda already runs at {found[1]} (process {pid}).\n"
        status = run_cli(folder, "status")
        assert status.returncode == 0 and found[1] in status.stdout
        report = json.loads(run_cli(folder, "status", "--json").stdout)
        assert report["Running"] is True and report["Pid"] == pid
        assert report["Endpoint"] == found[1] and report["UptimeSeconds"] >= 0
        assert os.getsid(pid) == pid  # it is not of our session
        assert "boda is ready at" in (folder / "boda.log").read_text()
        assert (folder / "boda.log").stat().st_mode & 0o777 == 0o600
    finally:
        stopped = run_cli(folder, "down")
    assert stopped.returncode == 0 and f"(process {pid}) has stopped" in stopped.stdout
    assert not Path(f"/proc/{pid}").exists() or _is_zombie(pid)
    assert run_cli(folder, "status").returncode == 3
    assert run_cli(folder, "down").returncode == 0


def _is_zombie(pid: int) -> bool:
    """It has ended, and whoever took it over has not asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_start_in_the_background_that_fails_says_why(folder: Path) -> None:
    failed = run_cli(folder, "up", "--detach", "--quota", "nonsense=1")
    assert failed.returncode == 2 and "nonsense is no quota" in failed.stderr
    folder.joinpath("boda.log").write_text("what was said before\n")
    again = run_cli(folder, "up", "--detach", "--host", "192.0.2.1")
    assert again.returncode == 1 and "192.0.2.1" in again.stderr
    assert "said before" not in again.stderr
    (folder.parent / "file").touch()
    nowhere = run_cli(folder.parent / "file", "up", "--detach")
    assert nowhere.returncode == 1 and "choose another with --data-dir" in nowhere.stderr


def test_down_stops_whatever_started_it_and_now_ends_calls(own_boda: Boda, name: str) -> None:
    own_boda.start()
    own_boda.function(name, "import time\ndef lambda_handler(e, c): time.sleep(50)\n", Timeout=60)
    own_boda.client("lambda").invoke(FunctionName=name, InvocationType="Event")
    eventually(lambda: '"busy"' in run_cli(own_boda.folder, "ps", "--json").stdout)
    begin = time.monotonic()
    done = run_cli(own_boda.folder, "down", "--now")
    assert done.returncode == 0 and "has stopped" in done.stdout
    assert time.monotonic() - begin < 45  # not as long as the function would have taken
    assert own_boda.process is not None and own_boda.process.wait(10) == 0


def test_after_a_kill_nothing_runs(own_boda: Boda) -> None:
    own_boda.start()
    assert own_boda.process is not None
    own_boda.process.send_signal(signal.SIGKILL)
    own_boda.process.wait()
    assert run_cli(own_boda.folder, "status").returncode == 3
    assert "No boda runs" in run_cli(own_boda.folder, "down").stdout
    assert "does not answer" in run_cli(own_boda.folder, "ps").stderr


def test_the_log_tells_of_refused_requests(tmp_path: Path) -> None:
    with Boda(tmp_path / "data", "--log-format", "json") as boda:
        run_cli(boda.folder, "invoke", "missing")
        lines = [one for one in boda.log.read_text().splitlines() if one.startswith("{")]
        (refused,) = (json.loads(one) for one in lines)
        assert refused["operation"] == "lambda:Invoke" and refused["status"] == 404
        assert refused["code"] == "ResourceNotFoundException" and refused["region"] == "us-east-1"
        assert boda.keys[1] not in boda.log.read_text()
    with Boda(tmp_path / "data", "--log-level", "warning") as boda:
        before = boda.log.read_text()
        run_cli(boda.folder, "invoke", "missing")
        assert "missing" not in boda.log.read_text()[len(before) :]
