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
    # A shell script starts its background jobs with SIGINT ignored, and they hand that on to
    # whatever they start: a command that a test interrupts would never end.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(Summary(strict=strict))
