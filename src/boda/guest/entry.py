"""From a fork of the init to the bootstrap: how the runtime process gives up its powers.

The order matters: the cgroups first, so that all that follows is counted; the identity before
the capabilities, which it needs; the filter last, since it refuses most of the steps before it.
"""

import contextlib
import fcntl
import json
import os
import random
import re
import resource
import signal
import struct
import sys
import time
import traceback

from . import linux

INSIDE_UID, INSIDE_GID = 993, 990  # what a function sees itself as on AWS

TEMPLATE, FORK = "template", "fork"
"""Kinds of runtime processes beside ``python`` and ``provided``: one that an image is made of, and
one that goes on from an image (``template_image.py``, ``template_restore.py``)."""

# What an interpreter or its C library reads only when it is executed. With one of these set the
# runtime process executes a fresh interpreter instead of going on as the zygote's copy.
_READ_AT_EXEC = ("LD_", "GLIBC_", "MALLOC_", "PYTHON", "AWS_LAMBDA_EXEC_WRAPPER")
_HONOURED_IN_FORK = {
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONNOUSERSITE",
}

_LIMITS = {
    "open_files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
    "core_bytes": resource.RLIMIT_CORE,
    "locked_bytes": resource.RLIMIT_MEMLOCK,
    "stack_bytes": resource.RLIMIT_STACK,
    "queue_bytes": resource.RLIMIT_MSGQUEUE,
    "data_bytes": resource.RLIMIT_DATA,
}


def give_up(status_fd, error):
    """Tell the init why the bootstrap was not reached."""
    with contextlib.suppress(OSError):
        os.write(status_fd, f"{type(error).__name__}: {error}"[:1000].encode())


def with_ports(environ, named, listening):
    """The environment with the well-known addresses replaced by those really listened on."""
    changed = dict(environ)
    for address, (host, port) in zip(named, listening, strict=True):
        scheme = "http://" if "://" in address else ""
        whole = re.compile(rf"(?<![\w.-]){re.escape(address)}(?![\w.:-])")
        actual = f"{scheme}{host}:{port}"
        changed = {key: whole.sub(actual, value) for key, value in changed.items()}
    return changed


def _limit(limits):
    for name, value in limits.items():
        kind = _LIMITS[name]
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


def _standard_streams(fds, status):
    """0 is empty, 1 and 2 are the console, 3 the channel, 4 the log, 5 the complaint; 6 is where
    a template's image goes, or what was in its /tmp for a fork.

    Returns the first number that is free."""
    null = os.open("/dev/null", os.O_RDONLY)
    # First out of the way of the numbers that will be taken.
    sources = (null, fds["console"], fds["channel"], fds["log"], status[0])
    null, console, channel, log, complaint = (fcntl.fcntl(fd, fcntl.F_DUPFD, 64) for fd in sources)
    image = fcntl.fcntl(fds["image"], fcntl.F_DUPFD, 64) if "image" in fds else None
    status[0] = complaint
    for target, source in ((0, null), (1, console), (2, console)):
        os.dup2(source, target, inheritable=True)
    for target, source in ((3, channel), (4, log), (5, complaint)):
        os.dup2(source, target, inheritable=False)
    status[0] = 5
    if image is None:
        return 6
    os.dup2(image, 6, inheritable=False)
    return 7


def _identity(order):
    """Become the sandbox's own uid, in a user namespace where it is an ordinary user."""
    outer_uid, outer_gid = order["uid"], order["gid"]
    if order["change_uid"]:
        os.setgroups([])
        # Without the fix-up the capabilities survive the change of uid until they are dropped.
        linux.prctl(linux.PR_SET_SECUREBITS, linux.SECBIT_NO_SETUID_FIXUP)
        os.setresgid(outer_gid, outer_gid, outer_gid)
        os.setresuid(outer_uid, outer_uid, outer_uid)
    linux.prctl(linux.PR_SET_DUMPABLE, 1)  # /proc/self belongs to the process again
    linux.unshare(linux.NEWUSER)
    linux.map_ids((INSIDE_UID, outer_uid), (INSIDE_GID, outer_gid))


