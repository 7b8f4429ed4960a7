"""One pytest run that also writes a report: `run_pytest.py REPORT ARGUMENTS…`. scripts/run_tests.py starts these.

The report is written only at the end of the run. A run that dies, or that a hanging test ends, leaves none.
"""

import atexit
import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

SLOWEST = 20
"""As many tests are reported with their seconds."""


class Recorder:
    """Seconds by file and by test, counts, failed tests, and the reasons of those that were skipped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds: Counter[str] = Counter()
        self._tests: Counter[str] = Counter()
        self._num_passed = 0
        self._failed: dict[str, None] = {}
        self._skipped: Counter[str] = Counter()
        self._num_left_out = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Setup, call or teardown of a test."""
        self._seconds[report.nodeid.partition("::")[0]] += report.duration  # type: ignore[assignment]
        self._tests[report.nodeid] += report.duration  # type: ignore[assignment]
        self._num_passed += report.when == "call" and report.passed
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that could not be read, or that skips itself."""
        self._note(report)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Tests that this run leaves out by their marker; these are no skips."""
        self._num_left_out += len(items)

    def pytest_sessionfinish(self) -> None:
        """Write the report."""
        report = {
            "seconds": self._seconds,
            "slowest": dict(self._tests.most_common(SLOWEST)),
            "passed": self._num_passed,
            "failed": list(self._failed),
            "skipped": self._skipped,
            "left_out": self._num_left_out,
        }
        self._path.write_text(json.dumps(report))

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None
        elif report.skipped and not hasattr(report, "wasxfail"):
            assert isinstance(report.longrepr, tuple), "pytest gives a skip as file, line and reason"
            self._skipped[report.longrepr[2].removeprefix("Skipped: ").removeprefix("NOT TESTED: ")] += 1


if __name__ == "__main__":
    status = pytest.main(sys.argv[2:], plugins=[Recorder(Path(sys.argv[1]))])
    sys.stdout.flush()
    atexit._run_exitfuncs()
    os._exit(status)  # a thread that a failed test left running would keep this process alive for ever
