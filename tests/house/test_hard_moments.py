"""Cause each hard moment of docs/how-to/hard-moments.md and compare the program's message with the page's."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from support.chain_world.deployed import deploy_over
from support.chain_world.ways import served_chain
from support.commands import ForkedCommand, run_command
from support.peft_folders import write_adapter
from support.processes.nodes import ROOT, ask_status, node_environment, wait_for
from support.tiny import make_base

from openledger_node.home import Home
from openledger_node.network_file import CoinPrice, join_network
from openledger_protocol.primitives import Wei

pytestmark = pytest.mark.process

PAGE = ROOT / "docs" / "how-to" / "hard-moments.md"
SEEN_TIMEOUT_S = 45.0
HOURS_S = 3 * 3600
FAKE = {
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
    "OPENLEDGER_NODE_NETWORK": "auto",
    "OPENLEDGER_P2P_LISTEN": "/ip4/127.0.0.1/tcp/0",
    "OPENLEDGER_API_PORT": "0",
}
LOCAL = {"OPENLEDGER_NODE_NETWORK": "local"}


def rows() -> dict[str, tuple[str, str]]:
    """Moment → the command that reports it, and its message."""
    cells = [[cell.strip() for cell in line.split("|")] for line in PAGE.read_text().splitlines() if line[:2] == "| "]
    return {cell[1]: (cell[2].strip("`"), cell[3].strip("`")) for cell in cells[1:]}


ROWS = rows()


def check(moment: str, look: Callable[[], str]) -> None:
    """Look until the page's words are there, whatever stands for each `…`."""
    words = re.compile(r"\s*.+?\s*".join(re.escape(part.strip()) for part in ROWS[moment][1].split("…")))
    deadline_s = time.monotonic() + SEEN_TIMEOUT_S
    while not words.search(output := " ".join(look().replace("`", "").split())):
        assert time.monotonic() < deadline_s, f"{ROWS[moment][1]}\nis not in\n{output}"
        time.sleep(0.1)


def say(home: Home, moment: str, *, value: str = "", **environment: str) -> str:
    """What the page's command prints in lines that are not wrapped; `value` takes the place of its `…`."""
    words = [value if word == "…" else word for word in ROWS[moment][0].split()]
    env = node_environment(home, COLUMNS="400", **{**FAKE, **environment})
    return run_command(*words, env=env, merge=True, timeout_s=60).stdout


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@contextmanager
def node(home: Home, *flags: str, before: Callable[[], None] | None = None, **environment: str) -> Iterator[Path]:
    """A daemon that is in trouble, and the file of its messages."""
    home.root.mkdir(exist_ok=True)
    messages = home.root.parent / "messages"
    words = ("start", "--no-hello", *flags)
    env = node_environment(home, COLUMNS="400", **{**FAKE, **environment})
    process: subprocess.Popen[bytes] | ForkedCommand
    with messages.open("w") as log:
        if before:
            command = [sys.executable, "-m", "openledger_node", *words]
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log, preexec_fn=before)
        else:
            process = ForkedCommand(*words, env=env, out=log, err=log)
    try:
        yield messages
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_the_page_counts_its_moments() -> None:
    assert len(ROWS) == 11
    assert "Eleven common failures" in PAGE.read_text()


def test_a_node_without_peers_whose_clock_is_wrong_and_whose_chain_then_goes_away(home: Home) -> None:
    with ExitStack() as chain, ExitStack() as daemon:
        network = deploy_over(chain.enter_context(served_chain(genesis_s=int(time.time()) + HOURS_S)))
        join_network(home, network)
        daemon.enter_context(node(home))
        wait_for(lambda: ask_status(home))
        check("no peers", lambda: say(home, "no peers"))
        check("the clock is wrong", lambda: say(home, "the clock is wrong"))
        chain.close()
        check("the chain is down", lambda: say(home, "the chain is down"))


def test_another_chain_answers_than_network_json_means(home: Home) -> None:
    with served_chain() as url:
        network = deploy_over(url)
        join_network(home, replace(network, chain_id=network.chain_id + 1))
        with node(home):
            wait_for(lambda: ask_status(home))
            check("another chain", lambda: say(home, "another chain"))


def test_a_key_is_locked_and_a_wrong_password_opens_nothing(home: Home, tmp_path: Path) -> None:
    for name in ("right", "wrong"):
        (tmp_path / name).write_text(f"{name} {name} {name}\n")
        (tmp_path / name).chmod(0o600)
    with served_chain() as url:
        price = CoinPrice(open_wei=Wei(10**18), on=date(2999, 1, 1))
        join_network(home, replace(deploy_over(url), network="for-real-money", coin_price=price))
        create = ("wallet", "create", "--password-file", str(tmp_path / "right"))
        run_command(*create, env=node_environment(home, **FAKE))
        for moment in ("a key is locked", "the wrong password"):
            check(moment, lambda moment=moment: say(home, moment, value=str(tmp_path / "wrong")))


def test_not_enough_memory(home: Home) -> None:
    with node(home, OPENLEDGER_INFERENCE_MEMORY_MAX_BYTES=str(1 << 20), **LOCAL) as messages:
        check("not enough memory", messages.read_text)


def test_the_port_is_taken(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with node(home, "--port", str(taken.getsockname()[1]), **LOCAL) as messages:
            check("the port is taken", messages.read_text)


def test_the_disk_is_full(home: Home) -> None:
    def no_file_grows() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    with node(home, before=no_file_grows, **LOCAL) as messages:
        check("the disk is full", messages.read_text)


def test_the_files_of_a_model_and_of_an_adapter_are_torn(home: Home, tmp_path: Path) -> None:
    base = make_base(tmp_path / "tiny")
    (tmp_path / "harbour").mkdir()
    write_adapter(tmp_path / "harbour")
    os.truncate(tmp_path / "harbour" / "adapter_model.safetensors", 100)
    moment = "an adapter is refused"
    settings = {"OPENLEDGER_INFERENCE_BASE": str(base)}
    check(moment, lambda: say(home, moment, value=str(tmp_path / "harbour"), **settings))
    weights = base / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    with node(home, OPENLEDGER_INFERENCE_BACKEND="torch_lora", **settings, **LOCAL) as messages:
        check("a model's file is torn", messages.read_text)
