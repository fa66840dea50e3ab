"""The command line, as a user types it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from bench.host import Boda

from support.commands import run_cli


def test_deploy_invoke_logs_ps_cost(boda: Boda, name: str, tmp_path: Path) -> None:
    def cli(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return run_cli(boda.folder, *words, stdin=stdin)

    folder = tmp_path / name
    folder.mkdir()
    (folder / "lambda_function.py").write_text(
        "def lambda_handler(event, context):\n"
        "    print('from the rider')\n"
        "    return f\"hello {event['name']}\"\n"
    )
    done = cli("deploy", str(folder))
    assert done.returncode == 0, done.stderr
    assert f"boda invoke {name}" in done.stdout

    done = cli("invoke", name, '{"name": "rider"}', "--tail")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == "hello rider"
    assert "from the rider" in done.stderr and "REPORT" in done.stderr

    done = cli("invoke", name, "-", stdin='{"name": "stdin"}')
    assert json.loads(done.stdout) == "hello stdin"

    failed = cli("invoke", name, "{}")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["errorType"] == "KeyError"

    (folder / "lambda_function.py").write_text("def lambda_handler(e, c): return 'second'\n")
    done = cli("deploy", str(folder), "--json")
    assert json.loads(done.stdout)["Created"] is False
    assert json.loads(cli("invoke", name).stdout) == "second"

    rows = json.loads(cli("ps", "--json").stdout)
    mine = [row for row in rows if row["FunctionName"] == name]
    assert mine
    assert mine[0]["MemoryBytes"] > 0 and mine[0]["Invocations"] >= 1
    assert name in cli("ps").stdout

    end = time.monotonic() + 20
    while "from the rider" not in (text := cli("logs", name).stdout):
        assert time.monotonic() < end, text
    assert "START RequestId" in text

    while True:
        cost = json.loads(cli("cost", "--json").stdout)
        rows = [row for row in cost["Functions"] if row["FunctionName"] == name]
        if rows and rows[0]["Requests"] >= 4:
            break
        assert time.monotonic() < end
    assert rows[0]["Requests"] == 4
    assert rows[0]["Errors"] == 1
    assert rows[0]["BilledMs"] >= 4
    assert "USD" in cli("cost").stdout


def test_env_prints_exports_that_a_shell_understands(boda: Boda) -> None:
    done = run_cli(boda.folder, "env")
    words = dict(shlex.split(line)[1].split("=", 1) for line in done.stdout.splitlines() if line)
    assert words["AWS_ENDPOINT_URL"] == boda.url
    assert (words["AWS_ACCESS_KEY_ID"], words["AWS_SECRET_ACCESS_KEY"]) == boda.keys
    assert words["AWS_DEFAULT_REGION"] == words["AWS_REGION"] == "us-east-1"
    done = run_cli(boda.folder, "env", "--json", "--region", "eu-west-1", AWS_REGION="eu-west-2")
    words = json.loads(done.stdout)
    assert words["AWS_DEFAULT_REGION"] == words["AWS_REGION"] == "eu-west-1"
    # A token of other keys would be sent with these.
    assert "unset AWS_SESSION_TOKEN" in run_cli(boda.folder, "env", AWS_SESSION_TOKEN="t").stdout


def test_the_root_keys_are_private(boda: Boda) -> None:
    assert (boda.folder / "root.json").stat().st_mode & 0o777 == 0o600


def test_health(boda: Boda) -> None:
    with urllib.request.urlopen(f"{boda.url}/_boda/health") as answer:
        health = json.load(answer)
    assert health["status"] == "ok"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", health["version"])
    assert {"lambda", "s3", "iam", "sts", "logs"} <= set(health["services"])


def test_runtimes_name_their_interpreters(boda: Boda) -> None:
    rows = json.loads(run_cli(boda.folder, "runtimes", "--json").stdout)
    assert rows
    for row in rows:
        assert re.fullmatch(r"python3\.\d+|provided\.al20?2?3?", row["Name"])
        if row["Name"].startswith("python"):
            assert os.access(row["Interpreter"], os.X_OK)


def test_runtimes_are_those_of_the_running_boda_or_of_this_machine(
    boda: Boda, tmp_path: Path
) -> None:
    asked = run_cli(boda.folder, "runtimes", "--json")
    assert asked.stderr == ""
    alone = run_cli(tmp_path, "runtimes", "--json")
    assert "No boda is running" in alone.stderr
    assert json.loads(alone.stdout) == json.loads(asked.stdout)
    assert "To add one" in run_cli(boda.folder, "runtimes").stdout


def test_an_allowed_region_works_like_any_other(tmp_path: Path, name: str) -> None:
    with Boda(tmp_path / "data", "--allow-region", "moon-1") as boda:
        words = json.loads(run_cli(boda.folder, "env", "--json", "--region", "moon-1").stdout)
        assert words["AWS_REGION"] == "moon-1"
        folder = tmp_path / name
        folder.mkdir()
        (folder / "app.py").write_text(
            "import os\ndef handler(event, context): return os.environ['AWS_REGION']\n"
        )
        done = run_cli(boda.folder, "deploy", str(folder), "--region", "moon-1")
        assert done.returncode == 0, done.stderr
        done = run_cli(boda.folder, "invoke", name, "--region", "moon-1")
        assert json.loads(done.stdout) == "moon-1", done.stderr
        assert run_cli(boda.folder, "invoke", name).returncode == 1


def test_doctor_examines_each_promise(boda: Boda) -> None:
    done = run_cli(boda.folder, "doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["StrongEnough"] else 1)
    assert len(report["Findings"]) >= 10


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("invoke", "missing"), "ResourceNotFoundException"),
        (("invoke", "x", "@/nowhere/file"), "cannot be read"),
        (("invoke", "x", "{not json"), "InvalidRequestContentException"),
        (("deploy", "/nowhere"), "is not a folder"),
        (("logs", "missing"), "ResourceNotFoundException"),
        (("cost", "--month", "2026-13"), "month"),
    ],
)
def test_a_mistake_is_answered_by_one_sentence(
    boda: Boda, name: str, words: tuple[str, ...], sentence: str
) -> None:
    if words[1] == "x":
        boda.function(name, "def lambda_handler(e, c): ...\n")
        words = (words[0], name, *words[2:])
    done = run_cli(boda.folder, *words)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_a_boda_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    done = run_cli(tmp_path / "nothing", "ps")
    assert done.returncode == 1
    assert "boda up" in done.stderr and "Traceback" not in done.stderr


def test_a_second_boda_on_the_same_folder_is_refused(boda: Boda) -> None:
    done = run_cli(boda.folder, "up", "--port", "0")
    assert done.returncode == 1
    assert "is in use" in done.stderr and "Traceback" not in done.stderr


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_cli(tmp_path / "data", "up", "--port", str(port))
    assert done.returncode == 1
    assert str(port) in done.stderr and "Traceback" not in done.stderr


def test_a_folder_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with sqlite3.connect(folder / "boda.db") as connection:
        connection.execute("PRAGMA user_version=999")
    connection.close()
    done = run_cli(folder, "up", "--port", "0")
    assert done.returncode == 1
    assert "newer boda" in done.stderr and "Traceback" not in done.stderr
    with sqlite3.connect(folder / "boda.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (999,)
    connection.close()


def test_open_mode_says_so_loudly(tmp_path: Path) -> None:
    with Boda(tmp_path / "data", "--auth", "open") as boda:
        assert boda.client("sts", key="anything", secret="anything").get_caller_identity()
    assert "open" in boda.log.read_text().lower()
    assert "WARNING" in boda.log.read_text()


def test_a_stop_lets_running_invocations_finish(own_boda: Boda, name: str) -> None:
    own_boda.start()
    own_boda.function(
        name,
        "import time\ndef lambda_handler(e, c):\n  time.sleep(2)\n  return 'finished'\n",
        Timeout=10,
    )
    answers: list[bytes] = []
    client = own_boda.client("lambda")
    caller = threading.Thread(
        target=lambda: answers.append(client.invoke(FunctionName=name)["Payload"].read())
    )
    caller.start()
    time.sleep(0.7)
    assert own_boda.stop() == 0
    caller.join()
    assert answers == [b'"finished"']


def test_a_second_interrupt_ends_what_runs(own_boda: Boda, name: str) -> None:
    own_boda.start()
    source = "import time\ndef lambda_handler(e, c): time.sleep(e.get('s', 0))\n"
    own_boda.function(name, source, Timeout=60)
    client = own_boda.client("lambda")
    client.invoke(FunctionName=name)
    ended: list[str] = []

    def call() -> None:
        try:
            client.invoke(FunctionName=name, Payload=b'{"s": 50}')
        except client.exceptions.ServiceException as error:
            ended.append(error.response["Error"]["Message"])

    caller = threading.Thread(target=call)
    caller.start()
    end = time.monotonic() + 20
    while '"busy"' not in run_cli(own_boda.folder, "ps", "--json").stdout:
        assert time.monotonic() < end
    process = own_boda.process
    assert process is not None
    process.send_signal(signal.SIGINT)
    while "interrupt again to end them now" not in own_boda.log.read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    caller.join()
    assert ended == ["The execution environment was stopped."]


def test_a_live_tail_does_not_hold_up_a_stop(own_boda: Boda) -> None:
    own_boda.start()
    logs = own_boda.client("logs", inject_host_prefix=False)
    logs.create_log_group(logGroupName="/watched")
    arn = "arn:aws:logs:us-east-1:000000000000:log-group:/watched"
    tail = iter(logs.start_live_tail(logGroupIdentifiers=[arn])["responseStream"])
    assert "sessionStart" in next(tail)
    begin = time.monotonic()
    assert own_boda.stop() == 0
    assert time.monotonic() - begin < 20
    assert all("sessionUpdate" in event for event in tail)


def test_everything_is_there_after_a_restart(own_boda: Boda, name: str) -> None:
    own_boda.start()
    own_boda.function(name, "def lambda_handler(e, c): return 'still here'\n")
    own_boda.client("s3").create_bucket(Bucket=f"b-{name}")
    own_boda.client("s3").put_object(Bucket=f"b-{name}", Key="k", Body=b"v")
    own_boda.stop()
    own_boda.start()
    answer = own_boda.client("lambda").invoke(FunctionName=name)
    assert answer["Payload"].read() == b'"still here"'
    assert own_boda.client("s3").get_object(Bucket=f"b-{name}", Key="k")["Body"].read() == b"v"


def test_nothing_is_left_after_a_stop_or_a_kill(own_boda: Boda, name: str) -> None:
    for end in (own_boda.stop, own_boda.kill):
        before = _traces(own_boda.folder)
        assert not before
        own_boda.start()
        assert own_boda.process is not None
        client = own_boda.client("lambda")
        if end == own_boda.stop:
            own_boda.function(name, "def lambda_handler(e, c): return 1\n")
        client.invoke(FunctionName=name)
        marker = _processes(own_boda.folder)
        assert marker
        end()
        deadline = time.monotonic() + 10
        while _processes(own_boda.folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _processes(own_boda.folder)
    # What a kill leaves on the file system is swept by the next start.
    own_boda.start()
    own_boda.stop()
    assert not _traces(own_boda.folder)


def _processes(folder: Path) -> list[str]:
    """Processes whose command line or environment names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in text:
                found.append(entry.name)
    return found


def _traces(folder: Path) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]
