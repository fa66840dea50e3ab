"""The zygote of a runtime: an interpreter with everything loaded, that forks environments.

Single-threaded for all of its life, because only then is a fork a faithful copy. It runs no code
of any function; it reads orders from its control socket, forks an init for each, and forgets it.
When the control socket closes, the platform is gone and so is the zygote.

An order is one message, JSON with descriptors: ``{"isolated": bool, "fds": [names…], …}``; what
else stands in it is for the init (``init.py``). The init's own socket gets
``{"event": "forked", "pid"}`` with a pidfd from here, or ``{"event": "failed"}``.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback

from . import init, linux, seccomp, warm

_CLOEXEC = 0x40000000  # MSG_CMSG_CLOEXEC, which Python does not name
_LARGEST = 1 << 20


def _load():
    """Import what functions will want, so that they find it in memory."""
    # What the interpreter's owner installed into it is not the functions' business.
    sys.path[:] = [path for path in sys.path if not path.endswith("-packages")]
    bootstrap = importlib.import_module(__package__ + ".bootstrap")
    warm.load()
    return bootstrap


def _announce(init_socket, pid):
    """Tell the platform of a new init, by its number here and by a descriptor."""
    pidfd = os.pidfd_open(pid)
    message = json.dumps({"event": "forked", "pid": pid}).encode()
    socket.send_fds(init_socket, [message], [pidfd])
    os.close(pidfd)


def _fork_through_another(init_socket):
    """Fork into a fresh pid namespace without the power to come back from choosing one.

    A process in between chooses and forks; the init becomes the zygote's child when it ends.
    Returns True in the init, False in the zygote."""
    if os.fork():
        return False
    try:
        linux.unshare(linux.NEWPID)
        pid = os.fork()
    except OSError as error:
        init.report_failure(init_socket, f"fork: {error}")
        os._exit(1)
    if pid:
        _announce(init_socket, pid)
        os._exit(0)
    return True


def _fork(order, fds, control, program, bootstrap, own_pid_namespace, answer):
    """Fork an init, which does not return."""
    if order["isolated"] and not order["change_uid"]:
        if not _fork_through_another(answer):
            return
    else:
        if order["isolated"]:
            # Chosen anew for each child: back to one's own namespace, then a fresh one.
            linux.setns(own_pid_namespace, linux.NEWPID)
            linux.unshare(linux.NEWPID)
        pid = os.fork()
        if pid:
            _announce(answer, pid)
            return
    status = 1
    try:
        control.close()
        answer.close()
        if own_pid_namespace is not None:
            os.close(own_pid_namespace)
        init_socket = socket.socket(fileno=fds["init"])
        try:
            status = init.main(order, fds, init_socket, program, bootstrap)
        except BaseException:
            init.report_failure(init_socket, traceback.format_exc(limit=4))
    finally:
        os._exit(status)


def main(fd, isolated):
    control = socket.socket(fileno=fd)
    control.set_inheritable(False)
    linux.set_name("boda-zygote")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the platform's to answer
    own_pid_namespace = None
    if isolated:
        own_pid_namespace = os.open("/.host/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    bootstrap = _load()
    program = seccomp.program()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps inits
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    gc.collect()
    linux.give_memory_back()
    gc.freeze()
    control.send(json.dumps({"ready": sys.version.split()[0]}).encode())
    while True:
        data, received, _, _ = socket.recv_fds(control, _LARGEST, 64, _CLOEXEC)
        if not data:
            return
        order = json.loads(data)
        fds = dict(zip(order["fds"], received, strict=True))
        with socket.socket(fileno=os.dup(fds["init"])) as answer:
            try:
                _fork(order, fds, control, program, bootstrap, own_pid_namespace, answer)
            except OSError as error:
                init.report_failure(answer, f"fork: {error}")
        for each in received:
            os.close(each)


if __name__ == "__main__":
    main(int(sys.argv[-1]), sys.argv[-2] == "isolated")
    os._exit(0)
