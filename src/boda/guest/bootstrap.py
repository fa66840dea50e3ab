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
import json
import os
import select
import socket
import struct
import sys
import time
import traceback

import awslambdaric.__main__ as awslambdaricmain
from awslambdaric import bootstrap as client_bootstrap
from awslambdaric import (
    lambda_context,
    lambda_runtime_client,
    lambda_runtime_exception,
    lambda_runtime_marshaller,
)

if __package__:
    from . import bootstrap_logs, bootstrap_modules, bootstrap_stream
else:
    import bootstrap_logs  # type: ignore[import-not-found,no-redef]
    import bootstrap_modules  # type: ignore[import-not-found,no-redef]
    import bootstrap_stream  # type: ignore[import-not-found,no-redef]

_READY, _SNAPSHOTTED = 2, 9
_HEAD = struct.Struct(">IB")
_INVOCATION = struct.Struct(">8sI")
_LENGTH = struct.Struct(">I")
_CHUNK = 65536
_JSON = "application/json"
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_OWN_FILES = frozenset(
    module.__file__
    for module in (
        sys.modules[__name__],
        bootstrap_logs,
        bootstrap_stream,
        client_bootstrap,
        lambda_context,
        lambda_runtime_client,
        lambda_runtime_marshaller,
    )
)

Fault = lambda_runtime_exception.FaultException


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
        self._current = bootstrap_logs.CurrentInvocation()
        as_json = environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
        self._sink = bootstrap_logs.Sink(log_fd, as_json)
        self._out, self._err = bootstrap_logs.redirect(self._sink)
        self._handler = _no_handler
        self._runner = bootstrap_stream.Runner()
        self._pid = os.getpid()
        self._client = lambda_runtime_client.LambdaRuntimeClient(
            self._channel, self, lambda_context.fixed_attributes()
        )
        # Where monitoring tools look for what they wrap.
        sys.modules["__main__"].awslambdaricmain = awslambdaricmain  # type: ignore[attr-defined]

    streamed = bootstrap_stream.KINDS
    own_files = _OWN_FILES

    def run(self, image_fd, given):
        """Init, then invocations for as long as the platform has any. Returns an exit status."""
        snapshot = None if image_fd is None else _snapshots(image_fd)
        try:
            self._prepare()
            self._handler = client_bootstrap._get_handler(os.environ.get("_HANDLER", ""))
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
        result = client_bootstrap.build_fault_result(error, "", own_files)
        self._finish_output()
        client_bootstrap.log_error(result, self._sink)
        self._client.post_init_error(result, error_type)
        return 1

    def _snapshot(self, snapshot, image_fd, given):
        """What a template does instead of serving, and what its forks do before they serve.

        Returns 0 in a fork that may go on, else an exit status."""
        own = _OWN_FILES | {snapshot.__file__}
        try:
            snapshot.run_before()
        except BaseException as error:  # sys.exit too, as AWS's runtime does
            return self._init_failed(error, Fault.BEFORE_SNAPSHOT_ERROR, own)
        self._finish_output()
        try:
            environ = snapshot.Point(image_fd, self._sink.log, given).take()
        except Exception as error:
            fault = Fault(Fault.SNAPSHOT_ERROR, "No snapshot could be taken: {}".format(error))
            return self._init_failed(fault)
        if environ is None:
            self._finish_output()
            self._channel.sendall(_HEAD.pack(1, _SNAPSHOTTED))
            os._exit(0)  # nothing of the function's may run here any more
        self._sink.take_over()
        self._client.marshaller = lambda_runtime_marshaller.LambdaMarshaller()
        self._client.fixed = lambda_context.fixed_attributes()
        self._pid = os.getpid()
        try:
            snapshot.run_after()
        except BaseException as error:
            return self._init_failed(error, Fault.AFTER_RESTORE_ERROR, own)
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
            bootstrap_modules.make_way(sys.path[: sys.path.index(runtime)])

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
        client = self._client
        client.invocation = invocation
        body = bytes(frame[split:])
        del frame
        # By its name: a monitoring tool may have put something else there.
        client_bootstrap.handle_event_request(
            client,
            self._handler,
            request_id,
            body,
            _JSON,
            header.get("client"),
            header.get("cognito"),
            header["arn"],
            header["deadline"],
            header.get("tenant"),
            self._sink,
        )

    def settle(self):
        """The handler has returned, or has failed."""
        if os.getpid() != self._pid:
            os._exit(0)  # a child that the handler forked and that came back from it
        if self._out._parts or self._err._parts:
            self._finish_output()

    def stream(self, pieces):
        """Send what a generator yields; raises what it raises. Returns the answer, to be ended."""
        answer = bootstrap_stream.StreamingAnswer(
            self._channel, self._client.invocation, self._pid, Fault
        )
        self._runner.run(pieces, answer)
        return answer

    def _finish_output(self):
        self._out.finish()
        self._err.finish()


def _no_handler(event, context):
    raise Fault("Runtime.HandlerNotFound", "The handler is not initialised")
