"""A function's life beyond what the recordings show: code on disk, restarts, refusals."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from boda.core.arn import DEFAULT_ACCOUNT
from boda.core.clock import ManualClock
from boda.core.errors import AwsError, PlatformError
from boda.gateway.http.wire import Stream, TruncatedStream, WireRequest
from boda.services import lambda_
from boda.services.lambda_ import inspection, rows
from boda.services.lambda_.code.download import CodeDownloads
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.quotas import Quotas
from boda.storage import durable
from support.lambda_world import ROLE, World, package, world

ARN = f"arn:aws:lambda:us-east-1:{DEFAULT_ACCOUNT}:function:f"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@asynccontextmanager
async def with_quotas(tmp_path: Path, **changes: Any) -> AsyncIterator[World]:
    options = lambda_.Options(quotas=replace(Quotas(), **changes))
    async with world(tmp_path, options=options) as made:
        yield made


def manual(here: World) -> ManualClock:
    assert isinstance(here.clock, ManualClock)
    return here.clock


# Code


async def test_code_is_unpacked_once_per_digest_and_shown_to_the_invoke_path(here: World) -> None:
    content = package({"app.py": "x = 1"})
    digest = hashlib.sha256(content).hexdigest()
    answer = await here.create("f", Code={"ZipFile": content})
    await here.create("g", Code={"ZipFile": content})
    assert answer["CodeSha256"] == base64.b64encode(bytes.fromhex(digest)).decode()
    assert answer["CodeSize"] == len(content)
    seen = here.functions.resolve(ARN)
    assert seen is not None and (seen.code_dir / "app.py").read_text() == "x = 1"
    assert seen.code_sha256 == digest
    assert here.service.code_blob(digest).read_bytes() == content
    kept = [path.name for path in (here.folder / "code").iterdir() if path.is_dir()]
    assert kept == [digest]


async def test_code_nobody_refers_to_goes_when_no_old_environment_can_run_it(here: World) -> None:
    await here.create("f")
    old = here.functions.resolve(ARN)
    assert old is not None
    await here.call("UpdateFunctionCode", FunctionName="f", ZipFile=package({"app.py": "new"}))
    await here.settle()
    await manual(here).advance(900)
    assert old.code_dir.exists(), "an invocation of the old revision may still run"
    await manual(here).advance(600)
    assert not old.code_dir.exists()
    new = here.functions.resolve(ARN)
    assert new is not None and new.code_dir.exists()


async def test_code_that_comes_back_in_time_stays(here: World) -> None:
    content = package()
    await here.create("f", Code={"ZipFile": content})
    await here.call("DeleteFunction", FunctionName="f")
    await manual(here).advance(1100)
    await here.create("f", Code={"ZipFile": content})
    await manual(here).advance(3000)
    seen = here.functions.resolve(ARN)
    assert seen is not None and seen.code_dir.exists()


async def test_a_refused_package_leaves_nothing(here: World) -> None:
    error = await here.error(
        "CreateFunction",
        FunctionName="f",
        Role=ROLE,
        Runtime="python3.12",
        Handler="a.b",
        Code={"ZipFile": package({"../x": "y"})},
    )
    assert error.code == "InvalidParameterValueException"
    assert [path.name for path in (here.folder / "code").iterdir()] == [".key"]
    assert (await here.call("ListFunctions"))["Functions"] == []


async def test_code_from_a_bucket(here: World) -> None:
    here.objects.held["bucket", "k.zip"] = package({"app.py": "#" * 300_000})
    await here.create("f", Code={"S3Bucket": "bucket", "S3Key": "k.zip"})
    error = await here.error(
        "UpdateFunctionCode", FunctionName="f", S3Bucket="bucket", S3Key="missing"
    )
    assert error.message == (
        "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: "
        "The specified key does not exist."
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ({}, "Please provide a source"),
        ({"S3Bucket": "bucket"}, "Please provide a source"),
        ({"ZipFile": b"x", "S3Bucket": "bucket"}, "Please do not provide other FunctionCode"),
    ],
)
async def test_a_source_that_is_none_or_two(here: World, code: Any, words: str) -> None:
    await here.create("f")
    error = await here.error("UpdateFunctionCode", FunctionName="f", **code)
    assert error.code == "InvalidParameterValueException" and words in error.message


async def test_a_dry_run_checks_everything_and_changes_nothing(here: World) -> None:
    await here.create("f")
    before = await here.call("GetFunctionConfiguration", FunctionName="f")
    content = package({"other.py": "y"})
    answer = await here.call("UpdateFunctionCode", FunctionName="f", ZipFile=content, DryRun=True)
    assert answer["CodeSize"] == len(content)
    assert await here.call("GetFunctionConfiguration", FunctionName="f") == before
    error = await here.error("UpdateFunctionCode", FunctionName="f", ZipFile=b"no", DryRun=True)
    assert error.message.startswith("Could not unzip")


async def test_the_code_address_holds_for_ten_minutes_and_for_this_code_only(here: World) -> None:
    await here.create("f")
    answer = await here.call("GetFunction", FunctionName="f")
    found = urlsplit(answer["Code"]["Location"])
    query = {name: values[0] for name, values in parse_qs(found.query).items()}
    digest = found.path.rpartition("/")[2]
    assert found.path == f"/_boda/code/{digest}"
    assert here.service.verify_code_url(digest, **query)
    assert not here.service.verify_code_url("0" * 64, **query)
    assert not here.service.verify_code_url(digest, "9" * 12, query["signature"])
    assert not here.service.verify_code_url(digest, "-1", query["signature"])
    assert not here.service.verify_code_url(digest, query["expires"], "é")
    await manual(here).advance(601)
    assert not here.service.verify_code_url(digest, **query)


async def test_too_much_code_in_all_is_refused(tmp_path: Path) -> None:
    async with with_quotas(tmp_path, code_storage_bytes=1500) as here:
        big = {"ZipFile": package({"a": "x" * 1000})}
        await here.create("f", Code=big)
        error = await here.error(
            "CreateFunction",
            FunctionName="g",
            Role=ROLE,
            Runtime="python3.12",
            Handler="a.b",
            Code=big,
        )
        assert error.code == "CodeStorageExceededException"


# Restarts


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    settings = {
        "Description": "d",
        "Timeout": 33,
        "MemorySize": 256,
        "EphemeralStorage": {"Size": 1024},
        "Environment": {"Variables": {"BB": "2", "AA": "1é"}},
        "DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:q"},
        "TracingConfig": {"Mode": "Active"},
        "LoggingConfig": {"LogFormat": "JSON", "SystemLogLevel": "WARN", "LogGroup": "g"},
        "Architectures": ["arm64"],
        "Tags": {"k": "v"},
        "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []},
        "SnapStart": {"ApplyOn": "None"},
        "Layers": [],
        "FileSystemConfigs": [],
        "KMSKeyArn": "",
    }
    async with world(tmp_path) as here:
        await here.create("f", **settings)
        await here.call(
            "AddPermission",
            FunctionName="f",
            StatementId="s",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
        )
        await here.call("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=7)
        await here.call("PutFunctionRecursionConfig", FunctionName="f", RecursiveLoop="Allow")
        before = await here.call("GetFunction", FunctionName="f")
        policy = await here.call("GetPolicy", FunctionName="f")
        seen = here.functions.resolve(ARN)
    async with world(tmp_path) as again:
        after = await again.call("GetFunction", FunctionName="f")
        for answer in (before, after):
            answer["Code"].pop("Location")
        assert after == before
        assert await again.call("GetPolicy", FunctionName="f") == policy
        assert again.functions.resolve(ARN) == seen
        assert again.functions.policy(ARN) is not None
        assert again.concurrency.reserved(DEFAULT_ACCOUNT, "us-east-1", "f") == 7
    assert seen is not None
    assert seen.environment == (("BB", "2"), ("AA", "1é"))
    assert (seen.timeout_s, seen.memory_mb, seen.ephemeral_mb) == (33, 256, 1024)
    assert seen.dead_letter_arn.endswith(":q") and seen.tracing == "Active"
    assert (seen.log.group, seen.log.format) == ("g", "JSON")
    assert (seen.log.application_level, seen.log.system_level) == ("INFO", "WARN")
    assert seen.recursive_loop == "Allow"


async def test_what_a_crash_left_in_motion_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path) as here:
        await here.create("updated")
        await here.call("UpdateFunctionConfiguration", FunctionName="updated", MemorySize=512)
        with monkeypatch.context() as dying:
            # Nothing of it takes effect before the platform dies.
            dying.setattr(LambdaCore, "later", lambda self, work: work.close())
            await here.call(
                "CreateFunction",
                FunctionName="pending",
                Role=ROLE,
                Runtime="python3.12",
                Handler="a.b",
                Code={"ZipFile": package()},
            )
        stored = await here.rows.read(rows.load)
    assert {each.latest.state.state for each in stored} == {"Pending", "Active"}
    (tmp_path / "code" / ".new-left").mkdir()
    async with world(tmp_path) as again:
        for name in ("updated", "pending"):
            answer = await again.call("GetFunctionConfiguration", FunctionName=name)
            assert (answer["State"], answer["LastUpdateStatus"]) == ("Active", "Successful")
        found = again.functions.find(DEFAULT_ACCOUNT, "us-east-1", "updated")
        assert found is not None and found.memory_mb == 512
    assert not (tmp_path / "code" / ".new-left").exists()


async def test_unpacked_code_that_is_gone_is_made_again(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.create("f")
        await here.create("lost", Code={"ZipFile": package({"app.py": "other"})})
        seen = here.functions.find(DEFAULT_ACCOUNT, "us-east-1", "f")
        lost = here.functions.find(DEFAULT_ACCOUNT, "us-east-1", "lost")
    assert seen is not None and lost is not None
    shutil.rmtree(seen.code_dir)
    shutil.rmtree(lost.code_dir.parent)
    async with world(tmp_path) as again:
        assert (seen.code_dir / "app.py").exists()
        assert again.functions.find(DEFAULT_ACCOUNT, "us-east-1", "lost") is None
        answer = await again.call("GetFunctionConfiguration", FunctionName="lost")
        assert (answer["State"], answer["StateReasonCode"]) == ("Failed", "InvalidZipFileException")
        error = await again.error("Invoke", FunctionName="lost")
        assert error.code == "ResourceConflictException"


async def test_code_that_is_put_back_is_taken_up_again(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.create("f")
        seen = here.functions.find(DEFAULT_ACCOUNT, "us-east-1", "f")
    assert seen is not None
    seen.code_dir.parent.rename(tmp_path / "away")
    async with world(tmp_path) as again:
        answer = await again.call("GetFunctionConfiguration", FunctionName="f")
        assert answer["State"] == "Failed"
    (tmp_path / "away").rename(seen.code_dir.parent)
    async with world(tmp_path) as again:
        answer = await again.call("GetFunctionConfiguration", FunctionName="f")
        assert answer["State"] == "Active"
        assert again.functions.find(DEFAULT_ACCOUNT, "us-east-1", "f") is not None


async def test_code_whose_folder_is_taken_away_refuses_the_start(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.create("f")
    (tmp_path / "code").rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(PlatformError, match="code is missing or empty"):
            async with world(tmp_path):
                pass
    (tmp_path / "away").rename(tmp_path / "code")
    async with world(tmp_path) as again:
        answer = await again.call("GetFunctionConfiguration", FunctionName="f")
        assert answer["State"] == "Active"


async def test_code_that_no_function_names_is_set_aside_at_a_start(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.create("f")
    stray = tmp_path / "code" / ("0" * 64)
    stray.mkdir()
    (stray / "code.zip").write_bytes(b"kept")
    async with world(tmp_path):
        assert not stray.exists()
    (found,) = (tmp_path / "lost+found").rglob("code.zip")
    assert found.read_bytes() == b"kept"


def change(task: Path) -> None:
    (task / "app.py").write_text("x = 2")


def same_size(task: Path) -> None:
    content = (task / "app.py").read_text()
    (task / "app.py").write_text(content[::-1] if content[::-1] != content else "y" + content[1:])


CHANGES = {
    "other content": (change, "app.py is not what the package holds"),
    "other content of the same size": (same_size, "app.py is not what the package holds"),
    "a file less": (lambda task: (task / "app.py").unlink(), "app.py is not what"),
    "a file more": (lambda task: (task / "more.py").write_text(""), "more.py is not in the"),
    "a link in its place": (
        lambda task: ((task / "app.py").unlink(), (task / "app.py").symlink_to("/etc/passwd")),
        "app.py is not what",
    ),
    "a link more": (lambda task: (task / "more").symlink_to("app.py"), "more is not in the"),
    "another link": (
        lambda task: ((task / "link").unlink(), (task / "link").symlink_to("/tmp")),
        "link is not what",
    ),
    "all of it": (shutil.rmtree, "is not what the package holds"),
}


@pytest.mark.parametrize("how", CHANGES)
async def test_code_that_was_changed_is_reported_and_unpacked_again(
    tmp_path: Path, how: str
) -> None:
    """At its first use after a start; what was changed is kept aside."""
    files = {"app.py": "x = 1", "lib/deep/a.py": "a = 1", "link": "app.py"}
    content = package(files, link=stat.S_IFLNK | 0o777)
    async with world(tmp_path) as here:
        await here.create("f", Code={"ZipFile": content})
    told: list[str] = []
    async with world(tmp_path, damaged=told.append) as here:
        version = here.functions.resolve(ARN)
        assert version is not None
        changing, words = CHANGES[how]
        changing(version.code_dir)
        await asyncio.gather(*(here.service.verify(version) for _ in range(3)))
        assert len(told) == 1 and told[0].startswith(f"code of {ARN}") and words in told[0]
        assert (version.code_dir / "app.py").read_text() == "x = 1"
        assert os.readlink(version.code_dir / "link") == "app.py"
        # Once in a process: after that a look costs nothing, and sees nothing.
        change(version.code_dir)
        await here.service.verify(version)
        assert len(told) == 1
    async with world(tmp_path, damaged=told.append) as here:
        await here.service.verify(version)
        assert len(told) == 2


async def test_code_whose_package_is_damaged_too_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.create("f")
    told: list[str] = []
    async with world(tmp_path, damaged=told.append) as here:
        version = here.functions.resolve(ARN)
        assert version is not None
        change(version.code_dir)
        archive = version.code_dir.with_name("code.zip")
        content = bytearray(archive.read_bytes())
        content[40] ^= 1  # of the member itself
        archive.write_bytes(content)
        for _ in range(2):
            with pytest.raises(AwsError) as caught:
                await here.service.verify(version)
            assert caught.value.code == "InvalidZipFileException"
        assert (version.code_dir / "app.py").exists(), "nothing is deleted on doubt"
        steps = inspection.steps(tmp_path / "code", {version.code_dir.parent.name: "f"})
        faults = [step.fault for step in steps if step.fault]
        assert [fault.startswith("code of f: its ") for fault in faults] == [True, True]


async def test_a_damaged_package_is_reported_and_its_whole_code_runs(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.create("f", Code={"ZipFile": package({"app.py": "x" * 10_000})})
    told: list[str] = []
    async with world(tmp_path, damaged=told.append) as here:
        version = here.functions.resolve(ARN)
        assert version is not None
        archive = version.code_dir.with_name("code.zip")
        archive.write_bytes(archive.read_bytes() + b"more")
        await here.service.verify(version)
        assert len(told) == 1 and "another digest" in told[0]


@pytest.mark.parametrize("size", [100, 600_000])
@pytest.mark.parametrize("whole", [True, False])
async def test_a_download_is_verified_before_its_end(
    tmp_path: Path, size: int, whole: bool
) -> None:
    told: list[str] = []
    async with world(tmp_path, damaged=told.append) as here:
        content = package({"app.py": os.urandom(size)})
        await here.create("f", Code={"ZipFile": content})
        sha256 = hashlib.sha256(content).hexdigest()
        archive = here.service.code_blob(sha256)
        if not whole:
            archive.write_bytes(content[:-1] + b"\x01")
        url = urlsplit(here.service._core.code.sign(sha256))
        request = WireRequest("GET", url.path, url.query, {})
        answer = await CodeDownloads(here.service).handle(request)
        given = answer.body if isinstance(answer.body, bytes) else b""
        if isinstance(answer.body, Stream):
            with contextlib.suppress(TruncatedStream):
                async for piece in answer.body.chunks:
                    given += piece
    if whole:
        assert (answer.status, given, told) == (200, content, [])
    else:
        assert len(given) < len(content) and len(told) == 1
        assert answer.status == (500 if size == 100 else 200)


async def test_code_just_uploaded_is_known_to_be_whole(here: World) -> None:
    await here.create("f")
    version = here.functions.resolve(ARN)
    assert version is not None
    change(version.code_dir)
    await here.service.verify(version)  # verified while it was unpacked
    assert (version.code_dir / "app.py").read_text() == "x = 2"


async def test_a_flush_that_fails_refuses_the_package(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system's own flush tells its errors by its result alone."""

    class Failing:
        @staticmethod
        def syncfs(descriptor: int) -> int:
            ctypes.set_errno(errno.EIO)
            return -1

    monkeypatch.setattr(durable, "_libc", Failing)
    error = await here.error(
        "CreateFunction",
        FunctionName="f",
        Role=ROLE,
        Runtime="python3.12",
        Handler="a.b",
        Code={"ZipFile": package()},
    )
    assert error.status in (500, 503)
    assert [path.name for path in (here.folder / "code").iterdir()] == [".key"]


