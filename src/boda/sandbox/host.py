"""Facts about this machine that sandboxes are built from. Read once, at the start."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_ETC = (
    "ssl/certs",
    "ssl/openssl.cnf",
    "pki/tls",
    "pki/ca-trust",
    "ca-certificates",
    "alternatives",
    "ld.so.cache",
    "localtime",
    "protocols",
    "services",
    "mime.types",
)


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The facts.

    top: the directories beside /usr that programs need, with the target if one is a link. etc:
    (path inside, source without links, is a folder). proc: names of /proc that exist. nameservers:
    those that a sandbox can reach; loopback_nameservers: those that it cannot. bash_for: the paths
    of bash and of ``/bin/sh``, if that is another shell.
    """

    top: tuple[tuple[str, str | None], ...]
    etc: tuple[tuple[str, str, bool], ...]
    proc: frozenset[str]
    nameservers: tuple[str, ...]
    loopback_nameservers: tuple[str, ...]
    resolver_options: tuple[str, ...]
    bash_for: tuple[str, str] | None = None

    @classmethod
    def of_this_machine(cls) -> HostFacts:
        top: list[tuple[str, str | None]] = []
        for name in ("bin", "sbin", "lib", "lib64", "lib32", "libx32"):
            path = Path("/") / name
            if path.is_symlink():
                top.append((name, os.readlink(path)))
            elif path.is_dir():
                top.append((name, None))
        etc = []
        for name in _ETC:
            path = Path("/etc") / name
            if path.exists():
                etc.append((str(path), os.path.realpath(path), path.is_dir()))
        reachable, loopback, options = _resolver()
        proc = frozenset(os.listdir("/proc"))
        return cls(tuple(top), tuple(etc), proc, reachable, loopback, options, _shells())


def _shells() -> tuple[str, str] | None:
    bash, shell = (os.path.realpath(path) for path in ("/bin/bash", "/bin/sh"))
    there = os.path.isfile(bash) and os.path.isfile(shell)
    return (bash, shell) if there and bash != shell else None


def _resolver() -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return reachable name servers, those on the loopback, and options of /etc/resolv.conf.

    systemd-resolved listens on the host's loopback, out of reach; the servers that it asks itself
    are in its own file.
    """
    loopback: tuple[str, ...] = ()
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        try:
            lines = [line.split() for line in Path(path).read_text().splitlines()]
        except OSError:
            continue
        servers = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
        reachable = tuple(
            server for server in servers if ":" not in server and not server.startswith("127.")
        )
        loopback += tuple(server for server in servers if server.startswith(("127.", "::1")))
        options = tuple(
            " ".join(words) for words in lines if words and words[0] in ("search", "options")
        )
        if reachable:
            return reachable, loopback, options
    return (), loopback, ()
