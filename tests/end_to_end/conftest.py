"""A real `boda up`, one for each test process, on its own port and folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.host import Boda


@pytest.fixture(scope="session")
def boda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boda]:
    with Boda(tmp_path_factory.mktemp("boda") / "data") as running:
        yield running


@pytest.fixture
def own_boda(tmp_path: Path) -> Iterator[Boda]:
    """One for this test alone, for those that stop, kill or starve it. Not started."""
    boda = Boda(tmp_path / "data")
    try:
        yield boda
    finally:
        boda.stop()


@pytest.fixture
def name() -> str:
    return f"fn-{uuid.uuid4().hex[:10]}"
