"""SnapStart, as the runtime process sees it: before the snapshot, and after each restore.

``run_before`` runs the template's hooks when init is done; ``Point.take`` makes the image and
returns once in the template, and in every environment that goes on from there, with everything
fresh that two environments may not share; ``run_after`` runs the hooks there.
"""

import contextlib
import ctypes
import gc
import json
import os
import random
import sys
import threading
import time
import warnings
from typing import Any

if __package__:
    from . import bootstrap_descriptors, bootstrap_scratch, template_image
else:
    import bootstrap_descriptors  # type: ignore[import-not-found,no-redef]
    import bootstrap_scratch  # type: ignore[import-not-found,no-redef]
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
    """Where the image is taken. fd: the pipe for it. log: tells the function's author. given: the
    variables that the platform gave this process."""

    def __init__(self, fd, log, given):
        self._fd = fd
        self._log = log
        self._given = given

    def take(self):
        """None here; the environment's variables wherever it is gone on from the image.

        Raises UnfitProcess, OSError."""
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
        snapshot = template_image.ImageWriter(self._fd)
        self._open = bootstrap_descriptors.survey(template_image.FIRST_FREE)
        self._shared = bootstrap_scratch.shared()
        files = bootstrap_scratch.Files(
            {note[1] for _, note, _ in self._open if note[0] == "file"}
            | {os.fsdecode(note[0]) for note in self._shared}
        )
        self._note_variables()
        gc.collect()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that threads do not survive a fork was said
            pid = snapshot.fork(files if files.length else None, self._in_fork)
        if pid:
            return None
        return self._come_back()

    def _note_variables(self):
        """What init, or what was run before it, made of the variables."""
        given = self._given
        self._set = {each: text for each, text in os.environ.items() if given.get(each) != text}
        self._unset = [each for each in given if each not in os.environ]

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
            bootstrap_scratch.unpack(template_image.FILES)
            bootstrap_scratch.map_again(self._shared)
        else:
            os.close(template_image.FILES)
        os.chdir(self._folder)
        os.umask(self._umask)
        bootstrap_descriptors.reopen(self._open)
        self._open = []
        environ = {**said["environ"], **self._set}
        for each in self._unset:
            environ.pop(each, None)
        os.environ.clear()
        os.environ.update(environ)
        time.tzset()
        _new_chance()
        return environ


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
    sqlite = loaded("_sqlite3")
    if sqlite is not None:
        with contextlib.suppress(OSError, AttributeError):  # it may hide the library it has
            ctypes.CDLL(sqlite.__file__).sqlite3_randomness(0, None)
    uuid: Any = loaded("uuid")
    if uuid is not None:
        uuid._node = uuid._last_timestamp = None
    processes = loaded("multiprocessing.process")
    if processes is not None:
        with contextlib.suppress(Exception):
            processes.current_process().authkey = os.urandom(32)
