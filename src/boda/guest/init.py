"""The first process of a sandbox.

It makes the sandbox from the inside, in two parts: what is the same for every function
(namespaces, most mounts, listening sockets) when it is forked, perhaps long before it is needed;
what belongs to one function when it is told to start. Then it starts the runtime process, reaps
whatever ends, and starts the runtime again when told. It runs no code of the function and shares
no descriptor with it. When the platform's end of its socket closes it ends, and with the first
process of a pid namespace the kernel ends every other one.

To the platform: ``{"event": "prepared"}`` with the two listening sockets; ``{"event": "running",
"generation", "pid", "began_s", "marks"}``; ``{"event": "exit", "generation", "status" |
"signal"}``; ``{"event": "failed", "reason", "step"}``.
From the platform: ``{"op": "start", "fds": [names…], "steps", "environ", …}``, once;
``{"op": "restart", "generation", "environ"}`` with channel, log and console; ``{"op": "signal",
"signal"}`` for every process but this one.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import time

from . import entry, linux
from .operations import StepFailed, carry_out

PASSED_OVER = 32
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C

# What it takes to make a runtime process and to end it: KILL, SETGID, SETUID, SETPCAP,
# SYS_ADMIN (the cgroup namespace of each runtime process), SETFCAP (to map the id 0).
_KEPT = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 21 | 1 << 31


def report_failure(control, reason, step=None):
    with contextlib.suppress(OSError):  # perhaps nobody is left to tell
        control.send(json.dumps({"event": "failed", "reason": reason, "step": step}).encode())


def _add_address(address):
    """Give the loopback device an address of the outside, by which it is reached from inside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sH2x4s8x", b"lo:1", socket.AF_INET, socket.inet_aton(address))
        fcntl.ioctl(probe, _SIOCSIFADDR, request)
        mask = struct.pack("16sH2x4s8x", b"lo:1", socket.AF_INET, b"\xff" * 4)
        fcntl.ioctl(probe, _SIOCSIFNETMASK, mask)


