"""What is in /tmp, which goes with an image: a tar whose length is said before it is written.

Threads and processes that init began may be at work there all the while, so what is written is
what was found at first: a file that has become shorter is filled up, one that has grown is cut.
"""

import contextlib
import io
import os
import stat
import tarfile

if __package__:
    from . import template_image
    from . import template_machine as machine
else:
    import template_image  # type: ignore[import-not-found,no-redef]
    import template_machine as machine  # type: ignore[import-not-found,no-redef]

ROOT = "/tmp"
_NUMBER = "BODA.inode"
_PIECE = 1 << 20
_MOST_HELD = 900
_MAP_SHARED = machine.MAP_SHARED | machine.MAP_FIXED


def shared():
    """Files in /tmp that show in this process's memory, to be changed there: for ``map_again``."""
    return [
        (template_image.unescaped(each.name), each.start, each.length, each.protection, each.offset)
        for each in template_image.mappings("self")
        if not each.private
        and each.name.startswith(os.fsencode(ROOT) + b"/")
        and not each.name.endswith(b" (deleted)")
    ]


def map_again(notes):
    """Memory and file are one again; where they cannot be, the memory stays what it was."""
    for path, start, length, protection, offset in notes:
        with contextlib.suppress(OSError):
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except PermissionError:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                machine.call(machine.MMAP, start, length, protection, _MAP_SHARED, fd, offset)
            finally:
                os.close(fd)


class Files:
    """length: in bytes, 0 where there are none. opened: paths of what the process has open."""

    def __init__(self, opened):
        self._members: list[tuple[bytes, str, int]] = []
        with tarfile.open(fileobj=io.BytesIO(), mode="w", format=tarfile.PAX_FORMAT) as tar:
            # As they were made, so that each can be given the number it has.
            for path, status in sorted(_found(), key=lambda each: each[1].st_ino):
                self._add(tar, path, status, path in opened)
        self.length = sum(len(head) + _padded(size) for head, _, size in self._members)
        if self.length:
            self.length += 2 * tarfile.BLOCKSIZE

    def _add(self, tar, path, status, numbered):
        try:
            info = tar.gettarinfo(path, os.path.relpath(path, ROOT))
        except OSError:
            return  # it is gone already
        if info is None:
            return  # a socket
        info.mode = stat.S_IMODE(status.st_mode)
        if numbered:
            info.pax_headers[_NUMBER] = str(status.st_ino)
        head = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        self._members.append((head, path, info.size))

    def write(self, write):
        for head, path, size in self._members:
            write(head)
            left = size
            for data in _contents(path, size):
                write(data)
                left -= len(data)
            left += _padded(size) - size
            while left:
                count = min(left, _PIECE)
                write(bytes(count))
                left -= count
        write(bytes(2 * tarfile.BLOCKSIZE))


def _padded(size):
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _found():
    """Paths and what they are; all can be read then: nobody will look at their modes here."""
    folders = [ROOT]
    while folders:
        folder = folders.pop()
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                with contextlib.suppress(OSError):
                    status = os.lstat(path)
                    if stat.S_ISDIR(status.st_mode):
                        os.chmod(path, status.st_mode | stat.S_IRWXU)
                        folders.append(path)
                    elif stat.S_ISREG(status.st_mode) and not status.st_mode & stat.S_IRUSR:
                        os.chmod(path, status.st_mode | stat.S_IRUSR)
                    yield path, status


def _contents(path, size):
    """At most so many bytes of a file, in pieces."""
    if not size:
        return
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        while size:
            try:
                data = os.read(fd, min(size, _PIECE))
            except OSError:
                return
            if not data:
                return
            yield data
            size -= len(data)
    finally:
        os.close(fd)


def unpack(fd):
    """Bring back what ``Files`` wrote."""
    with os.fdopen(fd, "rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
        tar.extraction_filter = lambda member, path: member
        tar.extractall(ROOT, members=_in_their_turn(tar))


def _in_their_turn(tar):
    """Members; one that somebody has open is given its number before it is written: SQLite takes a
    file with another one for another file."""
    for member in tar:
        wanted = member.pax_headers.get(_NUMBER)
        if wanted:
            with contextlib.suppress(OSError):
                _make(os.path.join(ROOT, member.name), int(wanted))
        yield member


def _make(path, wanted):
    """An empty file with a number, where the file system comes to it soon: it gives the lowest or
    the next one, and what is held is not given again. OSError."""
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    held = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        for _ in range(_MOST_HELD):
            held.append(os.open(folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC))
            number = os.fstat(held[-1]).st_ino
            if number == wanted:
                # By way of a folder's descriptor, or the link itself would be linked to.
                os.link("/proc/self/fd/{}".format(held[-1]), name, dst_dir_fd=held[0])
            if number >= wanted:
                return
    finally:
        for fd in held:
            os.close(fd)