def _new_chance():
    """No two environments may share what they think is random."""
    random.seed()
    ssl = sys.modules.get("_ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(48), 48.0)


def search_path(order, environ):
    """Where imports look, in AWS's order: the code, the layers, what the user added, boto3."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    paths = [order["task"]]
    for layer in order["opt"]:
        paths += [f"{layer}/python/lib/{version}/site-packages", f"{layer}/python"]
    paths += [path for path in environ.get("PYTHONPATH", "").split(":") if path.startswith("/")]
    paths.append(order["runtime"])
    return list(dict.fromkeys(paths))


def _standard_library(order):
    """The part of sys.path that belongs to the interpreter itself."""
    return [
        path
        for path in sys.path
        if path.startswith(tuple(order["stdlib"])) and not path.endswith("-packages")
    ]


def _needs_fresh_interpreter(order, environ):
    return any(
        name.startswith(_READ_AT_EXEC)
        and name not in _HONOURED_IN_FORK
        and order["defaults"].get(name) != value
        for name, value in environ.items()
    )


def _execute(order, environ):
    """Replace this process: a custom runtime's bootstrap, or a fresh interpreter."""
    argv = order["argv"]
    if order["kind"] == "provided":
        # The layer's bootstrap serves when the code has none of its own.
        found = [path for path in argv if os.path.exists(path)]
        argv = found[:1]
    else:
        wrapper = environ.get("AWS_LAMBDA_EXEC_WRAPPER")
        argv = ([wrapper] if wrapper else []) + argv
        argv = [*argv, "3", "4", ":".join(search_path(order, environ))]
        if order["kind"] == TEMPLATE:
            argv += ["6", str(_written(environ))]
            os.set_inheritable(6, True)
        for fd in (3, 4):
            os.set_inheritable(fd, True)
    try:
        if not argv:
            tried = " ".join(order["argv"])
            _refuse_entrypoint(f"Couldn't find valid bootstrap(s): [{tried}]")
        os.execve(argv[0], argv, environ)
    except OSError as error:
        _refuse_entrypoint(f"fork/exec {argv[0]}: {(error.strerror or '').lower()}")


def _written(environ):
    """A file in memory with the variables, for whoever is executed."""
    fd = os.memfd_create("given", 0)
    os.write(fd, json.dumps(environ).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _refuse_entrypoint(words):
    """The function's own fault, not the platform's: an error of its init, in AWS's words. As the
    invocation is not known here, the platform puts its id before them."""
    kind, body = b"Runtime.InvalidEntrypoint", words.encode("utf-8", "replace")[:4096]
    head = struct.pack(">IBH", 3 + len(kind) + len(body), 5, len(kind))
    with contextlib.suppress(OSError):
        os.write(3, head + kind + body)
    os._exit(127)


def _enter(order, environ, fds, program, status):
    """Every step up to the bootstrap. status: a list with the descriptor to complain on, kept
    up to date while descriptors are moved about."""
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    for name in order["cgroups"]:
        os.write(fds[name], b"0")
    isolated = order["isolated"]
    if isolated:
        linux.unshare(linux.NEWCGROUP)
    os.setsid()
    os.umask(0o022)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    linux.close_range(_standard_streams(fds, status))
    if isolated:
        _identity(order)
    linux.drop_capabilities(bounding=isolated)
    _limit(order["limits"])
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    os.chdir(order["task"])
    # Its work is batches, one per invocation: whoever hands it one is not interrupted for it, and
    # on a machine under load hands out all it has before.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    linux.set_name(order["name"])
    linux.install_filter(program)
    if order["kind"] == FORK:
        return  # what interpreter this is, and what it has loaded, will be forgotten
    if order["kind"] == "provided" or _needs_fresh_interpreter(order, environ):
        os.close(status[0])
        _execute(order, dict(environ))
    _new_chance()
    # What the finders know of the interpreter's own folders stays true, and to drop it would be to
    # copy all the memory that it lies in.
    sys.path[:] = search_path(order, environ) + _standard_library(order)
    sys.argv = [order["runtime"] + "/bootstrap"]


def main(order, environ, fds, program, bootstrap, status_fd):
    """Never returns."""
    status = [status_fd]
    try:
        _enter(order, environ, fds, program, status)
    except BaseException as error:
        give_up(status[0], error)
        os._exit(1)
    os.close(status[0])
    code = 1
    try:
        if order["kind"] == TEMPLATE:
            bootstrap.main(3, 4, dict(environ), 6)
        else:
            bootstrap.main(3, 4, dict(environ))
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code & 0xFF)
