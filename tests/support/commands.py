"""Commands run in this process, as the installed program runs them: a new Python would take a second for each."""

import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import pytest

from openledger_node.cli.main import main
from openledger_node.home import Home

from .nodes import node_environment
from .verbs import Ran


def run_command(home: Home, *words: str, **environment: str) -> Ran:
    """Run one command for a data directory. The environment is the process's own: never run two at once."""
    stdout, stderr = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        wanted = node_environment(home, **environment)
        for name in os.environ.keys() - wanted.keys():
            patch.delenv(name)
        for name, value in wanted.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["openledger-node", *words])
        with pytest.raises(SystemExit) as ended:
            main()
    return Ran(int(ended.value.code or 0), stdout.getvalue(), stderr.getvalue())


def command_json(home: Home, *words: str, **environment: str) -> dict[str, Any]:
    """Run a command with `--json` in this process, and read its one object."""
    ran = run_command(home, *words, "--json", **environment)
    assert ran.status == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found
