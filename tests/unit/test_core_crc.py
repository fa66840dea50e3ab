"""Checksums agree with their published check values, in one piece, running and combined."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import boda
from boda.core import crc

CHECK = b"123456789"
VALUES = {"crc32": 0xCBF43926, "crc32c": 0xE3069283, "crc64nvme": 0xAE8B14860A799888}


@pytest.mark.parametrize("algorithm", crc.ALGORITHMS)
def test_the_check_value(algorithm: str) -> None:
    size = crc.ALGORITHMS[algorithm].size
    assert crc.ALGORITHMS[algorithm].value(CHECK, 0) == VALUES[algorithm]
    running = crc.RunningCrc(algorithm)
    running.update(CHECK[:4])
    running.update(memoryview(CHECK)[4:])
    assert running.digest() == VALUES[algorithm].to_bytes(size, "big")
    assert running.digest_size == size


@pytest.mark.parametrize("algorithm", crc.ALGORITHMS)
def test_pieces_combine(algorithm: str) -> None:
    def digest(data: bytes) -> bytes:
        running = crc.RunningCrc(algorithm)
        running.update(data)
        return running.digest()

    pieces = [b"", CHECK, b"x" * 70_000, b"y"]
    parts = [(digest(piece), len(piece)) for piece in pieces]
    assert crc.combined(algorithm, parts) == digest(b"".join(pieces))
    assert crc.combined(algorithm, []) == digest(b"")


def test_one_place_imports_the_library() -> None:
    source = Path(boda.__file__).parent
    importing = re.compile(r"^\s*(?:import|from) awscrt\b", re.MULTILINE)
    found = [file for file in source.rglob("*.py") if importing.search(file.read_text())]
    assert [str(file.relative_to(source)) for file in found] == ["core/crc.py"]
