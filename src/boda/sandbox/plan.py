"""The parts of a sandbox as data: mounts, in their order, and limits.

Nothing here touches the system. The guest carries the steps out (``guest/operations.py``); each
has a ``describe()``, which also names it in an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from boda.sandbox.contract import Interpreter
from boda.sandbox.host import HostFacts

SAFE = ("ro", "nosuid", "nodev")
TMP = "/tmp"  # noqa: S108  the sandbox's own, never this machine's
MIB = 1 << 20

RUNTIME_API_PORT = 9001

MB_PER_VCPU = 1769
"""AWS gives one whole vCPU to 1,769 MB."""

BOOTSTRAP_MB = 16
"""Allowed above ``memory_mb`` if the parts of a sandbox's memory are not counted apart: for page
tables, pipes and sockets, and the copies that a fork makes of its image's pages. See ``shared.py``
otherwise."""

PATH = "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"
LIBRARY_PATH = (
    "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
)


@dataclass(frozen=True, slots=True)
class MountStep:
    """One step. ``op`` is its name in an order to the guest."""

    op: ClassVar[str] = ""

    def describe(self) -> str:
        raise NotImplementedError

    def wire(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {"op": self.op, **values}


@dataclass(frozen=True, slots=True)
class Bind(MountStep):
    source: str
    target: str
    flags: tuple[str, ...] = SAFE
    recursive: bool = False
    op: ClassVar[str] = "bind"

    def describe(self) -> str:
        return f"show {self.source} at {self.target} ({', '.join(self.flags) or 'as it is'})"


@dataclass(frozen=True, slots=True)
class Tmpfs(MountStep):
    target: str
    size_bytes: int
    mode: int = 0o755
    flags: tuple[str, ...] = ("nosuid", "nodev")
    inodes: int = 0
    op: ClassVar[str] = "tmpfs"

    def describe(self) -> str:
        return f"memory of at most {self.size_bytes // 1024} KiB at {self.target}"


@dataclass(frozen=True, slots=True)
class Volume(MountStep):
    """A file system that was made beforehand, and is passed as a descriptor."""

    fd: str
    target: str
    op: ClassVar[str] = "volume"

    def describe(self) -> str:
        return f"a file system of its own at {self.target}"


@dataclass(frozen=True, slots=True)
class EmptyDirectory(MountStep):
    path: str
    mode: int = 0o755
    op: ClassVar[str] = "directory"

    def describe(self) -> str:
        return f"an empty directory {self.path}"


@dataclass(frozen=True, slots=True)
class File(MountStep):
    path: str
    text: str = ""
    op: ClassVar[str] = "file"

    def describe(self) -> str:
        return f"a file {self.path} of {len(self.text)} characters"


@dataclass(frozen=True, slots=True)
class Symlink(MountStep):
    path: str
    target: str
    op: ClassVar[str] = "symlink"

    def describe(self) -> str:
        return f"a link {self.path} to {self.target}"


@dataclass(frozen=True, slots=True)
class Proc(MountStep):
    target: str = "/proc"
    op: ClassVar[str] = "proc"

    def describe(self) -> str:
        return f"the processes of this sandbox alone at {self.target}"


@dataclass(frozen=True, slots=True)
class Cover(MountStep):
    path: str
    op: ClassVar[str] = "cover"

    def describe(self) -> str:
        return f"hide {self.path}"


@dataclass(frozen=True, slots=True)
class ReadonlyMount(MountStep):
    path: str
    mounted: bool = False
    flags: tuple[str, ...] = SAFE
    op: ClassVar[str] = "readonly"

    def describe(self) -> str:
        return f"make {self.path} read-only"


@dataclass(frozen=True, slots=True)
class Overlay(MountStep):
    """Merges folders. lowers: the first one is on top. work: a folder of empty folders 0, 1, 2 …"""

    lowers: tuple[str, ...]
    target: str
    work: str
    recursive: bool = False
    op: ClassVar[str] = "overlay"

    def describe(self) -> str:
        return f"merge {len(self.lowers)} layers at {self.target}"


@dataclass(frozen=True, slots=True)
class Detachment(MountStep):
    path: str
    op: ClassVar[str] = "detach"

    def describe(self) -> str:
        return f"let go of {self.path}"


def wire(steps: Iterable[MountStep]) -> list[dict[str, Any]]:
    return [step.wire() for step in steps]


DEVICES = ("null", "zero", "full", "random", "urandom")
_USERS = (
    "root:x:0:0:root:/root:/sbin/nologin\n"
    "sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/:/sbin/nologin\n"
)
_GROUP = "root:x:0:\nsbx_user1051:x:990:\nnogroup:x:65534:\n"
_HOSTS = "127.0.0.1 localhost sandbox sandbox.localdomain\n::1 localhost\n"
_AWS_CONFIG = "[default]\ns3 =\n    addressing_style = path\n"
"""For an endpoint with a host name: clients would put a bucket's name before it, which resolves to
nothing."""
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"

LAYERS = 10
"""Folders for layers to merge; AWS allows five, and the platform may add its own."""


def root(
    runtime: Interpreter,
    library: Path,
    host: HostFacts,
    hidden: Sequence[Path],
    endpoint_name: str = "",
) -> list[MountStep]:
    """Return the steps for the root of a runtime, shared by all its sandboxes and read-only.

    hidden: folders of the platform, hidden even if they lie below /usr. endpoint_name: the host
    name of functions' AWS endpoint, or "".
    """
    steps: list[MountStep] = []
    steps += _system(host)
    steps += _etc(host, endpoint_name)
    steps += _devices()
    steps += [
        *(EmptyDirectory(path) for path in ("/proc", TMP, "/opt/lib", "/var/task/lib", "/home")),
        *(EmptyDirectory(f"/.layers/{number}") for number in range(LAYERS)),
        *(_aws_config() if endpoint_name else ()),
        EmptyDirectory("/var/lang"),
        EmptyDirectory("/var/runtime"),
        Bind(str(runtime.prefix), "/var/lang", recursive=True),
        Bind(str(library), "/var/runtime"),
        Symlink("/var/run", "/run"),
        EmptyDirectory("/run"),
    ]
    steps += _without_packages(runtime)
    for folder in hidden:
        if folder.is_relative_to("/usr"):
            steps.append(Cover(str(folder)))
        if folder.is_relative_to(runtime.prefix):
            steps.append(Cover("/var/lang/" + str(folder.relative_to(runtime.prefix))))
    steps.append(ReadonlyMount("/", mounted=True))
    return steps


def _system(host: HostFacts) -> list[MountStep]:
    steps: list[MountStep] = [EmptyDirectory("/usr"), Bind("/usr", "/usr", recursive=True)]
    steps.append(Cover("/usr/local"))  # an interpreter from there is at /var/lang
    for name, link in host.top:
        if link is None:
            steps += [EmptyDirectory(f"/{name}"), Bind(f"/{name}", f"/{name}", recursive=True)]
        else:
            steps.append(Symlink(f"/{name}", link))
    if host.bash_for is not None:
        # /bin/sh is bash in Amazon Linux, as scripts for it assume.
        steps.append(Bind(*host.bash_for))
    return steps


def _etc(host: HostFacts, endpoint_name: str) -> list[MountStep]:
    resolv = "".join(f"nameserver {address}\n" for address in host.nameservers)
    resolv += "".join(f"{line}\n" for line in host.resolver_options)
    steps: list[MountStep] = [
        EmptyDirectory("/etc"),
        File("/etc/passwd", _USERS),
        File("/etc/group", _GROUP),
        File("/etc/hosts", _HOSTS + (f"127.0.0.1 {endpoint_name}\n" if endpoint_name else "")),
        File("/etc/nsswitch.conf", _NSSWITCH),
        File("/etc/resolv.conf", resolv),
    ]
    for path, source, is_folder in host.etc:
        parent = str(Path(path).parent)
        if parent != "/etc":
            steps.append(EmptyDirectory(parent))
        steps.append(EmptyDirectory(path) if is_folder else File(path))
        steps.append(Bind(source, path, ("ro", "nosuid", "nodev", "noexec")))
    return steps


def _aws_config() -> list[MountStep]:
    home = "/home/sbx_user1051"
    return [
        EmptyDirectory(home),
        EmptyDirectory(f"{home}/.aws"),
        File(f"{home}/.aws/config", _AWS_CONFIG),
    ]


def _devices() -> list[MountStep]:
    steps: list[MountStep] = [EmptyDirectory("/dev")]
    for name in DEVICES:
        steps += [
            File(f"/dev/{name}"),
            # Read-only: data can be written to the device all the same, but its mode not changed.
            Bind(f"/dev/{name}", f"/dev/{name}", ("ro", "nosuid", "noexec")),
        ]
    links = (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2"))
    steps += [Symlink(f"/dev/{name}", f"/proc/self/fd{tail}") for name, tail in links]
    return steps


def _without_packages(runtime: Interpreter) -> list[MountStep]:
    """Hide the packages that the interpreter's owner has installed into it."""
    minor = ".".join(runtime.version.split(".")[:2])
    folders = [
        f"lib/python{minor}/site-packages",
        f"lib/python{minor}/dist-packages",
        f"local/lib/python{minor}/dist-packages",
        "lib/python3/dist-packages",
    ]
    covers: list[MountStep] = [Cover(f"/var/lang/{folder}") for folder in folders]
    if runtime.prefix != Path("/usr"):
        covers.append(Cover("/usr/lib/python3/dist-packages"))
    else:
        covers += [Cover(f"/usr/{folder}") for folder in folders]
        covers.append(Cover("/var/lang/local"))
    return covers


