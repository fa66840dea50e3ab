"""The way out, to a host that stands in for the world: in a network namespace of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from boda.sandbox.contract import SandboxSpec
from boda.sandbox.linux import LinuxSandboxes
from boda.sandbox.network import Tracking, free_subnet, routes
from support.sandbox_snippets import Refused, SnippetLibrary, ThisPython, run, why_not_root

pytestmark = pytest.mark.skipif(
    bool(why_not_root()) or shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin") is None,
    reason=why_not_root() or "needs the ip command",
)

WORLD = """
import socket, sys
server = socket.create_server(("0.0.0.0", 8000))
print("ready", flush=True)
while True:
    connection, address = server.accept()
    connection.sendall(address[0].encode())
    connection.close()
"""


@dataclass
class World:
    near: str
    far: str


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def world() -> Iterator[World]:
    """A neighbour of this machine at the other end of a cable, with a server on port 8000."""
    number = os.getpid() % 200
    near, far = f"198.51.100.{number}", f"203.0.113.{number}"
    name = f"world{os.getpid()}"
    ip("netns", "add", name)
    server = None
    try:
        ip("link", "add", f"w{os.getpid()}", "type", "veth", "peer", "eth0", "netns", name)
        ip("addr", "add", near, "peer", far, "dev", f"w{os.getpid()}")
        ip("link", "set", f"w{os.getpid()}", "up")
        ip("-n", name, "addr", "add", far, "peer", near, "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        server = subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-c", WORLD],
            stdout=subprocess.PIPE,
        )
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield World(near, far)
    finally:
        if server is not None:
            server.kill()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("link", "del", f"w{os.getpid()}")
        ip("netns", "del", name)


async def test_the_world_is_reached_under_this_machines_address(
    tmp_path: Path, world: World
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    python = ThisPython()
    sandboxes = LinuxSandboxes(
        tmp_path / "state",
        {python.name: python},
        SnippetLibrary(tmp_path / "library"),
        instance=f"internet-{tmp_path}",
    )
    try:
        fetch = (
            "import socket; s = socket.create_connection(({!r}, 8000), 3); "
            "answer = s.recv(100).decode()"
        )
        # More than are kept ready, so that some wait for theirs.
        made = await asyncio.gather(
            *(
                sandboxes.start(SandboxSpec(f"s{n}", "python", code, ephemeral_mb=16))
                for n in range(7)
            )
        )
        if sandboxes.network_missing:
            pytest.skip(sandboxes.network_missing)
        seen = await asyncio.gather(*(run(one, fetch.format(world.far)) for one in made))
        assert seen == [world.near] * 7
        subnet = sandboxes._network.subnet if sandboxes._network else None
        assert subnet in routes()
        with pytest.raises(Refused):  # the near end is this machine
            await run(made[0], fetch.format(world.near))
        # The world does not get in.
        inside = "import socket; s = socket.create_server(('0.0.0.0', 8000)); answer = 1"
        await run(made[0], inside)
        free = free_subnet(routes(), 0)
        assert subnet is not None and not free.overlaps(subnet)
        await asyncio.gather(*(one.destroy() for one in made))
        again = await sandboxes.start(SandboxSpec("again", "python", code, ephemeral_mb=16))
        assert await run(again, fetch.format(world.far)) == world.near
        await again.destroy()
        without = await sandboxes.start(SandboxSpec("no", "python", code, network=False))
        with pytest.raises(Refused):
            await run(without, fetch.format(world.far))
    finally:
        await sandboxes.close()


FLOWS = """
import socket
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
refused = 0
for port in range(20000, 20000 + {}):
    try:
        one.sendto(b"x", ({!r}, port))
    except OSError:
        refused += 1
answer = refused
"""
TRACKED = Path("/proc/net/nf_conntrack")


@pytest.mark.skipif(not TRACKED.exists(), reason="the kernel does not list what it tracks")
async def test_connections_that_the_kernel_tracks_are_bounded(tmp_path: Path, world: World) -> None:
    """Each port of another machine is a connection more, for half a minute, in a table that the
    whole machine shares."""
    code = tmp_path / "code"
    code.mkdir()
    python = ThisPython()
    sandboxes = LinuxSandboxes(
        tmp_path / "state",
        {python.name: python},
        SnippetLibrary(tmp_path / "library"),
        instance=f"flows-{tmp_path}",
    )
    try:
        evil = await sandboxes.start(SandboxSpec("evil", "python", code, ephemeral_mb=16))
        other = await sandboxes.start(SandboxSpec("other", "python", code, ephemeral_mb=16))
        if sandboxes.network_missing or sandboxes.untracked:
            pytest.skip(sandboxes.network_missing or sandboxes.untracked)
        most = Tracking.of(int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())).flows
        await run(evil, FLOWS.format(4 * most, world.far))
        subnet = sandboxes._network.subnet if sandboxes._network else None
        assert subnet is not None
        tracked = [line for line in TRACKED.read_text().splitlines() if f"dst={world.far} " in line]
        assert most // 2 < len(tracked) <= most
        fetch = (
            "import socket; s = socket.create_connection(({!r}, 8000), 3); "
            "answer = s.recv(100).decode()"
        )
        assert await run(other, fetch.format(world.far)) == world.near
    finally:
        await sandboxes.close()
