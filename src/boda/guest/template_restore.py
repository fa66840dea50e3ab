"""Go on from an image (``template_image.py``).

``Image`` is made once, by the zygote of a template, with all of a zygote's powers: it puts the
contents where they belong and never looks at them. They are the function's, so nothing here
believes them: addresses may not meet anything of this process, sizes are bounded by what the
platform has counted. ``go_on`` is called in a runtime process that has nothing more to lose: what
it runs is the function's.
"""

import bisect
import ctypes
import itertools
import json
import os

from . import linux
from . import template_machine as machine
from .template_image import FILES, FIRST_FREE, HEAD, VARIABLES, mappings
from .template_machine import PAGE

_LARGEST_HEADER = 2 << 20
_MOST_RANGES = 20_000
_FLOOR, _TOP = 1 << 20, 0x7FFFFFFFF000
"""Of addresses. What lies near zero is where the kernel would look if it followed a null pointer;
a zygote may map memory there, as no function may."""
_MOST_MOVES = (machine.TABLE - machine.PREFIX) // machine.ENTRY.size
_ANYTHING = machine.MAP_PRIVATE | machine.MAP_ANONYMOUS | machine.MAP_NORESERVE


class UnusableImage(Exception):
    """The image makes no sense; its makers lied. ``again``: with other addresses it may."""

    def __init__(self, words, again=False):
        super().__init__(words)
        self.again = again


def _check(start, length, step=PAGE):
    if not (type(start) is int and type(length) is int):
        raise UnusableImage("an address that is no number")
    if start % step or length % step or length <= 0 or start < _FLOOR or start + length > _TOP:
        raise UnusableImage("an address out of all bounds")


def _kernel_writes():
    """Whether the kernel writes to this process's memory by itself, as it does for restartable
    sequences: it would go on doing so where that memory is gone."""
    try:
        return bool(ctypes.c_uint.in_dll(ctypes.CDLL(None), "__rseq_size").value)
    except ValueError:
        return False


class Image:
    """fd: a file with the image, which is not changed any more; it is not kept. proc: where the
    processes of this one's namespace are shown."""

    def __init__(self, fd, proc="/proc"):
        self._proc = proc
        if _kernel_writes():
            raise UnusableImage("the C library has registered restartable sequences")
        head = os.pread(fd, HEAD.size, 0)
        if len(head) != HEAD.size:
            raise UnusableImage("it is cut off")
        whole, length, used, self._files = HEAD.unpack(head)
        if length > _LARGEST_HEADER or used > 8 << 20 or used <= machine.TABLE:
            raise UnusableImage("lengths out of all bounds")
        try:
            header = json.loads(os.pread(fd, length, HEAD.size))
            self._region, ranges = header["address"], header["ranges"]
            contents, self._clock = header["contents"], header["clock"]
            if not all(isinstance(each, list) for each in (ranges, contents, self._clock)):
                raise UnusableImage("lists that are none")
            _check(self._region, -(-used // PAGE) * PAGE)
            for start, extent in ranges:
                _check(start, extent)
            for start, extent in contents:
                _check(start, extent)
            for start, extent in self._clock:
                _check(start, extent)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UnusableImage("its header is malformed") from None
        if len(ranges) > _MOST_RANGES or len(contents) > 10 * _MOST_RANGES:
            raise UnusableImage("it is in too many pieces")
        at = HEAD.size + length
        if at + used + sum(extent for _, extent in contents) + self._files != whole:
            raise UnusableImage("it is cut off")
        self._elsewhere: dict[int, tuple[int, int]] = {}
        self._match_clock()
        ranges.append([self._region, -(-used // PAGE) * PAGE])
        ranges.sort()
        for (low, many), (high, _) in itertools.pairwise(ranges):
            if low + many > high:
                raise UnusableImage("its memory overlaps")
        self._reserve(ranges)
        self._fill(fd, self._region, used, at)
        at += used
        starts = [low for low, _ in ranges]
        for start, extent in contents:
            # Each lies in one range, and nothing else is written to.
            low, many = ranges[bisect.bisect_right(starts, start) - 1]
            if not low <= start < start + extent <= low + many:
                raise UnusableImage("contents beside its memory")
            place = self._elsewhere[low][0] if low in self._elsewhere else low
            self._fill(fd, place + start - low, extent, at)
            at += extent
        self._moves = self._move()

    def _match_clock(self):
        """The kernel's own pages are moved to where the image expects them."""
        self._own_clock = [
            (each.start, each.length)
            for each in mappings("self", self._proc)
            if each.name.startswith((b"[vvar", b"[vdso"))
        ]
        if [size for _, size in self._own_clock] != [size for _, size in self._clock]:
            raise UnusableImage("it is of another kernel")
        for start, length in self._own_clock:
            for other, extent in self._clock:
                if start < other + extent and other < start + length:
                    raise UnusableImage("its place is taken", again=True)

    def _reserve(self, ranges):
        """Memory for what is in the image, where it belongs or, where this process has something
        of its own, as an executable at fixed addresses always has, elsewhere until that goes."""
        taken = []
        for start, length in ranges:
            try:
                machine.map_memory(start, length, _ANYTHING | machine.MAP_FIXED_NOREPLACE)
            except OSError:
                taken.append((start, length))
        for start, length in taken:
            if start == self._region:
                raise UnusableImage("its place is taken", again=True)
            self._elsewhere[start] = (self._stage(length, [*ranges, *self._clock]), length)
        if len(self._elsewhere) + len(self._clock) > _MOST_MOVES:
            raise UnusableImage("too many of its places are taken", again=True)

    @staticmethod
    def _stage(length, wanted):
        """Memory that is in nobody's way."""
        for _ in range(64):
            at = machine.map_memory(0, length, _ANYTHING)
            if not any(at < low + many and low < at + length for low, many in wanted):
                return at
        raise UnusableImage("there is no room beside its places", again=True)

    def _fill(self, fd, start, length, at):
        view = machine.memory(start, length)
        while len(view):
            count = os.preadv(fd, [view], at)
            if count <= 0:
                raise UnusableImage("it is cut off")
            view, at = view[count:], at + count

    def _move(self):
        """The first calls of the table. The kernel's own pages come first: they may lie where
        something else is moved to."""
        moves = [
            (at, length, target)
            for (at, length), (target, _) in zip(self._own_clock, self._clock, strict=True)
        ]
        moves += [(at, length, target) for target, (at, length) in self._elsewhere.items()]
        flags = machine.MREMAP_MAYMOVE | machine.MREMAP_FIXED
        return [
            machine.entry(machine.MREMAP, at, length, length, flags, target)
            for at, length, target in moves
        ]

    def main(self, channel_fd, log_fd, environ):
        """Become what the image is of; in the place of the bootstrap's. Beside channel and log,
        which are 3 and 4, the tar of /tmp is open, as FILES, where there is one."""
        variables = os.memfd_create("variables")
        os.write(variables, json.dumps({"environ": environ, "files": self._files}).encode())
        os.lseek(variables, 0, os.SEEK_SET)
        if not self._files:
            os.dup2(variables, FILES, inheritable=False)
        if variables != VARIABLES:
            os.dup2(variables, VARIABLES, inheritable=False)
        linux.close_range(FIRST_FREE)
        self.go_on()

    def go_on(self):
        """Replace this process's memory. Returns if at all by an exception."""
        region = self._region
        moves = b"".join(self._moves)
        begin = region + machine.TABLE - len(moves)
        machine.memory(begin, len(moves))[:] = moves
        machine.call(machine.MPROTECT, region, PAGE, machine.PROT_READ | machine.PROT_EXEC)
        machine.run(region, begin)
