"""Sessions made in a fork begin with the models the zygote has read, and nobody notices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.session
import pytest

from boda.guest import preload


@pytest.fixture
def warmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.session, "create_loader", botocore.session.create_loader)
    monkeypatch.setattr(preload, "SERVICES", ("sqs",))
    preload.load()


def _client(session: botocore.session.Session, service: str) -> Any:
    return session.create_client(
        service, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


@pytest.mark.usefixtures("warmed")
def test_a_client_of_a_warm_service_reads_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: object, path: str) -> None:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(botocore.loaders.JSONFileLoader, "load_file", read)
    assert _client(botocore.session.Session(), "sqs").meta.service_model.service_name == "sqs"


@pytest.mark.usefixtures("warmed")
def test_sessions_share_no_search_path() -> None:
    first, second = (botocore.session.Session().get_component("data_loader") for _ in range(2))
    first.search_paths.append("/elsewhere")
    assert "/elsewhere" not in second.search_paths


@pytest.mark.usefixtures("warmed")
def test_models_in_a_place_of_ones_own_are_found(tmp_path: Path) -> None:
    model = {
        "metadata": {
            "apiVersion": "2026-01-01",
            "endpointPrefix": "own",
            "protocol": "json",
            "serviceFullName": "Own",
            "serviceId": "Own",
            "signatureVersion": "v4",
        },
        "operations": {},
        "shapes": {},
    }
    folder = tmp_path / "own" / "2026-01-01"
    folder.mkdir(parents=True)
    (folder / "service-2.json").write_text(json.dumps(model))
    loader = botocore.session.Session().get_component("data_loader")
    loader.search_paths.append(str(tmp_path))
    assert loader.load_service_model("own", "service-2")["metadata"]["serviceId"] == "Own"
