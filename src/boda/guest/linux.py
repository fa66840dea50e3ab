"""Linux calls that Python does not offer, by ctypes.

Everything here is looked up when the zygote starts, so that a fork only calls. Each function
raises OSError with the name of the call when the kernel refuses.
"""

import ctypes
import errno
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

NEWNS = 0x00020000
NEWCGROUP = 0x02000000
NEWUTS = 0x04000000
NEWIPC = 0x08000000
NEWUSER = 0x10000000
NEWPID = 0x20000000
NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REC = 16384
MS_SLAVE = 1 << 19
MNT_DETACH = 2

CMSG_CLOEXEC = 0x40000000  # MSG_CMSG_CLOEXEC, which Python does not name

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 4

# The calls below have one number on every architecture: they came after the tables were unified.
_OPEN_TREE = 428
_MOVE_MOUNT = 429
_CLOSE_RANGE = 436
_MOUNT_SETATTR = 442
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

SECBIT_NO_SETUID_FIXUP = 1 << 2
# NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, each with its lock, and KEEP_CAPS locked off.
SECBITS_FINAL = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x80


def _check(result, what):
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)
    return result


def unshare(flags):
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd, kind):
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source, target, fstype, flags=0, data=None):
    def text(value):
        return None if value is None else os.fsencode(value)

    result = _libc.mount(
        text(source), text(target), text(fstype), ctypes.c_ulong(flags), text(data)
    )
    _check(result, "mount")


def umount(target, flags=MNT_DETACH):
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), "umount")


def map_ids(uid, gid):
    """Who is who in the user namespace that this process has just made. uid, gid: an id inside,
    the one outside that it is."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", "{} {} 1".format(*uid)),
        ("gid_map", "{} {} 1".format(*gid)),
    ):
        fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(fd, text.encode())
        os.close(fd)


def pivot_root(new, old):
    number = _PIVOT_ROOT[os.uname().machine]
    _check(_syscall(number, os.fsencode(new), os.fsencode(old)), "pivot_root")


def open_tree(path, recursive=False):
    """A detached copy of the mount at a path, as a file descriptor."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    return _check(_syscall(_OPEN_TREE, AT_FDCWD, os.fsencode(path), flags), "open_tree")


def set_mount_flags(fd, flags, path=b"", recursive=False):
    """Add MOUNT_ATTR flags (1 read-only, 2 nosuid, 4 nodev, 8 noexec) to a mount."""
    attributes = struct.pack("QQQQ", flags, 0, 0, 0)
    where = (AT_EMPTY_PATH if not path else 0) | (AT_RECURSIVE if recursive else 0)
    result = _syscall(_MOUNT_SETATTR, fd, path, where, attributes, ctypes.c_size_t(32))
    _check(result, "mount_setattr")


def move_mount(fd, target):
    result = _syscall(_MOVE_MOUNT, fd, b"", AT_FDCWD, os.fsencode(target), MOVE_MOUNT_F_EMPTY_PATH)
    _check(result, "move_mount")


def prctl(option, argument=0, second=0):
    zero = ctypes.c_ulong(0)
    result = _libc.prctl(
        ctypes.c_int(option), ctypes.c_ulong(argument), ctypes.c_ulong(second), zero, zero
    )
    return _check(result, f"prctl {option}")


def set_name(name):
    """The name `ps` shows, at most 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def sethostname(name):
    raw = name.encode()
    _check(_libc.sethostname(raw, ctypes.c_size_t(len(raw))), "sethostname")


def drop_capabilities(bounding=True):
    """Empty every set: ambient, bounding, effective, permitted, inheritable.

    bounding: refuse to go on where the bounding set cannot be emptied, which takes a capability.
    Whoever begins without any needs no_new_privs to keep that set from ever giving one."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    try:
        prctl(PR_SET_SECUREBITS, SECBITS_FINAL)
        _empty_bounding_set()
    except PermissionError:
        if bounding:
            raise
    set_capabilities(0, 0)


def _empty_bounding_set():
    for capability in range(64):
        if _libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            error = ctypes.get_errno()
            if error == errno.EINVAL:
                return  # past the last one this kernel knows
            raise OSError(error, os.strerror(error), "prctl 24")


def set_capabilities(low, high):
    """Effective and permitted become these bits; inheritable becomes empty."""
    header = struct.pack("Ii", 0x20080522, 0)
    data = struct.pack("IIIIII", low, low, 0, high, high, 0)
    _check(_libc.capset(header, data), "capset")


def install_filter(program):
    """Put a seccomp filter in force, for this process and all it will ever start."""
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    holder = ctypes.create_string_buffer(head, len(head))
    prctl(PR_SET_SECCOMP, 2, ctypes.addressof(holder))


def give_memory_back():
    """Return to the kernel what malloc keeps for later; with less to copy, a fork is faster."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def close_range(first, last=0xFFFFFFFF):
    result = _syscall(_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(0))
    _check(result, "close_range")


def child_signals():
    """A descriptor that is readable when a child has ended. SIGCHLD must be blocked."""
    mask = (1 << (17 - 1)).to_bytes(128, "little")
    return _check(_libc.signalfd(-1, mask, ctypes.c_int(os.O_CLOEXEC | os.O_NONBLOCK)), "signalfd")