# Changes


async def test_an_update_takes_effect_with_its_answer_and_only_one_at_a_time(here: World) -> None:
    await here.create("f")
    before = here.functions.resolve(ARN)
    answer = await here.call("UpdateFunctionConfiguration", FunctionName="f", MemorySize=512)
    assert answer["LastUpdateStatus"] == "InProgress" and answer["MemorySize"] == 512
    after = here.functions.resolve(ARN)
    assert before is not None and after is not None
    assert after.memory_mb == 512 and after.key != before.key
    for operation, params in (
        ("UpdateFunctionConfiguration", {"Timeout": 4}),
        ("UpdateFunctionCode", {"ZipFile": package()}),
    ):
        error = await here.error(operation, FunctionName="f", **params)
        assert error.code == "ResourceConflictException" and error.status == 409
        assert error.message == (
            "The operation cannot be performed at this time. An update is in progress for "
            f"resource: {ARN}"
        )
    await here.settle()
    settled = here.functions.resolve(ARN)
    assert settled is not None and settled.key == after.key


async def test_tags_and_permissions_change_the_revision_but_no_environment(here: World) -> None:
    await here.create("f", Tags={"a": "1"})
    seen = here.functions.resolve(ARN)
    first = (await here.call("GetFunctionConfiguration", FunctionName="f"))["RevisionId"]
    await here.call("TagResource", Resource=ARN, Tags={"b": "2"})
    second = (await here.call("GetFunctionConfiguration", FunctionName="f"))["RevisionId"]
    assert first != second
    assert here.functions.resolve(ARN) is seen


