"""The way out, to a host that stands in for the world: in a network namespace of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from boda.sandbox.contract import Sandbox, SandboxSpec
from boda.sandbox.linux import LinuxSandboxes
from boda.sandbox.network import free_subnet, routes
from boda.sandbox.network_rules import ConnectionLimits
from boda.sandbox.reach import NOTHING, Reach
from support.sandbox_snippets import Refused, SnippetLibrary, ThisPython, run, why_not_root

pytestmark = pytest.mark.skipif(
    bool(why_not_root()) or shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin") is None,
    reason=why_not_root() or "needs the ip command",
)

WORLD = """
import selectors, socket, sys
servers = selectors.DefaultSelector()
for port in (53, 8000, 8001):
    server = socket.create_server(("0.0.0.0", port))
    servers.register(server, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in servers.select():
        connection, address = key.fileobj.accept()
        connection.sendall(address[0].encode())
        connection.close()
"""
FETCH = """
import socket
with socket.create_connection(({!r}, {}), 3) as there:
    answer = there.recv(100).decode()
"""


@dataclass
class World:
    """near: this machine's end. far: the other one. private: further addresses of that one, of
    ranges that the internet does not route."""

    near: str
    far: str
    private: tuple[str, ...]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def world() -> Iterator[World]:
    """A neighbour of this machine at the other end of a cable, with a server on port 8000."""
    number = os.getpid() % 200
    private = (
        *(f"10.251.{number}.1", f"172.30.{number}.1", f"192.168.{number}.251"),
        *(f"100.100.{number}.200", f"169.254.77.{number}", f"198.18.{number}.1"),
        *("192.0.0.192", "168.63.129.16"),
    )
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
        for address in private:
            ip("-n", name, "addr", "add", f"{address}/32", "dev", "eth0")
            # With a metric of its own, beside what another test's world may have led there.
            way = ("via", far, "dev", f"w{os.getpid()}", "metric", str(os.getpid()))
            ip("route", "add", f"{address}/32", *way)
        server = subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-c", WORLD],
            stdout=subprocess.PIPE,
        )
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield World(near, far, private)
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
        subnet = sandboxes._resources.network.subnet if sandboxes._resources.network else None
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
        most = ConnectionLimits.of(
            int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text())
        ).flows
        await run(evil, FLOWS.format(4 * most, world.far))
        subnet = sandboxes._resources.network.subnet if sandboxes._resources.network else None
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


def fetch(address: str, port: int) -> str:
    """The same from this machine itself."""
    with socket.create_connection((address, port), 3) as there:
        return there.recv(100).decode()


@contextlib.contextmanager
def serving(address: str) -> Iterator[int]:
    """A server of this machine, TCP and UDP, that tells its clients their address; its port."""
    with socket.create_server((address, 0)) as server, socket.socket(type=socket.SOCK_DGRAM) as udp:
        port = server.getsockname()[1]
        udp.bind((address, port))
        over = threading.Event()

        def work() -> None:
            with selectors.DefaultSelector() as ready:
                ready.register(server, selectors.EVENT_READ)
                ready.register(udp, selectors.EVENT_READ)
                while not over.is_set():
                    for key, _ in ready.select(0.05):
                        if key.fileobj is udp:
                            _, client = udp.recvfrom(100)
                            udp.sendto(client[0].encode(), client)
                        else:
                            connection, client = server.accept()
                            with connection:
                                connection.sendall(client[0].encode())

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield port
        finally:
            over.set()
            thread.join()


@contextlib.asynccontextmanager
async def sandboxes_with(folder: Path, reach: Reach) -> AsyncIterator[LinuxSandboxes]:
    (folder / "code").mkdir()
    python = ThisPython()
    sandboxes = LinuxSandboxes(
        folder / "state",
        {python.name: python},
        SnippetLibrary(folder / "library"),
        instance=f"reach-{folder}",
        reach=reach,
    )
    try:
        yield sandboxes
    finally:
        await sandboxes.close()


async def one_of(sandboxes: LinuxSandboxes, folder: Path) -> Sandbox:
    spec = SandboxSpec("one", "python", folder / "code", ephemeral_mb=16)
    made = await sandboxes.start(spec)
    if sandboxes.network_missing:
        pytest.skip(sandboxes.network_missing)
    return made


async def test_what_is_private_is_refused(tmp_path: Path, world: World) -> None:
    """Although this machine reaches all of it."""
    async with sandboxes_with(tmp_path, NOTHING) as sandboxes:
        network = sandboxes._resources._wanted_network
        assert network is not None
        network._nameservers = (world.private[0],)
        one = await one_of(sandboxes, tmp_path)
        for address in world.private:
            for port in (53, 8000):
                await asyncio.to_thread(fetch, address, port)
                if (address, port) == (world.private[0], 53):
                    continue
                with pytest.raises(Refused, match="No route to host"):
                    await run(one, FETCH.format(address, port))
                with pytest.raises(Refused, match="No route to host"):
                    await run(one, FETCH.format(f"::ffff:{address}", port))
        # Nor by asking the machine, by any of its addresses, to answer in their place.
        with serving("0.0.0.0") as port:
            for address in (world.near, sandboxes.gateway):
                await asyncio.to_thread(fetch, address, port)
                with pytest.raises(Refused, match="No route to host"):
                    await run(one, FETCH.format(address, port))
            with pytest.raises(Refused, match="refused"):  # its own loopback
                await run(one, FETCH.format("127.0.0.1", port))
        # The name server excepted, and of it only what it is for.
        assert await run(one, FETCH.format(world.private[0], 53)) == fetch(world.private[0], 53)


SIXTH = ["fd00:ec2::254", "64:ff9b::a9fe:a9fe", "fe80::1%eth0", "ff02::1", "2001:db8::1"]


@pytest.mark.parametrize("address", SIXTH)
async def test_there_is_no_other_protocol_to_get_there_by(tmp_path: Path, address: str) -> None:
    async with sandboxes_with(tmp_path, NOTHING) as sandboxes:
        one = await one_of(sandboxes, tmp_path)
        with pytest.raises(Refused):
            await run(one, FETCH.format(address, 80))


async def test_what_the_operator_opens_is_open_and_nothing_beside_it(
    tmp_path: Path, world: World
) -> None:
    first, second, third, fourth = world.private[:4]
    reach = Reach.read([f"{first}/32:8000", f"{second}/32"], [f"{third}:8001"])
    async with sandboxes_with(tmp_path, reach) as sandboxes:
        one = await one_of(sandboxes, tmp_path)
        for address, port in ((first, 8000), (second, 8000), (second, 8001), (third, 8001)):
            assert await run(one, FETCH.format(address, port)) == fetch(address, port)
        for address, port in ((first, 8001), (third, 8000), (fourth, 8000)):
            with pytest.raises(Refused, match="No route to host"):
                await run(one, FETCH.format(address, port))
        assert await run(one, FETCH.format(world.far, 8000)) == world.near


async def test_a_network_that_is_opened_opens_nothing_of_this_machine(
    tmp_path: Path, world: World
) -> None:
    async with sandboxes_with(tmp_path, Reach.read(["0.0.0.0/0"])) as sandboxes:
        one = await one_of(sandboxes, tmp_path)
        other = await sandboxes.start(SandboxSpec("other", "python", tmp_path / "code"))
        await run(other, "import socket; s = socket.create_server(('0.0.0.0', 8000)); answer = 1")
        for address in world.private:
            assert await run(one, FETCH.format(address, 8000))
        with serving("0.0.0.0") as port:
            for address in (world.near, sandboxes.gateway):
                with pytest.raises(Refused, match="No route to host"):
                    await run(one, FETCH.format(address, port))
        own = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.connect(({!r}, 80)); "
        theirs = await run(other, own.format(world.far) + "answer = s.getsockname()[0]")
        with pytest.raises(Refused, match="No route to host"):
            await run(one, FETCH.format(theirs, 8000))


async def test_ports_of_this_machine_that_are_opened(tmp_path: Path, world: World) -> None:
    """Those of the loopback under the same address; their servers see a client on the loopback."""
    with (
        serving("127.0.0.1") as port,
        serving("127.0.0.9") as ninth,
        serving("127.0.0.1") as closed,
        serving(world.near) as near,
    ):
        hosts = [f"127.0.0.1:{port}", f"127.0.0.9:{ninth}", f"{world.near}:{near}"]
        async with sandboxes_with(tmp_path, Reach.read([], hosts)) as sandboxes:
            one = await one_of(sandboxes, tmp_path)
            again = await sandboxes.start(SandboxSpec("again", "python", tmp_path / "code"))
            for each in (one, again, one):
                assert await run(each, FETCH.format("127.0.0.1", port)) == "127.0.0.1"
                assert await run(each, FETCH.format("127.0.0.9", ninth)) == "127.0.0.1"
                assert (await run(each, FETCH.format(world.near, near))).startswith("10.")
            datagram = (
                "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(3); "
                f"s.sendto(b'x', ('127.0.0.1', {port})); answer = s.recv(100).decode()"
            )
            assert await run(one, datagram) == "127.0.0.1"
            with pytest.raises(Refused, match="refused"):
                await run(one, FETCH.format("127.0.0.1", closed))
            for address, other in (
                (world.near, port),
                (sandboxes.gateway, port),
                (sandboxes.gateway, closed),
                (sandboxes.gateway, near),
                (world.near, closed),
            ):
                with pytest.raises(Refused, match="No route to host"):
                    await run(one, FETCH.format(address, other))
            # A sandbox's own loopback stays its own.
            own = (
                "import socket; s = socket.create_server(('127.0.0.1', 0)); "
                "c = socket.create_connection(s.getsockname(), 3); "
                "answer = s.accept()[1][0]"
            )
            assert await run(one, own) == "127.0.0.1"


def test_what_cannot_be_kept_is_refused_at_the_start(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "boda", "up", "--port", "0", "--data-dir", str(tmp_path / "d")]
    environ = {**os.environ, "BODA_ALLOW_HOST": "127.0.0.1:5432 127.0.0.1:6379"}
    done = subprocess.run(
        [*words, "--no-network"], capture_output=True, text=True, env=environ, timeout=60
    )
    assert done.returncode == 2
    assert "leave out --no-network" in " ".join(done.stderr.split())
    for wrong in ("127.0.0.1", "localhost:80", "127.0.0.1:0", "[::1]:80"):
        done = subprocess.run([*words, "--allow-host", wrong], capture_output=True, text=True)
        assert done.returncode == 2, wrong
    own = [*words, "--allow-host", "127.0.0.1:9001"]
    done = subprocess.run(own, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "what they reach boda itself by" in done.stderr
