"""Memory as AWS counts it: what is shared with others included, and no more than was paid for."""

from __future__ import annotations

import base64
import re

from bench.host import Boda

from support.lambda_world import package

TAKES = """
def lambda_handler(event, context):
    held = [b"x" * (1 << 20) for _ in range(event or 0)]
    return len(held)
"""


def reported_mb(boda: Boda, name: str, event: str = "null") -> int:
    answer = boda.client("lambda").invoke(FunctionName=name, LogType="Tail", Payload=event.encode())
    log = base64.b64decode(answer["LogResult"]).decode()
    found = re.search(r"Max Memory Used: (\d+) MB", log)
    assert found is not None, log
    return int(found[1])


def test_a_function_that_does_nothing_uses_what_it_does_on_aws(boda: Boda, name: str) -> None:
    boda.function(name, TAKES)
    assert 22 <= reported_mb(boda, name) <= 40
    before = reported_mb(boda, name)
    assert 45 <= reported_mb(boda, name, "50") - before <= 55


def test_boto3_that_is_loaded_already_counts(boda: Boda, name: str) -> None:
    boda.function(name, "import boto3\n" + TAKES)
    assert 50 <= reported_mb(boda, name) <= 90


MAPS = """
import mmap
with open("library.so", "rb") as file:
    library = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
touched = sum(library[at] for at in range(0, len(library), 4096))
"""


def test_libraries_that_a_package_brings_count(boda: Boda, name: str) -> None:
    content = package({"lambda_function.py": MAPS + TAKES, "library.so": bytes(40 << 20)})
    boda.function(name, content, Timeout=20)
    assert 62 <= reported_mb(boda, name) <= 80
    assert boda.call(name, 40) == 40
    assert boda.call(name, 72)["errorType"] == "Runtime.OutOfMemory"
    assert boda.call(name, 40) == 40


def test_128_mb_are_128(boda: Boda, name: str) -> None:
    boda.function(name, TAKES, Timeout=20)
    assert boda.call(name, 80) == 80
    assert boda.call(name, 112)["errorType"] == "Runtime.OutOfMemory"
    assert boda.call(name, 80) == 80  # a new process, in the same sandbox
