"""What a function sees of its package: files as they were packed."""

from __future__ import annotations

import stat

from bench.host import Boda

from support.lambda_world import package

READS = """
import os, subprocess

def lambda_handler(event, context):
    found = {}
    for name in ("open.txt", "secret.txt", "run", "plain"):
        try:
            with open(name) as file:
                found[name] = file.read()
        except OSError as error:
            found[name] = f"[Errno {error.errno}] {error.strerror}"
    try:
        found["ran"] = subprocess.run(["./run"], capture_output=True, text=True).stdout
        subprocess.run(["./plain"])
    except OSError as error:
        found["refused"] = error.errno
    return found
"""


def test_files_keep_the_modes_of_their_package(boda: Boda, name: str) -> None:
    content = package(
        {
            "lambda_function.py": READS,
            "open.txt": "open",
            "secret.txt": "secret",
            "run": "#!/bin/sh\necho ran\n",
            "plain": "#!/bin/sh\necho never\n",
        },
        secret_txt=stat.S_IFREG | 0o600,
        run=stat.S_IFREG | 0o755,
    )
    boda.function(name, content)
    assert boda.call(name) == {
        "open.txt": "open",
        "secret.txt": "[Errno 13] Permission denied",
        "run": "#!/bin/sh\necho ran\n",
        "plain": "#!/bin/sh\necho never\n",
        "ran": "ran\n",
        "refused": 13,
    }


def test_code_that_may_not_be_read_fails_its_init(boda: Boda, name: str) -> None:
    content = package({"lambda_function.py": "x = 1\n"}, lambda_function_py=stat.S_IFREG | 0o600)
    boda.function(name, content)
    body = boda.call(name)
    assert body["errorType"] == "PermissionError"
    assert body["errorMessage"] == "[Errno 13] Permission denied: '/var/task/lambda_function.py'"
