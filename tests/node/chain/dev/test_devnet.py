"""The development chain in a process of its own: killed, refused, started again, with either engine."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.chain_world.deployed import send_call
from support.chain_world.ways import INTERVAL_S, NEEDS_ANVIL, NEVER_S, WAIT_S, AnvilClient, PatientClient
from support.processes.nodes import is_alive, wait_for
from support.tiers import depth

from openledger_node.chain.dev.anvil import LOCK_FILE
from openledger_node.chain.dev.constants import IN_USE_WAIT_S
from openledger_node.chain.dev.embedded import open_chain
from openledger_node.chain.dev.launch import CHAIN_FILES, Devnet, begin_devnet, start_devnet
from openledger_node.errors import ChainError
from openledger_node.network_file import network_id_for_development
from openledger_protocol.chain import Block, ContractCall, TransactionReceipt
from openledger_protocol.primitives import Digest, Wei, check_address

pytestmark = pytest.mark.process

NOBODY = check_address("0x" + "0" * 38 + "99")
ENGINES = ["embedded", pytest.param("anvil", marks=NEEDS_ANVIL)]
NUM_KILLS = depth(light=4, deep=40)
CLOCK_SLACK_S = 3


def start(
    folder: Path,
    *,
    engine: str = "embedded",
    interval_s: float = INTERVAL_S,
    port: int = 0,
    wait_s: float = IN_USE_WAIT_S,
) -> Devnet:
    return start_devnet(folder, port=port, engine=engine, interval_s=interval_s, wait_s=wait_s)


# ---- kill -9


@dataclass
class Answered:
    """All that a chain has ever said of its blocks and of what it mined."""

    blocks: dict[int, Block] = field(default_factory=dict)
    sent: list[Digest] = field(default_factory=list)
    receipts: dict[Digest, TransactionReceipt] = field(default_factory=dict)

    def ask_on(self, client: PatientClient) -> None:
        """Send one payment more, and note what the chain says by now."""
        head = client.head()
        self.blocks[head.number] = head
        self.sent.append(send_call(client, ContractCall(to=NOBODY, value_wei=Wei(1))))
        for digest in self.sent[-5:]:
            if receipt := client.receipt(digest):
                self.receipts[digest] = receipt
        client.mine()

    def check(self, client: PatientClient) -> None:
        """Require that it says all of it again."""
        assert {number: client.block(number) for number in self.blocks} == self.blocks
        assert {digest: client.receipt(digest) for digest in self.receipts} == self.receipts
        assert client.coin_balance(NOBODY) >= len(self.receipts)


def test_a_chain_killed_at_any_moment_keeps_each_block_that_it_ever_told(tmp_path: Path) -> None:
    answered, deaths = Answered(), random.Random(7)
    for kills in range(10 * NUM_KILLS):  # more than NUM_KILLS only where a busy machine mines little in each life
        if kills >= NUM_KILLS < len(answered.receipts):
            break
        with start(tmp_path) as devnet, closing(PatientClient(devnet.url)) as client:
            answered.check(client)
            with killing(devnet, after_s=deaths.uniform(0.05, 0.4)):
                ask_until_dead(answered, client)
    with start(tmp_path) as devnet, closing(PatientClient(devnet.url)) as client:
        answered.check(client)
    assert len(answered.receipts) > NUM_KILLS


@contextmanager
def killing(devnet: Devnet, *, after_s: float) -> Iterator[None]:
    timer = threading.Timer(after_s, os.kill, (devnet.process_id, signal.SIGKILL))
    timer.start()
    yield
    timer.join()


def ask_until_dead(answered: Answered, client: PatientClient) -> None:
    while True:
        try:
            answered.ask_on(client)
        except ChainError:
            return


@pytest.mark.parametrize("engine", ENGINES)
def test_a_chain_that_was_ended_goes_on_as_the_same_chain(tmp_path: Path, engine: str) -> None:
    with start(tmp_path, engine=engine) as devnet, closing(PatientClient(devnet.url)) as client:
        digest = send_call(client, ContractCall(to=NOBODY, value_wei=Wei(1)))
        before = client.mine(2)
        receipt, genesis = client.receipt(digest), devnet.genesis_hash
    with start(tmp_path, engine="auto") as devnet, closing(PatientClient(devnet.url)) as client:
        assert (devnet.engine, devnet.genesis_hash) == (engine, genesis)
        assert client.block(before.number) == before
        assert client.receipt(digest) == receipt is not None
        assert client.mine().number > before.number


@pytest.mark.parametrize("engine", ENGINES)
def test_two_fresh_chains_are_two_networks(tmp_path: Path, engine: str) -> None:
    with start(tmp_path / "a", engine=engine) as first, start(tmp_path / "b", engine=engine) as second:
        assert first.chain_id == second.chain_id
        assert network_id_for_development(first.genesis_hash) != network_id_for_development(second.genesis_hash)


# ---- time


@pytest.mark.parametrize("engine", ENGINES)
def test_it_mines_each_second_at_wall_time(tmp_path: Path, engine: str) -> None:
    with start(tmp_path, engine=engine, interval_s=1.0) as devnet, closing(PatientClient(devnet.url)) as client:
        first = client.mine()
        before_s = time.time()
        last = client.mine(2)
        assert time.time() - before_s < 2 + CLOCK_SLACK_S
        # Each block's time is a second after its parent's, so a chain that mines faster runs ahead of the clock.
        assert -CLOCK_SLACK_S < last.timestamp_s - time.time() < 1
        found = [client.block(number) for number in range(first.number, last.number + 1)]
        times = [block.timestamp_s for block in found if block is not None]
        assert len(times) >= 3
        assert times == sorted(set(times))


def test_after_a_pause_of_months_its_time_is_the_clocks_again(tmp_path: Path) -> None:
    with closing(open_chain(tmp_path / CHAIN_FILES["embedded"], int(time.time()) - 90 * 86_400)) as chain:
        for second in range(5):
            chain.mine(chain.head.timestamp + 1 + second)
        number, long_ago_s = chain.head.block_number, chain.head.timestamp
    with start(tmp_path) as devnet, closing(PatientClient(devnet.url)) as client:
        client.mine()
        block = client.block(number + 1)
        assert block is not None
        assert long_ago_s < block.timestamp_s
        assert abs(block.timestamp_s - time.time()) < 5 + CLOCK_SLACK_S


# ---- refusals


@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_process_on_the_same_folder_is_refused(tmp_path: Path, engine: str) -> None:
    with start(tmp_path, engine=engine) as devnet, closing(PatientClient(devnet.url)) as client:
        with pytest.raises(ChainError, match=r"is already running.*: end .* first"):
            start(tmp_path, engine=engine, wait_s=0)
        client.mine()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_chain_waits_for_the_end_of_the_process_that_had_it_before(
    tmp_path: Path, engine: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", sys.__stderr__)
    with start(tmp_path, engine=engine) as devnet:
        begun = begin_devnet(tmp_path, engine=engine, wait_s=WAIT_S)
        wait_for(lambda: "for another process to end: the development chain" in capfd.readouterr().err)
        genesis = devnet.genesis_hash
    with begun.finish() as devnet:
        assert devnet.genesis_hash == genesis


@pytest.mark.parametrize("engine", ENGINES)
def test_a_port_that_is_taken_is_named_whoever_has_it(tmp_path: Path, engine: str) -> None:
    with start(tmp_path / "first") as other:
        port = int(other.url.rpartition(":")[2])
        with pytest.raises(ChainError, match=f"can't listen on port {port} .*: end the program that does, or choose"):
            start(tmp_path / "second", engine=engine, port=port)


def test_a_port_can_be_taken_again_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    for _ in range(2):
        with start(tmp_path, port=port) as devnet, closing(PatientClient(devnet.url)) as client:
            assert devnet.url.endswith(f":{port}")
            client.mine()


@pytest.mark.parametrize("size", [100, 5_000])
def test_a_file_that_was_cut_off_is_refused_with_what_to_do(tmp_path: Path, size: int) -> None:
    file = tmp_path / CHAIN_FILES["embedded"]
    open_chain(file, 0).close()
    os.truncate(file, size)
    with pytest.raises(ChainError, match=r"is damaged .*: move it away to start a fresh chain"):
        start(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ChainError, match=r"does not start: .*file"):
        start_devnet(tmp_path / "file" / "folder", engine="embedded")


@NEEDS_ANVIL
@pytest.mark.parametrize("name", ["anvil.json", "anvil-state.json"])
def test_anvils_files_that_were_cut_off_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    start(tmp_path, engine="anvil").close()
    (tmp_path / name).write_text('{"times')
    with pytest.raises(ChainError, match=rf"{name} is damaged: move .* away to start a fresh chain"):
        start(tmp_path, engine="auto")


# ---- its end


def test_a_killed_chain_is_started_again_where_it_was_and_at_its_address(tmp_path: Path) -> None:
    with start(tmp_path) as devnet, closing(PatientClient(devnet.url)) as client:
        receipt_of = send_call(client, ContractCall(to=NOBODY, value_wei=Wei(1)))
        wait_for(lambda: client.receipt(receipt_of))
        before, mined = client.head(), client.receipt(receipt_of)
        os.kill(devnet.process_id, signal.SIGKILL)
        wait_for(lambda: devnet.status == -signal.SIGKILL)
        devnet.restart()
        assert devnet.status is None
        assert client.block(before.number) == before
        assert client.receipt(receipt_of) == mined
        wait_for(lambda: client.head().number > before.number)


def test_a_chain_that_was_begun_for_nothing_is_ended(tmp_path: Path) -> None:
    begun = begin_devnet(tmp_path, engine="embedded")
    begun.process.give_up()
    assert begun.process._process.poll() is not None


PARENT = """
import sys, time
from pathlib import Path
from openledger_node.chain.dev.launch import start_devnet
folder = Path(sys.argv[1])
devnet = start_devnet(folder, engine=sys.argv[2])
print(devnet.url, devnet.process_id, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_it_ends_when_its_parent_is_killed(tmp_path: Path, engine: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), engine], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        url, process_id = parent.stdout.readline().split()
        parent.kill()
    with closing(PatientClient(url)) as client:
        wait_until_down(client)
    wait_for(lambda: not is_alive(int(process_id)))
    start(tmp_path, engine=engine).close()


