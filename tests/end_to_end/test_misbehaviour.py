"""Functions and runtimes that do what none should: the caller hears of it, the next call works."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bench.host import Boda

from support import waiting
from support.custom_runtimes import custom

eventually = partial(waiting.eventually, timeout_s=10)

FUNCTION = """
import os, signal, socket, stat, subprocess, sys, time

KEPT = []

def sockets():
    for number in range(3, 1024):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                yield number
        except OSError:
            pass

def daemon(event):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            script = "trap '' HUP INT TERM; while :; do sleep 0.1; echo on; done; : $0"
            os.execv("/bin/sh", ["sh", "-c", script, event["mark"]])
        os._exit(0)
    os.wait()

def lambda_handler(event, context):
    do = event.get("do")
    if do == "exit 0":
        os._exit(0)
    elif do == "SystemExit":
        sys.exit(0)
    elif do == "stop itself":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif do == "close all and hang":
        os.closerange(0, 1024)
        time.sleep(100)
    elif do == "close all":
        os.closerange(0, 1024)
    elif do == "close sockets":
        for number in sockets():
            os.close(number)
    elif do == "shut sockets":
        for number in sockets():
            socket.socket(fileno=os.dup(number)).shutdown(socket.SHUT_RDWR)
    elif do == "become another program":
        os.execv("/bin/true", ["true"])
    elif do == "close output":
        os.closerange(0, 3)
    elif do == "keep descriptors":
        try:
            while True:
                KEPT.append(os.open("/dev/null", 0))
        except OSError as error:
            return error.errno
    elif do == "leave a daemon":
        daemon(event)
    elif do == "return twice":
        return "child" if os.fork() == 0 else "fine"
    elif do == "a child takes all memory":
        child = os.fork()
        if child == 0:
            bytearray(1 << 30)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "fine"
"""
EXITED = "Runtime.ExitError"
TIMED_OUT = "Sandbox.Timedout"


@pytest.fixture(autouse=True)
def no_traceback(boda: Boda) -> Iterator[None]:
    before = boda.log.stat().st_size
    yield
    said = boda.log.read_bytes()[before:].decode("utf-8", "replace")
    assert "Traceback" not in said and "ASGI" not in said, said


def ask(boda: Boda, name: str, **event: Any) -> tuple[str, Any]:
    """The error's type or "", and the answer."""
    answer = boda.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())
    body = json.loads(answer["Payload"].read() or b"null")
    return (body["errorType"] if "FunctionError" in answer else ""), body


def go_on_after(boda: Boda, name: str, *cases: tuple[str, str, Any]) -> None:
    """What a function is told to do, what comes of it (the error's type or "", and else the
    answer); the next calls are served as ever."""
    for do, error, answer in cases:
        got = ask(boda, name, do=do)
        assert got[0] == error, (do, got)
        if not error:
            assert got[1] == answer, do
        for _ in range(2):
            assert ask(boda, name) == ("", "fine"), do


def running_with(mark: str) -> list[int]:
    """Processes of this machine that have the mark on their command line."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in each.read_bytes():
                found.append(int(each.parent.name))
        except OSError:
            continue
    return found


def test_python_functions_that_misbehave(boda: Boda, name: str) -> None:
    boda.function(name, FUNCTION, Timeout=2)
    go_on_after(
        boda,
        name,
        ("exit 0", EXITED, None),
        ("SystemExit", EXITED, None),
        ("stop itself", TIMED_OUT, None),
        ("close all and hang", TIMED_OUT, None),
        ("close all", EXITED, None),
        ("close sockets", EXITED, None),
        ("shut sockets", EXITED, None),
        ("become another program", EXITED, None),
        ("close output", "", "fine"),
        ("keep descriptors", "", 24),
        ("return twice", "", "fine"),
    )


def test_a_child_that_takes_all_memory(boda: Boda, name: str) -> None:
    # A second's work with the CPU of 128 MB, so not within a short timeout.
    boda.function(name, FUNCTION, Timeout=60)
    assert ask(boda, name, do="a child takes all memory") == ("", -9)
    for _ in range(2):
        assert ask(boda, name) == ("", "fine")


def test_what_lingers_ends_with_its_environment(boda: Boda, name: str) -> None:
    boda.function(name, FUNCTION, Timeout=2)
    mark = f"mark-{name}"
    assert ask(boda, name, do="leave a daemon", mark=mark) == ("", "fine")
    assert ask(boda, name) == ("", "fine")
    eventually(lambda: len(running_with(mark)) == 1)
    assert ask(boda, name, do="exit 0")[0] == EXITED
    eventually(lambda: not running_with(mark))
    assert ask(boda, name, do="leave a daemon", mark=mark) == ("", "fine")
    eventually(lambda: len(running_with(mark)) == 1)
    boda.client("lambda").delete_function(FunctionName=name)
    eventually(lambda: not running_with(mark))


def test_crash_after_crash_leaves_no_descriptor(boda: Boda, name: str) -> None:
    boda.function(name, FUNCTION)
    assert boda.process is not None
    place = f"/proc/{boda.process.pid}/fd"
    ask(boda, name)
    before = len(os.listdir(place))
    for _ in range(30):
        assert ask(boda, name, do="exit 0")[0] == EXITED
    assert ask(boda, name) == ("", "fine")
    assert len(os.listdir(place)) < before + 25


RUNTIME = r"""#!/usr/bin/env python3
import http.client, json, os, socket, sys, time

