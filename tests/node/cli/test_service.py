"""`service`: what is shown before it is written, what is refused, and what stays."""

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support.service_commands import ServiceCommands, absent
from support.verbs import Run

from openledger_node.cli import main
from openledger_node.cli import service as verb
from openledger_node.home import CommandRunningError, Holder, Home, claim_home
from openledger_node.operator.background import installation
from openledger_node.operator.background.commands_run import Ran
from openledger_node.operator.background.systemd import Systemd


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceCommands:
    """Systemd's commands, with the units in a folder of this test."""
    found = ServiceCommands()
    manager = Systemd({"XDG_CONFIG_HOME": str(tmp_path / "config")}, found)
    for module in (verb, installation):
        monkeypatch.setattr(module, "service_manager_here", lambda: manager)
    monkeypatch.delenv("SUDO_USER", raising=False)
    return found


def unit_file(tmp_path: Path) -> Path:
    (file,) = (tmp_path / "config" / "systemd" / "user").glob("*.service")
    return file


def test_the_unit_is_shown_and_nothing_is_written_without_a_yes(
    run: Run, home: Home, commands: ServiceCommands, tmp_path: Path
) -> None:
    done = run("service", "install")
    assert done.status == 3
    assert "Give --yes to confirm" in done.stderr
    assert f"Environment=OPENLEDGER_HOME={home.root}" in done.stdout
    assert not (tmp_path / "config").exists()
    assert commands.changes == []


def test_install_starts_the_service_and_remove_leaves_the_data(
    run: Run, home: Home, commands: ServiceCommands, tmp_path: Path
) -> None:
    home.config_file.write_text("[node]\ndrain_grace_s = 60\n")
    done = run("service", "install", "--yes")
    file = unit_file(tmp_path)
    assert done.status == 0, done.stderr
    assert "TimeoutStopSec=150" in file.read_text()
    assert commands.changes == [
        "systemctl --user daemon-reload",
        f"systemctl --user enable {file.name}",
        f"systemctl --user start --no-block {file.name}",
    ]
    commands.asked.clear()
    done = run("service", "remove", "--yes")
    assert done.status == 0, done.stderr
    assert not file.exists()
    assert home.config_file.exists()
    assert commands.changes == [f"systemctl --user disable --now {file.name}", "systemctl --user daemon-reload"]


def test_install_again_restarts_a_running_node_only_if_its_unit_has_changed(
    run: Run, home: Home, commands: ServiceCommands
) -> None:
    run("service", "install", "--yes")
    commands.show(ActiveState="active", MainPID="42")
    commands.asked.clear()
    assert run("service", "install", "--yes").status == 0
    assert not any(" restart " in line for line in commands.changes)
    home.config_file.write_text("[node]\ndrain_grace_s = 60\n")
    assert run("service", "install", "--yes").status == 0
    assert any(" restart --no-block " in line for line in commands.changes)


def test_a_node_in_the_foreground_is_not_installed_over(
    run: Run, home: Home, commands: ServiceCommands, tmp_path: Path
) -> None:
    with closing(claim_home(home)):
        done = run("service", "install", "--yes")
    assert done.status == 3
    assert "runs here without the service" in done.stderr
    assert "`openledger-node stop`" in done.stderr
    assert not (tmp_path / "config").exists()


def test_a_command_at_work_is_waited_for(run: Run, home: Home, commands: ServiceCommands) -> None:
    with closing(claim_home(home, "rewards withdraw")):
        done = run("service", "install", "--yes")
    assert done.status == 75
    assert "wait until it has ended" in done.stderr


def test_a_unit_of_somebody_else_is_neither_replaced_nor_removed(
    run: Run, home: Home, commands: ServiceCommands, tmp_path: Path
) -> None:
    run("service", "install", "--yes")
    file = unit_file(tmp_path)
    file.write_text("[Service]\nExecStart=/usr/bin/mine\n")
    for words in (("install",), ("remove",)):
        done = run("service", *words, "--yes")
        assert done.status == 3
        assert "is not from `openledger-node service install`" in done.stderr
    assert "mine" in file.read_text()


def test_a_service_of_root_by_sudo_is_refused(
    run: Run, home: Home, commands: ServiceCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "anna")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    done = run("service", "install", "--yes")
    assert done.status == 3
    assert "run it without sudo, as anna" in done.stderr


