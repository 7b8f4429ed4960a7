"""Cause each hard moment and compare the program's message with docs/how-to/hard-moments.md."""

import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.chain_world.deployed import deploy_over
from support.chain_world.ways import served_chain
from support.commands import run_command
from support.peft_folders import write_adapter
from support.processes.nodes import ROOT, ask_status, node_environment, wait_for
from support.tiny import make_base

from openledger_node.demo.processes import OperatorHome as Party
from openledger_node.demo.processes import closing_all
from openledger_node.home import Home
from openledger_node.network_file import Network, join_network

pytestmark = pytest.mark.process

PAGE = ROOT / "docs" / "how-to" / "hard-moments.md"
SEEN_TIMEOUT_S = 45.0
POLL_S = 0.1
HOURS_S = 3 * 3600
FAKE = {
    "OPENLEDGER_INFERENCE_BACKEND": "fake",
    "OPENLEDGER_INFERENCE_BASE": "fake",
    "OPENLEDGER_NODE_NETWORK": "auto",
    "OPENLEDGER_P2P_LISTEN": "/ip4/127.0.0.1/tcp/0",
    "OPENLEDGER_API_PORT": "0",
}


def rows() -> dict[str, tuple[str, str]]:
    """Moment → the command that reports it, and its message."""
    cells = [[cell.strip() for cell in line.split("|")] for line in PAGE.read_text().splitlines() if line[:2] == "| "]
    return {cell[1]: (cell[2].strip("`"), cell[3].strip("`")) for cell in cells[1:]}


ROWS = rows()
made: set[str] = set()


def is_said(moment: str, output: str) -> bool:
    """Whether the words of the table, whatever stands for `…`, are in what the program printed."""
    words = [re.escape(part.strip()) for part in ROWS[moment][1].split("…")]
    return re.search(r"\s*.+?\s*".join(words), flat(output)) is not None


def flat(output: str) -> str:
    return " ".join(output.replace("`", "").split())


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def verb(home: Home, *words: str, **environment: str) -> str:
    """What a verb prints, both streams, in lines that are not wrapped."""
    env = node_environment(home, COLUMNS="400", **environment)
    return run_command(*words, env=env, merge=True, timeout_s=60).stdout


def table_verb(moment: str, *insteads: str) -> list[str]:
    """The words of the table's verb; each `…` in it is one of `insteads`."""
    given = iter(insteads)
    return [next(given) if word == "…" else word for word in ROWS[moment][0].split()]


def check(moment: str, look: Callable[[], str]) -> None:
    """Look until the table's words are there."""
    deadline_s = time.monotonic() + SEEN_TIMEOUT_S
    output = look()
    while not is_said(moment, output):
        assert time.monotonic() < deadline_s, f"{ROWS[moment][1]}\nis not in\n{output}"
        time.sleep(POLL_S)
        output = look()
    made.add(moment)


@contextmanager
def node(home: Home, *flags: str, before: Callable[[], None] | None = None, **environment: str) -> Iterator[Path]:
    """A daemon that is in trouble, and the file of what it says."""
    home.root.mkdir(exist_ok=True)
    said = home.root.parent / "said"
    command = [sys.executable, "-m", "openledger_node", "start", "--no-hello", *flags]
    env = node_environment(home, COLUMNS="400", **{**FAKE, **environment})
    with said.open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, preexec_fn=before)
    try:
        yield said
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def joined(home: Home, network: Network) -> Iterator[None]:
    join_network(home, network)
    with node(home):
        wait_for(lambda: ask_status(home))
        yield


def test_there_are_eleven_moments_and_each_says_what_to_do() -> None:
    assert len(ROWS) == 11
    assert "Eleven common failures" in PAGE.read_text()
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    assert all(len(row) == 4 and all(row) for row in cells)


