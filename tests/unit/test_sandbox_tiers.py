"""Which functions are forked from a zygote that has boto3 loaded."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from boda.sandbox.tiers import TierFinder, tier_of


def _code(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "import boto3",
        "import os, boto3",
        "import json\nfrom boto3.session import Session",
        "def handler(event, context):\n    from botocore.config import Config",
        "import boto3 as aws  # the SDK",
        "import importlib\nsdk = importlib.import_module('boto3')",
    ],
)
def test_what_imports_boto3_has_it_loaded(tmp_path: Path, text: str) -> None:
    assert tier_of(_code(tmp_path, lambda_function=text)) == "boto3"


@pytest.mark.parametrize(
    "text",
    ["import json", "# import boto3", "import os  # not boto3", "import boto3_like", "x = 'boto3'"],
)
def test_what_does_not_is_bare(tmp_path: Path, text: str) -> None:
    assert tier_of(_code(tmp_path, lambda_function=text)) == "bare"


def test_modules_below_and_layers_count(tmp_path: Path) -> None:
    deep = _code(tmp_path / "deep", app="import shop.orders", shop__orders="import boto3")
    assert tier_of(deep) == "boto3"
    plain = _code(tmp_path / "plain", app="import shared")
    layer = _code(tmp_path / "layer", python__shared="import botocore")
    assert tier_of(plain) == "bare"
    assert tier_of(plain, [layer]) == "boto3"


def test_a_copy_of_ones_own_needs_no_other(tmp_path: Path) -> None:
    code = _code(tmp_path, app="import boto3", botocore__session="")
    assert tier_of(code) == "bare"


def test_what_is_too_large_to_look_through_is_taken_to_use_it(tmp_path: Path) -> None:
    assert tier_of(_code(tmp_path, **{f"m{number}": "" for number in range(501)})) == "boto3"


def test_hostile_files_cost_little(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_bytes(b"import " + b"a " * 900_000)
    (tmp_path / "binary.py").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "link.py").symlink_to("/dev/zero")
    (tmp_path / "round").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.py")
    began_s = time.process_time()
    assert tier_of(tmp_path) == "bare"
    assert time.process_time() - began_s < 5  # it does not grow with the square of the length


def test_code_is_looked_at_once(tmp_path: Path) -> None:
    tiers = TierFinder()
    code = _code(tmp_path, app="import boto3")
    assert tiers.known(code, []) is None
    assert tiers.find(code, []) == "boto3"
    (code / "app.py").unlink()
    assert tiers.find(code, []) == tiers.known(code, []) == "boto3"