async def test_a_stale_revision_is_refused(here: World) -> None:
    await here.create("f")
    for operation in ("UpdateFunctionConfiguration", "UpdateFunctionCode"):
        error = await here.error(operation, FunctionName="f", RevisionId="stale")
        assert (error.code, error.status) == ("PreconditionFailedException", 412)


async def test_two_creates_of_one_name_make_one_function(here: World) -> None:
    params = {"Role": ROLE, "Runtime": "python3.12", "Handler": "a.b", "FunctionName": "f"}
    codes = [{"ZipFile": package({"app.py": str(number)})} for number in range(5)]
    answers = await asyncio.gather(
        *(here.call("CreateFunction", **params, Code=code) for code in codes),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, AwsError)]
    assert len(refused) == 4
    assert {(error.code, error.status) for error in refused} == {("ResourceConflictException", 409)}
    assert refused[0].message == "Function already exist: f"


@pytest.mark.parametrize("steps", range(1, 25))
async def test_a_caller_that_goes_away_leaves_no_half_function(here: World, steps: int) -> None:
    task = asyncio.create_task(here.create("f"))
    await manual(here).settle(steps)
    task.cancel()
    await here.settle()
    stored = await here.rows.read(rows.load)
    listed = (await here.call("ListFunctions"))["Functions"]
    assert len(stored) == len(listed)
    if stored:
        assert here.functions.resolve(ARN) is not None


