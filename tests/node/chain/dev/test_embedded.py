"""The embedded chain and its file: what was answered stays so, damage is seen, and a full disk changes nothing."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import rlp
from support.chain_world.deployed import PRICE, deployed_chain, network_of, refusal, send_call, signed_call
from support.chain_world.ways import Simulation

from openledger_node.chain.clients.simulated import GENESIS_S
from openledger_node.chain.contracts import load_contract
from openledger_node.chain.dev.constants import BANK, BANK_KEY
from openledger_node.chain.dev.deploy import CREATE
from openledger_node.chain.dev.embedded import EmbeddedChain, open_chain
from openledger_node.chain.dev.process import mine_or_say
from openledger_node.errors import ChainError
from openledger_protocol.chain import Block, ContractCall
from openledger_protocol.primitives import Digest, Wei, check_address
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


def test_each_fresh_chain_is_another_network() -> None:
    networks = set()
    for _ in range(2):
        with closing(Simulation(open_chain(None, GENESIS_S))) as client:
            networks.add(network_of(client, {}, 1).network)
    assert len(networks) == 2


def test_a_chain_is_for_one_program_at_a_time(file: Path) -> None:
    with (
        closing(open_chain(file, GENESIS_S)),
        pytest.raises(ChainError, match="is already running: end the other process"),
    ):
        open_chain(file, GENESIS_S)
    open_chain(file, GENESIS_S).close()


def test_each_block_is_on_the_disk_before_it_is_told(file: Path) -> None:
    with closing(open_chain(file, GENESIS_S)) as chain:
        connection = chain._store._connection
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_nobody_else_may_read_the_file(file: Path) -> None:
    with closing(open_chain(file, GENESIS_S)):
        assert file.stat().st_mode & 0o077 == 0


# ---- time


def test_a_blocks_time_is_the_clocks_also_after_a_long_pause(file: Path) -> None:
    with closing(open_chain(file, GENESIS_S)) as chain:
        assert chain.mine(GENESIS_S + 5).timestamp == GENESIS_S + 5
    with closing(open_chain(file, GENESIS_S)) as chain:
        assert chain.mine(GENESIS_S + 90 * 86_400).timestamp == GENESIS_S + 90 * 86_400


@pytest.mark.parametrize("now_s", [GENESIS_S + 10, GENESIS_S + 9, GENESIS_S - 1_000_000, 0])
def test_time_never_stands_still_or_goes_back_whatever_the_clock_does(now_s: int) -> None:
    with closing(open_chain(None, GENESIS_S)) as chain:
        chain.mine(GENESIS_S + 10)
        assert [chain.mine(now_s).timestamp for _ in range(3)] == [GENESIS_S + 11, GENESIS_S + 12, GENESIS_S + 13]


# ---- damage


@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.98])
def test_a_truncated_file_is_refused_with_what_to_do(kept: tuple[Path, list[Block]], file: Path, part: float) -> None:
    whole = kept[0].read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ChainError, match=r"is damaged .*: move it away to start a fresh chain"):
        open_chain(file, GENESIS_S)


def test_a_file_of_something_else_is_refused_and_left_as_it_is(file: Path) -> None:
    file.write_bytes(b"my diary, " * 1_000)
    with pytest.raises(ChainError, match=r"is damaged .*: move it away"):
        open_chain(file, GENESIS_S)
    assert file.read_bytes() == b"my diary, " * 1_000


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


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM entry WHERE key = CAST('v1:canonical_head_hash' AS BLOB)",
        "UPDATE entry SET value = zeroblob(32) WHERE key = CAST('v1:canonical_head_hash' AS BLOB)",
        "UPDATE entry SET value = zeroblob(length(value)) WHERE length(key) = 32",
        "DELETE FROM entry WHERE length(key) = 32 AND length(value) > 500",
        "DELETE FROM entry WHERE length(key) = 32 AND length(value) < 200",
    ],
)
def test_rows_that_are_not_what_was_written_are_seen(kept: tuple[Path, list[Block]], file: Path, damage: str) -> None:
    shutil.copy(kept[0], file)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(damage)
    try:
        with closing(open_chain(file, GENESIS_S)) as chain:
            assert blocks(Simulation(chain)) == kept[1]
    except ChainError as error:
        assert "is damaged" in str(error)  # noqa: PT017


def test_a_transaction_that_is_missing_is_damage(kept: tuple[Path, list[Block]], file: Path) -> None:
    """Whichever node of the tries of the first block's transactions and receipts it is."""
    with closing(open_chain(kept[0], GENESIS_S)) as chain:
        header = chain.header(1)
        assert header is not None
        roots = [header.transaction_root, header.receipt_root]
        nodes = [node for root in roots for node in trie_nodes(chain, root)]
    assert len(nodes) > len(roots)
    for node in nodes:
        shutil.copy(kept[0], file)
        with closing(sqlite3.connect(file)) as connection, connection:
            assert connection.execute("DELETE FROM entry WHERE key = ?", [node]).rowcount == 1
        with closing(open_chain(file, GENESIS_S)) as chain, pytest.raises(ChainError, match="is damaged"):
            blocks(Simulation(chain))


