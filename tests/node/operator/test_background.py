"""The files that define the node's service, and their managers' answers."""

import plistlib
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from support.service_commands import ServiceCommands

from openledger_node.errors import ConfigError, NodeError
from openledger_node.home import Home
from openledger_node.operator.background.commands_run import Ran, run_command
from openledger_node.operator.background.definition import define, program_words, service_name
from openledger_node.operator.background.launchd import Launchd
from openledger_node.operator.background.systemd import Systemd, quoted
from openledger_node.service_manager import STOP_MARGIN_S

ODD_FOLDERS = (
    "plain",
    "my node",
    "50% off",
    'a "quote"',
    "back\\slash",
    "$HOME",
    "{braces}",
    "umlaut-ä",
    "semi;colon",
)


def unit_of(folder: Path, *, nvidia: bool = False) -> str:
    driver = Path("/") if nvidia else folder / "no-driver"
    definition = define(Home(folder), drain_grace_s=30.0, program=("/opt/my node/openledger-node",))
    return Systemd({}, ServiceCommands(), nvidia_driver=driver).text(definition)


def setting(unit: str, name: str) -> str:
    return next(line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{name}="))


@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_a_unit_names_the_data_directory_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    unit = unit_of(tmp_path / name)
    as_systemd_reads = setting(unit, "ExecStart").replace("$$", "$").replace("%%", "%")
    assert shlex.split(as_systemd_reads) == [
        "/opt/my node/openledger-node", "--home", str(tmp_path / name), "start", "--quiet", "--no-hello",
    ]  # fmt: skip
    assert shlex.split(setting(unit, "Environment").replace("%%", "%")) == [f"OPENLEDGER_HOME={tmp_path / name}"]


@pytest.mark.parametrize("name", ODD_FOLDERS)
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd-analyze")
def test_systemd_finds_no_fault_in_a_unit(tmp_path: Path, name: str) -> None:
    file = tmp_path / "openledger-node.service"
    program = tmp_path / "openledger-node"
    program.touch(0o755)
    definition = define(Home(tmp_path / name), drain_grace_s=30.0, program=(str(program),))
    file.write_text(Systemd({}, ServiceCommands()).text(definition))
    environment = {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = ["systemd-analyze", "verify", "--user", "--recursive-errors=no", "--man=no", str(file)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    # systemd before 254 warns of the settings that it ignores.
    faults = [line for line in found.stderr.splitlines() if "RestartSteps" not in line and "MaxDelaySec" not in line]
    assert (found.returncode, faults) == (0, [])


def test_a_word_is_quoted_for_a_setting_as_for_a_command_but_for_its_variables() -> None:
    assert quoted("a$b c%") == '"a$b c%%"'
    assert quoted("a$b c%", in_command=True) == '"a$$b c%%"'


@pytest.mark.parametrize("name", ["line\nbreak", "tab\t"])
def test_a_path_that_no_definition_can_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="control character"):
        define(Home(tmp_path / name), drain_grace_s=30.0, program=("/usr/bin/openledger-node",))


def test_a_stop_has_time_for_the_grace_of_running_answers(tmp_path: Path) -> None:
    assert setting(unit_of(tmp_path), "TimeoutStopSec") == str(round(30 + STOP_MARGIN_S))


def test_a_node_that_fails_for_days_is_tried_again_ever_more_slowly(tmp_path: Path) -> None:
    unit = unit_of(tmp_path)
    assert setting(unit, "StartLimitIntervalSec") == "0"
    assert setting(unit, "Restart") == "on-failure"
    assert int(setting(unit, "RestartSteps")) > 1
    assert 10 <= int(setting(unit, "RestartSec")) < int(setting(unit, "RestartMaxDelaySec")) <= 300


def test_a_node_on_nvidias_driver_may_make_its_devices(tmp_path: Path) -> None:
    assert "NoNewPrivileges=yes" in unit_of(tmp_path)
    assert "NoNewPrivileges=yes" not in unit_of(tmp_path, nvidia=True)
    assert "LimitCORE=0" in unit_of(tmp_path, nvidia=True)


def test_each_data_directory_has_a_service_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openledger_node.operator.background.definition.usual_folder", lambda: tmp_path / "usual")
    names = [service_name(Home(tmp_path / each)) for each in ("usual", "other", "third")]
    assert names[0] == "openledger-node"
    assert len(set(names)) == 3
    assert all(name.startswith("openledger-node-") for name in names[1:])


def test_a_link_to_the_program_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "1.2" / "openledger-node", tmp_path / "openledger-node"
    target.parent.mkdir()
    target.touch(0o755)
    link.symlink_to(target)
    assert program_words(str(link)) == (str(link),)
    assert program_words("/nowhere/__main__.py")[1:] == ("-m", "openledger_node")


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (Ran(status=127), "no systemd on this machine"),
        (Ran(status=1, err="Failed to connect to bus: No medium found\n"), "No medium found"),
    ],
)
def test_without_systemd_it_is_said_what_to_do(outcome: Ran, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as found:
        Systemd({}, ServiceCommands({"systemctl --user show": outcome})).check()
    assert "In a container" in str(found.value)
    assert "/etc/wsl.conf" in str(found.value)


@pytest.mark.parametrize(
    ("fields", "state", "why"),
    [
        ({"ActiveState": "active", "SubState": "running", "MainPID": "7", "Result": "success"}, "running", ""),
        ({"ActiveState": "activating", "SubState": "start", "MainPID": "7"}, "starting", ""),
        ({"ActiveState": "deactivating", "SubState": "stop-sigterm"}, "stopping", ""),
        ({"ActiveState": "inactive", "SubState": "dead", "Result": "success"}, "stopped", ""),
        ({"ActiveState": "inactive", "LoadState": "not-found"}, "stopped", ""),
        ({"ActiveState": "failed", "Result": "watchdog"}, "failed", "gave no sign of life"),
        ({"ActiveState": "failed", "Result": "start-limit-hit"}, "failed", "too many failures"),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code", "ExecMainStatus": "7"},
            "starting",
            "exit code 7",
        ),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code", "ExecMainStatus": "203"},
            "starting",
            "run `openledger-node service install` again",
        ),
    ],
)
def test_the_state_is_as_systemd_has_it(fields: dict[str, str], state: str, why: str) -> None:
    commands = ServiceCommands()
    commands.show(**fields)
    found = Systemd({}, commands).state("openledger-node")
    assert found.state == state
    assert why in found.why
    assert bool(found.why) == bool(why)