async def test_a_full_disk_is_a_clear_error_and_changes_nothing(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.create("f")
    before = await here.call("GetFunctionConfiguration", FunctionName="f")

    async def full(work: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(here.rows, "write", full)
        error = await here.error("UpdateFunctionConfiguration", FunctionName="f", MemorySize=512)
        gone = await here.error("DeleteFunction", FunctionName="f")
    assert (error.status, gone.status) == (503, 503)
    assert "No space left on device" in error.message
    assert await here.call("GetFunctionConfiguration", FunctionName="f") == before


async def test_deleting_takes_everything_with_it(here: World) -> None:
    await here.create("f")
    await here.call(
        "AddPermission",
        FunctionName="f",
        StatementId="s",
        Action="lambda:InvokeFunction",
        Principal="*",
    )
    await here.call("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=7)
    await here.call("DeleteFunction", FunctionName="f")
    assert here.functions.resolve(ARN) is None and here.functions.policy(ARN) is None
    assert here.concurrency.reserved(DEFAULT_ACCOUNT, "us-east-1", "f") is None
    await here.create("f")
    assert (await here.error("GetPolicy", FunctionName="f")).status == 404
    assert "Concurrency" not in await here.call("GetFunction", FunctionName="f")


# Lists


async def test_lists_come_in_pages_by_name(here: World) -> None:
    names = sorted(f"fn-{number}" for number in range(7))
    for name in reversed(names):
        await here.create(name)
    found: list[str] = []
    marker: dict[str, Any] = {}
    pages = 0
    while True:
        page = await here.call("ListFunctions", MaxItems=3, **marker)
        found += [each["FunctionName"] for each in page["Functions"]]
        pages += 1
        if "NextMarker" not in page:
            break
        marker = {"Marker": page["NextMarker"]}
    assert found == names and pages == 3
    assert "State" not in page["Functions"][0] and "RevisionId" in page["Functions"][0]
    every = await here.call("ListFunctions", FunctionVersion="ALL", MasterRegion="ALL")
    assert every["Functions"][0]["FunctionArn"].endswith(":fn-0:$LATEST")
    nowhere = await here.call("ListFunctions", FunctionVersion="ALL", MasterRegion="eu-west-1")
    assert nowhere["Functions"] == []
    for bad in ("x", "é", "AAAA"):
        error = await here.error("ListFunctions", Marker=bad)
        assert error.code == "InvalidParameterValueException"


async def test_a_page_has_at_most_fifty(tmp_path: Path) -> None:
    async with with_quotas(tmp_path, page=2) as here:
        for number in range(3):
            await here.create(f"f{number}")
        page = await here.call("ListFunctions", MaxItems=10_000)
        assert len(page["Functions"]) == 2 and page["NextMarker"]


# Refusals


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"Runtime": "python2.7"}, "The runtime parameter of python2.7 is no longer supported"),
        ({"Runtime": "custom"}, "Value custom at 'runtime' failed"),
        (
            {"Environment": {"Variables": {"AWS_REGION": "x"}}},
            "Reserved keys used in this request: AWS_REGION",
        ),
        ({"Environment": {"Variables": {"AA": "a\0b"}}}, "null character"),
        ({"DeadLetterConfig": {"TargetArn": "arn:aws:s3:::bucket"}}, "dead-letter target"),
        ({"DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:q.fifo"}}, "FIFO"),
        ({"LoggingConfig": {"ApplicationLogLevel": "INFO"}}, "LogFormat is JSON"),
        ({"Tags": {"aws:x": "y"}}, "reserved for AWS"),
        ({"Handler": None}, "Runtime and Handler are mandatory"),
        ({"FunctionName": "f:prod"}, "qualifier prod"),
    ],
)
async def test_what_is_wrong_is_said(here: World, params: dict[str, Any], words: str) -> None:
    given = {
        "FunctionName": "f",
        "Role": ROLE,
        "Runtime": "python3.12",
        "Handler": "a.b",
        "Code": {"ZipFile": package()},
        **params,
    }
    error = await here.error(
        "CreateFunction", **{key: value for key, value in given.items() if value is not None}
    )
    assert (error.code, error.status) == ("InvalidParameterValueException", 400)
    assert words in error.message
    assert error.fields["Type"] == "User"


