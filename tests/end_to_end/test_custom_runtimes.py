"""Runtimes that the function brings itself, through a real `boda up`."""

from __future__ import annotations

import base64
import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from bench.host import Boda

from support.custom_runtimes import custom
from support.lambda_world import package

SHELL = r"""#!/bin/bash
echo "started by $_HANDLER"
host=${AWS_LAMBDA_RUNTIME_API%:*} port=${AWS_LAMBDA_RUNTIME_API#*:}
base=/2018-06-01/runtime/invocation
while true; do
  exec 3<>/dev/tcp/$host/$port
  printf 'GET %s/next HTTP/1.1\r\nHost: x\r\n\r\n' $base >&3
  while IFS= read -r line <&3; do
    line=${line%$'\r'}
    [ -z "$line" ] && break
    case "${line,,}" in
      lambda-runtime-aws-request-id:*) id=${line#*: } ;;
      content-length:*) length=${line#*: } ;;
    esac
  done
  IFS= read -r -N "$length" event <&3
  exec 3>&-
  echo "event $event"
  kind=response answer="{\"got\": $event}"
  case "$event" in
    *leave*) exit 3 ;;
    *fail*) kind=error answer='{"errorType": "My.Error", "errorMessage": "no"}' ;;
  esac
  exec 3<>/dev/tcp/$host/$port
  printf 'POST %s/%s/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' \
    $base "$id" $kind ${#answer} "$answer" >&3
  IFS= read -r line <&3
  exec 3>&-
done
"""


def ask(boda: Boda, name: str, event: Any) -> Any:
    client = boda.client("lambda")
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event).encode())
    return json.loads(answer["Payload"].read())


def test_a_shell_script_is_a_runtime(boda: Boda, name: str) -> None:
    custom(boda, name, SHELL)
    assert ask(boda, name, {"a": 1}) == {"got": {"a": 1}}
    assert ask(boda, name, {"fail": 1}) == {"errorType": "My.Error", "errorMessage": "no"}
    for _ in range(3):
        left = ask(boda, name, {"leave": 1})
        assert left["errorType"] == "Runtime.ExitError"
        assert left["errorMessage"].endswith(" Error: Runtime exited with error: exit status 3")
        # It asks as soon as it is started again, and only once.
        assert ask(boda, name, {"again": 1}) == {"got": {"again": 1}}


@pytest.mark.parametrize(
    ("bootstrap", "mode", "words"),
    [
        (None, 0o755, "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
        (SHELL, 0o644, "fork/exec /var/task/bootstrap: permission denied"),
        ("#!/no/such/shell\n", 0o755, "fork/exec /var/task/bootstrap: no such file or directory"),
        ("no program", 0o755, "fork/exec /var/task/bootstrap: exec format error"),
    ],
)
def test_what_cannot_be_executed_is_an_invalid_entrypoint(
    boda: Boda, name: str, bootstrap: str | None, mode: int, words: str
) -> None:
    custom(boda, name, bootstrap, mode)
    error = ask(boda, name, {})
    assert error["errorType"] == "Runtime.InvalidEntrypoint"
    assert error["errorMessage"].endswith(f" Error: {words}")


# In the manner of AWS's tutorial: bash under the name of sh, curl, a handler in a file of its own.
TUTORIAL = r"""#!/bin/sh
set -euo pipefail
source "$LAMBDA_TASK_ROOT/$(echo "$_HANDLER" | cut -d. -f1).sh"
API="http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation"
while true
do
  HEAD="$(mktemp)"
  EVENT=$(curl -sS -LD "$HEAD" "$API/next")
  ID=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$HEAD" | tr -d '[:space:]' | cut -d: -f2)
  ANSWER=$($(echo "$_HANDLER" | cut -d. -f2) "$EVENT")
  curl "$API/$ID/response" -d "$ANSWER"
done
"""
HANDLER = """function handler () {
  EVENT=$1
  echo "$EVENT" 1>&2;
  ANSWER="Echoing request: '$EVENT'"

  echo $ANSWER
}
"""


@pytest.mark.skipif(
    not (shutil.which("curl") and Path("/bin/bash").exists()), reason="needs curl and bash"
)
def test_the_script_of_a_tutorial_is_a_runtime(boda: Boda, name: str) -> None:
    content = package(
        {"bootstrap": TUTORIAL, "function.sh": HANDLER}, bootstrap=stat.S_IFREG | 0o755
    )
    boda.function(name, content, Runtime="provided.al2023", Handler="function.handler", Timeout=20)
    for text in ("Hello", "again"):
        answer = boda.client("lambda").invoke(
            FunctionName=name, Payload=json.dumps({"text": text}).encode(), LogType="Tail"
        )
        said = answer["Payload"].read().decode()
        assert said == "Echoing request: '" + json.dumps({"text": text}) + "'"
        assert f'"{text}"' in base64.b64decode(answer["LogResult"]).decode()
