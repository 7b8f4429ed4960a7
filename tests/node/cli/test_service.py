"""`service`: what is shown before it is written, what is refused, and what stays."""

import os
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from node.cli.verbs import Run

from openledger_node.cli import main
from openledger_node.home import CommandRunningError, Holder, Home, claim_home
from openledger_node.operator import background

SHOW = "systemctl --user show"
Ran = subprocess.CompletedProcess


@dataclass
class Commands:
    """Each command that begins as a key has its outcome; all others work and print nothing."""

    outcomes: dict[str, "Ran[str]"] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, words: tuple[str, ...], timeout_s: float) -> "Ran[str]":
        line = " ".join(words)
        self.asked.append(line)
        for key, outcome in self.outcomes.items():
            if line.startswith(key):
                return outcome
        return Ran(words, 0, "", "")

    @property
    def changes(self) -> list[str]:
        """The commands that change something."""
        return [line for line in self.asked if not line.startswith(SHOW)]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Systemd's commands, with the units in a folder of this test."""
    found = Commands()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(background, "run_command", found)
    monkeypatch.delenv("SUDO_USER", raising=False)
    return found


def unit_file(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "config" / "systemd" / "user").glob("*.service")
    return file


def test_a_shown_unit_is_installed_after_a_yes_and_its_removal_leaves_the_data(
    run: Run, home: Home, commands: Commands, tmp_path: Path
) -> None:
    asked = run("service", "install")
    assert (asked.status, "Give --yes to confirm" in asked.stderr) == (3, True)
    assert f"--home {home.root} start --quiet" in asked.stdout
    assert (commands.changes, (tmp_path / "config").exists()) == ([], False)
    home.config_file.write_text("[node]\ndrain_grace_s = 60\n")
    done = run("service", "install", "--yes")
    file = unit_file(tmp_path)
    name = file.stem
    assert done.status == 0, done.stderr
    assert "TimeoutStopSec=150" in file.read_text()
    assert f"`journalctl --user -u {name} -f`" in done.stderr
    starts = ["systemctl --user daemon-reload", f"systemctl --user enable {name}"]
    starts.append(f"systemctl --user start --no-block {name}")
    assert commands.changes == starts
    commands.asked.clear()
    assert run("service", "install", "--yes").status == 0
    assert commands.changes == [f"systemctl --user disable --now {name}", *starts], "a former one ends first"
    commands.asked.clear()
    done = run("service", "remove", "--yes")
    assert done.status == 0, done.stderr
    assert (file.exists(), home.config_file.exists()) == (False, True)
    assert commands.changes == [f"systemctl --user disable --now {name}"]


def test_a_foreign_unit_stays_and_a_failure_is_named(run: Run, commands: Commands, tmp_path: Path) -> None:
    commands.outcomes["systemctl --user enable"] = Ran((), 1, "", "Created symlink /x.\nAccess denied\n")
    failed = run("service", "install", "--yes")
    assert (failed.status, "systemctl --user enable openledger-node" in failed.stderr) == (1, True)
    assert "has failed (Access denied)" in failed.stderr
    file = unit_file(tmp_path)
    file.write_text("[Service]\nExecStart=/usr/bin/mine\n")
    for word in ("install", "remove"):
        refused = run("service", word, "--yes")
        assert (refused.status, "is not from `openledger-node service install`" in refused.stderr) == (3, True)
    assert "mine" in file.read_text()


def test_stop_says_that_the_service_stays(
    run: Run, home: Home, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("service", "install", "--yes")
    holders = [Holder(name="daemon", process=None), None]
    monkeypatch.setattr("openledger_node.cli.node.find_holder", lambda _: holders.pop(0))
    monkeypatch.setattr("openledger_node.cli.node.ask_daemon", lambda *_: {"state": "stopping"})
    said = run("stop").stderr
    assert "its service stays installed" in said
    assert "systemctl --user start openledger-node" in said


@pytest.mark.parametrize(
    ("label", "words", "status", "found"),
    [
        ("openledger-node-1a2b3c4d", ["start"], 3, 0),
        ("openledger-node", ["--home", "/x", "start", "--quiet"], 2, 0),
        ("openledger-node", ["start"], 1, 1),
        ("openledger-node", ["start"], CommandRunningError.exit_code, CommandRunningError.exit_code),
        ("openledger-node", ["status"], 3, 3),
        ("com.apple.Terminal", ["start"], 3, 3),
    ],
)
def test_launchd_gives_up_where_only_the_owner_can_help(
    label: str,
    words: list[str],
    status: int,
    found: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(main.LAUNCHD_LABEL, label)
    assert main.status_for_manager(words, status) == found
    said = capsys.readouterr().err.replace("\n", " ")
    assert (f"before you do, by `launchctl kickstart gui/{os.getuid()}/{label}`" in said) == (found != status)


def test_a_start_that_is_not_repeated_ends_with_0(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.config_file.write_text("[node]\nnonsense = 1\n")
    assert run("start").status == 3
    monkeypatch.setenv(main.LAUNCHD_LABEL, "openledger-node-1a2b3c4d")
    assert run("start").status == 0


def test_a_running_node_or_command_blocks_install(run: Run, home: Home, commands: Commands, tmp_path: Path) -> None:
    with closing(claim_home(home, "rewards withdraw")):
        busy = run("service", "install", "--yes")
    assert (busy.status, "wait until it has ended" in busy.stderr) == (75, True)
    with closing(claim_home(home)):
        refused = run("service", "install", "--yes")
        assert (refused.status, "runs here without the service" in refused.stderr) == (3, True)
        assert "`openledger-node stop`" in refused.stderr
        assert not (tmp_path / "config").exists()
        commands.outcomes[SHOW] = Ran((), 0, f"MainPID={os.getpid()}\n", "")  # the node runs as this service
        assert run("service", "install", "--yes").status == 0


@pytest.mark.parametrize(
    ("platform", "command", "status", "said", "why"),
    [
        ("linux", "systemctl", 127, "systemctl is not installed", "there is no systemd on this machine"),
        ("darwin", "launchctl print", 125, "Domain does not support", "log in on the machine's screen"),
    ],
)
def test_without_a_service_manager_the_command_says_what_to_do(
    run: Run,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    platform: str,
    command: str,
    status: int,
    said: str,
    why: str,
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    commands.outcomes[command] = Ran((), status, "", said)
    done = run("service", "install", "--yes")
    assert (done.status, why in done.stderr) == (3, True)


def test_what_would_not_work_in_a_service_is_said_at_the_installation(
    run: Run, home: Home, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "`openledger-node service install` installs one" in run("service", "remove").stderr
    monkeypatch.setenv("OPENLEDGER_API_PORT", "9000")
    said = " ".join(run("service", "install", "--yes").stderr.split())
    assert "does not have OPENLEDGER_API_PORT of this shell: put those settings into node.toml" in said
    commands.asked.clear()
    home.config_file.write_text("[node]\ndrain_grace_s = -1\n")
    assert run("service", "install", "--yes").status == 3
    home.config_file.unlink()
    monkeypatch.setenv("SUDO_USER", "anna")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    by_root = run("service", "install", "--yes")
    assert (by_root.status, "run it without sudo, as anna" in by_root.stderr) == (3, True)
    assert commands.changes == []
