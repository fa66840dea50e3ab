"""Which networks a sandbox reaches; SnapStart and name servers."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from boda.sandbox.contract import Sandbox
from boda.sandbox.doctor.examination import Examination
from boda.sandbox.doctor.findings import AS_ROOT, WITH_SANDBOX
from boda.sandbox.doctor.probe import ask
from boda.sandbox.host import HostFacts
from boda.sandbox.reach import METADATA, REFUSED, AddressRange


async def check_network(examined: Examination, sandbox: Sandbox, facts: dict[str, Any]) -> None:
    missing = examined.sandboxes.network_missing
    examined.add(
        "internet",
        "eth0" in facts["interfaces"] if examined.mode.isolated else True,
        "through NAT, this machine and its other sandboxes excepted"
        if examined.mode.isolated
        else "this machine's own network, its loopback included",
        f"functions have no way out: {missing}",
        "run boda as root with nftables installed, and sysctl net.ipv4.ip_forward=1",
        required=False,
    )
    await _check_surroundings(examined, sandbox, missing)
    if examined.mode.isolated and not missing:
        examined.add(
            "connection tracking",
            not examined.sandboxes.untracked,
            "each sandbox fills a small part of the machine's table of connections at most",
            "functions may fill the machine's table of connections: "
            + examined.sandboxes.untracked,
            "a kernel with nft_connlimit (CONFIG_NFT_CONNLIMIT)",
            required=False,
        )
    examined.add(
        "SnapStart",
        examined.sandboxes.can_fork,
        "environments go on from an image of their version's init",
        f"every environment is initialised by itself: {examined.sandboxes.templates_missing}",
        "run boda where sandboxes can be isolated, on a machine that permits templates",
        required=False,
    )
    host = HostFacts.of_this_machine()
    examined.add(
        "name servers",
        bool(host.nameservers) or not examined.mode.isolated,
        ", ".join(host.nameservers),
        "every name server of /etc/resolv.conf is on this machine's loopback, out of reach"
        if host.loopback_nameservers
        else "/etc/resolv.conf names no server",
        "put a server that sandboxes can reach into /etc/resolv.conf",
        required=False,
    )


async def _check_surroundings(examined: Examination, sandbox: Sandbox, no_network: str) -> None:
    """Check that functions reach nothing beside the internet, except what was opened to them."""
    reach, isolated = examined.reach, examined.mode.isolated
    if isolated and no_network and reach:
        why = f"{reach} cannot be opened to functions: {no_network}"
        remedy = f"{AS_ROOT} with nftables installed"
        examined.add("open places", False, "", why, remedy, required=False)
    remedy = "a kernel whose nftables refuse it" if isolated else WITH_SANDBOX
    samples = [str(ipaddress.IPv4Network(one)[-1]) for one in REFUSED] if examined.thorough else []
    reached = [
        address
        for address in (METADATA, *samples)
        if isolated and not reach.allows(address, 80) and await _connects(sandbox, address, 80)
    ]
    examined.add(
        "private networks",
        isolated and not reached,
        _but("refused, as metadata services of clouds are", *reach.networks),
        f"functions reach {', '.join(reached) or 'all that this machine reaches'}",
        remedy,
    )
    with socket.create_server((examined.sandboxes.gateway or "127.0.0.1", 0)) as listener:
        open_ = not isolated or await _connects(sandbox, *listener.getsockname())
    examined.add(
        "this machine's ports",
        not open_,
        _but("refused, boda's endpoint for the function excepted", *reach.hosts),
        "functions reach them, those on the loopback included",
        remedy,
    )


async def _connects(sandbox: Sandbox, address: str, port: int) -> bool:
    answer = await ask(sandbox, f"connect {address} {port}")
    return answer.get("error") == ""


def _but(what: str, *open_: AddressRange) -> str:
    """Describe a refusal and its exceptions."""
    return f"{what}; open: {', '.join(map(str, open_))}" if open_ else what
