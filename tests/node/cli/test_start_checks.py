"""What keeps a node from starting is said before anything is downloaded, with what to do about it."""

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.commands import run_command
from support.processes.nodes import node_environment

from openledger_node.cli import start_checks
from openledger_node.cli.start_checks import check_port, check_start, check_writable
from openledger_node.config import Config, load_config
from openledger_node.engine import budget
from openledger_node.errors import ConfigError, ModelError, NodeError
from openledger_node.home import Home
from openledger_node.machine import Machine
from openledger_node.operator import base_look
from openledger_node.operator.port_holder import PortHolder, find_port_holder

CONFIG_ERROR = 3
GIB = 1 << 30
Settings = Callable[[str], Config]


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def settings(home: Home) -> Settings:
    """Settings of a node on any free port, and what a test adds to its file."""

    def read(text: str = "") -> Config:
        home.config_file.write_text(f"[api]\nport = 0\n{text}")
        return load_config(home.config_file)[0]

    return read


@pytest.mark.process
def test_a_taken_port_is_said_before_the_base_is_downloaded(home: Home, taken: int) -> None:
    ran = run_command("start", "--port", str(taken), env=node_environment(home))
    assert ran.returncode == CONFIG_ERROR
    said = " ".join(ran.stderr.split())
    assert f"cannot listen on 127.0.0.1:{taken} (Address already in use)" in said
    assert f"(process {os.getpid()}) uses the port. Stop it, or start with `--port " in said
    assert not home.models.exists(), "nothing was downloaded"


def test_an_unusable_port_is_refused_with_one_that_works(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"`--port \d+` \(through make: `make start ARGS=") as refused:
        check_port("127.0.0.1", taken)
    check_port("127.0.0.1", int(str(refused.value).split("`--port ")[1].split("`")[0]))

    def error_of(_host: str, port: int) -> OSError:
        assert port <= 65_535
        return OSError(errno.EADDRINUSE if port > 1023 else errno.EACCES, "no")

    monkeypatch.setattr(start_checks, "_error_of_port", error_of)
    with pytest.raises(ConfigError, match="start with `--port 0`"):
        check_port("127.0.0.1", 65_535)
    with pytest.raises(ConfigError, match=r"cannot listen on 127.0.0.1:80 \(no\): choose another by --port"):
        check_port("127.0.0.1", 80)


def test_another_node_is_called_one_and_a_program_of_another_user_has_no_name(tmp_path: Path) -> None:
    holder = PortHolder(process_id=7, name="python3", is_node=True)
    assert str(holder) == "another openledger-node (process 7)"
    (tmp_path / "net").mkdir()
    line = "0: 0100007F:20E4 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1"
    (tmp_path / "net" / "tcp").write_text(f"head\n{line}\n")
    (tmp_path / "9").mkdir()  # whose open files this user may not see
    assert find_port_holder(0x20E4, tmp_path) is None
    (tmp_path / "9" / "fd").mkdir()
    (tmp_path / "9" / "fd" / "3").symlink_to("socket:[4711]")
    (tmp_path / "9" / "cmdline").write_text("/usr/bin/python3\0.venv/bin/openledger-node\0start")
    assert find_port_holder(0x20E4, tmp_path) == PortHolder(process_id=9, name="a program", is_node=True)
    assert find_port_holder(80, tmp_path) is None


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ('base = "acme--tiny"', "run `openledger-node models pull acme--tiny`"),
        ('device = "cuda"\nbase = "fake"', 'device is "cuda", and no NVIDIA or AMD card is here'),
        ('device = "mps"\nbase = "fake"\nbackend = "fake"', '"mps", which is the GPU of an Apple computer'),
    ],
)
def test_a_base_or_a_gpu_that_is_not_here_is_named(
    home: Home, settings: Settings, monkeypatch: pytest.MonkeyPatch, setting: str, says: str
) -> None:
    monkeypatch.setattr(start_checks.sys, "platform", "linux")
    monkeypatch.setattr(start_checks, "look_at_machine", lambda: Machine(ram_bytes=GIB))
    with pytest.raises(NodeError, match=says):
        check_start(home, settings(f"[inference]\n{setting}\n"))


def test_a_data_directory_that_can_not_be_written_is_named() -> None:
    says = r"the data directory /proc can't be written .* by --home or OPENLEDGER_HOME"
    with pytest.raises(ConfigError, match=says):
        check_writable(Home(Path("/proc")))


def test_a_machine_that_is_too_small_is_told(home: Home, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as small:
        small.setattr(base_look, "look_at_machine", lambda: Machine(ram_bytes=GIB // 4))
        with pytest.raises(ModelError, match=r"smollm2-135m-instruct does not fit: it takes at least 0\.\d GB"):
            check_start(home, settings(""))
    full = shutil.disk_usage(".")._replace(free=10**8)
    monkeypatch.setattr(budget.shutil, "disk_usage", lambda _: full)
    with pytest.raises(ConfigError, match=r"takes 0\.[4-8] GB, and the disk of .* has 0\.1 GB free: free some space"):
        check_start(home, settings(""))
    assert not home.models.exists()
