"""Streamed answers through a real `boda up`, with the clients people use."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import time
from typing import Any

import pytest
from bench.host import Boda

from support.custom_runtimes import custom

SOURCE = """
import os, random, time

def lambda_handler(event, context):
    if event.get("whole"):
        return {"whole": event["whole"]}
    if event.get("early"):
        raise ValueError("no")
    return pieces(event)

def pieces(event):
    print("streaming")
    yield "first"
    time.sleep(event.get("wait", 0))
    if event.get("fail"):
        raise ValueError("half-way")
    if event.get("leave"):
        os._exit(3)
    chance = random.Random(7)
    for _ in range(event.get("kib", 0) // 64):
        yield chance.randbytes(65536)

async def asynchronous(event, context):
    import asyncio
    for n in range(3):
        await asyncio.sleep(0.01)
        yield f"{n} "
"""


class Got:
    """A whole streamed answer. first_s, whole_s: since the request."""

    def __init__(self, client: Any, name: str, event: Any, **more: Any) -> None:
        began = time.perf_counter()
        self.answer = client.invoke_with_response_stream(
            FunctionName=name, Payload=json.dumps(event).encode(), **more
        )
        self.first_s = 0.0
        self.complete: dict[str, str] | None = None
        parts = []
        for each in self.answer["EventStream"]:
            assert self.complete is None, "nothing comes after the end"
            if "PayloadChunk" in each:
                self.first_s = self.first_s or time.perf_counter() - began
                parts.append(each["PayloadChunk"]["Payload"])
            else:
                self.complete = each["InvokeComplete"]
        self.whole_s = time.perf_counter() - began
        self.body = b"".join(parts)


def test_parts_reach_the_caller_before_the_function_ends(boda: Boda, name: str) -> None:
    boda.function(name, SOURCE)
    client = boda.client("lambda")
    Got(client, name, {})  # the first one also starts an environment
    got = Got(client, name, {"wait": 1.5}, LogType="Tail")
    assert got.whole_s >= 1.5 and got.first_s < got.whole_s - 1.2
    assert got.body == b"first" and got.answer["StatusCode"] == 200
    assert got.answer["ExecutedVersion"] == "$LATEST"
    assert got.answer["ResponseStreamContentType"] == "application/octet-stream"
    assert got.complete is not None and set(got.complete) == {"LogResult"}
    log = base64.b64decode(got.complete["LogResult"]).decode()
    assert "streaming\n" in log and "REPORT RequestId: " in log
    report = next(line for line in log.splitlines() if line.startswith("REPORT"))
    assert float(report.split("Duration: ")[1].split(" ms")[0]) >= 1500

    failed = Got(client, name, {"fail": 1})
    assert failed.body == b"first" and failed.complete is not None
    assert failed.complete["ErrorCode"] == "Unhandled"
    assert json.loads(failed.complete["ErrorDetails"])["errorMessage"] == "half-way"

    left = Got(client, name, {"leave": 1})
    assert left.body == b"first" and left.complete is not None
    assert json.loads(left.complete["ErrorDetails"])["errorType"] == "Runtime.ExitError"

    early = Got(client, name, {"early": 1})
    assert early.body == b"" and early.complete is not None
    assert json.loads(early.complete["ErrorDetails"])["errorType"] == "ValueError"

    whole = Got(client, name, {"whole": 1})
    assert (json.loads(whole.body), whole.complete) == ({"whole": 1}, {})
    assert whole.answer["ResponseStreamContentType"] == "application/json"

    joined = client.invoke(FunctionName=name, Payload=b'{"kib": 64}')
    assert len(joined["Payload"].read()) == 5 + 65536 and "FunctionError" not in joined
    large = client.invoke(FunctionName=name, Payload=b'{"kib": 7168}')
    assert json.loads(large["Payload"].read())["errorType"] == "Function.ResponseSizeTooLarge"

    dry = client.invoke_with_response_stream(FunctionName=name, InvocationType="DryRun")
    assert dry["StatusCode"] == 204


def test_twenty_megabytes_arrive_whole_and_no_faster_than_they_may(boda: Boda, name: str) -> None:
    boda.function(name, SOURCE, Timeout=30)
    got = Got(boda.client("lambda"), name, {"kib": 20 * 1024})
    import random

    chance = random.Random(7)
    wanted = b"first" + b"".join(chance.randbytes(65536) for _ in range(320))
    assert hashlib.sha256(got.body).digest() == hashlib.sha256(wanted).digest()
    assert got.complete == {} and 6.5 < got.whole_s < 25


def test_asynchronous_generators(boda: Boda, name: str) -> None:
    boda.function(name, SOURCE)
    client = boda.client("lambda")
    client.update_function_configuration(FunctionName=name, Handler="lambda_function.asynchronous")
    client.get_waiter("function_updated_v2").wait(
        FunctionName=name, WaiterConfig={"Delay": 0, "MaxAttempts": 500}
    )
    got = Got(client, name, {})
    assert (got.body, got.complete) == (b"0 1 2 ", {})


def test_a_function_that_runs_out_of_time_half_way(boda: Boda, name: str) -> None:
    boda.function(name, SOURCE, Timeout=1)
    client = boda.client("lambda")
    got = Got(client, name, {"wait": 5})
    assert got.body == b"first" and got.complete is not None
    assert "Task timed out after 1.00 seconds" in got.complete["ErrorDetails"]
    assert Got(client, name, {}).body == b"first", "the environment was reset"


CUSTOM = """#!{python}
import base64, http.client, json, os, time

host = os.environ["AWS_LAMBDA_RUNTIME_API"]
base = "/2018-06-01/runtime/invocation/"
while True:
    connection = http.client.HTTPConnection(host)
    connection.request("GET", base + "next")
    answer = connection.getresponse()
    event = json.loads(answer.read())
    request_id = answer.headers["Lambda-Runtime-Aws-Request-Id"]
    connection.putrequest("POST", base + request_id + "/response")
    connection.putheader("Lambda-Runtime-Function-Response-Mode", "streaming")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.putheader("Content-Type", "text/event-stream")
    connection.putheader(
        "Trailer", "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"
    )
    connection.endheaders()
    for piece in (b"one ", b"two"):
        connection.send(b"%x\\r\\n%s\\r\\n" % (len(piece), piece))
        time.sleep(event.get("wait", 0))
    if event.get("cut"):
        connection.close()
        continue
    connection.send(b"0\\r\\n")
    if event.get("fail"):
        body = base64.b64encode(json.dumps({{"errorType": "My.Error"}}).encode())
        connection.send(b"Lambda-Runtime-Function-Error-Type: My.Error\\r\\n")
        connection.send(b"Lambda-Runtime-Function-Error-Body: " + body + b"\\r\\n")
    connection.send(b"\\r\\n")
    assert connection.getresponse().status == 202
"""


def _python_inside(boda: Boda) -> str:
    """An interpreter that functions can see."""
    probe = f"probe-{time.time_ns()}"
    source = "import sys\ndef lambda_handler(e, c): return sys.executable"
    boda.function(probe, source)
    answer = boda.client("lambda").invoke(FunctionName=probe)
    return str(json.loads(answer["Payload"].read()))


def test_a_custom_runtime_streams_over_http(boda: Boda, name: str) -> None:
    python = _python_inside(boda)
    if not python:
        pytest.skip("functions here are not told where their interpreter is")
    custom(boda, name, CUSTOM.format(python=python))
    client = boda.client("lambda")
    got = Got(client, name, {"wait": 0.6})
    assert (got.body, got.complete) == (b"one two", {})
    assert got.first_s < got.whole_s - 0.8
    assert got.answer["ResponseStreamContentType"] == "text/event-stream"
    failed = Got(client, name, {"fail": 1})
    assert failed.body == b"one two" and failed.complete is not None
    assert json.loads(failed.complete["ErrorDetails"]) == {"errorType": "My.Error"}
    cut = Got(client, name, {"cut": 1})
    assert cut.body == b"one two" and cut.complete is not None
    assert "Runtime.TruncatedResponse" in cut.complete["ErrorDetails"]
    joined = client.invoke(FunctionName=name)
    assert joined["Payload"].read() == b"one two"


GO = """#!{python}
# The bytes that Go's lambdaurl sends.
import http.client, json, os, time

host = os.environ["AWS_LAMBDA_RUNTIME_API"]
base = "/2018-06-01/runtime/invocation/"
connection = http.client.HTTPConnection(host)
while True:
    connection.request("GET", base + "next")
    answer = connection.getresponse()
    answer.read()
    request_id = answer.headers["Lambda-Runtime-Aws-Request-Id"]
    connection.putrequest("POST", base + request_id + "/response", skip_accept_encoding=True)
    for name, value in (
        ("User-Agent", "aws-lambda-go/go1.24.1"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Type", "application/vnd.awslambda.http-integration-response"),
        ("Trailer", "Lambda-Runtime-Function-Error-Body,Lambda-Runtime-Function-Error-Type"),
        ("Accept-Encoding", "gzip"),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    head = {{"statusCode": 201, "headers": {{"Content-Type": "text/plain"}}, "cookies": ["a=1"]}}
    for piece in (json.dumps(head).encode() + bytes(8), b"one ", b"two"):
        connection.send(b"%x\\r\\n%s\\r\\n" % (len(piece), piece))
        time.sleep(0.6)
    connection.send(b"0\\r\\n\\r\\n")
    answer = connection.getresponse()
    assert (answer.status, answer.read() != b"") == (202, True)
"""


def test_gos_lambdaurl_streams(boda: Boda, name: str) -> None:
    python = _python_inside(boda)
    if not python:
        pytest.skip("functions here are not told where their interpreter is")
    custom(boda, name, GO.format(python=python))
    host = boda.open_url(name, "RESPONSE_STREAM")
    for _ in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", boda.port, timeout=20)
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Content-Type"]) == (201, "text/plain")
        assert answer.headers["Set-Cookie"] == "a=1"
        began = time.perf_counter()
        assert answer.read(4) == b"one "
        assert answer.read() == b"two"
        assert time.perf_counter() - began > 0.5  # the second piece came later


PAGE = """
import time

def lambda_handler(event, context):
    yield {"statusCode": 203, "headers": {"Content-Type": "text/html"}, "cookies": ["a=1"]}
    yield "<p>"
    time.sleep(1.2)
    if event["rawPath"] == "/fail":
        raise ValueError("half-way")
    yield "done"
"""


def test_a_function_url_streams(boda: Boda, name: str) -> None:
    boda.function(name, PAGE)
    client = boda.client("lambda")
    host = boda.open_url(name, "RESPONSE_STREAM")

    def get(path: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", boda.port, timeout=20)
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse()

    get("/").read()  # the first one also starts an environment
    began = time.perf_counter()
    answer = get("/")
    assert (answer.status, answer.headers["Content-Type"]) == (203, "text/html")
    assert answer.headers["Set-Cookie"] == "a=1"
    assert answer.read(3) == b"<p>" and time.perf_counter() - began < 1.0
    assert answer.read() == b"done" and time.perf_counter() - began >= 1.2
    with pytest.raises(http.client.IncompleteRead):
        get("/fail").read()
    assert client.invoke(FunctionName=name, Payload=b'{"rawPath": "/"}')["StatusCode"] == 200


def test_a_client_that_hangs_up_does_not_stop_the_function(boda: Boda, name: str) -> None:
    boda.function(name, SOURCE.replace('time.sleep(event.get("wait", 0))', "time.sleep(1)"))
    client = boda.client("lambda")
    stream = client.invoke_with_response_stream(FunctionName=name, Payload=b'{"kib": 12800}')
    assert next(iter(stream["EventStream"]))["PayloadChunk"]["Payload"] == b"first"
    stream["EventStream"].close()
    logs = boda.client("logs")
    until = time.monotonic() + 20
    while True:
        found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern="REPORT")[
            "events"
        ]
        if found:
            break
        assert time.monotonic() < until, "it never came to its end"
        time.sleep(0.1)
    report = found[0]["message"]
    took_ms = float(report.split("\tDuration: ")[1].split(" ms")[0])
    assert 1000 <= took_ms < 2900, "nobody slowed it down"
    assert "Status:" not in report
