"""`make test` runs every test file, and forgives nothing but what passes alone."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.processes.nodes import ROOT

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


def test_a_run_that_ends_halfway_or_fails_again_has_failed(runner: Any, folder: Path) -> None:
    (folder / "test_file.py").write_text(ENDS)
    assert not runner.are_good([runner.run(runner.Job(name="ends", paths=("test_file.py",)))])
    (folder / "test_file.py").write_text("def test_it():\n    assert False\n")
    failing = runner.run(runner.Job(name="fails", paths=("test_file.py",)))
    assert failing.is_worth_a_second_look
    assert not runner.are_good([failing])
