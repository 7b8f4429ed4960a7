"""A verb of the demonstration that fails or hangs ends it with one sentence."""

import signal
from pathlib import Path

import pytest

from openledger_node.demo import processes
from openledger_node.demo.processes import DemoError, OperatorHome, wait_for

pytestmark = pytest.mark.process


def test_a_verb_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"^A: `openledger-node adapters inspect nobody` failed: .*nobody"):
        OperatorHome("A", tmp_path / "a", {}).run("adapters", "inspect", "nobody")


def test_a_verb_that_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "VERB_TIMEOUT_S", 0.01)
    with pytest.raises(DemoError, match=r"^A: `openledger-node version` did not end within 0\.01 s$"):
        OperatorHome("A", tmp_path / "a", {}).run("version")


def test_a_process_of_a_background_job_ends_when_it_is_interrupted(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell sets it for `command &`
    try:
        process = OperatorHome("A", tmp_path / "a", {}).start("devnet", "start", "--port", "0", "--json")
        process.read_object()
    finally:
        signal.signal(signal.SIGINT, before)
    process.interrupt()
    wait_for("the process has ended", lambda: not process.is_alive, timeout_s=processes.STOP_TIMEOUT_S)
    process.close()
