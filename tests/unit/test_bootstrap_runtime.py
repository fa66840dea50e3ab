"""The Python bootstrap as a process of its own, on every Python found."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest

from boda.runtime import frames
from support.bootstrap_guest import PYTHONS, Guest


@pytest.fixture(params=PYTHONS, ids=lambda path: Path(path).parents[1].name)
def python(request):
    return request.param


@pytest.fixture
def start(tmp_path):
    guests = []

    def begin(python: str, source: str, handler: str = "app.handler", **environ: str) -> Guest:
        (tmp_path / "app.py").write_text(textwrap.dedent(source))
        guest = Guest(python, tmp_path, handler, **environ)
        guests.append(guest)
        return guest

    yield begin
    for guest in guests:
        guest.close()


def test_serves_invocations_one_after_another(python, start):
    guest = start(
        python,
        """
        import os
        count = 0
        def handler(event, context):
            global count
            count += 1
            return {"event": event, "count": count, "cwd": os.getcwd(),
                    "trace": os.environ.get("_X_AMZN_TRACE_ID")}
        """,
    )
    assert guest.event() == frames.ReadyFrame()
    first = guest.result({"a": "ä"}, trace_id="Root=1-x")
    assert first["event"] == {"a": "ä"} and first["count"] == 1 and first["trace"] == "Root=1-x"
    assert guest.result([1])["count"] == 2
    assert guest.result(1)["trace"] is None
    guest.channel.close()
    assert guest.exit_status() == 0


def test_context_has_every_attribute(python, start):
    guest = start(
        python,
        """
        def handler(event, context):
            names = [n for n in dir(context) if not n.startswith("_")]
            values = {n: getattr(context, n) for n in names if not callable(getattr(context, n))}
            client = values.pop("client_context")
            identity = values.pop("identity")
            context.log("from log")
            return {
                **values,
                "remaining": context.get_remaining_time_in_millis(),
                "title": client and client.client and client.client.app_title,
                "custom": client and client.custom,
                "env": client and client.env,
                "pool": identity.cognito_identity_pool_id,
                "text": repr(context)[:14],
            }
        """,
    )
    guest.event()
    client = {"client": {"app_title": "t"}, "custom": {"k": 1}, "env": {"locale": "de"}}
    seen = guest.result({}, request_id="id-7", client_context=json.dumps(client), tenant="blue")
    assert seen["aws_request_id"] == "id-7"
    assert seen["memory_limit_in_mb"] == "128"
    assert seen["function_name"] == "f" and seen["function_version"] == "$LATEST"
    assert seen["invoked_function_arn"].endswith(":function:f")
    assert seen["log_group_name"] == "/aws/lambda/f" and seen["log_stream_name"] == "stream"
    assert seen["tenant_id"] == "blue"
    assert 0 < seen["remaining"] <= 3000
    assert seen["epoch_deadline_time_in_ms"] > time.time() * 1000
    assert (seen["title"], seen["custom"], seen["env"]) == ("t", {"k": 1}, {"locale": "de"})
    assert seen["pool"] is None and seen["text"] == "LambdaContext("
    assert guest.logged() == ["from log"]
    plain = guest.result({})
    assert plain["title"] is None and plain["tenant_id"] is None


def test_a_wrong_client_context_is_an_error_of_the_call(python, start):
    guest = start(python, "def handler(event, context): return 1")
    guest.event()
    error = guest.failure({}, client_context="{nope")
    assert error["errorType"] == "Runtime.LambdaContextUnmarshalError"
    assert guest.result({}) == 1


def test_exception_has_awss_shape(python, start):
    guest = start(python, 'def handler(event, context):\n    raise Exception("Handler fails")\n')
    guest.event()
    error = guest.failure({}, request_id="id-1")
    path = guest.process.args and next(iter(guest.failure({})["stackTrace"]))
    assert error == {
        "errorMessage": "Handler fails",
        "errorType": "Exception",
        "requestId": "id-1",
        "stackTrace": [path],
    }
    assert path.endswith(
        'app.py", line 2, in handler\n    raise Exception("Handler fails")\n'
    ) and path.startswith('  File "/')
    first = guest.logged()[0].splitlines()
    assert first[:2] == ["[ERROR] Exception: Handler fails", "Traceback (most recent call last):"]
    assert first[2].startswith("\u00a0\u00a0File ") and first[3].startswith("\u00a0" * 4 + "raise")


@pytest.mark.parametrize(
    ("handler", "source", "kind", "message"),
    [
        (
            "app",
            "",
            "Runtime.MalformedHandlerName",
            "Bad handler 'app': not enough values to unpack (expected 2, got 1)",
        ),
        (
            "gone.handler",
            "",
            "Runtime.ImportModuleError",
            "Unable to import module 'gone': No module named 'gone'",
        ),
        (
            "app.handler",
            "import nothere",
            "Runtime.ImportModuleError",
            "Unable to import module 'app': No module named 'nothere'",
        ),
        (
            "app.nope",
            "",
            "Runtime.HandlerNotFound",
            "Handler 'nope' missing on module 'app'",
        ),
        (
            "sys.exit",
            "",
            "Runtime.BuiltInModuleConflict",
            "Cannot use built-in module sys as a handler module",
        ),
        ("app.handler", "raise KeyError('k')", "KeyError", "'k'"),
    ],
)
def test_init_errors(python, start, handler, source, kind, message):
    guest = start(python, source, handler)
    error = guest.init_failure()
    assert (error["errorType"], error["errorMessage"], error["requestId"]) == (kind, message, "")
    assert guest.logged()[0].startswith(f"[ERROR] {kind}: {message}\nTraceback (most recent")
    assert guest.exit_status() == 1


def test_handler_in_a_folder_by_slash_or_dot(python, start, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "inner.py").write_text("def handler(event, context): return 'deep'")
    for name in ("deep/inner.handler", "deep.inner.handler"):
        guest = start(python, "", name)
        guest.event()
        assert guest.result({}) == "deep"


def test_syntax_error_shows_the_line(python, start):
    guest = start(python, "def handler(event, context)\n    pass\n")
    error = guest.init_failure()
    assert error["errorType"] == "Runtime.UserCodeSyntaxError"
    assert error["errorMessage"].startswith("Syntax error in module 'app': ")
    (trace,) = error["stackTrace"]
    assert trace.startswith('  File "') and 'app.py" Line 1\n    def handler' in trace


def test_results_that_are_not_json(python, start):
    guest = start(
        python,
        """
        import decimal
        class Thing: pass
        def handler(event, context):
            return {"thing": Thing(), "set": {1}, "text": "ü\\ud800"}.get(event, {
                "number": decimal.Decimal("1.10"), "nan": [decimal.Decimal("2")], "x": None})
        """,
    )
    guest.event()
    error = guest.failure("thing")
    assert error["errorType"] == "Runtime.MarshalError"
    assert error["errorMessage"] == (
        "Unable to marshal response: Object of type Thing is not JSON serializable"
    )
    assert error["stackTrace"] == []
    assert "Object of type set" in guest.failure("set")["errorMessage"]
    event = guest.call("decimal")
    assert isinstance(event, frames.ResponseFrame)
    assert event.payload == b'{"number": 1.10, "nan": [2], "x": null}'
    guest.call("text")
    assert guest.result("decimal")["number"] == 1.1


def test_invalid_json_reaches_no_handler(python, start):
    guest = start(python, "def handler(event, context): return 'ran'")
    guest.event()
    assert guest.failure(b"{nope")["errorType"] == "Runtime.UnmarshalError"
    assert guest.result({}) == "ran"


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[1]",
        b"1",
        b'"x"',
        b"",
        b"{",
        b"{}x",
        b"{\0",
        b'{"a": 1}\n ',
        b' {"a": 1}',
        b'{"a": NaN, "a": [Infinity]}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80 \\ud800"}',
        b'{"a" 1}',
        '{"ä": "ä"}'.encode(),
        '{"ä": 1}'.encode("utf-16-le"),
        '{"ä": 1}'.encode("utf-8-sig"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_an_event_is_what_json_makes_of_it(start, body):
    guest = start(
        sys.executable,
        """
        import json
        def handler(event, context):
            return json.dumps(event).encode()
        """,
    )
    guest.event()
    said = guest.call(body)
    try:
        expected = frames.ResponseFrame(said.invocation_id, json.dumps(json.loads(body)).encode())
    except Exception as error:
        words = f"Unable to unmarshal input: {error}"
        expected = (said.error_type, json.loads(said.body)["errorMessage"])
        said = ("Runtime.UnmarshalError", words)
    assert said == expected


@pytest.mark.parametrize(
    ("code", "status"),
    [("sys.exit()", 0), ("sys.exit(3)", 3), ("sys.exit('why')", 1), ("os._exit(9)", 9)],
)
def test_exit_ends_the_process(python, start, code, status):
    guest = start(python, f"import os, sys\ndef handler(event, context):\n    {code}\n")
    guest.event()
    with pytest.raises(EOFError):
        guest.call({})
    assert guest.exit_status() == status


def test_other_base_exceptions_end_the_process(python, start):
    guest = start(python, "def handler(event, context):\n    raise KeyboardInterrupt\n")
    guest.event()
    with pytest.raises(EOFError):
        guest.call({})
    assert guest.exit_status() == 1
    assert "KeyboardInterrupt\n" in guest.logged()


def test_a_signal_is_seen_from_outside(python, start):
    guest = start(
        python,
        "import os, signal\ndef handler(e, c):\n    os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    guest.event()
    with pytest.raises(EOFError):
        guest.call({})
    assert guest.exit_status() == -signal.SIGKILL


def test_print_is_an_event_per_line(python, start):
    guest = start(
        python,
        """
        import sys
        print("at init")
        def handler(event, context):
            print("one", 2)
            print("two\\nthree")
            print("err", file=sys.stderr)
            sys.stdout.buffer.write(b"raw \\xff\\n")
            print("open", end="")
            return sys.stdout.fileno(), sys.stdout.isatty(), sys.stdout.encoding
        """,
    )
    guest.event()
    assert guest.result({}) == [1, False, "utf-8"]
    assert guest.logged() == [
        "at init\n",
        "one 2\n",
        "two\n",
        "three\n",
        "err\n",
        "raw \\xff\n",
        "open",
    ]


def test_logging_in_text(python, start):
    guest = start(
        python,
        """
        import logging, threading
        def handler(event, context):
            log = logging.getLogger()
            log.info("not shown")
            log.warning("many\\nlines")
            log.setLevel("INFO")
            thread = threading.Thread(target=lambda: log.info("from %s", "thread"))
            thread.start()
            thread.join()
            logging.getLogger("boto").error("other")
        """,
    )
    guest.event()
    guest.result({}, request_id="id-3")
    first, second, third = guest.logged()
    level, stamp, request_id, message = first.split("\t")
    assert (level, request_id, message) == ("[WARNING]", "id-3", "many\nlines\n")
    assert len(stamp) == 24 and stamp[10] == "T" and stamp[-1] == "Z"
    assert second.endswith("\tid-3\tfrom thread\n") and second.startswith("[INFO]")
    assert third.endswith("\tid-3\tother\n")


def test_logging_in_json(python, start):
    guest = start(
        python,
        """
        import logging
        log = logging.getLogger("mine")
        def handler(event, context):
            print("plain")
            log.debug("not shown")
            log.info({"a": 1}, extra={"order": 7, "odd": object})
            try:
                1 / 0
            except ZeroDivisionError:
                log.exception("failed %s", "here")
            raise ValueError("v")
        """,
        AWS_LAMBDA_LOG_FORMAT="JSON",
        AWS_LAMBDA_LOG_LEVEL="INFO",
    )
    guest.event()
    guest.failure({}, request_id="id-4")
    plain, *records = guest.logged()
    assert plain == "plain\n"
    info, failed, unhandled = map(json.loads, records)
    assert info.pop("timestamp").endswith("Z")
    assert info.pop("odd").startswith("<class")
    assert info == {
        "level": "INFO",
        "message": {"a": 1},
        "logger": "mine",
        "requestId": "id-4",
        "order": 7,
    }
    assert (failed["errorType"], failed["errorMessage"]) == (
        "ZeroDivisionError",
        "division by zero",
    )
    assert failed["message"] == "failed here" and failed["location"].endswith(":handler:11")
    assert failed["stackTrace"][0].startswith('  File "')
    assert unhandled["level"] == "ERROR" and unhandled["errorType"] == "ValueError"
    assert unhandled["requestId"] == "id-4"


def test_threads_do_not_tear_lines_apart(python, start):
    guest = start(
        python,
        """
        import threading
        def shout(word):
            for n in range(50):
                print(word * 30, n)
        def handler(event, context):
            threads = [threading.Thread(target=shout, args=(w,)) for w in "abcd"]
            [t.start() for t in threads]
            [t.join() for t in threads]
        """,
    )
    guest.event()
    guest.result({})
    lines = guest.logged()
    assert sorted(lines) == sorted(f"{w * 30} {n}\n" for w in "abcd" for n in range(50))


def test_long_lines_are_split_only_beyond_the_limit(python, start):
    guest = start(
        python,
        """
        import threading
        def handler(event, context):
            print("x" * event)
        """,
    )
    guest.event()
    guest.channel.settimeout(0.05)

    def lengths(size: int) -> list[int]:
        with contextlib.suppress(TimeoutError):
            guest.call(size)
        for _ in range(100):  # the pipe is smaller than the line: read while it writes
            guest._drain()
            try:
                guest.event()
                break
            except TimeoutError:
                continue
        return [len(line) for line in guest.logged()]

    assert lengths(262_143) == [262_144]
    assert sum(lengths(300_000)) == 300_001


def test_children_write_to_the_console(python, start):
    guest = start(
        python,
        """
        import os, subprocess
        def handler(event, context):
            subprocess.run(["echo", "from child"])
            pid = os.fork()
            if pid == 0:
                print("from fork")
                return "a second answer"
            os.waitpid(pid, 0)
            return "one answer"
        """,
    )
    guest.event()
    assert guest.result({}) == "one answer"
    assert guest.result({}) == "one answer"
    guest.channel.close()
    assert guest.process.stdout is not None
    assert guest.process.stdout.read() == b"from child\nfrom fork\n" * 2


def test_modules_of_the_function_come_before_those_already_loaded(python, start, tmp_path):
    (tmp_path / "boto3.py").write_text("mine = True")
    (tmp_path / "calendar.py").write_text(
        "def handler(event, context):\n"
        "    import boto3, json\n"
        "    return [boto3.mine, json.dumps(1)]\n"
    )
    (tmp_path / "json.py").write_text("raise RuntimeError('the runtime has its own')")
    layer = tmp_path / "opt" / "python"
    layer.mkdir(parents=True)
    (layer / "layered.py").write_text("value = 5")
    guest = start(python, "", "calendar.handler")
    guest.event()
    assert guest.result({}) == [True, "1"]
    other = start(python, "import layered\ndef handler(e, c): return layered.value")
    other.event()
    assert other.result({}) == 5


def test_large_payloads_go_both_ways(python, start):
    guest = start(python, "def handler(event, context): return event")
    guest.event()
    guest.channel.settimeout(20)
    text = "y" * 6_000_000
    assert guest.result(text) == text


# Monitoring tools


WRAPPED = """
import sys

