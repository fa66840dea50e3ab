"""Makes the root of a runtime and becomes its zygote.

Run by the platform's own Python as ``launcher.py FD``; the descriptor is the control socket,
whose first message says what to build and what to execute:
``{"user_namespace": {"uid", "gid"} | null, "root": dir | null, "steps": […], "argv": […],
"environ": {…}}``. Without ``root`` nothing is built: that is the isolation mode ``process``.
The single answer is ``{"failed": reason, "step": index | null}`` when something went wrong; the
zygote itself answers ``{"ready": …}`` after it has been executed.
"""

import contextlib
import json
import os
import socket
import sys
import traceback

if __package__ in (None, ""):  # run as a file, in the platform's own interpreter
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    __package__ = os.path.basename(os.path.dirname(os.path.abspath(__file__)))
    __import__(__package__)

from . import linux
from .operations import StepFailed, carry_out

HOST = "/.host"


def _build(order):
    own = order["user_namespace"]
    if own:
        linux.unshare(linux.NEWUSER)
        linux.map_ids((0, own["uid"]), (0, own["gid"]))
    root = order["root"]
    linux.unshare(linux.NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_SLAVE)
    linux.mount("tmpfs", root, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=4m,mode=755")
    os.mkdir(root + HOST, 0o700)
    linux.pivot_root(root, root + HOST)
    os.chdir("/")
    carry_out(order["steps"], HOST)


def _go_first():
    """When the machine runs out of memory, functions go first; every fork inherits it. Only root
    may lower the score, so whoever has a higher one keeps it."""
    with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
        if int(file.read()) < 500:
            file.seek(0)
            file.write("500")


def main(fd):
    control = socket.socket(fileno=fd)
    data = control.recv(1 << 20)
    if not data:
        return  # whoever started it has gone, or has changed its mind
    order = json.loads(data)
    step = None
    try:
        os.umask(0o022)
        _go_first()
        if order["root"]:
            _build(order)
        os.set_inheritable(fd, True)
        os.execve(order["argv"][0], [*order["argv"], str(fd)], order["environ"])
    except StepFailed as error:
        step, reason = error.index, error.reason
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except Exception:
        reason = traceback.format_exc(limit=3)
    with contextlib.suppress(ConnectionError):
        control.send(json.dumps({"failed": reason, "step": step}).encode())
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
