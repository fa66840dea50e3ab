"""SnapStart, as the runtime process sees it: before the snapshot, and after each restore.

``run_before`` runs the template's hooks when init is done; ``Point.take`` makes the image and
returns once in the template, and in every environment that goes on from there, with everything
fresh that two environments may not share; ``run_after`` runs the hooks there.
"""

import contextlib
import gc
import io
import json
import os
import random
import sys
import tarfile
import threading
import time
import warnings
from typing import Any

if __package__:
    from . import bootstrap_descriptors, template_image
else:
    import bootstrap_descriptors  # type: ignore[import-not-found,no-redef]
    import template_image  # type: ignore[import-not-found,no-redef]

HOOKS = "snapshot_restore_py"
"""AWS's module for hooks, which a function brings along or finds in the runtime's folder."""


def prepare(fd):
    """Before anything of the function's is loaded: no descriptor of its own may take a number that
    is needed later. fd: the pipe for the image, already where it belongs."""
    os.set_inheritable(fd, False)
    null = os.open("/dev/null", os.O_RDONLY)
    if null != template_image.VARIABLES:
        os.dup2(null, template_image.VARIABLES, inheritable=False)
        os.close(null)


def run_before():
    """The hooks before the snapshot; the last one registered comes first."""
    module = sys.modules.get(HOOKS)
    if module is not None:
        hooks = module.get_before_snapshot()
        while hooks:
            function, arguments, named = hooks.pop()
            function(*arguments, **named)


def run_after():
    """The hooks after the restore; the first one registered comes first."""
    module = sys.modules.get(HOOKS)
    if module is not None:
        for function, arguments, named in module.get_after_restore():
            function(*arguments, **named)


class Point:
    """Where the image is taken. fd: the pipe for it. log: tells the function's author."""

    def __init__(self, fd, log):
        self._fd = fd
        self._log = log
        self._threads = []

    def take(self):
        """None here; the environment's variables wherever it is gone on from the image.

        Raises Unfit, OSError."""
        others = [each for each in threading.enumerate() if each is not threading.main_thread()]
        if others:
            names = ", ".join(sorted(each.name for each in others))
            self._log(
                "SnapStart: threads started during init are not part of the snapshot: {}\n".format(
                    names
                )
            )
        self._folder, self._umask = os.getcwd(), os.umask(0o022)
        os.umask(self._umask)
        snapshot = template_image.Snapshot(self._fd)
        self._open = bootstrap_descriptors.survey(template_image.FIRST_FREE)
        files = _Files()
        gc.collect()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that threads do not survive a fork was said
            pid = snapshot.fork(files if files.length else None, self._in_fork)
        if pid:
            return None
        return self._come_back()

    def _in_fork(self):
        """What Python does not put in order after a fork."""
        pools = sys.modules.get("concurrent.futures.thread")
        if pools is not None:
            for each in gc.get_objects():
                if type(each) is pools.ThreadPoolExecutor:
                    # It would wait for threads that are no more.
                    each._threads.clear()
                    each._idle_semaphore = threading.Semaphore(0)
        # A collection that looked at all that init made would give each environment its own pages.
        gc.freeze()

    def _come_back(self):
        with os.fdopen(template_image.VARIABLES, "rb") as file:
            said = json.loads(file.read())
        if said["files"]:
            _unpack(template_image.FILES)
        else:
            os.close(template_image.FILES)
        os.chdir(self._folder)
        os.umask(self._umask)
        bootstrap_descriptors.reopen(self._open)
        self._open = []
        os.environ.clear()
        os.environ.update(said["environ"])
        if hasattr(time, "tzset"):
            time.tzset()
        _new_chance()
        return said["environ"]


def _new_chance():
    """No two environments may share what they think is random, or unique."""
    random.seed()
    loaded = sys.modules.get
    ssl = loaded("_ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(48), 48.0)
    numpy = loaded("numpy.random")
    if numpy is not None:
        with contextlib.suppress(Exception):
            numpy.seed()
    uuid: Any = loaded("uuid")
    if uuid is not None:
        uuid._node = uuid._last_timestamp = None
    processes = loaded("multiprocessing.process")
    if processes is not None:
        with contextlib.suppress(Exception):
            processes.current_process().authkey = os.urandom(32)


def _scratch():
    """The folder whose contents go with the image: /tmp, where the function has its own."""
    return os.environ.get("TMPDIR") or "/tmp"


class _Files:
    """What is in /tmp, as a tar."""

    def __init__(self):
        self.length = 0
        if any(os.scandir(_scratch())):
            self.write(self._count)

    def _count(self, data):
        self.length += len(data)

    def write(self, write):
        with tarfile.open(fileobj=_Writer(write), mode="w|", format=tarfile.PAX_FORMAT) as tar:
            root = _scratch()
            for name in sorted(os.listdir(root)):
                tar.add(os.path.join(root, name), arcname=name)


class _Writer(io.RawIOBase):
    def __init__(self, write):
        self._write = write

    def write(self, data):
        self._write(data)
        return len(data)


def _unpack(fd):
    with os.fdopen(fd, "rb") as file, tarfile.open(fileobj=file, mode="r|") as tar:
        tar.extraction_filter = lambda member, path: member
        tar.extractall(_scratch())