def wait_until_down(client: PatientClient) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        try:
            client.head()
        except ChainError:
            return
    raise AssertionError("it lives on")


@NEEDS_ANVIL
def test_anvil_whose_keeper_was_killed_is_not_started_twice(tmp_path: Path) -> None:
    devnet = start(tmp_path, engine="anvil")
    os.kill(devnet.process_id, signal.SIGKILL)
    devnet.close()
    with closing(PatientClient(devnet.url)) as client:
        client.mine()
        with pytest.raises(ChainError, match="is already running in process"):
            start(tmp_path, engine="anvil", wait_s=0)
        os.kill(int((tmp_path / LOCK_FILE).read_text()), signal.SIGTERM)
        wait_until_down(client)


@NEEDS_ANVIL
def test_anvil_mines_when_it_is_told_to_as_well(tmp_path: Path) -> None:
    with start(tmp_path, engine="anvil", interval_s=NEVER_S) as devnet, closing(AnvilClient(devnet.url)) as client:
        assert client.mine(3).number == 3


def test_what_it_says_is_one_line(tmp_path: Path) -> None:
    told, errors, status = run_once(tmp_path, "embedded")
    assert set(json.loads(told)) == {"url", "chain_id", "genesis_hash", "engine"}
    assert (errors, status) == ("", 0)


