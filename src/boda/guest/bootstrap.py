"""The Python runtime inside an execution environment.

The zygote imports this module before it forks; importing it does nothing but load what every
function needs. In the fork, after privileges were dropped, ``main`` initialises the function and
serves invocations until the platform closes the channel or the function ends the process.

Frames over the channel (integers big-endian; the platform's side is ``runtime/frames.py``):
``u32 length, u8 type, body``, where INVOKE (1) is invocation id (8 bytes), u32 header length,
header (JSON) and payload, READY (2) is empty, RESPONSE (3) is invocation id and payload, ERROR
(4) is invocation id, u16 type length, error type and JSON, INIT_ERROR (5) the same without id.
STREAM (6) is invocation id and content type, PART (7) is invocation id and bytes, END (8) is
invocation id, SNAPSHOTTED (9) is empty and what a template says instead of READY. One receive and
one send per invocation that does not stream.
"""

import atexit
import decimal
import json
import os
import select
import socket
import struct
import sys
import time
import traceback
import uuid

if __package__:
    from . import bootstrap_context, bootstrap_errors, bootstrap_logs, bootstrap_stream
else:
    import bootstrap_context  # type: ignore[import-not-found,no-redef]
    import bootstrap_errors  # type: ignore[import-not-found,no-redef]
    import bootstrap_logs  # type: ignore[import-not-found,no-redef]
    import bootstrap_stream  # type: ignore[import-not-found,no-redef]

_READY, _RESPONSE, _ERROR, _INIT_ERROR, _SNAPSHOTTED = 2, 3, 4, 5, 9
_HEAD = struct.Struct(">IB")
_INVOCATION = struct.Struct(">8sI")
_ANSWER = struct.Struct(">IB8s")
_SHORT = struct.Struct(">H")
_LENGTH = struct.Struct(">I")
_CHUNK = 65536
_BRACE = ord("{")
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_OWN_FILES = frozenset(
    (
        __file__,
        bootstrap_errors.__file__,
        bootstrap_context.__file__,
        bootstrap_logs.__file__,
        bootstrap_stream.__file__,
    )
)

Fault = bootstrap_errors.Fault


def main(channel_fd, log_fd, environ, image_fd=None, given=None):
    """Initialise the function and serve it; never returns.

    channel_fd: a connected Unix stream socket. log_fd: the writing end of a pipe.
    environ: the variables of the process, complete. image_fd: of a template, the writing end of
    the pipe for its image. given: the variables as the platform gave them, where a wrapper may
    have made others of them.
    """
    code = 1
    try:
        runtime = Runtime(channel_fd, log_fd, environ)
        code = runtime.run(image_fd, environ if given is None else given)
    except SystemExit as stop:
        code = _exit_code(stop.code)
    except BaseException:
        traceback.print_exc()
    finally:
        _leave(code)


def _snapshots(image_fd):
    """What templates alone need, before it could find a function's modules to import."""
    from . import bootstrap_snapshot

    bootstrap_snapshot.prepare(image_fd)
    return bootstrap_snapshot


def _exit_code(code):
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _leave(code):
    """End the process here: a fork must not return into what the zygote was doing."""
    try:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            finish = getattr(stream, "finish", None)
            if finish is not None:
                finish()
    finally:
        os._exit(code)


