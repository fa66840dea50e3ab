"""A bootstrap that tells what holds where it runs; ``boda doctor`` starts it in a sandbox.

It answers each line on the channel with one line of JSON: ``facts`` with what it sees,
``memory N`` after touching so many MiB, ``datagrams N`` with how many of N MiB were kept unread,
``processes N`` with how many of N children could be started, ``spin S`` after so many seconds of
computing, ``connect HOST PORT`` with what came of it, ``resolve NAME`` likewise.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import socket
import time
import typing

_NAMESPACES = ("mnt", "pid", "ipc", "uts", "user", "net", "cgroup")


def _attempt(action):
    """Empty when an action went through, else the name of its error."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return ""


def _system_call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)

    def call():
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    return _attempt(call)


def _status():
    with open("/proc/self/status", encoding="ascii") as file:
        pairs = (line.split(":", 1) for line in file if ":" in line)
        return {name: value.strip() for name, value in pairs}


def may_write(path):
    """Asked, never done: without isolation this is the machine's own file."""
    return os.access(path, os.W_OK)


def closed_devices():
    """Those that cannot be used as everybody must be able to use them."""
    closed = []
    for name in ("null", "zero", "full", "random", "urandom"):
        path = f"/dev/{name}"

        def use(path=path, flags=os.O_RDONLY if "random" in name else os.O_RDWR):
            os.close(os.open(path, flags))

        if _attempt(use):
            closed.append(path)
    return closed


def facts():
    status = _status()
    tmp = os.statvfs(os.environ.get("TMPDIR", "/tmp"))
    return {
        "uid": os.getuid(),
        "task": os.getcwd(),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in _NAMESPACES},
        "writable": [path for path in ("/", "/usr", "/var", os.getcwd()) if may_write(path)],
        "root": sorted(os.listdir("/")),
        "hidden": os.path.exists("/.host/proc") or os.path.isdir("/root"),
        "tmp_mb": tmp.f_bavail * tmp.f_frsize >> 20,
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),
        "sysctl": may_write("/proc/sys/kernel/hostname"),
        "devices": sorted(os.listdir("/dev")),
        "closed_devices": closed_devices(),
        "capabilities": [status[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")],
        "bounding": status["CapBnd"],
        "no_new_privs": status.get("NoNewPrivs", ""),
        "seccomp": status.get("Seccomp", ""),
        "unshare": _system_call("unshare", 0x10000000),
        "mount": _system_call("mount", None, b"/nonexistent", None, 0, None),
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "interfaces": [name for _, name in socket.if_nameindex()],
    }


def _memory(mib):
    blocks = []
    for _ in range(int(mib)):
        block = bytearray(1 << 20)
        block[::4096] = b"x" * 256  # every page, or the kernel would not count it
        blocks.append(block)
    return {"touched_mib": len(blocks)}


def _datagrams(mib):
    """Sockets are left full, then read: what was dropped was not kept."""
    sockets, data = [], bytes(60_000)
    for _ in range(2 * int(mib)):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind(("127.0.0.1", 0))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        one.setblocking(False)
        sockets.append(one)
        for _ in range(16):
            with contextlib.suppress(OSError):
                one.sendto(data, one.getsockname())
    kept = 0
    for one in sockets:
        with contextlib.suppress(OSError):
            while True:
                kept += len(one.recv(1 << 16))
    return {"kept_mib": kept >> 20}


def _processes(count):
    children = []
    try:
        for _ in range(int(count)):
            pid = os.fork()
            if pid == 0:
                time.sleep(30)
                os._exit(0)
            children.append(pid)
    except OSError:
        pass
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return {"started": len(children)}


def _spin(seconds):
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        pass
    return {"cpu_s": time.process_time()}


def _connect(host, port):
    def go():
        socket.create_connection((host, int(port)), 2.0).close()

    return {"error": _attempt(go)}


def _resolve(name):
    return {"error": _attempt(lambda: socket.getaddrinfo(name, 443))}


def main(channel_fd, log_fd, environ):
    answers = {
        "facts": facts,
        "memory": _memory,
        "datagrams": _datagrams,
        "processes": _processes,
        "spin": _spin,
        "connect": _connect,
        "resolve": _resolve,
    }
    with socket.socket(fileno=channel_fd) as channel, channel.makefile("rw") as lines:
        for line in lines:
            words = line.split()
            try:
                ask: typing.Any = answers[words[0]]
                answer = ask(*words[1:])
            except MemoryError:
                answer = {"error": "MemoryError"}
            lines.write(json.dumps(answer) + "\n")
            lines.flush()
