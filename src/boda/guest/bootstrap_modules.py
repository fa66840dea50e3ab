"""Which modules a function finds: its own before those that the runtime has loaded already."""

import importlib
import os
import sys

CORE_MODULES = frozenset(
    """
    __main__ _abc _codecs _collections_abc _frozen_importlib _frozen_importlib_external _io
    _signal _sitebuiltins _stat _thread _warnings _weakref _weakrefset abc ast atexit awslambdaric
    base64 builtins codecs collections contextlib copyreg datetime decimal dis encodings enum errno
    functools genericpath importlib inspect io itertools json keyword linecache logging marshal
    math numbers opcode operator os posix posixpath re reprlib select site socket sre_compile
    sre_constants sre_parse stat string struct sys textwrap threading time token tokenize
    traceback types typing warnings weakref zipimport zlib
    """.split()  # noqa: SIM905
)
"""What the runtime itself has in use; code that brings a module of that name gets the runtime's,
as on AWS."""


def make_way(roots):
    """Let the function's own modules come before what the zygote has already imported.

    roots: folders of the function's own modules, in the order of the search path. A function
    that packages its own boto3, or has a module named like one of the standard library's, gets
    its own. The modules that came along with the one replaced go as well, since half an old
    boto3 and half a new one fit nobody.
    """
    own = set()
    for root in roots:
        try:
            names = os.listdir(root)
        except OSError:
            continue
        for name in names:
            stem, extension = os.path.splitext(name)
            if extension in ("", ".py", ".so", ".pyc"):
                own.add(stem.split(".")[0])
    own.discard("")
    own -= CORE_MODULES
    standard = sys.stdlib_module_names
    loaded = {name.split(".")[0] for name in sys.modules}
    replaced = own & loaded - {__name__.split(".")[0]}
    if not replaced:
        return
    foreign = not replaced <= standard
    for name in list(sys.modules):
        top = name.split(".")[0]
        if top in replaced or (foreign and top in _SDK):
            del sys.modules[name]
    importlib.invalidate_caches()


_SDK = frozenset(
    "boto3 botocore s3transfer jmespath dateutil urllib3 six awscrt certifi".split()  # noqa: SIM905
)
