"""The image of a process: everything it takes for another process to go on where it stands.

Taken by the template's own runtime process, without any privilege, of a fork of itself that
stands still meanwhile: a fork, because then interpreter and libraries have put in order what
belongs to threads that are no more. What is written, to a pipe:

    u64 all bytes, these included   u32 header's length   u32 region's length   u64 tar's length
    the header, JSON   the region   the contents   a tar of /tmp

header: ``address``, the region's (``template_machine.py``); ``ranges``, addresses and lengths of
memory; ``contents``, of what of it is not zero, in the order in which it follows; ``clock``, where
vdso and its data lie. There is no tar where /tmp is empty.

Files are mapped again by whoever goes on from the image, under the names they have there; pages of
them that were changed are contents.
"""

import contextlib
import ctypes
import json
import os
import re
import struct

from . import template_machine as machine
from .template_machine import PAGE, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE

HEAD = struct.Struct(">QIIQ")
_LINE = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) ([r-])([w-])([x-])([ps]) ([0-9a-f]+) \S+ \d+ *(.*)\n")
_PRESENT, _FILE, _SWAPPED = 0x80, 0x20, 0x40
_NEAR = 8 * PAGE
"""Changed pages so near to one another are written in one piece."""
_STACK = 8 << 20
_TOP = 0x7FFFFFFFF000
_REGION = 8 << 20
_NOTES = 4096
_LARGEST_WRITE = 1 << 30
_TMPFS_NAMES = (b"/tmp/", b"/dev/", b"/memfd:", b"/SYSV")
_BLOCK = 96 << 10
_GUARD = machine.MAP_PRIVATE | machine.MAP_ANONYMOUS | machine.MAP_FIXED_NOREPLACE
_WRITE_SHARED = machine.MAP_SHARED | machine.MAP_FIXED


class UnfitProcess(Exception):
    """This process cannot be made an image of; the message says why."""


class Mapping:
    __slots__ = ("end", "name", "offset", "private", "protection", "start")

    def __init__(self, found):
        self.start, self.end = int(found[1], 16), int(found[2], 16)
        self.protection = (
            PROT_READ * (found[3] == b"r")
            | PROT_WRITE * (found[4] == b"w")
            | PROT_EXEC * (found[5] == b"x")
        )
        self.private = found[6] == b"p"
        self.offset = int(found[7], 16)
        self.name = found[8]

    @property
    def length(self):
        return self.end - self.start

    @property
    def lasting(self):
        """Whether it shows a file that stands in every environment of the function."""
        name = self.name
        return (
            name.startswith(b"/")
            and not name.endswith(b" (deleted)")
            and not name.startswith(_TMPFS_NAMES)
        )


def mappings(pid, proc="/proc"):
    with open("{}/{}/maps".format(proc, pid), "rb") as file:
        return [Mapping(found) for found in _LINE.finditer(file.read())]


def changed_runs(pages, mapping, near):
    """Where the mapping's own pages are: (start, end). pages: its part of pagemap."""
    flags = pages[7::8]
    if mapping.name and mapping.lasting:
        own = bytes(bool(f & (_PRESENT | _SWAPPED)) and not f & _FILE for f in range(256))
    else:
        own = bytes(bool(f & (_PRESENT | _SWAPPED)) for f in range(256))
    runs: list[list[int]] = []
    for found in re.finditer(rb"\x01+", flags.translate(own)):
        start = mapping.start + found.start() * PAGE
        end = mapping.start + found.end() * PAGE
        if runs and start - runs[-1][1] <= near:
            runs[-1][1] = end
        else:
            runs.append([start, end])
    return runs


class _Region:
    """Where code, table and registers stand (``template_machine.py``), shared with the fork.

    second: the fork's own table, which writes the contents. notes: what it knows of its thread."""

    def __init__(self):
        self.address = machine.map_memory(
            0, 2 * _REGION, machine.MAP_SHARED | machine.MAP_ANONYMOUS | machine.MAP_NORESERVE
        )
        machine.install(self.address)
        self.second = self.address + _REGION
        self.notes = self.second + _REGION - _NOTES
        self._rows = []
        self._data = b""

    def keep(self, data):
        """The address that some bytes will have."""
        self._data += data + bytes(-len(data) % 8)
        return len(self._data) - len(data) - (-len(data) % 8)

    def row(self, number, *arguments):
        self._rows.append((number, arguments))

    def finish(self):
        """Write the table; returns how many bytes of the region are in use."""
        after = self.address + machine.TABLE + len(self._rows) * machine.ENTRY.size + 8
        rows = [
            machine.entry(
                number, *(after + each.at if isinstance(each, KeptAddress) else each for each in a)
            )
            for number, a in self._rows
        ]
        whole = b"".join(rows) + machine.END + self._data
        if machine.TABLE + len(whole) > _REGION:
            raise UnfitProcess("its memory is in too many pieces")
        machine.memory(self.address + machine.TABLE, len(whole))[:] = whole
        return machine.TABLE + len(whole)


