"""A test may be skipped only for a reason that stands in `allowed_skips.txt`.

A check that is skipped without anybody noticing proves nothing. Each line of the file has a test's
id (without parameters) and the reason, both as shell patterns: `tests/a.py::test_b: no node*`.
"""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ALLOWED = Path(__file__).with_name("allowed_skips.txt")


def allowed(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The patterns of each line. Raises ValueError for a line without a reason."""
    for line in lines:
        text = line.strip()
        if text and not text.startswith("#"):
            test, separator, reason = text.partition(": ")
            if not separator or not reason.strip():
                raise ValueError(f"a skip without a reason: {text}")
            yield test, reason.strip()


class SkipsCheck:
    """Fails the run if a test was skipped that may not be."""

    def __init__(self, patterns: Iterable[tuple[str, str]]) -> None:
        self.patterns = list(patterns)
        self.unexpected: list[str] = []

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        test = report.nodeid.partition("[")[0]
        reason = (
            report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        ).removeprefix("Skipped: ")
        if not any(
            fnmatchcase(test, one) and fnmatchcase(reason, why) for one, why in self.patterns
        ):
            self.unexpected.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unexpected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.unexpected:
            terminalreporter.section(f"skipped, and not allowed by {ALLOWED.name}")
            for line in self.unexpected:
                terminalreporter.line(line)


def pytest_configure(config: pytest.Config) -> None:
    # The workers of xdist send their reports to the process that started them.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipsCheck(allowed(ALLOWED.read_text("utf-8").splitlines())))
