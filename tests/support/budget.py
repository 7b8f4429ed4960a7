"""Seconds of the processor that a run's tests take, by folder, beside what tests/budget.toml gives them.

What a test takes is what its worker's process takes, and all that it started and that ended meanwhile. A session's
fixture counts for the test that starts it, and its processes for the one that ends them. The workers' start is in no
folder.

Machines differ, and a busy one takes more seconds for the same work. So the workers time the same loop again and
again, and a machine that is slower than the one of the budgets has more.
"""

import os
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import pytest

from .commands import FORKED_S

BUDGETS = Path(__file__).resolve().parent.parent / "budget.toml"
SLACK = 1.25
"""On CI, a tier that takes more than this many times its budget fails."""

LOOP_S = 0.02
"""Seconds that `loop_s` takes on the machine that the budgets are for."""

TESTS_PER_LOOP = 100
SLOWEST_MAX = 15
Seconds = Counter[str]


def processor_s() -> float:
    """Seconds of the processor that this process, its ended children and what it had forked have taken."""
    return sum(os.times()[:4]) + sum(FORKED_S)


def loop_s() -> float:
    """Return the processor's seconds for a loop that is always the same."""
    start_s = time.process_time()
    for _ in range(1_000_000):
        pass
    return time.process_time() - start_s


def folder_of(nodeid: str) -> str:
    """Return the folder of a test as budgets name it: `protocol`, or `node/chain`."""
    words = nodeid.partition("::")[0].split("/")[1:-1]
    return "/".join(words[: 2 if words[:1] == ["node"] else 1]) or "."


class Budget:
    """A pytest plugin: counts in each worker, and prints in the process that started them."""

    def __init__(self, tier: str | None) -> None:
        self._budgets: Mapping[str, float] = tomllib.loads(BUDGETS.read_text())[tier] if tier else {}
        self._seconds: Seconds = Counter()
        self._slowest: Seconds = Counter()
        self._skipped: Counter[str] = Counter()
        self._last_s: float | None = None
        self._num_tests = 0
        self._loop_s = 0.0
        self._loops_s: list[float] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        """Write into each report of setup, call and teardown what it took."""
        now_s = processor_s()
        item.user_properties = [("processor_s", now_s - self._last_s), ("loop_s", self._loop_s)]
        self._last_s = now_s
        return (yield)

    def pytest_runtest_protocol(self) -> None:
        if self._last_s is None:
            self._last_s = processor_s()
        if self._num_tests % TESTS_PER_LOOP == 0:
            self._loop_s = loop_s()
            self._last_s += self._loop_s
        self._num_tests += 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        took: dict[str, float] = dict(report.user_properties)  # type: ignore[arg-type]
        took_s = took.get("processor_s", 0.0)
        self._loops_s.append(took.get("loop_s", LOOP_S))
        self._seconds[folder_of(report.nodeid)] += took_s
        self._slowest[report.nodeid] += took_s
        self._note_skip(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note_skip(report)

    def _note_skip(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple) and not hasattr(report, "wasxfail"):
            self._skipped[report.longrepr[2].removeprefix("Skipped: ").removeprefix("NOT TESTED: ")] += 1
        if getattr(report, "when", None) == "call":
            said = [line.partition("NOT TESTED: ") for line in report.capstdout.splitlines()]
            self._skipped.update(reason for before, _, reason in said if reason and not before)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run on CI that took too long, and nothing else."""
        if self._is_over and session.exitstatus == pytest.ExitCode.OK and "CI" in os.environ:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @property
    def _slowness(self) -> float:
        """The factor by which this machine is slower than the one that the budgets are for, and at least 1."""
        return max(1.0, median(self._loops_s or [LOOP_S]) / LOOP_S)

    @property
    def _is_over(self) -> bool:
        return bool(self._budgets) and self._seconds.total() > SLACK * self._slowness * sum(self._budgets.values())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._budgets:
            return
        say = terminalreporter.write_line
        say(f"\nslowest of {len(self._slowest)} tests, in seconds of the processor:")
        for test, seconds in self._slowest.most_common(SLOWEST_MAX):
            say(f"{seconds:7.1f}  {test}")
        times = self._slowness
        say(f"\nseconds of the processor, and the budget (tests/budget.toml times {times:.2f}, for this machine):")
        for folder in sorted(self._seconds | Counter(self._budgets)):
            took_s = sum(seconds for each, seconds in self._seconds.items() if f"{each}/".startswith(f"{folder}/"))
            say(f"{took_s:7.0f} {times * self._budgets.get(folder, 0):6.0f}  {folder}")
        say(f"{self._seconds.total():7.0f} {times * sum(self._budgets.values()):6.0f}  all")
        if self._is_over:
            say(f"OVER THE BUDGET by more than a quarter{', which fails on CI' if 'CI' in os.environ else ''}")
        for reason, count in sorted(self._skipped.items()):
            say(f"NOT TESTED: {reason} ({count} test{'s' * (count > 1)})")
