"""Attacks for ``bench.health`` that come from functions, or from connections that nobody uses.

``INSIDE`` are rows of its table. Each function attacks for ATTACK_S seconds; what it opens ends
with its environment or with the attack.
"""

from __future__ import annotations

import contextlib
import itertools
import resource
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.health import Stage

ATTACK_S = 4
HALF_SENT = 10_500
_HEAD = """
import contextlib, os, selectors, socket, sys, time

def until():
    return time.monotonic() + {seconds}

def lambda_handler(event, context):
    end = until()
"""
_RUNTIME_API = """
    host, _, port = os.environ["AWS_LAMBDA_RUNTIME_API"].partition(":")
    asked = b"GET /nope HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" * 1500
    watch = selectors.DefaultSelector()

    def connect():
        one = socket.create_connection((host, int(port)))
        one.setblocking(False)
        with contextlib.suppress(OSError):
            one.send(asked)
        watch.register(one, selectors.EVENT_READ)

    for _ in range(32):
        connect()
    while time.monotonic() < end:
        for key, _ in watch.select(0.1):
            data = b""
            with contextlib.suppress(OSError):
                data = key.fileobj.recv(65536)
            if not data:
                watch.unregister(key.fileobj)
                key.fileobj.close()
                connect()
"""
_IDLE = """
    kept = []
    while time.monotonic() < end:
        try:
            kept.append(socket.create_connection(("127.0.0.1", 4566)))
        except OSError:
            time.sleep(0.1)
        if len(kept) >= 950:
            time.sleep(max(0, end - time.monotonic()))
"""
_OUTPUT = """
    text = {text!r} * (65536 // len({text!r}))
    while time.monotonic() < end:
        os.write(1, text)
"""
_NEW_FLOWS = """
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while time.monotonic() < end:
        for port in range(1024, 65536):
            with contextlib.suppress(OSError):
                one.sendto(b"x", ("192.0.2.1", port))
            if port % 1000 == 0 and time.monotonic() > end:
                break
"""
_numbers = itertools.count()


def _function(code: str, at_once: int, stage: Stage) -> None:
    """Make a function of 128 MB and call it so many times at once."""
    name = f"attacker-{next(_numbers)}"
    source = _HEAD.format(seconds=ATTACK_S) + code
    stage.boda.function(name, source, MemorySize=128, Timeout=3 * ATTACK_S)
    with ThreadPoolExecutor(at_once) as callers:
        list(callers.map(lambda _: stage.boda.call(name, {}), range(at_once)))
    stage.boda.client("lambda").delete_function(FunctionName=name)


def _half_sent(sent: bytes, stage: Stage) -> None:
    """Requests of one client, none of which ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = HALF_SENT + 500
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    with contextlib.ExitStack() as held:
        for _ in range(min(HALF_SENT, wanted - 500)):
            line = held.enter_context(socket.create_connection(("127.0.0.1", stage.boda.port)))
            with contextlib.suppress(OSError):  # it may have been given up for another one
                line.sendall(sent)
        time.sleep(1)


INSIDE: dict[str, Callable[[Stage], object]] = {
    "a function of 128 MB: 32 connections of pipelined Runtime API requests": partial(
        _function, _RUNTIME_API, 1
    ),
    "8 of them": partial(_function, _RUNTIME_API, 8),
    "22 environments with 950 idle connections each": partial(_function, _IDLE, 22),
    "8 environments that write long lines on and on": partial(
        _function, _OUTPUT.format(text=b"x" * 1000 + b"\n"), 8
    ),
    "8 environments that write empty lines on and on": partial(
        _function, _OUTPUT.format(text=b"\n"), 8
    ),
    "4 environments that open new connections to the world": partial(_function, _NEW_FLOWS, 4),
    "10,500 heads of one client, half sent": partial(_half_sent, b"GET / HTTP/1.1\r\nHost: x"),
    "10,500 bodies of one client, half sent": partial(
        _half_sent, b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
    ),
}
"""By name, in the order in which they are tried."""
