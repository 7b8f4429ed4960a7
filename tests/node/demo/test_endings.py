"""However the demo ends, nothing of it is left: no process, no folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes.nodes import is_alive, node_environment, wait_for

from openledger_node.home import Home
from openledger_protocol.constants import DEMO_BASE_NAME

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="NOT TESTED: processes are found in /proc"),
]


def processes_with(word: str) -> set[int]:
    """Processes whose environment has a word: all that a process starts inherit it."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (entry / "environ").read_bytes() and is_alive(int(entry.name)):
                found.add(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_demo_that_is_killed_leaves_no_process_and_no_folder(tmp_path: Path, number: signal.Signals) -> None:
    home, temporary = Home(tmp_path / "home"), tmp_path / "temporary"
    temporary.mkdir()
    (home.models / DEMO_BASE_NAME).mkdir(parents=True)
    (home.models / DEMO_BASE_NAME / "base.json").write_text("{}")  # no node gets so far as to read it
    environment = node_environment(home, TMPDIR=str(temporary))
    demo = subprocess.Popen(
        [sys.executable, "-m", "openledger_node", "demo", "--end"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: list(temporary.glob("*/host/devnet/chain.db")), why=lambda: "no chain is started")
        assert len(processes_with(str(temporary))) >= 4, "the demo, its cleaner, and a chain with its command"
        demo.send_signal(number)
        status = demo.wait(30)
    finally:
        demo.kill()
        demo.wait()
    assert status == (-number if number == signal.SIGKILL else 128 + number)
    wait_for(lambda: not processes_with(str(temporary)), within_s=30, why=lambda: os.listdir(temporary).__repr__())
    assert os.listdir(temporary) == []