def trie_nodes(chain: EmbeddedChain, root: bytes) -> list[bytes]:
    """The hashes of all nodes of a trie that are rows of their own."""
    found, left = [], [root]
    while left:
        found.append(left.pop())
        parts = rlp.decode(chain._store[found[-1]])
        left += [part for part in parts if len(part) == 32 and part in chain._store]
    return found


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


def test_a_chain_on_a_full_disk_answers_on_says_why_once_and_mines_again(
    crammed: EmbeddedChain, capsys: pytest.CaptureFixture[str]
) -> None:
    why = ""
    for second in range(300):
        why = mine_or_say(crammed, GENESIS_S + 100 + second, why)
    head = Simulation(crammed).head()
    assert capsys.readouterr().err.count("no block is mined: ") == 1
    crammed._store._connection.execute("PRAGMA max_page_count = 100000")
    assert mine_or_say(crammed, GENESIS_S + 1_000, why) == ""
    assert Simulation(crammed).head().number == head.number + 1


def mine_until_full(client: Simulation) -> None:
    for _ in range(200):
        client.mine()


def test_a_file_that_may_not_be_written_says_so(kept: tuple[Path, list[Block]], tmp_path: Path) -> None:
    with pytest.raises(ChainError, match="can't be used"):
        open_chain(tmp_path, GENESIS_S)  # a folder is in its place


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


def test_each_block_has_a_state_of_its_own(client: Simulation) -> None:
    send_call(client, ContractCall(to=check_address(NOBODY), value_wei=Wei(5)))
    client.mine()
    asked = [client.ask("eth_getBalance", [NOBODY, block]) for block in ("0x0", "latest", "0x0", "0x1")]
    assert asked == ["0x0", "0x5", "0x0", "0x5"]


# ---- the pool


@pytest.fixture
def client() -> Iterator[Simulation]:
    with closing(Simulation(open_chain(None, GENESIS_S))) as client:
        yield client


def priced(percent: int, *, tip_percent: int | None = None) -> GasPrice:
    tip_wei = PRICE.tip_max_wei * (percent if tip_percent is None else tip_percent) // 100
    return GasPrice(fee_max_wei=Wei(PRICE.fee_max_wei * percent // 100), tip_max_wei=Wei(tip_wei))


@pytest.mark.parametrize("price", [priced(109), priced(100), priced(200, tip_percent=109), priced(50)])
def test_a_replacement_that_pays_less_than_a_tenth_more_is_underpriced(client: Simulation, price: GasPrice) -> None:
    send_call(client, ContractCall(to=BANK, value_wei=Wei(1)))
    assert refusal(client, signed_call(client, ContractCall(to=BANK), key=BANK_KEY, price=price)) == "underpriced"


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


def test_what_was_sent_first_is_mined_first(client: Simulation) -> None:
    sent: list[Digest] = [send_call(client, ContractCall(to=BANK), nonce=nonce) for nonce in (2, 0, 1)]
    client.mine()
    shown = client.ask("eth_getBlockByNumber", ["latest", False])["transactions"]
    assert shown == [sent[1], sent[2], sent[0]]


def test_a_block_takes_no_more_gas_than_it_has(client: Simulation) -> None:
    burn = ContractCall(to=CREATE, data=b"\xfe")  # an invalid instruction uses all gas
    sent = [send_call(client, burn, nonce=nonce, gas_limit=16_000_000) for nonce in range(2)]
    client.mine()
    assert [client.receipt(each) is not None for each in sent] == [True, False]
    client.mine()
    assert client.receipt(sent[1]) is not None
