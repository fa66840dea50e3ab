"""What a template has open, opened anew in each process that goes on from its image.

An image is memory; what its descriptors meant is the kernel's. ``survey`` notes it before the
image is taken, ``reopen`` brings it back under the same numbers: files at the place they were read
to, pipes and socket pairs with what was in them, sets of epoll, datagram sockets. A connection to
somebody else has ended for everyone, since only one could go on with it; its pool sees it closed
and makes another.
"""

import contextlib
import ctypes
import fcntl
import os
import select
import socket
import stat
import struct
import uuid
from typing import Any

_KEPT_BYTES = 64 << 20
"""Of files that have no name any more."""
_CLOEXEC = os.O_CLOEXEC
_STATUS = os.O_NONBLOCK | os.O_APPEND
_EPOLL_EVENT = struct.Struct("=IQ")


def survey(first):
    """What descriptors from a number on mean: a list for ``reopen``.

    Destroys what it notes of pipes and sockets: nobody may use them any more."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd >= first:
            with contextlib.suppress(OSError):  # the listing's own
                found.append((fd, os.readlink("/proc/self/fd/" + name), _facts(fd)))
    unix, notes = {}, []
    pipes: dict[str, list[tuple[int, Any]]] = {}
    room = [_KEPT_BYTES]
    for fd, link, facts in found:
        kind: tuple[object, ...]
        if link.startswith("pipe:"):
            pipes.setdefault(link, []).append((fd, facts))
            continue
        if link.startswith("socket:"):
            with socket.socket(fileno=os.dup(fd)) as one:
                if one.family == socket.AF_UNIX:
                    unix[fd] = facts
                    continue
                kind = _inet(one)
        elif link == "anon_inode:[eventpoll]":
            kind = ("epoll", facts["watched"])
        elif link.startswith("anon_inode:[eventfd"):
            kind = ("eventfd", facts["count"])
        else:
            kind = _file(fd, link, facts, room)
        notes.append((fd, kind, facts["flags"]))
    notes += _pipes(pipes)
    notes += _pairs(unix)
    # A set comes after what it watches.
    return sorted(notes, key=lambda note: (note[1][0] == "epoll", note[0]))


def _facts(fd):
    facts: dict[str, object] = {"flags": 0, "pos": 0, "count": 0}
    watched = []
    with open("/proc/self/fdinfo/{}".format(fd), encoding="ascii", errors="replace") as file:
        for line in file:
            key, _, rest = line.partition(":")
            words = rest.split()
            if key == "flags":
                facts["flags"] = int(words[0], 8)
            elif key == "pos":
                facts["pos"] = int(words[0])
            elif key == "eventfd-count":
                facts["count"] = int(words[0], 16)
            elif key == "tfd":
                watched.append((int(words[0]), int(words[2], 16), int(words[4], 16)))
    facts["watched"] = watched
    return facts


def _file(fd, link, facts, room):
    if link.startswith("/") and not link.endswith(" (deleted)"):
        return ("file", link, facts["pos"])
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_size <= room[0]:
        with contextlib.suppress(OSError):
            room[0] -= status.st_size
            return ("bytes", os.pread(fd, status.st_size, 0), facts["pos"])
    return ("ended",)


def _inet(one):
    with contextlib.suppress(OSError):
        stream = one.type == socket.SOCK_STREAM
        if stream and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return ("listening", one.family, one.type, one.proto, one.getsockname())
        try:
            peer = one.getpeername()
        except OSError:
            peer = None
        if stream:
            return ("ended",) if peer else ("fresh", one.family, one.type, one.proto, None, None)
        own = one.getsockname()
        return (
            "fresh",
            one.family,
            one.type,
            one.proto,
            own if own[1] and not peer else None,
            peer,
        )
    return ("ended",)


def _pipes(pipes):
    for ends in pipes.values():
        reading = [end for end in ends if end[1]["flags"] & os.O_ACCMODE != os.O_WRONLY]
        writing = [end for end in ends if end[1]["flags"] & os.O_ACCMODE == os.O_WRONLY]
        if not (reading and writing):
            for fd, facts in ends:
                yield fd, ("ended",), facts["flags"]
            continue
        held = _drain(reading[0][0])
        first: tuple[Any, ...] = (
            "pipe",
            [fd for fd, _ in reading],
            [fd for fd, _ in writing],
            held,
        )
        for fd, facts in ends:
            yield fd, first, facts["flags"]
            first = ("done",)


def _drain(fd):
    """What there is to read."""
    os.set_blocking(fd, False)
    held = b""
    with contextlib.suppress(OSError):
        while True:
            data = os.read(fd, 1 << 20)
            if not data:
                return held
            held += data
    return held


def _pairs(unix):
    """Which sockets are each other's peers shows when one of them says something."""
    peers = {}
    held = {fd: _drain(fd) for fd in unix}
    for fd in unix:
        word = uuid.uuid4().bytes
        with contextlib.suppress(OSError):
            os.write(fd, word)
            for other in unix:
                # A process that init began may say something meanwhile.
                if other != fd and word in _drain(other):
                    peers[fd] = other
    for fd, facts in unix.items():
        other = peers.get(fd)
        if other is None:
            yield fd, ("ended",), facts["flags"]
        elif fd < other:
            with socket.socket(fileno=os.dup(fd)) as one:
                yield fd, ("pair", one.type, (fd, other), (held[fd], held[other])), facts["flags"]
        else:
            yield fd, ("done",), facts["flags"]


