"""The platform's log: a line for each refused or failed request, and no secret in it."""

from __future__ import annotations

import io
import json
import logging

import pytest
from botocore.exceptions import ClientError

from boda.core import log
from boda.core.clock import ManualClock
from boda.core.errors import AwsError
from boda.gateway.calling.exchange import Exchange
from boda.gateway.calling.refusal_log import RefusalLog, told
from boda.gateway.http.wire import WireRequest, WireResponse
from support.rig import rig, run


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("Access Denied", "Access Denied"),
        ("Function not found: arn:aws:lambda:r:a:function:f", "same"),
        (
            "1 validation error detected: Value 'hunter2' at 'functionName' failed to satisfy "
            "constraint: Member must have length less than or equal to 3",
            "1 validation error detected: Value … at functionName",
        ),
        (
            "Value 'a' at 'b.c' failed to satisfy 'it's hunter2' at 'x",
            "Value …",
        ),
        ('exceeded the 4KB limit. String measured: {"A":"hunter2"}',
         "exceeded the 4KB limit. String measured: …"),
        ("'hunter2' is not a valid key=value pair (missing equal-sign)", " …"),
        ("Value [hunter2] is bad", "Value …"),
        ("Unrecognized token `hunter2", "Unrecognized token …"),
        ("two\nlines\x1b[31m", "twolines …"),
        ("x" * 500, "x" * 200 + "…"),
    ],
)  # fmt: skip
def test_what_is_quoted_is_not_kept(message: str, kept: str) -> None:
    assert told(message) == (message if kept == "same" else kept)


def exchange() -> Exchange:
    request = WireRequest("GET", "/some/path", "token=hunter2", {"authorization": "hunter2"})
    return Exchange(request, None)  # type: ignore[arg-type]


async def test_floods_are_bounded_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "boda")
    clock = ManualClock()
    journal = RefusalLog(clock.monotonic)
    for _ in range(1000):
        journal.note(exchange(), AwsError("Bad", "No", 400))
    assert len(caplog.records) == 100
    await clock.advance(1)
    for _ in range(1000):
        journal.note(exchange(), AwsError("Bad", "No", 500))
    assert len(caplog.records) == 120
    assert "900 more lines like this were left out" in caplog.records[100].getMessage()
    assert "left out" not in caplog.records[101].getMessage()


def test_refusals_by_sites_and_not_what_functions_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "boda")
    journal = RefusalLog(ManualClock().monotonic)
    request = WireRequest("GET", "/path", "token=hunter2", {}, host="id.lambda-url.localhost")
    for status, headers in (
        (200, [("x-amzn-ErrorType", "None")]),
        (404, [("content-type", "text/html")]),
        (403, [("x-amzn-ErrorType", "AccessDeniedException")]),
    ):
        journal.note_site(request, WireResponse(status, headers))
    (line,) = caplog.records
    assert line.getMessage() == (
        "GET id.lambda-url.localhost/path refused: 403 AccessDeniedException (127.0.0.1)"
    )


def test_levels(caplog: pytest.LogCaptureFixture) -> None:
    journal = RefusalLog(ManualClock().monotonic)
    caplog.set_level(logging.INFO, "boda")
    for status in (400, 403, 501, 500, 503):
        journal.note(exchange(), AwsError("Code", "No", status))
    assert [one.levelname for one in caplog.records] == ["INFO"] * 3 + ["WARNING"] * 2
    caplog.set_level(logging.WARNING, "boda")
    caplog.clear()
    journal.note(exchange(), AwsError("Code", "No", 404))
    journal.note(exchange(), AwsError("Code", "No", 503))
    assert len(caplog.records) == 1


def test_lines_as_text_and_as_json() -> None:
    root, boda = logging.getLogger(), logging.getLogger("boda")
    before = (root.handlers[:], root.level, boda.level)
    try:
        for form in ("text", "json"):
            stream = io.StringIO()
            log.configure("info", form, stream)
            RefusalLog(ManualClock().monotonic).note(exchange(), AwsError("Bad", "No", 400))
            try:
                raise ValueError("why")
            except ValueError:
                logging.getLogger("boda.x").exception("it %s", "failed")
            logging.getLogger("boda.x").debug("not this")
            logging.getLogger("elsewhere").info("nor this")
            text = stream.getvalue()
            assert "not this" not in text and "nor this" not in text and "hunter2" not in text
            if form == "json":
                first, second = map(json.loads, text.splitlines())
                assert first["level"] == "info" and first["status"] == 400
                assert first["operation"] == "GET /some/path" and first["code"] == "Bad"
                assert second["message"] == "it failed" and "ValueError" in second["exception"]
            else:
                lines = text.splitlines()
                assert lines[0].startswith("boda: 20")
                assert "info: GET /some/path refused: 400 Bad" in lines[0]
                assert lines[-1] == "ValueError: why"
    finally:
        root.handlers[:], root.level = before[0], before[1]
        boda.setLevel(before[2])


async def test_each_refused_or_failed_request_is_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "boda")

    async def fails(call: object, **params: object) -> str:
        caplog.clear()
        with pytest.raises(ClientError) as caught:
            await run(call, **params)  # type: ignore[arg-type]
        (line,) = caplog.records
        request_id = caught.value.response["ResponseMetadata"].get("RequestId", "")
        assert request_id in line.getMessage()
        return line.getMessage()

    async with rig() as up:
        await run(up.client("sts").get_caller_identity)
        assert not caplog.records
        said = await fails(
            up.client("lambda", parameter_validation=False).get_function_configuration,
            FunctionName="hunter2" * 100,
        )
        assert "lambda:GetFunctionConfiguration refused: 400" in said and "hunter2" not in said
        said = await fails(up.client("s3").get_object, Bucket="b", Key="k")
        assert "s3:GetObject refused: 404 NoSuchKey" in said
        said = await fails(up.client("sts", secret="hunter2").get_caller_identity)
        assert "403 SignatureDoesNotMatch" in said and "hunter2" not in said
        said = await fails(up.client("sts", key="AKIANOBODY").get_caller_identity)
        assert "anonymous, 127.0.0.1" in said
        said = await fails(up.client("dynamodb").list_tables)
        assert "refused: 501" in said
        # What the platform did wrong is told with its traceback, and by that alone.
        said = await fails(up.client("logs").describe_log_groups, logGroupNamePrefix="boom")
        assert "logs:DescribeLogGroups failed" in said
