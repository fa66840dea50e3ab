"""``boda check``, and starts that are refused or go on after damage."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from bench.host import Boda

SOURCE = "def lambda_handler(event, context):\n    return 1\n"


def check(boda: Boda, *options: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "boda", "check", "--data-dir", str(boda.folder), *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BODA_"))},
    )
    assert "Traceback" not in done.stderr
    return done.returncode, (done.stdout or done.stderr).splitlines()


def refused(boda: Boda) -> str:
    """What the start says, in one line, while nothing in the folder is deleted."""
    before = {path for path in boda.folder.rglob("*") if path.is_file()}
    with pytest.raises(RuntimeError) as caught:
        boda.start()
    (line,) = str(caught.value).strip().splitlines()[1:]
    gone = before - set(boda.folder.rglob("*"))
    assert not {path.name for path in gone} - {"boda.db-shm", "boda.db-wal", "address.json"}
    return line


def fill(boda: Boda) -> None:
    s3 = boda.client("s3")
    s3.create_bucket(Bucket="a-bucket")
    s3.put_object(Bucket="a-bucket", Key="small", Body=b"small")
    s3.put_object(Bucket="a-bucket", Key="big", Body=os.urandom(1_000_000))
    where = {"Bucket": "a-bucket", "Key": "parts"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=os.urandom(100_000))
    boda.function("Checked", SOURCE, Timeout=30, MemorySize=256)


def blobs(boda: Boda) -> dict[int, Path]:
    """By size."""
    found = (boda.folder / "blobs").glob("??/*")
    return {path.stat().st_size: path for path in found}


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_what_is_whole_what_is_damaged_and_how_it_goes_on(own_boda: Boda) -> None:
    own_boda.start()
    fill(own_boda)
    # While it runs, and when it is stopped.
    for stop in (False, True):
        if stop:
            own_boda.stop()
        code, lines = check(own_boda)
        assert (code, len(lines)) == (0, 1) and "nothing is damaged" in lines[0]
    assert not (own_boda.folder / "lost+found").exists()
    code, lines = check(own_boda, "--json")
    told = json.loads("\n".join(lines))
    assert code == 0 and told["Whole"] and told["Faults"] == [] and told["Bytes"] > 1_100_000

    big, part = blobs(own_boda)[1_000_000], blobs(own_boda)[100_000]
    flip(big, 500_000)
    part.unlink()
    task = next((own_boda.folder / "code").glob("*/task/*.py"))
    task.write_text(SOURCE.replace("1", "2"))
    stray = big.with_name("0" * 30 + big.name[-2:])
    stray.write_bytes(b"of nobody")
    with closing(sqlite3.connect(own_boda.folder / "boda.db")) as database:
        database.execute("UPDATE s3_bodies SET data = X'00'")
        database.commit()
    code, lines = check(own_boda)
    assert code == 1
    for name in ("object a-bucket/big: ", "upload of a-bucket/parts, part 1: ",
                 "object a-bucket/small: ", "code of arn:aws:lambda:"):  # fmt: skip
        assert sum(line.startswith(name) for line in lines) == 1, lines
    assert len(lines) == 5

    # It starts; what is damaged is refused, what can be mended is, and nothing is deleted.
    own_boda.start()
    s3 = own_boda.client("s3")
    for key in ("big", "small"):
        with pytest.raises(s3.exceptions.ClientError, match="InternalError"):
            s3.get_object(Bucket="a-bucket", Key=key)
    answer = own_boda.client("lambda").invoke(FunctionName="Checked")
    assert answer["Payload"].read() == b"1"
    assert task.read_text() == SOURCE
    log = own_boda.log.read_text()
    for name in ("object a-bucket/big", "object a-bucket/small", "code of arn:aws:lambda:"):
        assert f"damaged: {name}" in log
    kept = {path.name: path for path in (own_boda.folder / "lost+found").rglob("*")}
    assert kept[stray.name].read_bytes() == b"of nobody"
    assert kept[task.name].read_text() == SOURCE.replace("1", "2")


def test_an_older_database_is_refused_until_it_is_accepted(own_boda: Boda) -> None:
    own_boda.start()
    fill(own_boda)
    own_boda.stop()
    shutil.copy(own_boda.folder / "boda.db", own_boda.folder.parent / "older")
    own_boda.start()
    s3 = own_boda.client("s3")
    s3.put_object(Bucket="a-bucket", Key="later", Body=os.urandom(200_000))
    own_boda.stop()
    (own_boda.folder.parent / "older").replace(own_boda.folder / "boda.db")
    assert re.search(r"is older than its folder.*boda check --accept --data-dir", refused(own_boda))
    later = blobs(own_boda)[200_000]
    assert later.exists()
    assert check(own_boda)[0] == 1
    code, lines = check(own_boda, "--accept")
    assert code == 0, lines
    own_boda.start()
    assert len(s3_keys(own_boda)) == 2
    for _ in range(200):
        if not later.exists():
            break
        own_boda.client("s3").list_buckets()
    assert [path.name for path in (own_boda.folder / "lost+found").rglob(later.name)]


def s3_keys(boda: Boda) -> list[str]:
    listed = boda.client("s3").list_objects_v2(Bucket="a-bucket")
    return [each["Key"] for each in listed["Contents"]]


HARM = {
    "database missing": (lambda f: (f / "boda.db").unlink(), "boda.db is missing, but blobs/"),
    "log missing": (lambda f: (f / "boda.db-wal").unlink(), "commits are missing"),
    "log cut": (
        lambda f: os.truncate(f / "boda.db-wal", (f / "boda.db-wal").stat().st_size // 2),
        "commits are missing",
    ),
    "key file cut": (lambda f: os.truncate(f / "root.json", 5), "key file .*root.json is damaged"),
    "key file of no object": (
        lambda f: (f / "root.json").write_text("5"),
        "key file .*root.json is damaged",
    ),
    "blobs missing": (lambda f: shutil.rmtree(f / "blobs"), "blobs is missing or empty"),
    "code missing": (lambda f: shutil.rmtree(f / "code"), "code is missing or empty"),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a boda that was killed, with something of each kind in it."""
    boda = Boda(tmp_path_factory.mktemp("killed") / "data")
    try:
        boda.start()
        fill(boda)
        boda.stop()
        boda.start()
        s3 = boda.client("s3")
        for number in range(20):
            s3.put_object(Bucket="a-bucket", Key=f"later-{number}", Body=b"x")
        boda.kill()
    finally:
        boda.stop()
    return boda.folder


