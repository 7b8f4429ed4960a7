"""The node as a launchd agent of macOS."""

import os
import plistlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ...errors import ConfigError
from ...home import HOME_VARIABLE, Home
from .commands_run import ABSENT, Ran, must_run, run_command
from .definition import MARK, RunCommand, ServiceDefinition, ServiceState

ASK_S: Final = 20.0
RESTART_AFTER_S: Final = 10
UNKNOWN_SERVICE: Final = 113
"""Exit code of `launchctl print` for a service that is not loaded."""


class Launchd:
    """The launchd of the user's session."""

    title = "launchd"

    def __init__(self, run: RunCommand = run_command) -> None:
        self._run = run
        self._domain = f"gui/{os.getuid()}"

    def check(self) -> None:
        """Check that launchd runs a session of this user.

        Raises:
            ConfigError: it does not; the message says what to do.
        """
        found = self._run(["launchctl", "print", self._domain], ASK_S)
        if found.status == ABSENT:
            raise ConfigError("there is no launchctl on this machine: run `openledger-node start` by hand")
        if found.status:
            raise ConfigError("launchd has no session of this user: log in on the machine's screen, and try again")

    def file(self, name: str) -> Path:
        """The agent's property list."""
        return Path.home() / "Library" / "LaunchAgents" / f"{name}.plist"

    def text(self, definition: ServiceDefinition) -> str:
        """The property list. An agent that ends with 0 is not started again, and one that fails is."""
        content = plistlib.dumps(
            {
                "Label": definition.name,
                "ProgramArguments": list(definition.command),
                "EnvironmentVariables": {HOME_VARIABLE: str(definition.home)},
                "RunAtLoad": True,
                "KeepAlive": {"SuccessfulExit": False},
                "ThrottleInterval": RESTART_AFTER_S,
                "ExitTimeOut": definition.stop_s,
                "ProcessType": "Interactive",
                "StandardErrorPath": str(Home(definition.home).service_log),
                "Umask": 0o077,
            },
            sort_keys=False,
        ).decode()
        head, _, rest = content.partition("<plist")
        return f"{head}<!-- {MARK} -->\n<plist{rest}"

    def load(self, definition: ServiceDefinition, *, restarts: bool) -> None:
        """Load the property list anew, which starts the agent.

        Raises:
            NodeError: launchd refuses.
        """
        if restarts or self._print(definition.name).status == 0:
            self.unload(definition.name)
        words = ["launchctl", "bootstrap", self._domain, str(self.file(definition.name))]
        must_run(words, self._run(words, ASK_S))

    def unload(self, name: str) -> None:
        """Stop the agent and wait for its end.

        Raises:
            NodeError: launchd refuses.
        """
        if self._print(name).status == UNKNOWN_SERVICE:
            return
        words = ["launchctl", "bootout", f"{self._domain}/{name}"]
        must_run(words, self._run(words, 4000.0))

    def forget(self, name: str) -> None:
        """Do nothing: launchd has forgotten an agent that was unloaded."""

    def state(self, name: str) -> ServiceState:
        """The agent's state."""
        found = self._print(name)
        is_loaded = found.status == 0
        process = re.search(r"^\s*pid = (\d+)", found.out, re.MULTILINE)
        ended = re.search(r"^\s*last exit code = (\d+)", found.out, re.MULTILINE)
        has_failed = process is None and ended is not None and ended[1] != "0"
        return ServiceState(
            name=name,
            file=self.file(name),
            is_installed=self.file(name).exists(),
            is_enabled=is_loaded,
            state="running" if process else "failed" if has_failed else "stopped",
            process=int(process[1]) if process else None,
            why=f"it ended with exit code {ended[1]}" if has_failed and ended else "",
        )

    def start_command(self, name: str) -> str:
        """The command that starts an agent that is loaded."""
        return f"launchctl kickstart {self._domain}/{name}"

    def log_command(self, name: str, lines: int, *, follow: bool) -> Sequence[str]:
        """The command that prints the agent's standard error."""
        listed = plistlib.loads(self.file(name).read_bytes())
        return ["tail", "-n", str(lines), *(["-F"] if follow else []), listed["StandardErrorPath"]]

    def _print(self, name: str) -> Ran:
        return self._run(["launchctl", "print", f"{self._domain}/{name}"], ASK_S)