def tool():
    # As tools find it: by the main module where it is not the bootstrap itself.
    bootstrap = sys.modules["__main__"].awslambdaricmain.bootstrap
    client, inner = bootstrap.LambdaRuntimeClient, bootstrap.handle_event_request
    seen = []

    def watched(method):
        def inner(*args, **kwargs):
            seen.append(method.__name__)
            return method(*args, **kwargs)
        return inner

    def handle_event_request(lambda_runtime_client, request_handler, *args, **kwargs):
        def handler(event, context, *more):
            seen.append(context.aws_request_id)
            answer = request_handler(event, context, *more)
            seen.append("answered")
            return answer
        seen.append((args[1].decode(), args[2]))
        return inner(lambda_runtime_client, handler, *args, **kwargs)

    bootstrap.handle_event_request = handle_event_request
    client.post_invocation_result = watched(client.post_invocation_result)
    client.post_invocation_error = watched(client.post_invocation_error)
    return seen

seen = tool()

def handler(event, context):
    if event == "fail":
        raise ValueError("as told")
    found, seen[:] = list(seen), []
    return found
"""


def test_tools_that_wrap_the_runtime_client_see_each_invocation(python, start):
    guest = start(python, WRAPPED)
    assert guest.event() == frames.ReadyFrame()
    kind = "application/json"
    assert guest.result("a", request_id="r-1") == [['"a"', kind], "r-1"]
    assert guest.failure("fail", request_id="r-2")["errorMessage"] == "as told"
    assert guest.result("b", request_id="r-3") == [
        *("answered", "post_invocation_result"),
        *(['"fail"', kind], "r-2", "post_invocation_error"),
        *(['"b"', kind], "r-3"),
    ]


def test_tools_that_wrap_the_runtime_client_see_a_failed_init(python, start):
    guest = start(
        python,
        """
        import awslambdaric.bootstrap
        client = awslambdaric.bootstrap.LambdaRuntimeClient
        inner = client.post_init_error
        def post_init_error(*args, **kwargs):
            print("seen:", args[1]["errorType"], flush=True)
            return inner(*args, **kwargs)
        client.post_init_error = post_init_error
        raise KeyError("nothing")
        """,
    )
    assert guest.init_failure()["errorType"] == "KeyError"
    assert "seen: KeyError\n" in guest.logged()


def test_functions_get_the_runtimes_own_client_whatever_they_bring(python, start, tmp_path):
    (tmp_path / "awslambdaric").mkdir()
    (tmp_path / "awslambdaric" / "__init__.py").write_text("raise ImportError('another one')\n")
    guest = start(
        python,
        """
        import awslambdaric.bootstrap
        from awslambdaric.lambda_context import LambdaContext
        def handler(event, context):
            other = LambdaContext("id", None, None, 0)
            return [type(context) is type(other), other.function_name]
        """,
    )
    assert guest.event() == frames.ReadyFrame()
    assert guest.result(None) == [True, "f"]


def test_there_are_no_semaphores_but_processes_and_pipes(python, start):
    guest = start(
        python,
        """
        import multiprocessing
        def child(end):
            end.send("from the child")
        def handler(event, context):
            words = []
            for make in (multiprocessing.Lock, multiprocessing.Queue, multiprocessing.Pool):
                try:
                    make()
                except OSError as error:
                    words.append(str(error))
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.get_context("fork").Process(target=child, args=(theirs,))
            process.start()
            words.append(ours.recv())
            process.join()
            return words
        """,
    )
    assert guest.event() == frames.ReadyFrame()
    assert guest.result(None) == [*["[Errno 38] Function not implemented"] * 3, "from the child"]
