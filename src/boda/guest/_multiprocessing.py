"""The interpreter's own module of this name, but for semaphores.

A Lambda function has no ``/dev/shm``, so the locks, queues and pools of ``multiprocessing`` cannot
be made there: ``OSError: [Errno 38] Function not implemented``. Newer C libraries than AWS's name
another error; this stands before the interpreter's own on the search path and says AWS's.
"""

import errno
import importlib.machinery
import importlib.util
import os
import sys
from typing import Any


def _own():
    """The interpreter's module, which is built in or lies somewhere behind this one.

    Raises ImportError where it has none."""
    here = os.path.dirname(os.path.abspath(__file__))
    behind = [path for path in sys.path if os.path.abspath(path or ".") != here]
    spec = importlib.machinery.BuiltinImporter.find_spec(__name__)
    spec = spec or importlib.machinery.PathFinder.find_spec(__name__, behind)
    if spec is None or spec.loader is None:
        raise ImportError("No module named {!r}".format(__name__), name=__name__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_module: Any = _own()
globals().update({name: value for name, value in vars(_module).items() if name[:2] != "__"})


class SemLock(_module.SemLock):
    """Cannot be made."""

    def __new__(cls, *_, **__):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
