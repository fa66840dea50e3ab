"""Data folders of earlier releases open in this one with nothing lost.

scripts/kept_folder.py makes one of a release.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from boda.app import SCHEMAS
from boda.check import check
from boda.storage.folder import DataFolder
from boda.storage.sqlite_rows import SqliteRows
from support.kept_folder import (
    PENDING,
    SOURCE,
    WAITING,
    losses,
    opened,
    package,
    pass_time,
    read,
    said,
)
from support.schemas import shape
from support.waiting import eventually

FOLDERS = sorted((Path(__file__).parents[1] / "fixtures/folders").glob("*.tar.xz"))


@pytest.fixture(params=FOLDERS, ids=lambda path: path.name.removesuffix(".tar.xz"))
def archive(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_a_folder_of_an_earlier_release_keeps_everything(archive: Path, tmp_path: Path) -> None:
    boda, about = opened(archive, tmp_path)
    month = time.strftime("%Y-%m", time.gmtime(about["made_at"]))
    for _ in range(2):  # as it is brought forward, and once it is
        with boda:
            assert losses(about["answers"], read(boda, month)) == []
            user = about["user"]
            s3 = boda.client("s3", **user)
            assert s3.get_object(Bucket="kept", Key="in a row/ä")["Body"].read() == b"second"
            with pytest.raises(ClientError, match="AccessDenied"):
                boda.client("iam", **user).list_users()
        report = check(DataFolder(boda.folder))
        assert (report.faults, report.unnamed) == ([], 0)
    fresh = tmp_path / "fresh.db"
    SqliteRows(fresh, SCHEMAS).close()
    old = shape(boda.folder / "boda.db")
    assert old.pop("boda_folder")
    assert old == shape(fresh), "a table was changed without a migration of its schema"


def test_events_that_waited_in_it_run(archive: Path, tmp_path: Path) -> None:
    boda, about = opened(archive, tmp_path)
    with boda:
        aws = boda.client("lambda")
        aws.update_function_configuration(FunctionName=WAITING, Runtime=boda.runtime())
        aws.get_waiter("function_updated_v2").wait(FunctionName=WAITING)
        aws.update_function_code(FunctionName=WAITING, ZipFile=package(SOURCE))
    pass_time(boda, about, 60)
    with boda:
        eventually(lambda: len(said(boda, WAITING, "did")) == len(PENDING), 60)
        lines = "".join(said(boda, WAITING, "did"))
        assert all(f"'number': '{each}'" in lines for each in PENDING)


def test_unknown_members_of_stored_json_stop_no_start(archive: Path, tmp_path: Path) -> None:
    boda, about = opened(archive, tmp_path)
    with closing(sqlite3.connect(boda.folder / "boda.db", isolation_level=None)) as database:
        assert _extend(database, own_words=False) > 40
    month = time.strftime("%Y-%m", time.gmtime(about["made_at"]))
    with boda:
        answers = read(boda, month)
        # Each answer is one, if not the same: of the user's own words some have become more.
        before = about["answers"]
        assert {key: _error(one) for key, one in answers.items()} == {
            key: _error(one) for key, one in before.items()
        }
    # Policies that are not understood deny everything, and stop no start either.
    with closing(sqlite3.connect(boda.folder / "boda.db", isolation_level=None)) as database:
        assert _extend(database, own_words=True) >= 3
    with boda:
        named = {"LayerName": "library", "VersionNumber": 2}
        with pytest.raises(ClientError, match="AccessDenied"):
            boda.client("lambda").get_layer_version(**named)
        assert boda.client("lambda").get_function(FunctionName="kept")


def _error(answer: Any) -> Any:
    return answer.get("Error") if isinstance(answer, dict) else None


def _extend(database: sqlite3.Connection, *, own_words: bool) -> int:
    """Give JSON in the rows members that no boda knows yet; return how many values changed.

    own_words: in policies alone, which people wrote, instead of in all others.
    """
    changed = 0
    tables = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    for (table,) in tables:
        columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
        keys = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")') if row[5]]
        where = " AND ".join(f'"{key}" = ?' for key in keys)
        for row in database.execute(f'SELECT * FROM "{table}"').fetchall():
            values = dict(zip(columns, row, strict=True))
            for name, value in values.items():
                extended = _extended(table, name, value)
                if extended is None or name in keys:
                    continue
                if own_words == (name in ("trust", "inline", "statements")):
                    database.execute(
                        f'UPDATE "{table}" SET "{name}" = ? WHERE {where}',
                        (extended, *(values[key] for key in keys)),
                    )
                    changed += 1
    return changed


_RECORDS = {("lambda_versions", "state"), ("lambda_versions", "update")}
"""Columns whose JSON is one record as an array."""


def _extended(table: str, name: str, value: Any) -> str | bytes | None:
    if table == "async_events" or name == "weights":
        return None  # a caller's event, and a map whose members are all versions
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not isinstance(text, str) or text[:1] not in ("{", "["):
        return None
    document = json.loads(text)
    if name == "inline":
        return json.dumps({key: _extended(table, "", policy) for key, policy in document.items()})
    if isinstance(document, dict):
        _add(document)
    elif (table, name) in _RECORDS:
        document.append("later")
    elif document and isinstance(document[0], list):
        for record in document:
            record.append("later")
    else:
        for each in document:
            if isinstance(each, dict):
                _add(each)
    made = json.dumps(document)
    return made.encode() if isinstance(value, bytes) else made


def _add(document: dict[str, Any]) -> None:
    """Add a member to an object and to the objects in it, and to records in arrays."""
    for member in list(document.values()):
        if isinstance(member, dict):
            _add(member)
        elif isinstance(member, list):
            for each in member:
                if isinstance(each, dict):
                    _add(each)
                elif isinstance(each, list):
                    each.append("later")
    document["ALaterBoda"] = "later"