def test_settings_of_this_shell_are_named_because_the_service_lacks_them(
    run: Run, home: Home, commands: ServiceCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLEDGER_API_PORT", "9000")
    done = run("service", "install", "--yes")
    assert "does not have OPENLEDGER_API_PORT of this shell: put those settings into node.toml" in " ".join(
        done.stderr.split()
    )


def test_a_wrong_setting_is_found_at_the_installation(run: Run, home: Home, commands: ServiceCommands) -> None:
    home.config_file.write_text("[node]\ndrain_grace_s = -1\n")
    assert run("service", "install", "--yes").status == 3
    assert commands.changes == []


@pytest.mark.parametrize("words", [("status",), ("install", "--yes"), ("logs",), ("remove", "--yes")])
def test_without_systemd_each_command_says_what_to_do(
    run: Run, home: Home, commands: ServiceCommands, words: tuple[str, ...]
) -> None:
    commands.outcomes["systemctl"] = absent()
    done = run("service", *words)
    assert done.status == 3
    assert "there is no systemd on this machine" in done.stderr


def test_status_says_what_the_service_does_and_when_it_ends(run: Run, home: Home, commands: ServiceCommands) -> None:
    assert "no service is installed" in run("service", "status").stderr
    run("service", "install", "--yes")
    commands.show(ActiveState="active", MainPID="42", UnitFileState="enabled", StatusText="serving", NRestarts="2")
    commands.outcomes["loginctl show-user"] = Ran(status=0, out="Linger=no\n")
    done = run("service", "status")
    assert "running, process 42" in done.stdout
    assert "2 after failures" in done.stdout
    assert "`loginctl enable-linger` keeps it running" in done.stderr
    found = run("service", "status", "--json").json
    assert found["schema"] == "openledger.service/1"
    assert (found["state"], found["process"], found["says"], found["lingers"]) == ("running", 42, "serving", False)


def test_a_failed_service_names_the_command_that_starts_it(run: Run, home: Home, commands: ServiceCommands) -> None:
    run("service", "install", "--yes")
    commands.show(ActiveState="failed", Result="exit-code", ExecMainStatus="7")
    done = run("service", "status")
    assert "it ended with exit code 7" in done.stdout
    assert "systemctl --user start openledger-node" in done.stderr


@pytest.mark.parametrize("word", ["logs", "remove"])
def test_what_is_not_installed_is_named(run: Run, home: Home, commands: ServiceCommands, word: str) -> None:
    done = run("service", word)
    assert done.status == 3
    assert "`openledger-node service install` installs one" in done.stderr


def test_the_managers_log_is_shown(
    run: Run, home: Home, commands: ServiceCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("service", "install", "--yes")
    commands.outcomes["journalctl"] = Ran(status=0, out="Started the node\nit says \x1b[31mred\n")
    monkeypatch.setattr(verb, "run_command", commands)
    done = run("service", "logs", "-n", "5")
    assert "Started the node" in done.stdout
    assert "\x1b" not in done.stdout
    assert "--lines=5" in commands.asked[-1]
    assert run("service", "logs", "--json").json["lines"][0] == "Started the node"


def test_stop_says_that_the_service_stays(
    run: Run, home: Home, commands: ServiceCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("service", "install", "--yes")
    holders = [Holder(name="daemon", process=None), None]
    monkeypatch.setattr("openledger_node.cli.node.find_holder", lambda _: holders.pop(0))
    monkeypatch.setattr("openledger_node.cli.node.ask_daemon", lambda *_: {"state": "stopping"})
    said = run("stop").stderr
    assert "its service stays installed" in said
    assert "systemctl --user start openledger-node" in said


def test_a_failed_start_is_in_the_log_of_a_service_that_nobody_watches(run: Run, home: Home) -> None:
    assert run("start", "--base", "no-such-base").status == 7
    assert "failed: " in (home.logs / "node.log").read_text()


@pytest.mark.parametrize(
    ("label", "words", "status", "found"),
    [
        ("openledger-node-1a2b3c4d", ["start"], 3, 0),
        ("openledger-node-1a2b3c4d", ["--home", "/x", "start", "--quiet"], 2, 0),
        ("openledger-node", ["start"], 4, 0),
        ("openledger-node", ["start"], 1, 1),
        ("openledger-node", ["start"], CommandRunningError.exit_code, CommandRunningError.exit_code),
        ("openledger-node", ["status"], 3, 3),
        ("com.apple.Terminal", ["start"], 3, 3),
        ("", ["start"], 3, 3),
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


def test_a_start_that_launchd_should_not_repeat_ends_with_0(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("[node]\nnonsense = 1\n")
    words = [sys.executable, "-m", "openledger_node", "--home", str(tmp_path), "start"]
    for label, status in (("", 3), ("openledger-node-1a2b3c4d", 0)):
        ran = subprocess.run(
            words, env={**os.environ, main.LAUNCHD_LABEL: label}, capture_output=True, text=True, check=False
        )
        assert ran.returncode == status
        assert "unknown key node.nonsense" in ran.stderr
