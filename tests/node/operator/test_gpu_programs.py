"""Other programs on the GPU: stand-in drivers that list some, are broken, are slow, or are missing."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from openledger_node.operator import pause
from openledger_node.operator.pause import find_gpu_program, is_ours, programs_from_xml

pytestmark = pytest.mark.process

GAME, DESKTOP = (4_000_007, "/opt/game", "3072 MiB"), (4_000_008, "/usr/lib/Xorg", "200 MiB")

Driver = Callable[[str], None]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """A stand-in for nvidia-smi."""

    def stand_in(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return stand_in


def listed(*programs: tuple[int, str, str]) -> str:
    """The output of `nvidia-smi -q -x`, as far as it is read."""
    rows = "".join(
        f"<process_info><pid>{pid}</pid><process_name>{name}</process_name><used_memory>{memory}</used_memory>"
        "</process_info>"
        for pid, name, memory in programs
    )
    return f"<nvidia_smi_log><gpu><processes>{rows}</processes></gpu></nvidia_smi_log>"


def add_process(proc: Path, process_id: int, *, parent: int, command: str) -> None:
    folder = proc / str(process_id)
    folder.mkdir(parents=True)
    (folder / "cmdline").write_text(command)
    (folder / "stat").write_text(f"{process_id} (a (odd) name) S {parent} 1 1")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    add_process(folder, GAME[0], parent=1, command="/opt/game")
    add_process(folder, DESKTOP[0], parent=1, command="/usr/lib/Xorg")
    add_process(folder, 50, parent=1, command="python\0-m\0openledger_node.engine.child")
    add_process(folder, 51, parent=50, command="llama-server")
    return folder


def test_a_game_is_named_with_its_memory(driver: Driver, proc: Path) -> None:
    driver(f"echo '{listed(DESKTOP, GAME)}'")
    assert find_gpu_program(proc) == "game (process 4000007) uses 3.2 GB of the GPU"


@pytest.mark.parametrize(
    "programs",
    [
        pytest.param([DESKTOP], id="a desktop"),
        pytest.param([(50, "python", "9000 MiB"), (51, "llama-server", "9000 MiB")], id="engines of a node"),
        pytest.param([(os.getpid(), "python", "9000 MiB")], id="this process"),
        pytest.param([(77, "game", "9000 MiB")], id="a process of a container's host"),
        pytest.param([(GAME[0], "game", "N/A")], id="an unknown amount"),
    ],
)
def test_only_other_large_programs_count(driver: Driver, proc: Path, programs: list[tuple[int, str, str]]) -> None:
    driver(f"echo '{listed(*programs)}'")
    assert find_gpu_program(proc) is None


@pytest.mark.parametrize("script", ["echo no devices were found; exit 6", "exec sleep 5"])
def test_a_driver_that_does_not_answer_pauses_nothing(
    driver: Driver, proc: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(pause, "TIMEOUT_S", 0.2 if "sleep" in script else 5.0)
    driver(script)
    assert find_gpu_program(proc) is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_gpu_program(proc) is None, "there is no driver"


def test_names_of_windows_are_cut_too() -> None:
    assert programs_from_xml(listed((41, "C:\\Games\\game.exe", "12 MiB"))) == [(12 << 20, 41, "game.exe")]


def test_a_real_child_is_ours_and_the_first_process_is_not() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert is_ours(child.pid)
        assert not is_ours(1)
    finally:
        child.kill()
        child.wait()
