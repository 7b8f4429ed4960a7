"""A node's data directory whose commands and daemon are forks of a process that has loaded their modules."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.commands import ForkedCommand, run_command

from openledger_node.demo.processes import STOP_TIMEOUT_S, DemoError, OperatorHome, Process


class ForkedHome(OperatorHome):
    """An `OperatorHome` that spares each command and each start three seconds of imports."""

    def start_daemon(self) -> None:
        """Start the node: a real start, if PYTHONPATH gives it modules of a test's own."""
        if "PYTHONPATH" in self._environment:
            super().start_daemon()
            return
        self.daemon = ForkedProcess(self.name, ["start", "--no-hello"], self._environment, self.root / "start.log")

    def run(self, *words: str) -> Any:
        """Run a command with `--json`, and return its object.

        Raises:
            DemoError: the command failed.
        """
        ran = run_command(*words, "--json", env=self._environment)
        if ran.returncode:
            raise DemoError(f"{self.name}: `openledger-node {' '.join(words)}` failed: {ran.stderr}")
        return json.loads(ran.stdout)


class ForkedProcess(Process):
    """A forked command with its own log file."""

    def __init__(self, name: str, words: list[str], environment: Mapping[str, str], log_file: Path) -> None:
        self.name = name
        self._log_file = log_file
        with log_file.open("a") as log:
            self._process: Any = ForkedCommand(*words, env=environment, out=log, err=log)

    def close(self) -> None:
        """Interrupt the process, and kill it if it does not end."""
        self.interrupt()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