def test_no_peers_and_a_wrong_clock(home: Home) -> None:
    with served_chain(genesis_s=int(time.time()) + HOURS_S) as url, joined(home, deploy_over(url)):
        check("no peers", lambda: verb(home, *table_verb("no peers"), **FAKE))
        check("the clock is wrong", lambda: verb(home, *table_verb("the clock is wrong"), **FAKE))


def test_the_chain_is_killed(home: Home, tmp_path: Path) -> None:
    with closing_all() as opened:
        opened.append(host := Party("host", tmp_path / "host", {}))
        opened.append(chain := host.start("devnet", "start", "--port", "0", "--json"))
        with joined(home, deploy_over(chain.read_object()["url"])):
            wait_for(lambda: (ask_status(home) or {}).get("chain") == "ok")
            chain.kill()
            check("the chain is down", lambda: verb(home, *table_verb("the chain is down"), **FAKE))
            answered = verb(home, "chat", "still there?", **FAKE)
            assert "error" not in answered


def test_another_chain_answers_than_network_json_means(home: Home) -> None:
    with served_chain() as url:
        network = deploy_over(url)
        with joined(home, replace(network, chain_id=network.chain_id + 1)):
            check("another chain", lambda: verb(home, *table_verb("another chain"), **FAKE))


def test_a_key_is_locked_and_a_wrong_password_opens_nothing(home: Home, tmp_path: Path) -> None:
    right, wrong = (write_password(tmp_path / name) for name in ("right", "wrong"))
    with served_chain() as url:
        join_network(home, replace(deploy_over(url), network="for-real-money"))
        verb(home, "wallet", "create", "--password-file", str(right), **FAKE)
        for moment in ("a key is locked", "the wrong password"):
            output = verb(home, *table_verb(moment, str(wrong)), **FAKE)
            check(moment, lambda output=output: output)


def write_password(file: Path) -> Path:
    file.write_text(f"{file.name} {file.name} {file.name}\n")
    file.chmod(0o600)
    return file


def test_not_enough_memory(home: Home) -> None:
    with node(home, OPENLEDGER_INFERENCE_MEMORY_MAX_BYTES=str(1 << 20), OPENLEDGER_NODE_NETWORK="local") as said:
        check("not enough memory", said.read_text)


def test_the_port_is_taken(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with node(home, "--port", str(taken.getsockname()[1]), OPENLEDGER_NODE_NETWORK="local") as said:
            check("the port is taken", said.read_text)


def test_the_disk_is_full(home: Home) -> None:
    def no_file_grows() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    with node(home, before=no_file_grows, OPENLEDGER_NODE_NETWORK="local") as said:
        check("the disk is full", said.read_text)


def test_a_models_file_is_torn(home: Home, tmp_path: Path) -> None:
    base = make_base(tmp_path / "tiny")
    weights = base / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    environment = {"OPENLEDGER_INFERENCE_BACKEND": "torch_lora", "OPENLEDGER_INFERENCE_BASE": str(base)}
    with node(home, OPENLEDGER_NODE_NETWORK="local", **environment) as said:
        check("a model's file is torn", said.read_text)


def test_an_adapter_is_refused(home: Home, tmp_path: Path) -> None:
    base = make_base(tmp_path / "tiny")
    (tmp_path / "harbour").mkdir()
    weights = write_adapter(tmp_path / "harbour") / "adapter_model.safetensors"
    os.truncate(weights, 100)
    words = table_verb("an adapter is refused", str(tmp_path / "harbour"))
    check("an adapter is refused", lambda: verb(home, *words, OPENLEDGER_INFERENCE_BASE=str(base)))
    shutil.rmtree(tmp_path / "harbour")


def test_every_moment_of_the_table_was_made(request: pytest.FixtureRequest) -> None:
    here = [item for item in request.session.items if item.path.name == Path(__file__).name]
    if len(here) < 11:
        pytest.skip("run the whole file: it looks at what ran before")
    assert made == set(ROWS)
