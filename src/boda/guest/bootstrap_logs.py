"""Where a function's output goes: ``print``, ``logging`` and errors, each as one log event.

Records go framed through a pipe, so that a record of many lines stays one event and carries its
own time:

    u32 0xa55a00xx (kind and level)   u32 length   u64 microseconds since the epoch   message

which is the framing AWS's own runtime clients use. Two kinds are this bootstrap's own: the
beginning of a line that is not ended yet, and its rest. What children and C code write to the file
descriptors 1 and 2 takes another pipe and is split by lines on the platform's side.
"""

import io
import json
import logging
import os
import struct
import sys
import threading
import time
import traceback

_HEAD = struct.Struct(">IIQ")
_DATE_FORMAT = "%Y-%m-%dT%H:%M:%S"
_NO_LEVEL = 0xA55A0003
_PART, _REST = 0xA55A0000, 0xA55A0001
_TEXT_KINDS = {10: 0xA55A000B, 20: 0xA55A000F, 30: 0xA55A0013, 40: 0xA55A0017, 50: 0xA55A001B}
_JSON_KINDS = {10: 0xA55A000A, 20: 0xA55A000E, 30: 0xA55A0012, 40: 0xA55A0016, 50: 0xA55A001A}
_NBSP = "\u00a0"
_LONGEST = 262144
"""Bytes of a line that is kept whole."""

_OWN_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {
    "aws_request_id",
    "message",
    "asctime",
    "taskName",
    "tenant_id",
}


class CurrentInvocation:
    """What is being invoked now, for all threads."""

    __slots__ = ("request_id", "tenant")

    def __init__(self):
        self.request_id = ""
        self.tenant = None


class Sink:
    """Writes log events. Safe for threads; in a forked child it writes to descriptor 1."""

    def __init__(self, fd, as_json=False):
        self._fd = fd
        self._json = as_json
        self._framed = True
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self):
        # Two processes writing long frames to one pipe would tear them apart.
        self._framed = False
        self._lock = threading.Lock()

    def take_over(self):
        """This process is the runtime's own again, as one made of an image of a fork is."""
        self._framed = True

    def log(self, message, kind=_NO_LEVEL):
        """One event."""
        data = message.encode("utf-8", "backslashreplace")
        if not data:
            return
        now = time.time_ns() // 1000
        with self._lock:
            if not self._framed:
                whole = kind == _PART or data.endswith(b"\n")
                _write(1, data if whole else data + b"\n")
            elif len(data) <= _LONGEST:
                _write(self._fd, _HEAD.pack(kind, len(data), now) + data)
            else:
                for start in range(0, len(data), _LONGEST):
                    part = data[start : start + _LONGEST]
                    _write(self._fd, _HEAD.pack(kind, len(part), now) + part)

    def log_error(self, error):
        """An error as ``make_error`` gives it."""
        if self._json:
            stamp = time.strftime(_DATE_FORMAT + "Z", time.gmtime())
            record = {"timestamp": stamp, "level": "ERROR"}
            record.update(error)
            self.log(json.dumps(record, ensure_ascii=False, default=str) + "\n", _JSON_KINDS[40])
        else:
            self.log(_error_text(error), _TEXT_KINDS[40])

    def log_many(self, messages):
        """So many events in one write, where they are short."""
        now = time.time_ns() // 1000
        frames: list[bytes] = []
        size = 0
        for message in messages:
            data = message.encode("utf-8", "backslashreplace")
            if len(data) > _LONGEST or not self._framed:
                self._write_frames(frames)
                frames, size = [], 0
                self.log(message)
                continue
            frames.append(_HEAD.pack(_NO_LEVEL, len(data), now) + data)
            size += len(data)
            if size > 65536:
                self._write_frames(frames)
                frames, size = [], 0
        self._write_frames(frames)

    def _write_frames(self, frames):
        if frames:
            with self._lock:
                _write(self._fd, b"".join(frames))


def _write(fd, data):
    view = memoryview(data)
    while len(view):
        try:
            written = os.write(fd, view)
        except OSError:
            return  # the platform no longer listens; a handler must not fail for that
        view = view[written:]


class LineWriter(io.TextIOBase):
    """``sys.stdout`` and ``sys.stderr``: each complete line is one event.

    Lines are put together per thread, since ``print`` writes a text and its end apart and another
    thread may come between. What is flushed, or printed with an empty end, is handed over as it
    is: should the process not live to end the line, its beginning is in the log.
    """

    def __init__(self, sink, fd, name):
        super().__init__()
        self._sink = sink
        self._fd = fd
        self._parts = {}
        self._begun = set()
        self.name = name
        self.buffer = _Bytes(self)

    encoding = "utf-8"
    errors = "backslashreplace"
    mode = "w"
    line_buffering = True

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError("write() argument must be str, not {}".format(type(text).__name__))
        thread = threading.get_ident()
        cut = text.rfind("\n")
        if cut < 0:
            if text:
                self._hold(thread, text)
            else:
                self.flush()  # print(…, end="")
            return len(text)
        held = self._parts.pop(thread, None)
        complete = text[: cut + 1]
        if held is not None:
            held.append(complete)
            complete = "".join(held)
        rest = text[cut + 1 :]
        if rest:
            self._parts[thread] = [rest]
        if thread in self._begun:
            self._begun.discard(thread)
            cut = complete.index("\n") + 1
            self._sink.log(complete[:cut], _REST)
            complete = complete[cut:]
        if complete.count("\n") == 1:
            self._sink.log(complete)
        else:
            self._sink.log_many(_lines(complete))
        return len(text)

    def _hold(self, thread, text):
        held = self._parts.setdefault(thread, [])
        held.append(text)
        if sum(map(len, held)) >= _LONGEST:
            self.flush()

    def finish(self):
        """Send what has no line end yet, of all threads."""
        while self._parts:
            try:
                thread, held = self._parts.popitem()
            except KeyError:
                break
            self._sink.log("".join(held), _REST if thread in self._begun else _NO_LEVEL)
        self._begun.clear()

    def flush(self):
        thread = threading.get_ident()
        held = self._parts.pop(thread, None)
        if held is not None:
            self._begun.add(thread)
            self._sink.log("".join(held), _PART)

    def writable(self):
        return True

    def fileno(self):
        return self._fd

    def isatty(self):
        return False

    def reconfigure(self, **_):
        pass

    def close(self):
        pass  # others still write here: the platform, and the next invocation