def reopen(notes):
    """Bring back what was noted. What cannot be is ended, as if its peer had closed it."""
    above = max((fd for fd, _, _ in notes), default=0) + 1
    for fd, kind, _ in notes:
        try:
            made = _MAKE[kind[0]](fd, *kind[1:])
        except OSError:
            made = _ended(fd)
        for number, new in made.items():
            # Out of the way of the numbers that are still to come.
            made[number] = fcntl.fcntl(new, fcntl.F_DUPFD_CLOEXEC, above)
            os.close(new)
        for number, new in made.items():
            os.dup2(new, number, inheritable=False)
            os.close(new)
    for fd, _, flags in notes:
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETFL, flags & _STATUS)
            os.set_inheritable(fd, not flags & _CLOEXEC)


def _ended(fd):
    ours, theirs = socket.socketpair()
    theirs.close()
    return {fd: ours.detach()}


def _reopen_file(fd, path, position):
    # As it was opened, but for what only makes or empties files.
    for mode in (os.O_RDWR, os.O_RDONLY, os.O_WRONLY):
        with contextlib.suppress(PermissionError, IsADirectoryError):
            new = os.open(path, mode | os.O_CLOEXEC)
            with contextlib.suppress(OSError):
                os.lseek(new, position, os.SEEK_SET)
            return {fd: new}
    raise OSError(2, "not to be opened")


def _nameless(fd, data, position):
    new = os.memfd_create("file")
    os.write(new, data)
    os.lseek(new, position, os.SEEK_SET)
    return {fd: new}


def _listening(fd, family, kind, protocol, address):
    one = socket.socket(family, kind, protocol)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(address)
    one.listen()
    return {fd: one.detach()}


def _fresh(fd, family, kind, protocol, own, peer):
    one = socket.socket(family, kind, protocol)
    with contextlib.suppress(OSError):
        if own:
            one.bind(own)
        if peer:
            one.connect(peer)
    return {fd: one.detach()}


def _pipe(fd, reading, writing, held):
    out, into = os.pipe()
    os.write(into, held)
    made = {}
    for numbers, end in ((reading, out), (writing, into)):
        for number in numbers:
            made[number] = os.dup(end)
        os.close(end)
    return made


def _pair(fd, kind, numbers, held):
    ends = socket.socketpair(socket.AF_UNIX, kind)
    # What one end had still to read the other one has said.
    for end, data in zip(reversed(ends), held, strict=True):
        if data:
            end.send(data)
    return {number: end.detach() for number, end in zip(numbers, ends, strict=True)}


def _eventfd(fd, count):
    libc = ctypes.CDLL(None, use_errno=True)
    new = libc.eventfd(ctypes.c_uint(count & 0xFFFFFFFF), os.O_CLOEXEC)
    if new < 0:
        raise OSError(ctypes.get_errno(), "eventfd")
    return {fd: new}


def _epoll(fd, watched):
    libc = ctypes.CDLL(None, use_errno=True)
    with select.epoll() as one:
        new = os.dup(one.fileno())
    for target, events, data in watched:
        libc.epoll_ctl(new, 1, target, _EPOLL_EVENT.pack(events & 0xFFFFFFFF, data))
    return {fd: new}


_MAKE: dict[str, Any] = {
    "file": _reopen_file,
    "bytes": _nameless,
    "listening": _listening,
    "fresh": _fresh,
    "pipe": _pipe,
    "pair": _pair,
    "eventfd": _eventfd,
    "epoll": _epoll,
    "ended": _ended,
    "done": lambda fd: {},
}
