"""The machine's resources that all sandboxes of one platform share.

They are made at the first need and removed by ``close``: the cgroup in which the sandboxes' cgroups
lie, the bridge, the volumes that are ready, and the lease of the instance's name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from boda.core.tasks import Tasks
from boda.sandbox.cgroups.absent import AbsentHierarchy
from boda.sandbox.cgroups.contract import CgroupHierarchy
from boda.sandbox.cgroups.discovery import open_hierarchy
from boda.sandbox.cgroups.fast_moves import enable_fast_moves
from boda.sandbox.contract import SandboxError
from boda.sandbox.instance_lease import InstanceLease
from boda.sandbox.mode import IsolationMode
from boda.sandbox.network import Network, NetworkUnavailable
from boda.sandbox.volumes import VolumePool


class PlatformResources:
    """Opens, hands out and removes them. ``open`` and ``close`` block.

    tag: of the instance. state: a folder that lives as long as the platform. network: not opened
    yet, or None for no outbound network.
    network_missing: why there is none, or "". untracked: why connections are not counted by
    sandbox, or "".
    """

    def __init__(self, tag: str, state: Path, mode: IsolationMode, network: Network | None) -> None:
        self.hierarchy: CgroupHierarchy = AbsentHierarchy()
        self.network: Network | None = None
        self.volumes: VolumePool | None = None
        self.network_missing = ""
        self.untracked = ""
        self._tag = tag
        self._state = state
        self._mode = mode
        self._wanted_network = network
        self._lease: InstanceLease | None = None
        self._fast_moves: int | None = None
        self._usual_mb = 512
        self._refilling = Tasks()

    @property
    def gateway(self) -> str:
        """This machine's address in the sandboxes' network, or "" if they have none."""
        subnet = self.network.subnet if self.network is not None else None
        return str(subnet[1]) if subnet is not None else ""

    def open(self) -> None:
        """Raises SandboxError if another platform runs as this instance."""
        self._lease = InstanceLease(self._tag)
        shutil.rmtree(self._state, ignore_errors=True)
        self._state.mkdir(parents=True, mode=0o700)
        self.hierarchy = open_hierarchy(self._tag)
        self._lease.record(self.hierarchy.paths)
        if os.geteuid() == 0:
            self._fast_moves = enable_fast_moves()
        if self._mode.isolated and self._mode.privileged and not VolumePool.missing():
            self.volumes = VolumePool(self._state / "volumes")
        if self._wanted_network is not None:
            self._open_network(self._wanted_network, self._lease)

    def _open_network(self, network: Network, lease: InstanceLease) -> None:
        try:
            if not self._mode.privileged:
                raise NetworkUnavailable("a bridge and NAT are root's to make")
            network.open()
        except NetworkUnavailable as error:
            self.network_missing = str(error)
            return
        self.network = network
        self.untracked = network.untracked
        if network.forward_was is not None:
            lease.record_forwarding(network.forward_was)

    def close(self) -> None:
        if self.network is not None:
            self.network.close()
        if self.volumes is not None:
            self.volumes.close()
        clean = self.hierarchy.close()
        if self._fast_moves is not None:
            os.close(self._fast_moves)
        shutil.rmtree(self._state, ignore_errors=True)
        if self._lease is not None:
            self._lease.close(clean=clean)

    # Volumes for /tmp

    async def volume(self, size_mb: int) -> int | None:
        """Return a volume's descriptor, or None if /tmp is memory here. Raises SandboxError."""
        if self.volumes is None:
            return None
        self._usual_mb = size_mb
        fd = self.volumes.take_ready(size_mb)
        if fd is not None:
            return fd
        try:
            return await asyncio.to_thread(self.volumes.make, size_mb)
        except OSError as error:
            raise SandboxError(f"no file system for /tmp: {error}") from error

    def refill_volumes(self) -> None:
        """Make volumes ready in the background, of the size that was used last."""
        if self.volumes is not None and not self._refilling:
            self._refilling.spawn(self._refill(self.volumes))

    async def _refill(self, volumes: VolumePool) -> None:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(volumes.refill, self._usual_mb)

    async def refilled(self) -> None:
        """Return when no refill is under way."""
        await self._refilling.drain()

    # Network namespaces

    async def namespace(self) -> int | None:
        """Return the descriptor of a network namespace, or None if there is no network."""
        if self.network is None:
            return None
        netns = self.network.take()
        return netns if netns is not None else await asyncio.to_thread(self.network.wait)

    def give_namespace_back(self, inode: int) -> None:
        """Reuse the address of a namespace whose sandbox has ended."""
        if self.network is not None:
            self.network.give_back(inode)