def test_why_it_does_not_start_is_said_once(tmp_path: Path) -> None:
    told, errors, status = run_once(tmp_path, "ganache")
    assert json.loads(told) == {"error": "there is no engine 'ganache': use auto, embedded or anvil"}
    assert (errors, status) == ("", ChainError.exit_code)


def run_once(folder: Path, engine: str) -> tuple[str, str, int]:
    """Start it and hang up at once."""
    command = [sys.executable, "-m", "openledger_node.chain.dev.process", "--folder", str(folder), "--engine", engine]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return ran.stdout, ran.stderr, ran.returncode


def test_a_block_that_cannot_be_stored_ends_it_and_says_why(tmp_path: Path) -> None:
    """A file may grow to this size and no further: as on a disk that is full."""
    limit = "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"
    limit += "sys.argv[0] = 'devnet'; runpy.run_module('openledger_node.chain.dev.process', run_name='__main__')"
    words = ["--folder", str(tmp_path), "--engine", "embedded", "--interval-s", str(INTERVAL_S)]
    with subprocess.Popen(
        [sys.executable, "-c", limit, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = json.loads(process.stdout.readline())["url"]
        with closing(PatientClient(url)) as client:
            told = [client.mine() for _ in range(3)]
        assert "check that the disk is writable and not full" in process.stderr.read()
        assert process.wait() == ChainError.exit_code
    with start(tmp_path) as devnet, closing(PatientClient(devnet.url)) as client:
        assert [client.block(block.number) for block in told] == told