HOST = os.environ["AWS_LAMBDA_RUNTIME_API"]
BASE = "/2018-06-01/runtime/"

def send(method, path, body=None, **headers):
    connection = http.client.HTTPConnection(HOST)
    names = {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(method, BASE + path, body, names)
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()

def next():
    status, headers, body = send("GET", "invocation/next")
    assert status == 200, status
    return headers["Lambda-Runtime-Aws-Request-Id"], json.loads(body)

def respond(request_id, value, kind="response"):
    return send("POST", f"invocation/{request_id}/{kind}", json.dumps(value))[0]

def raw(request_id, body, *lines):
    host, port = HOST.split(":")
    connection = socket.create_connection((host, int(port)))
    head = [f"POST {BASE}invocation/{request_id}/response HTTP/1.1", "Host: x", *lines, "", ""]
    connection.sendall("\r\n".join(head).encode() + body)
    return connection

STREAMED = ("Lambda-Runtime-Function-Response-Mode: streaming", "Transfer-Encoding: chunked")
STRANGER = "00000000-0000-0000-0000-000000000000"
FAILED = json.dumps({"errorType": "My.Error", "errorMessage": "no"})
"""
LOOP = r"""
while True:
    mine, event = next()
    do = event.get("do")
    if do == "init error amid":
        respond(mine, send("POST", "init/error", FAILED)[0])
    elif do == "init error after":
        respond(mine, "fine")
        assert send("POST", "init/error", FAILED)[0] == 403
    elif do == "another id, then mine":
        respond(mine, [respond(STRANGER, "stolen"), respond(STRANGER, {}, "error")])
    elif do == "another id only":
        respond(STRANGER, "stolen")
    elif do == "twice":
        respond(mine, "fine")
        assert (respond(mine, "again"), respond(mine, {}, "error")) == (400, 400)
    elif do == "no next":
        respond(mine, "fine")
        time.sleep(1000)
    elif do == "leave after":
        respond(mine, "fine")
        os._exit(0)
    elif do == "half, then whole":
        raw(mine, b"abc", "Content-Length: 100").close()
        time.sleep(0.1)
        respond(mine, "fine")
    elif do == "half":
        kept = raw(mine, b"abc", "Content-Length: 100")
        time.sleep(1000)
    elif do == "too much":
        respond(mine, "x" * (7 << 20))
    elif do == "stream, then leave":
        kept = raw(mine, b"3\r\nabc\r\n", *STREAMED)
        time.sleep(0.1)
        os._exit(0)
    elif do == "stream garbage":
        kept = raw(mine, b"3\r\nabc\r\nnot a size\r\n", *STREAMED)
        kept.recv(1000)
        kept.close()
    elif do == "stream, then hang":
        kept = raw(mine, b"3\r\nabc\r\n", *STREAMED)
        time.sleep(1000)
    elif do == "stream, then error":
        kept = raw(mine, b"6\r\n\"fine\"\r\n", *STREAMED)
        while respond(mine, {}, "error") == 400:
            time.sleep(0.01)  # the head has not been read yet
        kept.sendall(b"0\r\n\r\n")
        kept.recv(1000)
    else:
        respond(mine, "fine")
"""
TRUNCATED = "Runtime.TruncatedResponse"
TOO_LARGE = "Function.ResponseSizeTooLarge"


def test_custom_runtimes_that_misbehave(boda: Boda, name: str) -> None:
    custom(boda, name, RUNTIME + LOOP, timeout_s=2)
    go_on_after(
        boda,
        name,
        ("init error amid", "", 403),
        ("init error after", "", "fine"),
        ("another id, then mine", "", [400, 400]),
        ("another id only", EXITED, None),  # it asks for the next one, is refused, and gives up
        ("twice", "", "fine"),
        ("no next", "", "fine"),
        ("leave after", "", "fine"),
        ("half, then whole", "", "fine"),
        ("half", TIMED_OUT, None),
        ("too much", TOO_LARGE, None),
        ("stream, then leave", TRUNCATED, None),
        ("stream garbage", TRUNCATED, None),
        ("stream, then hang", TIMED_OUT, None),
        ("stream, then error", "", "fine"),
    )


@pytest.mark.parametrize(
    ("init", "error"),
    [
        ("time.sleep(1000)", TIMED_OUT),
        ("sys.exit(0)", EXITED),
        ("send('POST', 'init/error', FAILED); time.sleep(1000)", "My.Error"),
        ("send('POST', 'init/error', FAILED); respond(next()[0], 'unexpected')", "My.Error"),
    ],
)
def test_an_init_that_does_not_end_as_it_should(
    boda: Boda, name: str, init: str, error: str
) -> None:
    """The first never asks for an invocation: ten seconds for its init, then the call's own."""
    custom(boda, name, f"{RUNTIME}\n{init}\n", timeout_s=1)
    assert ask(boda, name)[0] == error
    assert ask(boda, name)[0] == error
