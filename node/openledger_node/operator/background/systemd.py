"""The node as a systemd user unit."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ...errors import ConfigError
from ...home import HOME_VARIABLE
from .commands_run import ABSENT, Ran, must_run, run_command
from .definition import FINAL_STATUS, MARK, RunCommand, ServiceDefinition, ServiceState

SYSTEMCTL: Final = ("systemctl", "--user")
ASK_S, STOP_S = 20.0, 4000.0  # a stop may wait for an hour of [node] drain_grace_s

WATCHDOG_S: Final = 120
"""The node gives a sign of life each third of it. Opening another base's tokenizer blocks for some seconds."""

START_S: Final = 900
"""A first start downloads a base; each step that the node tells gives it as long again."""

ABORT_S: Final = 10
RESTART_AFTER_S, RESTART_AFTER_S_MAX, RESTART_STEPS = 10, 120, 5
"""The wait before a restart grows in steps, and there is no last try: a full disk may have room again tomorrow.

systemd before 254 ignores the growth and always waits the shortest time. Newer ones count every restart since the
owner last started the unit, so that a node which has run for months may wait the longest time after a single crash.
"""

PRIVATE: Final = ("UMask=0077", "LimitCORE=0")
"""A core file would hold prompts and keys."""

HARDENING: Final = (
    "NoNewPrivileges=yes",
    "RestrictSUIDSGID=yes",
    "RestrictRealtime=yes",
    "RestrictNamespaces=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
)
"""Restrictions that need no root. Each of them keeps set-uid programs from working."""

NVIDIA_DRIVER: Final = Path("/proc/driver/nvidia")
NOT_HARDENED: Final = "# Not restricted further: NVIDIA's driver makes its devices by a set-uid program."

SHOWN: Final = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "MainPID", "NRestarts", "Result", "ExecMainStatus",
    "StatusText",
)  # fmt: skip
STATES: Final = {
    "active": "running", "activating": "starting", "reloading": "running", "deactivating": "stopping",
    "failed": "failed",
}  # fmt: skip

RESULTS: Final = {
    "watchdog": "it gave no sign of life, so systemd ended it",
    "timeout": "it did not start or stop in time",
    "start-limit-hit": "systemd gave up after too many failures; `openledger-node service install` lifts this limit",
    "oom-kill": "the system ran out of memory and ended it",
}

NO_PROGRAM: Final = "203"
"""systemd's exit code of a program that it could not run, such as one of an environment that was deleted."""

WHY_NO_PROGRAM: Final = "its program is gone or can't be run; run `openledger-node service install` again"

ABSENT_HELP: Final = (
    "On a machine with systemd, log in as the node's user (`su` and `sudo` open no session). In WSL, write `[boot]` "
    "and `systemd=true` into /etc/wsl.conf and run `wsl --shutdown`. In a container, let its restart policy run "
    "`openledger-node start`. Elsewhere, have your init system run that command"
)


