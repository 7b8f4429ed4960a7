"""The files that define the node's service, and what is refused."""

import plistlib
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from openledger_node.errors import ConfigError, NodeError
from openledger_node.home import Home
from openledger_node.operator import background
from openledger_node.operator.background import agent_text, run_command, service_of, start_command, unit_text

ODD_FOLDER = 'my node 50% off "quote" back\\slash $HOME {braces} semi;colon umlaut-ä'


def unit_of(folder: Path, *, program: str = "/opt/my node/openledger-node") -> str:
    command = (program, "--home", str(folder), "start", "--quiet", "--no-hello")
    return unit_text("openledger-node", command, 120)


def setting(unit: str, name: str) -> str:
    return next(line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{name}="))


def test_a_unit_names_the_data_directory_whatever_it_is_called(tmp_path: Path) -> None:
    as_systemd_reads = setting(unit_of(tmp_path / ODD_FOLDER), "ExecStart").replace("$$", "$").replace("%%", "%")
    assert shlex.split(as_systemd_reads) == [
        "/opt/my node/openledger-node", "--home", str(tmp_path / ODD_FOLDER), "start", "--quiet", "--no-hello",
    ]  # fmt: skip


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="this machine has no systemd-analyze")
def test_systemd_finds_no_fault_in_a_unit(tmp_path: Path) -> None:
    file = tmp_path / "openledger-node.service"
    program = tmp_path / "openledger-node"
    program.touch(0o755)
    file.write_text(unit_of(tmp_path / ODD_FOLDER, program=str(program)))
    environment = {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = ["systemd-analyze", "verify", "--user", "--recursive-errors=no", "--man=no", str(file)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    # systemd before 254 warns of the settings that it ignores.
    faults = [line for line in found.stderr.splitlines() if "RestartSteps" not in line and "MaxDelaySec" not in line]
    assert (found.returncode, faults) == (0, [])


def test_a_path_that_no_definition_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="control character"):
        start_command(Home(tmp_path / "line\nbreak"))


def test_a_node_that_fails_for_days_is_tried_again_ever_more_slowly(tmp_path: Path) -> None:
    unit = unit_of(tmp_path)
    assert setting(unit, "StartLimitIntervalSec") == "0"
    assert setting(unit, "Restart") == "on-failure"
    assert setting(unit, "RestartPreventExitStatus") == "2 3 4"
    assert int(setting(unit, "RestartSteps")) > 1
    assert 10 <= int(setting(unit, "RestartSec")) < int(setting(unit, "RestartMaxDelaySec")) <= 300


def test_each_data_directory_has_a_service_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "usual_folder", lambda: tmp_path / "usual")
    names = [service_of(Home(tmp_path / each)).name for each in ("usual", "other", "third")]
    assert names[0] == "openledger-node"
    assert len(set(names)) == 3
    assert all(name.startswith("openledger-node-") for name in names[1:])


def test_an_agent_of_launchd_starts_again_only_after_a_failure(tmp_path: Path) -> None:
    command = ("/opt/openledger-node", "--home", str(tmp_path / "my node"), "start")
    listed = plistlib.loads(agent_text("openledger-node", command, 120, "/tmp/node.log").encode())
    assert listed["ProgramArguments"] == list(command)
    assert listed["KeepAlive"] == {"SuccessfulExit": False}
    assert listed["ExitTimeOut"] == 120
    assert listed["StandardErrorPath"] == "/tmp/node.log"


@pytest.mark.process
def test_a_command_that_is_missing_or_hangs_ends_in_a_sentence() -> None:
    assert run_command(("no-such-command-here",), 5.0).returncode == 127
    with pytest.raises(NodeError, match=r"`sleep 60` has not ended after 0 s: run it yourself"):
        run_command(("sleep", "60"), 0.01)
