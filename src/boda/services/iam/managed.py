"""AWS's own managed policies: all of them, from ``managed_policies.zip`` beside this file.

The archive has an index (name, path, created, updated, default version) and one document per
policy, which is read when it is first needed: few of the 1,500 ever are.
``scripts/managed_policies.py`` makes it from public data.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from datetime import datetime
from functools import cache, partial
from importlib.resources import files

from boda.services.iam.entities import Document, ManagedPolicy, PolicyVersion

_ARCHIVE = files("boda.services.iam").joinpath("managed_policies.zip")


@cache
def aws_managed() -> tuple[ManagedPolicy, ...]:
    """Return all of them, the same ones to every account."""
    return tuple(_policy(*entry) for entry in json.loads(_member("index")))


def _policy(name: str, path: str, created: str, updated: str, version: str) -> ManagedPolicy:
    # The real ids are not published; these are made from the name so that they stay the same.
    digest = hashlib.sha256(name.encode()).hexdigest().upper()
    number = int(version.removeprefix("v"))
    read: Callable[[], str] = partial(_document, name)
    updated_at = datetime.fromisoformat(updated).timestamp()
    return ManagedPolicy(
        "aws",
        name,
        path,
        "ANPA" + digest[:17],
        datetime.fromisoformat(created).timestamp(),
        updated_at,
        (PolicyVersion(number, Document.later(read), updated_at),),
        version,
        number,
    )


def _document(name: str) -> str:
    return json.dumps(json.loads(_member(name)), indent=4)


def _member(name: str) -> bytes:
    with _ARCHIVE.open("rb") as file, zipfile.ZipFile(file) as archive:
        return archive.read(f"{name}.json")