class Systemd:
    """The user's systemd."""

    title = "systemd"

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        run: RunCommand = run_command,
        *,
        nvidia_driver: Path = NVIDIA_DRIVER,
    ) -> None:
        self._environment = environment
        self._run = run
        self._nvidia_driver = nvidia_driver

    def check(self) -> None:
        """Check that this user's systemd runs.

        Raises:
            ConfigError: it does not; the message says what to do instead.
        """
        found = self._run([*SYSTEMCTL, "show", "--property=Version"], ASK_S)
        if found.status == ABSENT:
            raise ConfigError(f"there is no systemd on this machine. {ABSENT_HELP}")
        if found.status:
            why = (found.err.strip() or f"status {found.status}").splitlines()[0]
            raise ConfigError(f"systemd does not run for this user ({why}). {ABSENT_HELP}")

    def file(self, name: str) -> Path:
        """The unit's file."""
        folder = self._environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        return Path(folder) / "systemd" / "user" / f"{name}.service"

    def text(self, definition: ServiceDefinition) -> str:
        """The unit, for systemd 240 or newer."""
        command = " ".join(quoted(word, in_command=True) for word in definition.command)
        home = quoted(f"{HOME_VARIABLE}={definition.home}")
        lines = (
            f"# {MARK}",
            f"# Your own changes: systemctl --user edit {definition.name}",
            "",
            "[Unit]",
            f"Description={percent_escaped(f'openledger-node in {definition.home}')}",
            "# The node waits for its network itself; a user's systemd without this target ignores the line.",
            "After=network-online.target",
            "# No limit of starts: a node that runs unattended is tried again and again.",
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            "Type=notify",
            "NotifyAccess=main",
            f"ExecStart={command}",
            f"Environment={home}",
            f"TimeoutStartSec={START_S}",
            "# The grace of running answers, and time for receipts, the engine and the chain.",
            f"TimeoutStopSec={definition.stop_s}",
            f"WatchdogSec={WATCHDOG_S}",
            f"TimeoutAbortSec={ABORT_S}",
            "# `openledger-node stop` ends with 0, after which nothing starts it again.",
            "Restart=on-failure",
            f"RestartSec={RESTART_AFTER_S}",
            "# systemd 254 or newer: wait longer after each failure.",
            f"RestartSteps={RESTART_STEPS}",
            f"RestartMaxDelaySec={RESTART_AFTER_S_MAX}",
            f"RestartPreventExitStatus={' '.join(map(str, FINAL_STATUS))}",
            "# The node ends its engine and its chain; what is left after it is killed.",
            "KillMode=mixed",
            *PRIVATE,
            *((NOT_HARDENED,) if self._nvidia_driver.exists() else HARDENING),
            "",
            "[Install]",
            "WantedBy=default.target",
        )
        return "\n".join(lines) + "\n"

    def load(self, definition: ServiceDefinition, *, restarts: bool) -> None:
        """Read the unit, enable it, and start it without waiting for the node's readiness.

        Raises:
            NodeError: systemd refuses.
        """
        unit = f"{definition.name}.service"
        self._must("daemon-reload")
        self._must("enable", unit)
        self._run([*SYSTEMCTL, "reset-failed", unit], ASK_S)  # fails if systemd has never loaded the unit
        self._must("restart" if restarts else "start", "--no-block", unit)

    def unload(self, name: str) -> None:
        """Stop the unit, wait for its end, and disable it.

        Raises:
            NodeError: systemd refuses.
        """
        self._must("disable", "--now", f"{name}.service", timeout_s=STOP_S)

    def forget(self, name: str) -> None:
        """Have systemd notice that the unit's file is gone."""
        self._must("daemon-reload")
        self._run([*SYSTEMCTL, "reset-failed", f"{name}.service"], ASK_S)

    def state(self, name: str) -> ServiceState:
        """The unit's state."""
        words = [*SYSTEMCTL, "show", f"{name}.service", *(f"--property={each}" for each in SHOWN)]
        found = fields_of(must_run(words, self._run(words, ASK_S)))
        state = STATES.get(found.get("ActiveState", ""), "stopped")
        result = found.get("Result", "success")
        status = found.get("ExecMainStatus", "?")
        why = WHY_NO_PROGRAM if status == NO_PROGRAM else f"it ended with exit code {status} ({result})"
        return ServiceState(
            name=name,
            file=self.file(name),
            is_installed=self.file(name).exists(),
            is_enabled=found.get("UnitFileState") == "enabled",
            state="starting" if found.get("SubState") == "auto-restart" else state,
            process=int(found.get("MainPID") or 0) or None,
            num_restarts=int(found.get("NRestarts") or 0),
            says=found.get("StatusText", "") if state != "stopped" else "",
            why="" if result == "success" else RESULTS.get(result, why),
            lingers=self._lingers(),
        )

    def start_command(self, name: str) -> str:
        """The command that starts an installed unit."""
        return f"systemctl --user start {name}"

    def log_command(self, name: str, lines: int, *, follow: bool) -> Sequence[str]:
        """The command that prints the unit's journal."""
        last = ["--follow"] if follow else ["--no-pager"]
        return ["journalctl", "--user", f"--unit={name}.service", "--output=short-iso", f"--lines={lines}", *last]

    def _lingers(self) -> bool | None:
        """Return True if this user's services run without a login; None if logind does not say."""
        words = ["loginctl", "show-user", str(os.getuid()), "--property=Linger"]
        return {"yes": True, "no": False}.get(fields_of(self._run(words, ASK_S)).get("Linger", ""))

    def _must(self, *words: str, timeout_s: float = ASK_S) -> Ran:
        command = [*SYSTEMCTL, *words]
        return must_run(command, self._run(command, timeout_s))


def fields_of(found: Ran) -> dict[str, str]:
    """Read lines of `Name=value`."""
    return dict(line.split("=", 1) for line in found.out.splitlines() if "=" in line)


def percent_escaped(text: str) -> str:
    """Escape what systemd would replace in any setting."""
    return text.replace("%", "%%")


def quoted(word: str, *, in_command: bool = False) -> str:
    """Quote one word for a unit's file; in a command, `$` would begin a variable."""
    escaped = percent_escaped(word.replace("\\", "\\\\").replace('"', '\\"'))
    if in_command:
        escaped = escaped.replace("$", "$$")
    return escaped if re.fullmatch(r"[\w@%+=:,./$-]+", escaped) else f'"{escaped}"'
