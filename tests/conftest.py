"""The whole suite: what it needs of its caller, and what it says at the end."""

from __future__ import annotations

import signal

import pytest

from support import golden
from support.summary import Summary


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-facts",
        action="store_true",
        help="Fail where the recorded facts are absent or a promise's tests were all left out.",
    )


def pytest_configure(config: pytest.Config) -> None:
    strict = config.getoption("require_facts")
    if strict and not golden.root().is_dir():
        raise pytest.UsageError(
            f"the recorded facts are not in {golden.root()}; BODA_GOLDEN names another folder"
        )
    # A shell that is not interactive starts what it runs in the background with SIGINT ignored, and
    # whatever is started by it inherits that; tests interrupt what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(Summary(strict=strict))
