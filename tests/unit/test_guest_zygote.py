"""A zygote whose platform goes away, at whatever moment, ends without a word."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from boda.sandbox.zygote import LAUNCHER

ZYGOTE = (sys.executable, "-m", "boda.guest.zygote", "process")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.settimeout(30)
        yield ours, theirs


def _started(command: tuple[str, ...], control: socket.socket) -> subprocess.Popen[str]:
    given = control.fileno()
    return subprocess.Popen(
        [*command, str(given)],
        pass_fds=[given],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(LAUNCHER.parent)},
    )


def test_gone_before_the_zygote_is_ready(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    ours.close()
    zygote = _started(ZYGOTE, theirs)
    assert (zygote.communicate(timeout=30)[1], zygote.returncode) == ("", 0)


def test_gone_before_the_launcher_has_an_order(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    ours.close()
    launcher = _started((sys.executable, "-I", "-S", str(LAUNCHER)), theirs)
    assert (launcher.communicate(timeout=30)[1], launcher.returncode) == ("", 0)


def test_gone_while_the_launcher_fails(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    ours.send(json.dumps({"root": None, "argv": ["/nowhere"], "environ": {}}).encode())
    ours.close()
    launcher = _started((sys.executable, "-I", "-S", str(LAUNCHER)), theirs)
    assert (launcher.communicate(timeout=30)[1], launcher.returncode) == ("", 1)


def test_lives_on_when_nobody_waits_for_a_tier(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    zygote = _started(ZYGOTE, theirs)
    theirs.close()
    assert "ready" in json.loads(ours.recv(1 << 16))
    order = [json.dumps({"tier": "boto3", "fds": ["control"]}).encode()]
    abandoned, given = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    abandoned.close()
    with given:
        socket.send_fds(ours, order, [given.fileno()])
    awaited, given = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with awaited:
        with given:
            socket.send_fds(ours, order, [given.fileno()])
        awaited.settimeout(30)
        said = json.loads(awaited.recv(1 << 16)) | json.loads(awaited.recv(1 << 16))
        assert {"ready", "pid"} <= said.keys()
    ours.close()
    assert (zygote.communicate(timeout=30)[1], zygote.returncode) == ("", 0)
