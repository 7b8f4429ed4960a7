"""What holds a tier to its name and its budget, and says what a run left out."""

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
from support.budget import SLACK, Budget


def ran(seconds: float, *, skipped: str = "") -> Any:
    """The report of a test of `node/chain` that took these seconds of the processor."""
    return SimpleNamespace(
        nodeid="tests/node/chain/test_gas.py::test_a_price@node/chain/test_gas.py",
        user_properties=[("processor_s", seconds)],
        skipped=bool(skipped),
        longrepr=("test_gas.py", 1, skipped),
    )


def end_of(budget: Budget) -> tuple[str, int]:
    """What a run prints at its end, and its exit status."""
    lines: list[str] = []
    session: Any = SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    budget.pytest_sessionfinish(session)
    reporter: Any = SimpleNamespace(write_line=lines.append)
    budget.pytest_terminal_summary(reporter)
    return "\n".join(lines), session.exitstatus


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> Budget:
    """On CI, of a tier with 100 seconds for node/chain."""
    monkeypatch.setenv("CI", "1")
    monkeypatch.setattr("support.budget.read_budgets", lambda tier: {"node/chain": 100.0})
    return Budget("test")


def test_a_run_within_its_budget_prints_its_seconds_by_folder(budget: Budget) -> None:
    budget.pytest_runtest_logreport(ran(SLACK * 100))
    printed, status = end_of(budget)
    assert "    125    100  node/chain\n" in printed
    assert "OVER" not in printed
    assert status == pytest.ExitCode.OK


def test_a_run_that_takes_a_quarter_more_than_its_budget_fails_on_ci_and_only_there(
    budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget.pytest_runtest_logreport(ran(SLACK * 100 + 1))
    printed, status = end_of(budget)
    assert "OVER THE BUDGET by more than a quarter, which fails on CI" in printed
    assert status == pytest.ExitCode.TESTS_FAILED
    monkeypatch.delenv("CI")
    printed, status = end_of(budget)
    assert "OVER THE BUDGET" in printed
    assert status == pytest.ExitCode.OK


def test_what_was_left_out_is_said_with_its_reason_and_number(budget: Budget) -> None:
    for _ in range(2):
        budget.pytest_runtest_logreport(ran(0, skipped="Skipped: NOT TESTED: the page, for want of chromium"))
    assert end_of(budget)[0].endswith("NOT TESTED: the page, for want of chromium (2 tests)")


def test_each_tier_has_a_budget_and_a_plain_run_prints_none() -> None:
    for tier in ("test", "test-more"):
        assert "all" in end_of(Budget(tier))[0]
    assert end_of(Budget(None))[0] == ""


def test_a_test_of_the_first_tier_that_starts_a_process_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"this test starts a process \(true\): mark it `process`"):
        subprocess.run(["true"], check=True)


def test_a_worker_knows_the_group_of_its_test(request: pytest.FixtureRequest) -> None:
    """A pytest that pytest-xdist does not understand gives each test to any worker, and says nothing."""
    group = request.node.get_closest_marker("xdist_group").args[0]
    assert group == "house/test_tiers.py"
    if hasattr(request.config, "workerinput"):
        assert request.node.nodeid.endswith(f"@{group}")