class Runtime:
    """One runtime process."""

    def __init__(self, channel_fd, log_fd, environ):
        if dict(os.environ) != environ:
            os.environ.clear()
            os.environ.update(environ)
            time.tzset()
        for fd in (channel_fd, log_fd):
            os.set_blocking(fd, True)
            os.set_inheritable(fd, False)
        self._channel = socket.socket(fileno=channel_fd)
        self._arrival = select.poll()
        self._arrival.register(channel_fd, select.POLLIN)
        self._current = bootstrap_logs.Current()
        self._sink = bootstrap_logs.Sink(log_fd)
        self._json_logs = environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
        self._marshal = Marshaller().encode
        self._fixed = bootstrap_context.fixed_attributes()
        self._out, self._err = bootstrap_logs.redirect(self._sink)
        self._handler = _no_handler
        self._runner = bootstrap_stream.Runner()
        self._pid = os.getpid()

    def run(self, image_fd, given):
        """Init, then invocations for as long as the platform has any. Returns an exit status."""
        snapshot = None if image_fd is None else _snapshots(image_fd)
        try:
            self._prepare()
            self._handler = bootstrap_errors.find_handler(os.environ.get("_HANDLER", ""))
        except Exception as error:
            return self._init_failed(error)
        self._finish_output()
        if snapshot is not None:
            failed = self._snapshot(snapshot, image_fd, given)
            if failed:
                return failed
        self._channel.sendall(_HEAD.pack(1, _READY))
        while True:
            frame = self._receive()
            if frame is None:
                return 0
            self._invoke(frame)

    def _init_failed(self, error, error_type=None, own_files=_OWN_FILES):
        result = bootstrap_errors.describe(error, "", own_files)
        self._finish_output()
        bootstrap_logs.log_error(self._sink, result, self._json_logs)
        name = (error_type or result["errorType"]).encode()[:512]
        body = _to_json(result)
        head = _HEAD.pack(3 + len(name) + len(body), _INIT_ERROR)
        self._channel.sendall(b"".join((head, _SHORT.pack(len(name)), name, body)))
        return 1

    def _snapshot(self, snapshot, image_fd, given):
        """What a template does instead of serving, and what its forks do before they serve.

        Returns 0 in a fork that may go on, else an exit status."""
        own = _OWN_FILES | {snapshot.__file__}
        try:
            snapshot.run_before()
        except BaseException as error:  # sys.exit too, as AWS's runtime does
            return self._init_failed(error, "Runtime.BeforeSnapshotError", own)
        self._finish_output()
        try:
            environ = snapshot.Point(image_fd, self._sink.log, given).take()
        except Exception as error:
            fault = Fault("Runtime.SnapshotError", "No snapshot could be taken: {}".format(error))
            return self._init_failed(fault)
        if environ is None:
            self._finish_output()
            self._channel.sendall(_HEAD.pack(1, _SNAPSHOTTED))
            os._exit(0)  # nothing of the function's may run here any more
        self._sink.take_over()
        self._marshal = Marshaller().encode
        self._fixed = bootstrap_context.fixed_attributes()
        self._pid = os.getpid()
        try:
            snapshot.run_after()
        except BaseException as error:
            return self._init_failed(error, "Runtime.AfterRestoreError", own)
        self._finish_output()
        return 0

    def _prepare(self):
        """The logging and the modules a function finds."""
        bootstrap_logs.set_up_logging(
            self._sink,
            self._current,
            os.environ.get("AWS_LAMBDA_LOG_FORMAT", ""),
            os.environ.get("AWS_LAMBDA_LOG_LEVEL", ""),
        )
        # Whoever started this process has put the search path in AWS's order: what stands
        # before the runtime's own folder is the function's, its layers' and its author's.
        runtime = os.environ.get("LAMBDA_RUNTIME_DIR", "/var/runtime")
        sys.argv = [os.path.join(runtime, "bootstrap")]
        if runtime in sys.path:
            bootstrap_errors.make_way(sys.path[: sys.path.index(runtime)])

    def _receive(self):
        """The next INVOKE frame's body, or None at the end of the channel."""
        # Not in recv: the kernel wakes whoever sleeps there once more, for nothing, when the
        # platform takes the answer before out of the socket. A poller is asked what it waits for.
        self._arrival.poll()
        data = self._channel.recv(_CHUNK)
        if len(data) >= 5:
            length = _LENGTH.unpack_from(data)[0] + 4
            if len(data) == length:
                return memoryview(data)[5:]
        elif not data:
            return None
        while len(data) < 5:
            more = self._channel.recv(_CHUNK)
            if not more:
                return None
            data += more
        length = _LENGTH.unpack_from(data)[0] + 4
        whole = bytearray(length)
        whole[: len(data)] = data
        view = memoryview(whole)
        have = len(data)
        while have < length:
            count = self._channel.recv_into(view[have:])
            if not count:
                return None
            have += count
        return view[5:]

    def _invoke(self, frame):
        invocation, length = _INVOCATION.unpack_from(frame)
        split = 12 + length
        header = _scan(str(frame[12:split], "utf-8"), 0)[0]
        request_id = header["id"]
        current = self._current
        current.request_id = request_id
        current.tenant = header.get("tenant")
        trace = header["trace"]
        if trace:
            os.environ["_X_AMZN_TRACE_ID"] = trace
        else:
            os.environ.pop("_X_AMZN_TRACE_ID", None)
        try:
            context = bootstrap_context.LambdaContext(
                self._fixed,
                request_id,
                header["deadline"],
                header["arn"],
                bootstrap_context.parse_json_object(header.get("client"), "Client Context", Fault),
                bootstrap_context.parse_json_object(
                    header.get("cognito"), "Cognito Identity", Fault
                ),
                header.get("tenant"),
            )
            try:
                event = _load(frame[split:])
            except Exception as error:
                raise Fault(
                    "Runtime.UnmarshalError", "Unable to unmarshal input: {}".format(error)
                ) from None
            del frame
            result = self._handler(event, context)
            if type(result) in bootstrap_stream.KINDS:
                answer = self._stream_to(invocation)
                self._runner.run(result, answer)
                result = None
                failure = None
            else:
                result = self._marshal(result)
        except Exception as error:
            result = None
            failure = bootstrap_errors.describe(error, request_id, _OWN_FILES)
        if os.getpid() != self._pid:
            os._exit(0)  # a child that the handler forked and that came back from it
        if self._out._parts or self._err._parts:
            self._finish_output()
        if result is not None:
            self._send(_ANSWER.pack(9 + len(result), _RESPONSE, invocation), result)
            return
        if failure is None:
            answer.end()
            return
        bootstrap_logs.log_error(self._sink, failure, self._json_logs)
        name = failure["errorType"].encode("utf-8", "replace")[:512]
        body = _to_json(failure)
        head = _ANSWER.pack(11 + len(name) + len(body), _ERROR, invocation)
        self._send(head + _SHORT.pack(len(name)) + name, body)

    def _stream_to(self, invocation):
        return bootstrap_stream.Answer(self._channel, invocation, self._pid, Fault)

    def _send(self, head, body):
        if len(body) <= _CHUNK:
            self._channel.sendall(head + body)
        else:
            self._channel.sendall(head)
            self._channel.sendall(body)

    def _finish_output(self):
        self._out.finish()
        self._err.finish()