def _loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack_from("h", fcntl.ioctl(probe, _SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def _listen(address, port):
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if not address.startswith("127."):
        _add_address(address)
    listener.bind((address, port))
    listener.listen(512)
    listener.setblocking(False)
    return listener


def _isolate(order, fds):
    """Namespaces, and the mounts that all sandboxes have. StepFailed, OSError."""
    flags = linux.NEWNS | linux.NEWIPC | linux.NEWUTS
    if "netns" in fds:
        linux.setns(fds["netns"], linux.NEWNET)
    else:
        flags |= linux.NEWNET
    linux.unshare(flags)
    linux.sethostname(order["hostname"])
    _loopback_up()
    carry_out(order["steps"], "/.host")


def _start(order, runtime, fds, control, program, bootstrap):
    """Make the sandbox that of one function and start its runtime. StepFailed, OSError."""
    marks = [("order read", time.monotonic())]
    isolated = order["isolated"]
    if isolated:
        carry_out(order["steps"], "/.host", fds, order["first_step"])
        linux.set_capabilities(_KEPT, 0)
        linux.prctl(linux.PR_SET_DUMPABLE, 0)  # not even the same uid may trace it
    if "volume" in fds:
        os.close(fds.pop("volume"))
    marks.append(("own mounts", time.monotonic()))
    _start_runtime(order, runtime, order["environ"], fds, control, program, bootstrap)
    marks.append(("runtime process", time.monotonic()))
    _report_running(control, runtime, marks)


class _Runtime:
    """The present runtime process. generation counts them, so that a late report is not taken
    for a newer process's."""

    def __init__(self):
        self.pid = 0
        self.generation = 0
        self.began_s = 0.0


def _descendants():
    """Every process below this one, where no pid namespace bounds them."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    after_name = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if after_name[0] != b"Z":  # what has ended only waits to be collected
                parents[int(name)] = int(after_name[1])
    me, found = os.getpid(), set()
    for pid in parents:
        trail, at = [], pid
        while at not in (0, 1, me) and at not in found:
            trail.append(at)
            at = parents.get(at, 0)
        if trail and (at == me or at in found):
            found.update(trail)
    return found


def _signal_all(number, isolated):
    if isolated:
        if os.getpid() != 1:  # kill(-1) elsewhere would end the machine's processes
            raise SystemError("not the first process of its namespace")
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, number)
        return
    for _ in range(20):  # processes may fork while being counted
        found = _descendants()
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        if not found or number != signal.SIGKILL:
            return


def _reap():
    """Collect everything that has ended: (pid, wait status) of each."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, status))


def _pass_over_numbers():
    """Give a template's process another number than its forks will have, which are first in their
    namespaces: many a library that makes random numbers starts afresh when its process's number
    is another one than before."""
    for _ in range(PASSED_OVER):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)


def _start_runtime(order, runtime, environ, fds, control, program, bootstrap):
    """Fork the runtime process and wait until it stands at the bootstrap's door.

    Raises OSError with the reason it gave when it could not get there."""
    if not order["isolated"]:
        # All share one network: each has ports of its own.
        environ = entry.with_ports(environ, order["named"], order["listen"])
    if order["kind"] == entry.TEMPLATE:
        _pass_over_numbers()
    read_end, write_end = os.pipe()
    runtime.began_s = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            control.close()
            os.close(read_end)
            entry.main(order, environ, fds, program, bootstrap, write_end)
        finally:
            os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as status:
        reason = status.read()
    if reason:
        os.waitpid(pid, 0)
        raise OSError(reason.decode("utf-8", "replace"))
    runtime.pid = pid
    for name in ("channel", "log", "console", "image"):
        if name in fds:
            os.close(fds.pop(name))


def _report_ended(control, runtime, ended):
    for pid, status in ended:
        if pid != runtime.pid:
            continue
        runtime.pid = 0
        how = {"event": "exit", "generation": runtime.generation, "status": None, "signal": None}
        if os.WIFSIGNALED(status):
            how["signal"] = os.WTERMSIG(status)
        else:
            how["status"] = os.WEXITSTATUS(status)
        control.send(json.dumps(how).encode())


def _end_all(isolated):
    """Kill every process but this one and wait until they are gone."""
    _signal_all(signal.SIGKILL, isolated)
    ended = []
    while True:
        try:
            ended.append(os.waitpid(-1, 0))
        except ChildProcessError:
            return ended


def _serve(order, runtime, fds, control, program, bootstrap):
    """Do what the platform says until it is gone. StepFailed, OSError."""
    isolated = order["isolated"]
    children = linux.child_signals()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(children, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if children in ready:
            os.read(children, 4096)
            _report_ended(control, runtime, _reap())
        if control.fileno() not in ready:
            continue
        data, received, _, _ = socket.recv_fds(control, 1 << 20, 64, linux.CMSG_CLOEXEC)
        if not data:
            return
        command = json.loads(data)
        if command["op"] == "signal":
            _signal_all(command["signal"], isolated)
        elif command["op"] == "start":
            fds.update(zip(command["fds"], received, strict=True))
            order.update(command)
            _start(order, runtime, fds, control, program, bootstrap)
        elif command["op"] == "restart":
            _report_ended(control, runtime, _end_all(isolated))
            fds.update(zip(("channel", "log", "console"), received, strict=True))
            runtime.generation = command["generation"]
            _start_runtime(order, runtime, command["environ"], fds, control, program, bootstrap)
            _report_running(control, runtime)


def _report_running(control, runtime, marks=()):
    message = {"event": "running", "generation": runtime.generation, "pid": runtime.pid}
    message["began_s"], message["marks"] = runtime.began_s, list(marks)
    control.send(json.dumps(message).encode())


def _prepare(order, fds, control):
    """What is the same for every function. StepFailed, OSError."""
    isolated = order["isolated"]
    if isolated:
        _isolate(order, fds)
    else:
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    if "netns" in fds:
        os.close(fds.pop("netns"))
    listeners = [_listen(address, port) for address, port in order["listen"]]
    if not isolated:
        order["listen"] = [listener.getsockname() for listener in listeners]
    numbers = [listener.fileno() for listener in listeners]
    socket.send_fds(control, [json.dumps({"event": "prepared"}).encode()], numbers)
    for listener in listeners:
        listener.close()


def main(order, fds, control, program, bootstrap):
    """Make the sandbox and serve it to its end. Returns the exit status."""
    linux.set_name("boda-init")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    os.setsid()
    status = 0
    try:
        _prepare(order, fds, control)
        _serve(order, _Runtime(), fds, control, program, bootstrap)
    except StepFailed as error:
        report_failure(control, error.reason, error.index)
        status = 1
    except OSError as error:  # or the platform is gone
        report_failure(control, str(error))
        status = 1
    if "freezer" in fds:
        with contextlib.suppress(OSError):
            os.write(fds["freezer"], order["thawed"].encode())  # frozen processes do not die
    if not order["isolated"]:
        _end_all(False)
    return status