class _Bytes(io.BufferedIOBase):
    """``sys.stdout.buffer``."""

    def __init__(self, text):
        super().__init__()
        self.raw = self
        self._text = text

    def write(self, data):
        data = bytes(data)
        self._text.write(data.decode("utf-8", "backslashreplace"))
        return len(data)

    def writable(self):
        return True

    def fileno(self):
        return self._text.fileno()

    def flush(self):
        pass

    def close(self):
        pass


def _lines(text):
    lines = text.split("\n")
    rest = lines.pop()
    return [line + "\n" for line in lines] + ([rest] if rest else [])


class LogHandler(logging.Handler):
    """The root handler. A record is one event, however many lines it has."""

    def __init__(self, sink, kinds):
        super().__init__()
        self.log_sink = sink
        self._kinds = kinds

    def emit(self, record):
        try:
            message = self.format(record)
        except Exception:
            self.handleError(record)
            return
        level = min(50, max(0, record.levelno)) // 10 * 10
        self.log_sink.log(message, self._kinds.get(level, _NO_LEVEL))


class RequestFilter(logging.Filter):
    """Puts the request's id into every record, whichever thread made it."""

    def __init__(self, current):
        super().__init__()
        self._current = current

    def filter(self, record):
        record.aws_request_id = self._current.request_id
        record.tenant_id = self._current.tenant
        return True


class TextFormatter(logging.Formatter):
    """``[LEVEL]<tab>time<tab>request id<tab>message``."""

    def __init__(self):
        super().__init__(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n",
            _DATE_FORMAT,
        )


class JsonFormatter(logging.Formatter):
    """One object per record, with AWS's members and the record's extra ones."""

    def __init__(self):
        super().__init__(datefmt=_DATE_FORMAT + "Z")
        self._encode = json.JSONEncoder(ensure_ascii=False, default=str, skipkeys=True).encode

    def format(self, record):
        error = record.exc_info if record.exc_info and record.exc_info[0] else None
        level = min(50, max(0, record.levelno)) // 10 * 10
        whole = isinstance(record.msg, dict) and not record.args
        result = {
            "timestamp": self.formatTime(record, self.datefmt),
            "level": logging.getLevelName(level),
            "message": record.msg if whole else record.getMessage(),
            "logger": record.name,
            "stackTrace": traceback.format_tb(error[2]) if error else None,
            "errorType": error[0].__name__ if error else None,
            "errorMessage": str(error[1]) if error else None,
            "requestId": getattr(record, "aws_request_id", None),
            "location": (
                "{}:{}:{}".format(record.pathname, record.funcName, record.lineno)
                if error
                else None
            ),
            "tenantId": getattr(record, "tenant_id", None),
        }
        for key, value in record.__dict__.items():
            if key not in _OWN_FIELDS and key not in result:
                result[key] = value
        return self._encode({k: v for k, v in result.items() if v is not None}) + "\n"


def set_up_logging(sink, current, log_format, log_level):
    """AWS's root handler. log_level: AWS_LAMBDA_LOG_LEVEL or ""."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    as_json = log_format.upper() == "JSON"
    logging.Formatter.converter = time.gmtime
    handler = LogHandler(sink, _JSON_KINDS if as_json else _TEXT_KINDS)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    handler.addFilter(RequestFilter(current))
    level = {"TRACE": "DEBUG"}.get(log_level.upper(), log_level.upper())
    if level in ("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL"):
        root.setLevel(level)
    else:
        root.setLevel(logging.WARNING)
    root.addHandler(handler)


def _error_text(error):
    """As AWS prints it: the function's author reads this first."""
    first = "[ERROR]"
    if error["errorType"]:
        first += " " + error["errorType"]
    if error["errorMessage"]:
        first += (": " if error["errorType"] else " ") + error["errorMessage"]
    lines = [first, "Traceback (most recent call last):"]
    for part in error["stackTrace"]:
        for line in part.splitlines() or [""]:
            text = line.lstrip(" ")
            lines.append(_NBSP * (len(line) - len(text)) + text)
    return "\n".join(lines) + "\n"


def redirect(sink):
    """Make ``print`` an event per line. Returns the two writers."""
    sys.stdout = LineWriter(sink, 1, "<stdout>")
    sys.stderr = LineWriter(sink, 2, "<stderr>")
    return sys.stdout, sys.stderr