class Marshaller:
    """A handler's result to bytes, with AWS's treatment of decimals and of text.

    ``Decimal`` becomes a number with all its digits. From Python 3.12 text stays as it is, before
    it is escaped to ASCII.
    """

    def __init__(self):
        self._decimals = []
        self._mark = "decimal-" + uuid.uuid4().hex
        self._json = json.JSONEncoder(
            ensure_ascii=sys.version_info < (3, 12), default=self._default
        )

    def encode(self, result):
        """Raises Fault where the result is not JSON serializable."""
        if isinstance(result, bytes):
            return result
        try:
            text = self._json.encode(result)
            if self._decimals:
                text = self._fill_in(text)
            return text.encode()
        except Exception as error:
            raise Fault(
                "Runtime.MarshalError", "Unable to marshal response: {}".format(error)
            ) from None
        finally:
            if self._decimals:
                self._decimals = []

    def _default(self, value):
        if isinstance(value, decimal.Decimal):
            self._decimals.append("NaN" if value.is_nan() else str(value))
            return self._mark
        raise TypeError("Object of type {} is not JSON serializable".format(type(value).__name__))

    def _fill_in(self, text):
        parts = text.split('"' + self._mark + '"')
        filled = [parts[0]]
        for digits, part in zip(self._decimals, parts[1:], strict=True):
            filled += (digits, part)
        return "".join(filled)


def _load(view):
    """What ``json.loads`` makes of the bytes; an object in UTF-8 without its detours."""
    if len(view) > 1 and view[0] == _BRACE and view[1]:
        try:
            text = str(view, "utf-8", "surrogatepass")
            value, end = _scan(text, 0)
            if end == len(text):
                return value
        except (StopIteration, ValueError):
            pass  # it is said below what is wrong
    return json.loads(bytes(view))


def _no_handler(event, context):
    raise Fault("Runtime.HandlerNotFound", "The handler is not initialised")


def _to_json(error):
    return json.dumps(error, default=str).encode()
