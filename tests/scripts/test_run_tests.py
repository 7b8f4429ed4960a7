"""`make test` shares tests out, forgives what fails beside others and passes alone, and forgives nothing else."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.processes.nodes import ROOT

UNSTEADY = """
from pathlib import Path
import pytest

@pytest.mark.parametrize("n", range(4))
def test_it(n):
    been = Path(f"been-{n}")
    is_first = not been.exists()
    been.touch()
    assert not is_first
"""
BUILDS_ON_ANOTHER = """
from pathlib import Path

made = []

def test_making():
    made.append(1)

def test_using():
    been = Path("been")
    is_first = not been.exists()
    been.touch()
    assert made and not is_first
"""
PASSES_AND_SKIPS = """
import pytest

def test_it():
    pass

@pytest.mark.parametrize("n", range(2))
def test_skipped(n):
    pytest.skip("no such processor")
"""
ENDS = "import os\n\ndef test_it():\n    os._exit(1)\n"


@pytest.fixture
def runner() -> Any:
    return import_module("run_tests")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, runner: Any) -> Path:
    """An empty folder of tests, whose runs start fast."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "ENVIRONMENT", {**runner.ENVIRONMENT, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def outcome(runner: Any, **fields: Any) -> Any:
    return runner.Outcome(job=runner.Job(name="some", paths=("test_file.py",)), **fields)


def test_every_file_runs_once_and_what_belongs_together_runs_together(runner: Any) -> None:
    files = [
        *("tests/conformance/test_chain.py", "tests/house/test_plugs_ran.py"),
        *("tests/node/test_long.py", *(f"tests/node/test_{number:03}.py" for number in range(500))),
        *("tests/web/test_look.py", "tests/web/test_shell.py"),
    ]
    jobs = runner.bundles(files, {"tests/web/test_look.py": 500, "tests/node/test_long.py": 400})
    assert sorted(file for job in jobs for file in job.paths) == sorted(files)
    together = [set(job.paths) for job in jobs]
    assert {"tests/web/test_look.py", "tests/web/test_shell.py"} in together
    assert {"tests/conformance/test_chain.py", "tests/house/test_plugs_ran.py"} in together
    assert {"tests/node/test_long.py"} in together
    others = [job for job in jobs if job.expected_s < 400]
    assert len(others) > 2
    assert all(job.expected_s <= runner.BUNDLE_S for job in others)


def test_all_test_files_of_this_project_are_run_or_belong_to_a_server_or_a_card(
    runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    missed = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    missed -= {file for job in runner.bundles(runner.test_files(), {}) for file in job.paths}
    assert {Path(file).parent for file in missed} == {Path("tests/vllm"), Path("tests/llamacpp"), Path("tests/gpu")}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": 0}, True),
        ({"status": 5, "report": {"left_out": 2}}, True),
        ({"status": 5, "report": {"left_out": 0}}, False),
        ({"status": 1}, False),
        ({"status": 2, "report": {"failed": ["test_file.py"]}}, False),
        ({"status": 1, "report": {"failed": [f"test_{number}.py::test_it" for number in range(4)]}}, False),
    ],
    ids=["passed", "all-left-out", "nothing-there", "died", "not-read", "many"],
)
def test_what_is_no_accident_is_not_forgiven(runner: Any, fields: dict[str, Any], expected: bool) -> None:
    assert runner.are_good([outcome(runner, status=0), outcome(runner, **fields)]) is expected


def test_failures_of_all_jobs_count_together(runner: Any) -> None:
    some = [outcome(runner, status=1, report={"failed": [f"a{n}.py::it", f"b{n}.py::it"]}) for n in range(2)]
    assert not runner.are_good(some)


def test_a_check_that_fails_is_not_forgiven(runner: Any) -> None:
    assert not runner.are_good([runner.Outcome(job=runner.Job(name="lint", command=("false",)), status=1)])


def test_what_passes_alone_is_forgiven_and_named_and_what_did_not_run_is_counted(
    runner: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "test_unsteady.py").write_text(UNSTEADY)
    (folder / "test_skips.py").write_text(PASSES_AND_SKIPS)
    check = ("sh", "-c", "echo NOT TESTED: the contracts")
    jobs = [
        runner.Job(name="unsteady", paths=("test_unsteady.py",)),
        runner.Job(name="skips", paths=("test_skips.py",)),
        runner.Job(name="check", command=check),
    ]
    outcomes = list(runner.run_all(jobs, 3))
    assert runner.are_good(outcomes)
    printed = capsys.readouterr().out
    assert "UNSTEADY, passed alone:\n" + "".join(f"  test_unsteady.py::test_it[{n}]\n" for n in range(4)) in printed
    assert printed.count("assert not is_first") >= 2, "a failed job's output is shown"
    assert runner.not_tested(outcomes) == [
        "NOT TESTED: the contracts",
        "NOT TESTED: no such processor (2 tests)",
    ]
    assert runner.counts(outcomes) == "1 passed, 4 failed, 2 skipped"
    assert any("test_unsteady.py::test_it[0]" in line for line in runner.slowest(outcomes))
    assert set(runner.recorded(outcomes)) <= {"check", "test_skips.py", "test_unsteady.py"}


def test_a_second_look_has_what_the_tests_before_it_made(runner: Any, folder: Path) -> None:
    (folder / "test_file.py").write_text(BUILDS_ON_ANOTHER)
    failing = runner.run(runner.Job(name="fails", paths=("test_file.py",)))
    assert failing.failed == ["test_file.py::test_using"]
    assert runner.are_good([failing])


def test_a_run_that_ends_halfway_or_fails_again_has_failed(runner: Any, folder: Path) -> None:
    (folder / "test_file.py").write_text(ENDS)
    assert not runner.are_good([runner.run(runner.Job(name="ends", paths=("test_file.py",)))])
    (folder / "test_file.py").write_text("def test_it():\n    assert False\n")
    failing = runner.run(runner.Job(name="fails", paths=("test_file.py",)))
    assert failing.is_worth_a_second_look
    assert not runner.are_good([failing])


def test_a_whole_run_prints_its_slowest_tests_and_counts_and_records_its_seconds(
    runner: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "tests").mkdir()
    (folder / "tests" / "test_some.py").write_text(PASSES_AND_SKIPS)
    monkeypatch.setattr(runner, "CHECKS", {"lint": ("true",)})
    monkeypatch.setattr("sys.argv", ["run_tests.py", "--record"])
    with pytest.raises(SystemExit) as ended:
        runner.main()
    assert not ended.value.code
    printed = capsys.readouterr().out
    assert "s  tests/test_some.py::test_it\n" in printed
    assert "NOT TESTED: no such processor (2 tests)\n1 passed, 0 failed, 2 skipped\npassed in " in printed
    assert (folder / runner.DURATIONS).exists()