@pytest.mark.parametrize(("answer", "lingers"), [("Linger=yes\n", True), ("Linger=no\n", False), ("", None)])
def test_a_service_that_ends_with_the_login_is_told_from_one_that_lingers(answer: str, lingers: bool | None) -> None:
    commands = ServiceCommands({"loginctl show-user": Ran(status=0, out=answer)})
    assert Systemd({}, commands).state("openledger-node").lingers is lingers


def test_a_command_that_fails_is_named_with_its_words() -> None:
    commands = ServiceCommands({"systemctl --user disable": Ran(status=1, err="Access denied\nmore\n")})
    with pytest.raises(NodeError, match=r"`systemctl --user disable --now x.service` has failed \(Access denied\)"):
        Systemd({}, commands).unload("x")


def test_a_command_that_failed_is_not_explained_by_what_it_did_before() -> None:
    said = "Removed '/x/a.service'.\n--now cannot be used when systemd is not running\n"
    commands = ServiceCommands({"systemctl --user disable": Ran(status=1, err=said)})
    with pytest.raises(NodeError, match=r"has failed \(--now cannot be used"):
        Systemd({}, commands).unload("x")


def test_an_agent_of_launchd_starts_again_only_after_a_failure(tmp_path: Path) -> None:
    definition = define(Home(tmp_path / "my node"), drain_grace_s=30.0, program=("/opt/openledger-node",))
    listed = plistlib.loads(Launchd(ServiceCommands()).text(definition).encode())
    assert listed["ProgramArguments"][:3] == ["/opt/openledger-node", "--home", str(tmp_path / "my node")]
    assert listed["KeepAlive"] == {"SuccessfulExit": False}
    assert listed["EnvironmentVariables"] == {"OPENLEDGER_HOME": str(tmp_path / "my node")}
    assert listed["ExitTimeOut"] == 120


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Ran(status=0, out="\tpid = 42\n"), "running"),
        (Ran(status=0, out="\tlast exit code = 3\n"), "failed"),
        (Ran(status=0, out="\tlast exit code = 0\n"), "stopped"),
        (Ran(status=113), "stopped"),
    ],
)
def test_the_state_is_as_launchd_has_it(outcome: Ran, state: str) -> None:
    found = Launchd(ServiceCommands({"launchctl print": outcome})).state("openledger-node")
    assert found.state == state


def test_a_command_that_is_missing_or_hangs_ends_in_a_sentence() -> None:
    assert run_command(["no-such-command-here"], 5.0).status == 127
    with pytest.raises(NodeError, match=r"`sleep 60` has not ended after 0 s: run it yourself"):
        run_command(["sleep", "60"], 0.01)