class KeptAddress:
    """The address of kept bytes, which is known in the end only."""

    __slots__ = ("at",)

    def __init__(self, at):
        self.at = at


def _pages_up(length):
    return -(-length // PAGE) * PAGE


class _Plan:
    """From the fork's mappings to the image's parts and the table that restores the rest."""

    def __init__(self, region, pid):
        self.region = region
        self.ranges = []
        self.contents = []
        self.clock = []
        self._kept = []
        self._late = []
        with open("/proc/{}/pagemap".format(pid), "rb") as pagemap:
            found = mappings(pid)
            files: dict[bytes, list[tuple[int, int, int, int, int]]] = {}
            for index, mapping in enumerate(found):
                if region.address <= mapping.start < region.address + 2 * _REGION:
                    continue
                if mapping.name == b"[vsyscall]":
                    continue
                if mapping.name.startswith((b"[vvar", b"[vdso")):
                    self.clock.append((mapping.start, mapping.length))
                    self._kept.append((mapping.start, mapping.end))
                    continue
                pagemap.seek(mapping.start // PAGE * 8)
                pages = pagemap.read(mapping.length // PAGE * 8)
                below = found[index - 1].end if index else PAGE
                self._add(mapping, pages, files, below)
        self._tabulate(files)

    def _add(self, mapping, pages, files, below):
        start, end, protection = mapping.start, mapping.end, mapping.protection
        if mapping.name == b"[stack]":
            # Nothing makes it grow any more, so it has its full size from the beginning.
            start = max(below + (1 << 20), end - _STACK)
        self._kept.append((start, end))
        if not protection & PROT_READ:
            if protection & (PROT_WRITE | PROT_EXEC):
                raise UnfitProcess("it has memory that cannot be read")
            if mapping.lasting or not mapping.private or not changed_runs(pages, mapping, 0):
                self._late.append(("nothing", start, end))
                return
            raise UnfitProcess("it has memory with contents that cannot be read")
        if mapping.lasting and (mapping.private or not protection & PROT_WRITE):
            runs = changed_runs(pages, mapping, 0) if mapping.private else []
            shows = files.setdefault(mapping.name, [])
            at = start
            for low, high in [*runs, (end, end)]:
                if low > at:
                    offset = mapping.offset + at - start
                    shows.append((at, low - at, protection, offset, mapping.private))
                if high > low:
                    self._load(low, high, [(low, high)], protection)
                at = high
            return
        if mapping.name == b"[stack]":
            self._load(start, end, changed_runs(pages, mapping, _NEAR), protection)
        elif mapping.private:
            runs = changed_runs(pages, mapping, _NEAR)
            if mapping.name and not mapping.name.startswith(b"["):
                runs = [(start, end)]  # a file that is gone by then is all contents
            self._load(start, end, runs, protection)
        else:
            self._load(start, end, [(start, end)], PROT_READ | PROT_WRITE)
            self._late.append(("shared", start, end, protection))

    def _load(self, start, end, runs, protection):
        if self.ranges and self.ranges[-1][0] + self.ranges[-1][1] == start:
            self.ranges[-1][1] += end - start
        else:
            self.ranges.append([start, end - start])
        for low, high in runs:
            for at in range(low, high, _LARGEST_WRITE):
                self.contents.append((at, min(high, at + _LARGEST_WRITE) - at))
        if protection != PROT_READ | PROT_WRITE:
            self._late.append(("protect", start, end, protection))

    def _tabulate(self, files):
        row = self.region.row
        used = (self.region.address, self.region.address + _REGION)
        at = 0
        for low, high in [*sorted([*self._kept, used]), (_TOP, _TOP)]:
            if low > at:
                row(machine.MUNMAP, at, low - at)
            at = max(at, high)
        fixed = machine.MAP_PRIVATE | machine.MAP_FIXED
        nothing = fixed | machine.MAP_ANONYMOUS | machine.MAP_NORESERVE
        # The lowest descriptor that is free: nothing above the ones agreed upon is open then.
        for name, shows in files.items():
            path = KeptAddress(self.region.keep(unescaped(name) + b"\0"))
            row(machine.OPENAT, -100, path, os.O_RDONLY | os.O_CLOEXEC, 0)
            for start, length, protection, offset, private in shows:
                flags = fixed if private else _WRITE_SHARED
                row(machine.MMAP, start, length, protection, flags, FIRST_FREE, offset)
            row(machine.CLOSE, FIRST_FREE)
        for kind, start, end, *rest in self._late:
            if kind == "nothing":
                row(machine.MMAP, start, end - start, PROT_NONE, nothing, -1, 0)
            elif kind == "protect":
                row(machine.MPROTECT, start, end - start, rest[0])
            else:
                # Shared with whoever this process will fork, and with nobody else.
                name = KeptAddress(self.region.keep(b"shared\0\0"))
                row(machine.MEMFD_CREATE, name, 1)
                row(machine.WRITE, FIRST_FREE, start, end - start)
                row(machine.MMAP, start, end - start, rest[0], _WRITE_SHARED, FIRST_FREE, 0)
                row(machine.CLOSE, FIRST_FREE)


VARIABLES, FILES, FIRST_FREE = 5, 6, 7
"""Descriptors of a process that goes on from an image; below are its standard streams, channel and
log, above is nothing. In a template the pipe for the image has the number of the tar."""


def unescaped(name):
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), name)


class _Thread:
    """What the kernel and the C library know of the thread that goes on."""

    def __init__(self):
        self.tid_addresses = self._where_the_number_stands(machine.call(machine.GETTID))

    @staticmethod
    def _where_the_number_stands(tid):
        """Where the C library keeps the thread's number: somewhere in the thread's own record."""
        libc = ctypes.CDLL(None)
        libc.pthread_self.restype = ctypes.c_ulong
        record = libc.pthread_self()
        words = machine.memory(record, 2304).cast("i")
        return {record + 4 * place for place, word in enumerate(words) if word == tid}

    def in_fork(self):
        """Only what holds the fork's number now as it held the other one's then is its place."""
        self.tid_addresses &= self._where_the_number_stands(machine.call(machine.GETTID))

    def restored(self):
        tid = machine.call(machine.GETTID)
        for address in self.tid_addresses:
            ctypes.c_int.from_address(address).value = tid


def _leave_the_break():
    """Keep the C library's heap from growing where the kernel will not let it.

    Its first part ends at the program break, and the break of a process made of the image is
    elsewhere. A page behind the heap makes it look for room in another place, and then it takes
    whatever break it finds; where that is now it shall ask again."""
    libc = ctypes.CDLL(None)
    try:
        now = ctypes.c_void_p.in_dll(libc, "__curbrk")
        libc.malloc_trim(ctypes.c_size_t(0))
    except (AttributeError, ValueError):
        return  # not the GNU C library; others do not insist
    end = now.value
    if not end:
        return
    libc.malloc.restype = ctypes.c_void_p
    with contextlib.suppress(OSError):  # something lies there already
        guard = _pages_up(end)
        machine.map_memory(guard, PAGE, _GUARD)
    blocks = []
    for _ in range(100_000):
        block = libc.malloc(ctypes.c_size_t(_BLOCK))
        if not block:
            break
        blocks.append(block)
        own = ctypes.c_size_t.from_address(block - 8).value & 6 == 0  # of the heap's first arena
        if own and not end - (1 << 40) < block < end:
            break
    for block in blocks:
        libc.free(ctypes.c_void_p(block))
    now.value = None


class ImageWriter:
    """Takes one image. out: the pipe's writing end."""

    def __init__(self, out):
        if os.uname().machine not in machine.MACHINES:
            raise UnfitProcess("templates are not possible on this machine")
        self._out = out
        self._region = _Region()
        self._thread = _Thread()

    def fork(self, files=None, in_fork=None):
        """files: what is in /tmp: its ``length``, and ``write`` with what writes bytes. in_fork:
        called in the fork before it stands still.

        Returns 0 in the process that the image is of, each time it goes on from there, and
        the number of the process that was forked for it here, where the image has been written.
        Raises UnfitProcess, OSError."""
        ready, say_ready = os.pipe()
        go, say_go = os.pipe()
        pid = os.fork()
        if pid == 0:
            if in_fork is not None:
                in_fork()
            self._stand_still(say_ready, go)
            return 0
        try:
            os.close(say_ready)
            os.close(go)
            if not os.read(ready, 1):
                raise UnfitProcess("the fork for it ended")
            self._write(pid, files)
            os.write(say_go, b"g")
        except BaseException:
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
                os.waitpid(pid, 0)
            raise
        finally:
            os.close(ready)
            os.close(say_go)
        status = 0
        with contextlib.suppress(ChildProcessError):  # the function may have it reaped
            _, status = os.waitpid(pid, 0)
        if status:
            raise UnfitProcess("it could not be written (wait status {})".format(status))
        if files is not None:
            files.write(self._write_all)
        return pid

    def _stand_still(self, say_ready, go):
        self._thread.in_fork()
        region = self._region
        scratch = region.address + machine.SCRATCH
        self._note_thread()
        rows = [
            machine.entry(machine.WRITE, say_ready, scratch, 1),
            machine.entry(machine.READ, go, scratch, 1),
        ]
        whole = b"".join(rows)
        machine.memory(region.second, len(whole))[:] = whole
        _leave_the_break()
        machine.capture(region.address, region.second)
        # Here begins every process made of the image.
        self._thread.restored()
        machine.call(machine.MUNMAP, region.address, 2 * _REGION)

    def _note_thread(self):
        """What only the thread itself can ask, written where the other process finds it.

        At 0 the address of its own storage, 8 and 16 its list of robust locks, 24 the other stack
        of its signals, 48 their mask, 56 where its number stands; 64 on, their handlers."""
        notes = self._region.notes
        room = machine.memory(notes, _NOTES)
        machine.call(machine.ARCH_PRCTL, machine.GET_FS, notes)
        machine.call(machine.GET_ROBUST_LIST, 0, notes + 8, notes + 16)
        machine.call(machine.SIGALTSTACK, 0, notes + 24)
        machine.call(machine.SIGPROCMASK, 0, 0, notes + 48, 8)
        tids = sorted(self._thread.tid_addresses)
        room[56:64] = struct.pack("<Q", tids[0] if tids else 0)
        for number in range(1, 65):
            if number not in (9, 19):
                machine.call(machine.SIGACTION, number, 0, notes + 32 * (number + 1), 8)

    def _write(self, pid, files):
        region = self._region
        plan = _Plan(region, pid)
        extra = files.length if files is not None else 0
        self._tabulate_thread()
        used = region.finish()
        if (len(plan.contents) + 4) * machine.ENTRY.size > _REGION - _NOTES:
            raise UnfitProcess("its memory is in too many pieces")
        header = json.dumps(
            {
                "address": region.address,
                "ranges": plan.ranges,
                "contents": plan.contents,
                "clock": plan.clock,
            }
        ).encode()
        contents = sum(size for _, size in plan.contents)
        whole = HEAD.size + len(header) + used + contents + extra
        self._write_all(HEAD.pack(whole, len(header), used, extra))
        self._write_all(header)
        self._write_all(machine.memory(region.address, used))
        rows = [machine.entry(machine.WRITE, self._out, at, size) for at, size in plan.contents]
        rows.append(machine.entry(machine.EXIT_GROUP, 0))
        whole = b"".join(rows)
        after = region.second + 2 * machine.ENTRY.size
        machine.memory(after, len(whole))[:] = whole

    def _tabulate_thread(self):
        region = self._region
        notes = bytes(machine.memory(region.notes, _NOTES))
        thread, robust, robust_length = struct.unpack_from("<3Q", notes)
        (tid,) = struct.unpack_from("<Q", notes, 56)
        region.row(machine.ARCH_PRCTL, machine.SET_FS, thread)
        if robust:
            region.row(machine.SET_ROBUST_LIST, robust, robust_length)
        if tid:
            region.row(machine.SET_TID_ADDRESS, tid)
        if struct.unpack_from("<i", notes, 32)[0] != 2:
            region.row(machine.SIGALTSTACK, KeptAddress(region.keep(notes[24:48])), 0)
        for number in range(1, 65):
            if number not in (9, 19):
                action = KeptAddress(region.keep(notes[32 * (number + 1) : 32 * (number + 2)]))
                region.row(machine.SIGACTION, number, action, 0, 8)
        region.row(machine.SIGPROCMASK, 2, KeptAddress(region.keep(notes[48:56])), 0, 8)

    def _write_all(self, data):
        view = memoryview(data)
        while len(view):
            view = view[os.write(self._out, view) :]
