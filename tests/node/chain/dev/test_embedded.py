"""The embedded chain and its file: what was answered stays so, damage is seen, and a full disk changes nothing."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.chain_world.deployed import deployed_chain, send_call
from support.chain_world.ways import Simulation

from openledger_node.chain.clients.simulated import GENESIS_S
from openledger_node.chain.contracts import load_contract
from openledger_node.chain.dev.calls import EVM_FRAMES_MAX, FRAMES_MAX, room_for_calls
from openledger_node.chain.dev.constants import BANK
from openledger_node.chain.dev.embedded import EmbeddedChain, open_chain
from openledger_node.chain.encoding import created_address
from openledger_node.errors import ChainError
from openledger_protocol.chain import CREATE, Block, ContractCall
from openledger_protocol.primitives import Wei, check_address
from openledger_protocol.transactions import GasPrice

NUM_BLOCKS = 12
NOBODY = "0x" + "9" * 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "chain.db"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Block]]:
    """A chain with contracts that was closed, and its blocks."""
    file = tmp_path_factory.mktemp("kept") / "chain.db"
    with closing(open_chain(file, GENESIS_S)) as chain:
        client = Simulation(chain)
        deployed_chain(client)
        client.mine(NUM_BLOCKS)
        return file, blocks(client)


def blocks(client: Simulation) -> list[Block]:
    found = (client.block(number) for number in range(client.head().number + 1))
    return [block for block in found if block is not None]


# ---- what is kept


def test_a_chain_goes_on_where_it_was(kept: tuple[Path, list[Block]], file: Path) -> None:
    shutil.copy(kept[0], file)
    with closing(open_chain(file, 0)) as chain:
        client = Simulation(chain)
        assert blocks(client) == kept[1]
        head = client.mine()
    with closing(open_chain(file, 0)) as chain:
        assert blocks(Simulation(chain)) == [*kept[1], head]


@pytest.mark.parametrize("depth", [1, 3])
def test_a_transaction_that_a_reorganisation_took_back_has_no_receipt_until_it_is_mined_again(depth: int) -> None:
    with closing(open_chain(None, GENESIS_S)) as chain:
        client = Simulation(chain)
        sent = [send_call(client, ContractCall(to=BANK), nonce=nonce) for nonce in range(2)]
        client.mine(depth)
        client.reorganise(depth)
        assert [client.receipt(each) for each in sent] == [None, None]
        number = client.mine().number
        assert [client.receipt(each).block_number for each in sent] == [number, number]  # type: ignore[union-attr]


def test_what_was_mined_is_found_after_a_restart_and_what_waited_is_forgotten(file: Path) -> None:
    with closing(open_chain(file, GENESIS_S)) as chain:
        client = Simulation(chain)
        mined = send_call(client, ContractCall(to=BANK, value_wei=Wei(1)))
        client.mine()
        receipt, waits = client.receipt(mined), send_call(client, ContractCall(to=BANK))
    with closing(open_chain(file, 0)) as chain:
        again = Simulation(chain)
        assert again.receipt(mined) == receipt is not None
        assert not again.is_known(waits)
        assert send_call(again, ContractCall(to=BANK)) == waits


def test_a_chain_is_for_one_program_at_a_time(file: Path) -> None:
    with (
        closing(open_chain(file, GENESIS_S)),
        pytest.raises(ChainError, match="is already running: end the other process"),
    ):
        open_chain(file, GENESIS_S)
    open_chain(file, GENESIS_S).close()


# ---- time


def test_a_blocks_time_is_the_clocks_also_after_a_long_pause(file: Path) -> None:
    with closing(open_chain(file, GENESIS_S)) as chain:
        assert chain.mine(GENESIS_S + 5).timestamp == GENESIS_S + 5
    with closing(open_chain(file, GENESIS_S)) as chain:
        assert chain.mine(GENESIS_S + 90 * 86_400).timestamp == GENESIS_S + 90 * 86_400


@pytest.mark.parametrize("now_s", [GENESIS_S + 10, 0])
def test_time_never_stands_still_or_goes_back_whatever_the_clock_does(now_s: int) -> None:
    with closing(open_chain(None, GENESIS_S)) as chain:
        chain.mine(GENESIS_S + 10)
        assert [chain.mine(now_s).timestamp for _ in range(3)] == [GENESIS_S + 11, GENESIS_S + 12, GENESIS_S + 13]


# ---- damage


@pytest.mark.parametrize("part", [0.02, 0.7])
def test_a_truncated_file_is_refused_with_what_to_do(kept: tuple[Path, list[Block]], file: Path, part: float) -> None:
    whole = kept[0].read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ChainError, match=r"is damaged .*: move it away to start a fresh chain"):
        open_chain(file, GENESIS_S)


def test_damage_in_any_page_is_refused_or_changes_no_block(kept: tuple[Path, list[Block]], file: Path) -> None:
    whole, num_refused = kept[0].read_bytes(), 0
    for start in range(0, len(whole), 4096 * 7):
        file.write_bytes(whole[: start + 200] + bytes(64) + whole[start + 264 :])
        try:
            with closing(open_chain(file, GENESIS_S)) as chain:
                assert blocks(Simulation(chain)) == kept[1]
        except ChainError as error:
            assert "damaged" in str(error)  # noqa: PT017  # it may be refused, or not
            num_refused += 1
        file.unlink()
    assert num_refused > 0


# ---- a disk that is full


@pytest.fixture
def crammed(file: Path) -> Iterator[EmbeddedChain]:
    with closing(open_chain(file, GENESIS_S)) as chain:
        Simulation(chain).mine(3)
        connection = chain._store._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        yield chain


def test_a_block_that_cannot_be_stored_was_never_there(crammed: EmbeddedChain, file: Path) -> None:
    client = Simulation(crammed)
    digest = send_call(client, ContractCall(to=BANK, value_wei=Wei(1)))
    with pytest.raises(ChainError, match="check that the disk is writable and not full"):
        mine_until_full(client)
    head = client.head()
    assert client.block(head.number + 1) is None
    crammed._store._connection.execute("PRAGMA max_page_count = 100000")
    assert client.mine().number == head.number + 1
    receipt = client.receipt(digest)
    assert receipt is not None
    assert receipt.is_ok
    before = blocks(client)
    crammed.close()
    with closing(open_chain(file, GENESIS_S)) as again:
        assert blocks(Simulation(again)) == before


def mine_until_full(client: Simulation) -> None:
    for _ in range(200):
        client.mine()


# ---- questions about one block share its state


def test_a_call_or_an_estimate_leaves_nothing_that_the_next_question_sees() -> None:
    chain = deployed_chain()
    with closing(chain.client) as client:
        before = chain.read("OpenToken", "balanceOf", BANK)
        data = load_contract("OpenToken").encode("transfer", NOBODY, before)
        transfer = ContractCall(to=chain.contracts["OpenToken"], data=data)
        for ask in (client.call, client.estimate_gas, client.call):
            ask(transfer, sender=BANK)
        assert chain.read("OpenToken", "balanceOf", BANK) == before


def test_a_contract_may_call_the_pairings_whose_library_is_imported_at_the_first_call(client: Simulation) -> None:
    add_points = ContractCall(to=check_address("0x" + "0" * 38 + "0b"), data=bytes(256))
    assert client.call(add_points) == bytes(128)


# ---- the pool


@pytest.fixture
def client() -> Iterator[Simulation]:
    with closing(Simulation(open_chain(None, GENESIS_S))) as client:
        yield client


def test_what_costs_less_than_the_base_fee_waits_and_all_behind_it(client: Simulation) -> None:
    cheap = GasPrice(fee_max_wei=Wei(10), tip_max_wei=Wei(1))
    first = send_call(client, ContractCall(to=BANK), nonce=0, price=cheap)
    second = send_call(client, ContractCall(to=BANK), nonce=1)
    client.mine()
    assert [client.receipt(each) for each in (first, second)] == [None, None]
    dearer = send_call(client, ContractCall(to=BANK), nonce=0)
    client.mine()
    assert all(client.receipt(each) for each in (dearer, second))
    assert not client.is_known(first)


def test_a_block_takes_no_more_gas_than_it_has(client: Simulation) -> None:
    burn = ContractCall(to=CREATE, data=b"\xfe")  # an invalid instruction uses all gas
    sent = [send_call(client, burn, nonce=nonce, gas_limit=16_000_000) for nonce in range(2)]
    client.mine()
    assert [client.receipt(each) is not None for each in sent] == [True, False]
    client.mine()
    assert client.receipt(sent[1]) is not None


# ---- the EVM recurses deeply, and nothing else may: neither a nested text nor a contract ends the process


CALLS_ITSELF = bytes.fromhex("685f5f5f5f5f305af1005f5260096017f3")
"""Creates a contract of nine bytes, which calls itself with all the gas that it may pass on."""


PROGRAM = """
import json, openledger_node.chain.dev.rpc_methods, openledger_node.chain.clients.simulated
from openledger_node.chain.dev.rpc_server import respond
print(respond(b"[" * 100_000, lambda *_: None).decode())
"""


@pytest.mark.process
def test_a_deeply_nested_question_is_refused_by_a_process_with_the_evm_in_it() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["error"]["message"] == "parse error"


def test_a_contract_that_calls_itself_as_deep_as_it_may_is_mined_as_any_other() -> None:
    with closing(Simulation(open_chain(None, GENESIS_S))) as client:
        send_call(client, ContractCall(to=CREATE, data=CALLS_ITSELF))
        client.mine()
        deep = ContractCall(to=created_address(BANK, 0))
        digest = send_call(client, deep, gas_limit=29_000_000)
        client.mine()
        receipt = client.receipt(digest)
        assert receipt is not None
        assert receipt.is_ok
        assert client.call(deep) == b""


def test_there_is_room_for_the_evm_only_while_it_runs() -> None:
    before = sys.getrecursionlimit()
    with room_for_calls(), room_for_calls():
        assert sys.getrecursionlimit() == EVM_FRAMES_MAX
    assert sys.getrecursionlimit() == FRAMES_MAX <= before
