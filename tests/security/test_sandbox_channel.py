"""Descriptors sent over the channel: whoever closes the last one of a lingering socket waits."""

from __future__ import annotations

import array
import socket
import struct
import time

import pytest

from boda.sandbox import channel

LINGER_S = 20


@pytest.fixture(params=["this kernel", "an older one"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    if request.param == "an older one":
        monkeypatch.setattr(channel, "_SO_PASSRIGHTS", 9999)
    ours, theirs = channel.pair()
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def peer(ends: tuple[socket.socket, socket.socket]):
    """Of a connection that is sent into the channel, behind a word, and is nowhere else then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        lingering = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER_S))
    lingering.setblocking(False)
    try:
        while True:
            lingering.send(bytes(65536))
    except BlockingIOError:
        pass  # it cannot end before this has been read
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [lingering.fileno()]))
    try:
        ends[1].sendmsg([b"word"], [rights])
    except PermissionError:
        ends[1].send(b"word")
        lingering.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
    lingering.close()
    with accepted:
        yield accepted


def read_to_its_end(peer: socket.socket) -> None:
    """It ends only when nobody has the other side any more."""
    peer.settimeout(10)
    while peer.recv(1 << 20):
        pass


def test_reading_waits_for_no_file(ends, peer) -> None:
    ours, _ = ends
    began = time.monotonic()
    try:
        assert ours.recv(65536) == b"word"
    except ConnectionAbortedError:
        assert isinstance(ours, channel.GuardedSocket)
    assert time.monotonic() - began < LINGER_S / 4
    read_to_its_end(peer)


def test_closing_waits_for_no_file(ends, peer) -> None:
    ours, _ = ends
    began = time.monotonic()
    ours.close()
    assert time.monotonic() - began < LINGER_S / 4
    read_to_its_end(peer)


def test_words_alone_pass(ends) -> None:
    ours, theirs = ends
    theirs.sendall(b"word")
    assert ours.recv(65536) == b"word"
    ours.send(b"answer")
    assert theirs.recv(65536) == b"answer"
    theirs.close()
    assert ours.recv(65536) == b""