@pytest.mark.parametrize("harm", HARM)
def test_what_is_missing_refuses_the_start_in_one_sentence(
    own_boda: Boda, killed: Path, harm: str
) -> None:
    shutil.copytree(killed, own_boda.folder, symlinks=True)
    harming, words = HARM[harm]
    harming(own_boda.folder)
    assert re.search(words, refused(own_boda))
    assert re.search(words, refused(own_boda))


ROWS = {
    "iam_access_keys": "UPDATE iam_access_keys SET secret = CAST(X'68ff' AS TEXT)",
    "lambda_versions": "UPDATE lambda_versions SET settings = X'7b'",
    "lambda_functions": "DELETE FROM lambda_functions",
    "s3_buckets": "UPDATE s3_buckets SET settings = '{'",
}


@pytest.mark.parametrize("table", ROWS)
def test_a_damaged_row_is_named_at_the_start(own_boda: Boda, killed: Path, table: str) -> None:
    shutil.copytree(killed, own_boda.folder, symlinks=True)
    with closing(sqlite3.connect(own_boda.folder / "boda.db")) as database:
        database.execute(ROWS[table])
        database.commit()
    wanted = "lambda_versions" if table == "lambda_functions" else table
    assert re.search(rf"row \S+ of table {wanted}: .*restore it", refused(own_boda))
    code, lines = check(own_boda)
    assert code == 1 and any(f"of table {wanted}: " in line for line in lines)


def test_there_is_nothing_to_check_yet(own_boda: Boda) -> None:
    code, lines = check(own_boda)
    assert code != 0 and len(lines) == 1 and "There is no boda" in lines[0]
    assert not own_boda.folder.exists()
