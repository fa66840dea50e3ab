"""What a run says at its end: what it left out, which promises it did not hold, where time went."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest

from support import golden
from support.specification import named, promises


class Summary:
    """A pytest plugin that gathers the reports of a run's tests.

    strict: fail a run that left out tests for want of the recorded facts, or all of a promise.
    """

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._absent: dict[str, bool] = {}
        self._outcomes: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._time_s: Counter[str] = Counter()
        self._tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file, _, test = report.nodeid.removeprefix("tests/").partition("::")
        room = file.partition("/")[0]
        self._time_s[room] += report.duration
        self._tests[room] += report.when == "setup"
        if report.when == "call" or not report.passed:
            function = test.partition("[")[0].rpartition("::")[2]
            self._outcomes[file, function].add(report.outcome)
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            if reason.startswith(golden.ABSENT):
                self._absent[report.nodeid] = report.nodeid.endswith("[absent]")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._strict and not session.exitstatus and (self._absent or self.not_held()[0]):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def not_held(self) -> tuple[list[int], list[int]]:
        """Return the promises all of whose tests were skipped, and those of which some were.

        A promise is judged only if the run had all the tests that it names.
        """
        none, part = [], []
        for number, promise in promises().items():
            outcomes = [self._outcomes.get(test) for test in named(promise)]
            if outcomes and None not in outcomes:
                skipped = [found == {"skipped"} for found in outcomes]
                if all(skipped):
                    none.append(number)
                elif any(skipped):
                    part.append(number)
        return none, part

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminal = terminalreporter
        if len(self._time_s) > 1:
            terminal.write_sep("=", "time by room")
            for room, time_s in self._time_s.most_common():
                terminal.write_line(f"{room:<14}{time_s:8.0f} s {self._tests[room]:7,} tests")
        loud = {"red": True, "bold": True}
        if self._absent:
            tables = sum(self._absent.values())
            terminal.write_sep("!", "THE RECORDED FACTS ARE ABSENT", **loud)
            terminal.write_line(
                f"{len(self._absent)} tests were left out, {tables} of them whole tables of "
                f"recorded cases: {golden.root()} is not there or not whole "
                "(BODA_GOLDEN names another).",
                **loud,
            )
        none, part = self.not_held()
        if none:
            terminal.write_line(
                f"NOT HELD by this run, for every test of theirs was left out: {_list(none)} of "
                "SPECIFICATION.md.",
                **loud,
            )
        if part:
            terminal.write_line(
                f"Held in part, for some of their tests were left out: {_list(part)}.", yellow=True
            )


def _list(numbers: list[int]) -> str:
    return f"promise{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
