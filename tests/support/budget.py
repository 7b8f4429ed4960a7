"""Seconds of the processor that a run's tests take, by folder, beside what tests/budget.toml gives them.

What a test takes is what its worker's process takes, and all that it started and that ended meanwhile. A session's
fixture counts for the test that starts it, and its processes for the one that ends them. The workers' start is in no
folder.
"""

import os
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from .commands import FORKED_S

BUDGETS = Path(__file__).resolve().parent.parent / "budget.toml"
SLACK = 1.25
"""On CI, a tier that takes more than this many times its budget fails."""

SLOWEST_MAX = 15
Seconds = Counter[str]


def processor_s() -> float:
    """Seconds of the processor that this process, its ended children and what it had forked have taken."""
    return sum(os.times()[:4]) + sum(FORKED_S)


def read_budgets(tier: str) -> Mapping[str, float]:
    """Return a tier's seconds by folder."""
    budgets: dict[str, float] = tomllib.loads(BUDGETS.read_text())[tier]
    return budgets


def folder_of(nodeid: str) -> str:
    """Return the folder of a test as budgets name it: `protocol`, or `node/chain`."""
    words = nodeid.partition("::")[0].split("/")[1:-1]
    return "/".join(words[: 2 if words[:1] == ["node"] else 1]) or "."


class Budget:
    """A pytest plugin: counts in each worker, and prints in the process that started them."""

    def __init__(self, tier: str | None) -> None:
        self._budgets: Mapping[str, float] = read_budgets(tier) if tier else {}
        self._seconds: Seconds = Counter()
        self._slowest: Seconds = Counter()
        self._skipped: Counter[str] = Counter()
        self._last_s: float | None = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        """Write into each report of setup, call and teardown what it took."""
        now_s = processor_s()
        item.user_properties = [("processor_s", now_s - self._last_s)]
        self._last_s = now_s
        return (yield)

    def pytest_runtest_protocol(self) -> None:
        if self._last_s is None:
            self._last_s = processor_s()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        took_s = dict(report.user_properties).get("processor_s", 0.0)
        self._seconds[folder_of(report.nodeid)] += took_s  # type: ignore[assignment]
        self._slowest[report.nodeid] += took_s  # type: ignore[assignment]
        self._note_skip(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note_skip(report)

    def _note_skip(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple) and not hasattr(report, "wasxfail"):
            self._skipped[report.longrepr[2].removeprefix("Skipped: ").removeprefix("NOT TESTED: ")] += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run on CI that took too long, and nothing else."""
        if self._is_over and session.exitstatus == pytest.ExitCode.OK and "CI" in os.environ:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @property
    def _is_over(self) -> bool:
        return bool(self._budgets) and self._seconds.total() > SLACK * sum(self._budgets.values())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._budgets:
            return
        say = terminalreporter.write_line
        say(f"\nslowest of {len(self._slowest)} tests, in seconds of the processor:")
        for test, seconds in self._slowest.most_common(SLOWEST_MAX):
            say(f"{seconds:7.1f}  {test}")
        say("\nseconds of the processor, and the budget of tests/budget.toml:")
        for folder in sorted(self._seconds | Counter(self._budgets)):
            say(f"{self._seconds[folder]:7.0f} {self._budgets.get(folder, 0):6.0f}  {folder}")
        say(f"{self._seconds.total():7.0f} {sum(self._budgets.values()):6.0f}  all")
        if self._is_over:
            say(f"OVER THE BUDGET by more than a quarter{', which fails on CI' if 'CI' in os.environ else ''}")
        for reason, count in sorted(self._skipped.items()):
            say(f"NOT TESTED: {reason} ({count} test{'s' * (count > 1)})")