_HIDDEN_IN_PROC = (
    "kcore",
    "keys",
    "key-users",
    "kmsg",
    "kallsyms",
    "timer_list",
    "timer_stats",
    "latency_stats",
    "sched_debug",
    "scsi",
    "acpi",
    "asound",
    "driver",
    "vmallocinfo",
    "slabinfo",
    "modules",
    "config.gz",
    "cmdline",
)
_READONLY_IN_PROC = ("sys", "bus", "fs", "irq", "sysrq-trigger")


def prepared(host: HostFacts) -> list[MountStep]:
    """Return the steps of every sandbox, on top of its runtime's root."""
    return [
        Proc(),
        *(Cover(f"/proc/{name}") for name in _HIDDEN_IN_PROC if name in host.proc),
        *(ReadonlyMount(f"/proc/{name}") for name in _READONLY_IN_PROC if name in host.proc),
    ]


def environment(
    code_dir: Path,
    layer_dirs: Sequence[Path],
    ephemeral_mb: int,
    *,
    volume: bool,
    recursive: bool,
) -> list[MountStep]:
    """Return the steps of a function's sandbox, on top of those of every sandbox."""
    steps: list[MountStep] = [Bind(str(code_dir), "/var/task", recursive=recursive)]
    if len(layer_dirs) == 1:
        steps.append(Bind(str(layer_dirs[0]), "/opt", recursive=recursive))
    elif layer_dirs:
        lowers = tuple(str(folder) for folder in reversed(layer_dirs))
        steps.append(Overlay(lowers, "/opt", "/.layers", recursive))
    if volume:
        steps.append(Volume("volume", TMP))
    else:
        # One inode for every 4 KiB, so that empty files run out of room too.
        size = ephemeral_mb * MIB
        steps.append(Tmpfs(TMP, size, 0o1777, inodes=size // 4096))
    steps.append(Detachment("/.host"))
    return steps


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """Resource limits (rlimits) of a sandbox's processes, beside the cgroup's limits."""

    open_files: int = 1024
    processes: int = 1024
    core_bytes: int = 0
    locked_bytes: int = 64 * 1024
    stack_bytes: int = 8 * MIB
    queue_bytes: int = 800 * 1024

    def describe(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.wire().items())

    def wire(self) -> dict[str, int]:
        return asdict(self)


def vcpus(memory_mb: int) -> float:
    """Return the vCPUs of a function with so much memory."""
    return memory_mb / MB_PER_VCPU