@pytest.mark.parametrize(
    ("params", "path", "limit"),
    [
        ({"MemorySize": 10_241}, "memorySize", 10_240),
        ({"Timeout": 901}, "timeout", 900),
        ({"EphemeralStorage": {"Size": 10_241}}, "ephemeralStorage.size", 10_240),
    ],
)
async def test_limits_of_standard_functions(
    here: World, params: dict[str, Any], path: str, limit: int
) -> None:
    await here.create("f")
    error = await here.error("UpdateFunctionConfiguration", FunctionName="f", **params)
    assert error.code == "ValidationException"
    assert f"at '{path}' failed" in error.message
    assert error.message.endswith(f"Member must have value less than or equal to {limit}")


@pytest.mark.parametrize(
    "params",
    [
        {"DurableConfig": {"ExecutionTimeout": 60}},
        {"Code": {"S3Bucket": "bucket", "S3Key": "key", "S3ObjectStorageMode": "REFERENCE"}},
    ],
)
async def test_what_is_not_there_yet_is_said_and_not_ignored(
    here: World, params: dict[str, Any]
) -> None:
    error = await here.error(
        "CreateFunction",
        **{
            "FunctionName": "f",
            "Role": ROLE,
            "Runtime": "python3.12",
            "Handler": "a.b",
            "Code": {"ZipFile": package()},
            **params,
        },
    )
    assert error.status == 501
    assert here.functions.resolve(ARN) is None


