"""Errors as AWS's Python runtime reports them, and the way from a handler's name to it."""

import importlib
import os
import sys
import traceback


class Fault(Exception):
    """An error of the runtime rather than of the handler."""

    def __init__(self, error_type, message, trace=None):
        super().__init__(message)
        self.error_type = error_type
        self.message = message
        self.trace = trace


def make_error(message, error_type, trace, request_id=""):
    return {
        "errorMessage": message or "",
        "errorType": error_type or "",
        "requestId": request_id or "",
        "stackTrace": trace or [],
    }


def describe(error, request_id, own_files):
    """The error's wire form. own_files: whose frames at the top of the stack are not shown."""
    if isinstance(error, Fault):
        return make_error(error.message, error.error_type, error.trace, request_id)
    frames = [
        (frame.filename, frame.lineno or 0, frame.name, frame.line)
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    for index, frame in enumerate(frames):
        if frame[0] not in own_files:
            frames = frames[index:]
            break
    try:
        message = str(error)
    except Exception:
        message = "<unprintable {} object>".format(type(error).__name__)
    return make_error(message, type(error).__name__, traceback.format_list(frames), request_id)


def find_handler(name):
    """The function a handler's name means. Raises Fault, or whatever the module raises."""
    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as error:
        raise Fault(
            "Runtime.MalformedHandlerName", "Bad handler '{}': {}".format(name, error)
        ) from None
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault(
            "Runtime.BuiltInModuleConflict",
            "Cannot use built-in module {} as a handler module".format(module_name),
        )
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise Fault(
            "Runtime.ImportModuleError",
            "Unable to import module '{}': {}".format(module_name, error),
        ) from None
    except SyntaxError as error:
        trace = ['  File "{}" Line {}\n    {}'.format(error.filename, error.lineno, error.text)]
        raise Fault(
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module '{}': {}".format(module_name, error),
            trace,
        ) from None
    except (TypeError, ValueError) as error:
        # Names such as ".handler" or "..x.handler" name no module at all.
        if error.__traceback__ is not None and _raised_by_importlib(error):
            raise Fault(
                "Runtime.ImportModuleError",
                "Unable to import module '{}': {}".format(module_name, error),
            ) from None
        raise
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise Fault(
            "Runtime.HandlerNotFound",
            "Handler '{}' missing on module '{}'".format(function_name, module_name),
        ) from None


def _raised_by_importlib(error):
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return last.startswith("<frozen importlib") or last == importlib.__file__


CORE_MODULES = frozenset(
    """
    __main__ _abc _codecs _collections_abc _frozen_importlib _frozen_importlib_external _io
    _signal _sitebuiltins _stat _thread _warnings _weakref _weakrefset abc ast atexit base64
    builtins codecs collections contextlib copyreg datetime decimal dis encodings enum errno
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
