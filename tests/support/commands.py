"""Commands run in this process, as the installed program runs them: a new Python would take a second for each."""

import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import pytest

from openledger_node.cli.main import main
from openledger_node.config import load_config
from openledger_node.home import Home

from .nodes import node_environment
from .verbs import Ran


def run_command(home: Home, *words: str, **environment: str) -> Ran:
    """Run one command for a data directory; on no network, unless `environment` names another.

    Only for the main thread: a command has the process's environment, arguments and output to itself, and pytest
    changes the output, too, from test to test.
    """
    stdout, stderr = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch:
        # NOTE: the environment is replaced, not changed, since a thread may read it meanwhile to start a process.
        patch.setattr(os, "environ", found := node_environment(home, **environment))
        # Its default was bound to os.environ when it was imported.
        patch.setattr(load_config, "__kwdefaults__", {**(load_config.__kwdefaults__ or {}), "environment": found})
        patch.setattr(sys, "argv", ["openledger-node", *words])
        with redirect_stdout(stdout), redirect_stderr(stderr), pytest.raises(SystemExit) as ended:
            main()
    return Ran(int(ended.value.code or 0), stdout.getvalue(), stderr.getvalue())


def command_json(home: Home, *words: str, **environment: str) -> dict[str, Any]:
    """Run a command with `--json`, and read its one object."""
    ran = run_command(home, *words, "--json", **environment)
    assert ran.status == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found
