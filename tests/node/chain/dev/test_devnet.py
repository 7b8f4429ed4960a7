"""The development chain in a process of its own: killed, refused, started again, with either engine."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from support.chain_world.deployed import send_call
from support.chain_world.ways import INTERVAL_S, NEEDS_ANVIL, WAIT_S, PatientClient
from support.processes.nodes import is_alive, wait_for
from support.tiers import depth

from openledger_node.chain.dev.launch import Devnet, start_devnet
from openledger_node.errors import ChainError
from openledger_protocol.chain import Block, ContractCall, TransactionReceipt
from openledger_protocol.primitives import Digest, Wei, check_address

pytestmark = pytest.mark.process

NOBODY = check_address("0x" + "0" * 38 + "99")
ENGINES = ["embedded", pytest.param("anvil", marks=NEEDS_ANVIL)]
NUM_KILLS = depth(light=4, deep=40)


start = partial(start_devnet, engine="embedded", interval_s=INTERVAL_S)

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


# ---- refusals


@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_process_on_the_same_folder_is_refused(tmp_path: Path, engine: str) -> None:
    with start(tmp_path, engine=engine) as devnet, closing(PatientClient(devnet.url)) as client:
        with pytest.raises(ChainError, match=r"is already running.*: end .* first"):
            start(tmp_path, engine=engine, wait_s=0)
        client.mine()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_port_that_is_taken_is_named_whoever_has_it(tmp_path: Path, engine: str) -> None:
    with start(tmp_path / "first") as other:
        port = int(other.url.rpartition(":")[2])
        with pytest.raises(ChainError, match=f"can't listen on port {port} .*: end the program that does, or choose"):
            start(tmp_path / "second", engine=engine, port=port)


@NEEDS_ANVIL
def test_anvils_file_that_was_cut_off_is_refused_with_what_to_do(tmp_path: Path) -> None:
    start(tmp_path, engine="anvil").close()
    (tmp_path / "anvil.json").write_text('{"times')
    with pytest.raises(ChainError, match=r"anvil.json is damaged: move .* away to start a fresh chain"):
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