async def test_a_role_must_trust_lambda_and_be_of_this_account(here: World) -> None:
    here.roles.distrusted.add(ROLE)
    params = {
        "FunctionName": "f",
        "Runtime": "python3.12",
        "Handler": "a.b",
        "Code": {"ZipFile": package()},
    }
    error = await here.error("CreateFunction", Role=ROLE, **params)
    assert error.message == "The role defined for the function cannot be assumed by Lambda."
    error = await here.error("CreateFunction", Role="arn:aws:iam::123456789012:role/x", **params)
    assert error.message == "Cross-account pass role is not allowed."


async def test_the_caller_must_be_allowed_to_pass_the_role(here: World) -> None:
    iam = here.gateway.call

    async def user(*statements: dict[str, Any]) -> Any:
        await iam("iam", "CreateUser", {"UserName": "u"}, here.root)
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        put = {"UserName": "u", "PolicyName": "p", "PolicyDocument": document}
        await iam("iam", "PutUserPolicy", put, here.root)
        made = await iam("iam", "CreateAccessKey", {"UserName": "u"}, here.root)
        found = here.identity.credential(made["AccessKey"]["AccessKeyId"])
        assert found is not None
        return found.principal

    create = {"Effect": "Allow", "Action": "lambda:CreateFunction", "Resource": "*"}
    principal = await user(create)
    params = {
        "FunctionName": "f",
        "Role": ROLE,
        "Runtime": "python3.12",
        "Handler": "a.b",
        "Code": {"ZipFile": package()},
    }
    error = await here.error("CreateFunction", principal, **params)
    assert error.status == 403 and "iam:PassRole" in error.message
    grant = {
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": ROLE,
        "Condition": {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [create, grant]})
    put = {"UserName": "u", "PolicyName": "p", "PolicyDocument": document}
    await iam("iam", "PutUserPolicy", put, here.root)
    await here.call("CreateFunction", principal, **params)


async def test_reservations_leave_a_hundred_to_the_others(here: World) -> None:
    await here.create("f")
    await here.create("g")
    put = {"FunctionName": "f", "ReservedConcurrentExecutions": 800}
    await here.call("PutFunctionConcurrency", **put)
    await here.call("PutFunctionConcurrency", **put)
    error = await here.error(
        "PutFunctionConcurrency", FunctionName="g", ReservedConcurrentExecutions=101
    )
    assert error.message.endswith("below its minimum value of [100].")
    account = await here.call("GetAccountSettings")
    assert account["AccountLimit"]["UnreservedConcurrentExecutions"] == 200
    await here.call("DeleteFunctionConcurrency", FunctionName="f")
    assert await here.call("GetFunctionConcurrency", FunctionName="f") == {}
    assert here.concurrency.unreserved(DEFAULT_ACCOUNT, "us-east-1") == 1000
