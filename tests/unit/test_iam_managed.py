"""AWS's managed policies."""

from __future__ import annotations

import json
import zipfile

import pytest

from boda.services.iam import managed
from boda.services.iam.managed import aws_managed


def test_every_document_is_there_and_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with managed._ARCHIVE.open("rb") as file, zipfile.ZipFile(file) as archive:  # opened once
        monkeypatch.setattr(managed, "_member", lambda name: archive.read(f"{name}.json"))
        _read_all()


def _read_all() -> None:
    found = aws_managed()
    assert len(found) > 1_500
    assert len({policy.arn for policy in found}) == len(found)
    paths = {policy.path for policy in found}
    assert {"/", "/service-role/", "/aws-service-role/", "/job-function/"} <= paths
    for policy in found:
        document = policy.default.document
        assert document.policy.statements, policy.name
        assert json.loads(document.text)["Statement"], policy.name
        assert policy.created_at <= policy.updated_at


def test_a_document_is_read_when_it_is_asked_for() -> None:
    policy = next(one for one in aws_managed() if one.name == "AWSLambdaBasicExecutionRole")
    assert policy.arn == "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    document = policy.default.document
    assert document.policy is document.policy
    (statement,) = json.loads(document.text)["Statement"]
    assert statement["Action"] == [
        "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents",
    ]  # fmt: skip
