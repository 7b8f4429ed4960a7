"""`make test` forgives what fails beside others and passes alone, says so, and forgives nothing else."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.nodes import ROOT

FAILS = "def test_it():\n    assert False\n"
ENDS = "import os\n\ndef test_it():\n    os._exit(1)\n"
FAIL_ONCE = """
from pathlib import Path
import pytest

@pytest.mark.parametrize("n", range({num}))
def test_it(n):
    been = Path(f"been-{{n}}")
    is_first = not been.exists()
    been.touch()
    assert not is_first
"""


@pytest.fixture
def tests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return import_module("run_tests")


def outcome(tests: Any, text: str) -> bool:
    """Run a file of tests as `make test` does, and say whether it forgives it."""
    Path("test_file.py").write_text(text)
    run = tests.Run("some", ("test_file.py",))
    return bool(tests.holds(run, tests.subprocess.run(run.command, check=False).returncode))


def test_what_passes_alone_is_forgiven_and_named(tests: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert outcome(tests, FAIL_ONCE.format(num=2))
    assert (
        "UNSTEADY, passed alone:\n  test_file.py::test_it[0]\n  test_file.py::test_it[1]\n" in capfd.readouterr().out
    )


@pytest.mark.parametrize(
    "text", [FAILS, FAIL_ONCE.format(num=4), "import nothing_of_this_name\n"], ids=["again", "many", "not-read"]
)
def test_what_fails_again_or_is_much_is_not_forgiven(tests: Any, text: str) -> None:
    assert not outcome(tests, text)


def test_a_run_that_ends_halfway_is_not_forgiven_for_what_failed_before(tests: Any) -> None:
    assert outcome(tests, FAIL_ONCE.format(num=1))
    assert not outcome(tests, ENDS)


def test_what_passes_passes(tests: Any) -> None:
    assert outcome(tests, "def test_it():\n    pass\n")
