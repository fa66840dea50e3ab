"""The filter's decisions, by a machine that runs the filter's program as the kernel would."""

from __future__ import annotations

import errno
import importlib.util
import struct
import sys
from pathlib import Path
from types import ModuleType

import pytest

import boda

ALLOW, KILL = 0x7FFF0000, 0x80000000
ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def guest_module(name: str) -> ModuleType:
    """A module of the guest, imported as the guest is: as a package of its own."""
    folder = Path(boda.__file__).parent / "guest"
    if "_guest" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "_guest", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        sys.modules["_guest"] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"_guest.{name}")


seccomp, syscalls = guest_module("seccomp"), guest_module("syscalls")


def decide(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the filter returns for one call."""
    six = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *six)
    steps = [struct.unpack_from("HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator, at = 0, 0
    while True:
        code, true, false, k = steps[at]
        at += 1
        if code == 0x20:
            [accumulator] = struct.unpack_from("<I", data, k)
        elif code == 0x06:
            return k
        elif code == 0x54:
            accumulator &= k
        else:
            holds = {
                0x15: accumulator == k,
                0x25: accumulator > k,
                0x35: accumulator >= k,
                0x45: bool(accumulator & k),
            }[code]
            at += true if holds else false


def refusal(error: int) -> int:
    return 0x00050000 | error


@pytest.fixture(params=sorted(ARCHES))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_exactly_the_listed_calls_pass(machine: str) -> None:
    program, listed = seccomp.program(machine), set(seccomp.allowed(machine))
    looked_at = {
        syscalls.NUMBERS[machine][name]
        for name in ("clone", "clone3", "socket", "socketpair", "fcntl", "personality", "ioctl")
    } | {syscalls.NUMBERS[machine]["inotify_add_watch"]}
    for number in range(syscalls.NEWEST + 1):
        if number in looked_at:
            continue
        wanted = ALLOW if number in listed else refusal(errno.EPERM)
        assert decide(program, ARCHES[machine], number) == wanted, number


def test_calls_past_the_tables_are_unknown(machine: str) -> None:
    program = seccomp.program(machine)
    for number in (syscalls.NEWEST + 1, 1000, 0x40000000 | 1, 0xFFFFFFFF):
        assert decide(program, ARCHES[machine], number) == refusal(errno.ENOSYS)


def test_another_architecture_is_fatal(machine: str) -> None:
    program = seccomp.program(machine)
    for arch in (0x40000003, *(value for name, value in ARCHES.items() if name != machine)):
        assert decide(program, arch, 1) == KILL


@pytest.mark.parametrize(
    "bit", [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
)
def test_clone_makes_threads_but_no_namespaces(machine: str, bit: int) -> None:
    program, clone = seccomp.program(machine), syscalls.NUMBERS[machine]["clone"]
    thread = 0x3D0F00
    assert decide(program, ARCHES[machine], clone, thread) == ALLOW
    assert decide(program, ARCHES[machine], clone, 17) == ALLOW
    assert decide(program, ARCHES[machine], clone, thread | bit) == refusal(errno.EPERM)
    clone3 = syscalls.NUMBERS[machine]["clone3"]
    assert decide(program, ARCHES[machine], clone3) == refusal(errno.ENOSYS)


def test_arguments_that_are_looked_at(machine: str) -> None:
    program, call = seccomp.program(machine), syscalls.NUMBERS[machine]

    def answer(name: str, *arguments: int) -> int:
        return decide(program, ARCHES[machine], call[name], *arguments)

    for family in (0, 17, 30, 31, 38, 40, 44):
        assert answer("socket", family) == refusal(errno.EPERM)
    assert answer("socketpair", 1, 1) == ALLOW
    for family in (0, 2, 10, 16, 30, 38, 0x100000002):
        assert answer("socketpair", family, 1) == refusal(errno.EPERM)
    for command in (0, 6, 37, 1025, 1030, 1032):  # locks, F_GETLEASE, F_DUPFD_CLOEXEC …
        assert answer("fcntl", 0, command) == ALLOW
    for command in (1024, 1026, 1031, 0x100000407):  # F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ
        assert answer("fcntl", 0, command) == refusal(errno.EPERM)
    assert answer("ioctl", 0, 0x5401) == ALLOW
    for request in (0x5412, 0x541C, 0x100005412):  # the kernel looks at 32 bits
        assert answer("ioctl", 0, request) == refusal(errno.EPERM)
    assert answer("personality", 0xFFFFFFFF) == ALLOW
    assert answer("personality", 0x40000) == refusal(errno.EPERM)
    assert answer("mknodat", 3, 0, 0o10644) == ALLOW
    for mode in (0, 0o100644, 0o20644, 0o60644, 0o140644, 0o30644):
        assert answer("mknodat", 3, 0, mode) == refusal(errno.EPERM)


def test_sockets_by_kind_and_protocol(machine: str) -> None:
    """Whatever passes is known to every kernel, so that none looks for a module."""
    program, socket = seccomp.program(machine), syscalls.NUMBERS[machine]["socket"]
    flags = 0x80800  # close on exec, not blocking
    passing = {
        (16, 3, 0),
        *((family, 1, protocol) for family in (2, 10) for protocol in (0, 6)),
        *((family, 2, protocol) for family in (2, 10) for protocol in (0, 17)),
        (2, 2, 1),
        (10, 2, 58),
    }
    for family in (1, 2, 10, 16):
        for kind in range(8) if family != 16 else (3,):
            for protocol in (0, 1, 6, 12, 15, 17, 33, 58, 132, 136, 255, 262):
                decided = decide(program, ARCHES[machine], socket, family, kind | flags, protocol)
                raw = kind == 3 and family != 16  # which takes a capability that nobody has
                if (family, kind, protocol) in passing or family == 1 or raw:
                    assert decided == ALLOW, (family, kind, protocol)
                else:
                    assert decided == refusal(errno.EPROTONOSUPPORT), (family, kind, protocol)


def test_every_group_has_a_reason_and_every_name_is_known() -> None:
    seen: set[str] = set()
    for name, reason, listed in seccomp.GROUPS:
        assert name and len(reason) > 10
        for call in listed.split():
            assert call not in seen
            assert call in syscalls.NUMBERS["x86_64"], call
            seen.add(call)


def test_what_the_text_refuses_is_not_listed() -> None:
    listed = {name for _, _, names in seccomp.GROUPS for name in names.split()}
    text = seccomp.__doc__ or ""
    refused = text[text.index("Refused on purpose") :].replace(",", " ").replace(".", " ").split()
    names = {word for word in refused if word.islower() and "_" in word} | {
        "unshare", "setns", "chroot", "ptrace", "kcmp", "bpf", "keyctl", "mount", "mknod",
    }  # fmt: skip
    assert not names & listed


def test_nobody_watches_files_that_all_share(machine: str) -> None:
    program, call = seccomp.program(machine), syscalls.NUMBERS[machine]
    watch = decide(program, ARCHES[machine], call["inotify_add_watch"], 3, 4096, 0xFFF)
    assert watch == refusal(errno.EACCES)
    for name in ("inotify_init1", "inotify_rm_watch"):  # who watches if it can goes on
        assert decide(program, ARCHES[machine], call[name]) == ALLOW
    assert decide(program, ARCHES[machine], call["cachestat"]) == refusal(errno.EPERM)
