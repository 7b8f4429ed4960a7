"""A verb of the demonstration that fails or hangs ends it with one sentence."""

from pathlib import Path

import pytest

from openledger_node.demo import processes
from openledger_node.demo.processes import DemoError, OperatorHome


def test_a_verb_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"^A: `openledger-node adapters inspect nobody` failed: .*nobody"):
        OperatorHome("A", tmp_path / "a", {}).run("adapters", "inspect", "nobody")


def test_a_verb_that_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "VERB_TIMEOUT_S", 0.01)
    with pytest.raises(DemoError, match=r"^A: `openledger-node version` did not end within 0\.01 s$"):
        OperatorHome("A", tmp_path / "a", {}).run("version")
