"""The zygote of a runtime: an interpreter with its modules loaded, that forks environments.

Single-threaded for all of its life, because only then is a fork a faithful copy. It runs no code
of any function; it reads orders from its control socket, forks for each, and forgets it. When the
control socket closes, the platform is gone and so is the zygote.

Zygotes are tiered. The first, ``bare``, has the bootstrap and nothing else: it is small, so that
it is there at once and forks fast. It forks the others (``TIERS``), each of which loads more and
then serves a control socket of its own.

An order is one message, JSON with descriptors. ``{"tier": name, "fds": ["control"]}`` is for
another zygote, which gets its pid and then ``{"ready": …}`` through its own socket. Every other
is for an environment: ``{"isolated": bool, "fds": [names…], …}``; what else stands in it is for
the init (``init.py``). The init's own socket gets ``{"event": "forked", "pid"}`` with a pidfd from
here, or ``{"event": "failed"}``.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback

from . import init, linux, preload, seccomp

_LARGEST = 1 << 20

TIERS = {"boto3": preload.load}
"""What each tier loads beyond the bare interpreter."""


class ZygoteProcess:
    """control: where orders come from. program: the filter of every runtime process."""

    def __init__(self, control, isolated, bootstrap, program):
        self._control = control
        self._bootstrap = bootstrap
        self._program = program
        self._own_pid_namespace = None
        self._chose_another = False
        if isolated:
            path = "/.host/proc/self/ns/pid"
            self._own_pid_namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def serve(self):
        """Carry out orders until the platform is gone. Never returns in a fork for a function."""
        self._ready()
        while True:
            data, received, _, _ = socket.recv_fds(self._control, _LARGEST, 64, linux.CMSG_CLOEXEC)
            if not data:
                return
            order = json.loads(data)
            fds = dict(zip(order["fds"], received, strict=True))
            if "tier" in order:
                self._grow(order["tier"], fds["control"])
                continue
            with socket.socket(fileno=os.dup(fds["init"])) as answer:
                try:
                    self._fork(order, fds, answer)
                except OSError as error:
                    init.report_failure(answer, f"fork: {error}")
            for each in received:
                os.close(each)

    def _ready(self):
        """Have as little as possible for a fork to copy, and say so."""
        gc.collect()
        linux.give_memory_back()
        gc.freeze()
        self._control.send(json.dumps({"ready": sys.version.split()[0]}).encode())

    def _grow(self, tier, fd):
        """Fork a zygote of another tier, which goes on from here with a control socket of its
        own."""
        theirs = socket.socket(fileno=fd)
        try:
            if self._chose_another:
                linux.setns(self._own_pid_namespace, linux.NEWPID)
            pid = os.fork()
            if pid:
                _announce(theirs, pid)
        except OSError as error:
            init.report_failure(theirs, f"fork: {error}")
            pid = -1
        if pid:
            theirs.close()
            return
        self._control.close()
        self._control = theirs
        try:
            TIERS[tier]()
        except Exception:
            init.report_failure(theirs, traceback.format_exc(limit=4))
            os._exit(1)
        self._ready()

    def _fork(self, order, fds, answer):
        """Fork an init, which does not return."""
        if order["isolated"] and not order["change_uid"]:
            if not _fork_through_another(answer):
                return
        else:
            if order["isolated"]:
                # Chosen anew for each child: back to one's own namespace, then a fresh one.
                linux.setns(self._own_pid_namespace, linux.NEWPID)
                linux.unshare(linux.NEWPID)
                self._chose_another = True
            pid = os.fork()
            if pid:
                _announce(answer, pid)
                return
        status = 1
        try:
            self._control.close()
            answer.close()
            if self._own_pid_namespace is not None:
                os.close(self._own_pid_namespace)
            own = socket.socket(fileno=fds["init"])
            try:
                status = init.main(order, fds, own, self._program, self._bootstrap)
            except BaseException:
                init.report_failure(own, traceback.format_exc(limit=4))
        finally:
            os._exit(status)


def _announce(own_socket, pid):
    """Tell the platform of a new process, by its number here and by a descriptor."""
    pidfd = os.pidfd_open(pid)
    message = json.dumps({"event": "forked", "pid": pid}).encode()
    socket.send_fds(own_socket, [message], [pidfd])
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


def _bootstrap():
    return importlib.import_module(__package__ + ".bootstrap")


def _image(control, fd, isolated):
    """The image in the place of the bootstrap: the runtime process becomes what it is of."""
    from . import template_restore

    try:
        image = template_restore.Image(fd, "/.host/proc" if isolated else "/proc")
    except (template_restore.UnusableImage, OSError) as error:
        again = getattr(error, "again", False)
        with contextlib.suppress(ConnectionError):
            control.send(json.dumps({"failed": str(error), "again": again}).encode())
        os._exit(1)
    os.close(fd)
    return image


def main(fd, isolated, image_fd=None):
    """image_fd: of a template's zygote, the image from which all its forks go on."""
    control = socket.socket(fileno=fd)
    control.set_inheritable(False)
    linux.set_name("boda-zygote")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the platform's to answer
    # What the interpreter's owner installed into it is not the functions' business.
    sys.path[:] = [path for path in sys.path if not path.endswith("-packages")]
    bootstrap = _image(control, image_fd, isolated) if image_fd else _bootstrap()
    program = seccomp.program()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps inits
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    with contextlib.suppress(ConnectionError):  # the platform is gone, perhaps before it was ready
        ZygoteProcess(control, isolated, bootstrap, program).serve()


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[-1]), given[0] == "isolated", int(given[1]) if len(given) > 2 else None)
    os._exit(0)
