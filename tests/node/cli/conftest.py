"""A verb at a time, on a home of its own."""

import os
import sys

import pytest
from support.verbs import Ran, Run

from openledger_node.cli.main import main
from openledger_node.home import Home


@pytest.fixture
def run(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a verb in this process, exactly as the installed command does."""
    for name in [name for name in os.environ if name.startswith("OPENLEDGER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OPENLEDGER_HOME", str(home.root))

    def run_verb(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["openledger-node", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return Ran(int(ended.value.code or 0), output.out, output.err)

    return run_verb
