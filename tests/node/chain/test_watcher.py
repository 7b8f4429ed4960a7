"""The watcher over a chain that reorganises under it, hides logs, and answers from two branches at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from support.scripted_chain import CHAIN_ID, ScriptedChain

from openledger_node.chain.encoding import UnsignedTransaction, sign_transaction
from openledger_node.chain.watcher import Watcher
from openledger_node.errors import ChainError
from openledger_node.ledger.ledger import Ledger
from openledger_protocol.chain import ContractCall, Log
from openledger_protocol.errors import MalformedError
from openledger_protocol.events import BLOCKS_KEPT, BlockId, Event
from openledger_protocol.primitives import Address, Wei, check_address
from openledger_protocol.signatures import address_of
from openledger_protocol.transactions import REORG_DEPTH_MAX, GasPrice

KEY = bytes(31) + b"\x01"
CONTRACT, FOREIGN = (check_address("0x" + letter * 40) for letter in "cf")


def decode(log: Log) -> Event | None:
    """Each call is a payment of as many wei as it has bytes; `?` is no event of ours."""
    if log.data == b"?":
        return None
    return Event(
        contract=log.address,
        name="Paid",
        arguments={"text": log.data.decode(), "amount": len(log.data)},
        block=BlockId(number=log.block_number, hash=log.block_hash),
        transaction_hash=log.transaction_hash,
        log_index=log.log_index,
    )


@dataclass
class Reader:
    """A watcher, the chain that it reads, and the ledger that keeps what it read."""

    chain: ScriptedChain
    ledger: Ledger

    def __post_init__(self) -> None:
        self.open()

    def open(self, **changes: Any) -> None:
        """Start the watcher, over the same ledger each time."""
        settings: dict[str, Any] = {
            "client": self.chain,
            "journal": self.ledger.events,
            "chain_id": CHAIN_ID,
            "addresses": [CONTRACT],
            "first_block": 1,
            "decode": decode,
        }
        self.watcher = Watcher(**{**settings, **changes})

    def pay(self, *texts: str, to: Address = CONTRACT) -> None:
        """Mine one block with a payment each."""
        mined = self.chain.nonces(address_of(KEY))
        for nonce, text in enumerate(texts, start=len(mined)):
            unsigned = UnsignedTransaction(
                chain_id=CHAIN_ID,
                nonce=nonce,
                price=GasPrice(fee_max_wei=Wei(10**9), tip_max_wei=Wei(1)),
                gas_limit=100_000,
                call=ContractCall(to=to, data=text.encode()),
            )
            self.chain.send(sign_transaction(unsigned, KEY))
        self.chain.mine()

    def read(self) -> None:
        while self.watcher.step():
            pass

    def texts(self) -> list[str]:
        return [str(event.arguments["text"]) for event in self.ledger.events.find("Paid")]

    def told(self) -> list[str]:
        """What the chain says by now."""
        return [log.data.decode() for mined in self.chain.chain for log in mined.logs if log.address == CONTRACT]


@pytest.fixture
def reader(chain: ScriptedChain, ledger: Ledger) -> Reader:
    return Reader(chain, ledger)


# ---- reading on


def test_what_contracts_said_is_read_in_order_and_nothing_else(reader: Reader) -> None:
    reader.pay("a", "?", "b")
    reader.pay("foreign", to=FOREIGN)
    reader.pay("c")
    reader.read()
    assert reader.texts() == ["a", "b", "c"]
    assert reader.ledger.events.last_blocks()[0].hash == reader.chain.head().hash
    assert reader.watcher.head == reader.chain.head()


@pytest.mark.parametrize("gap", [1, 200])
def test_a_look_takes_the_same_few_questions_however_long_the_last_one_was_ago(reader: Reader, gap: int) -> None:
    reader.chain.mine(100)
    reader.read()
    for number in range(3):
        reader.pay(f"p{number}")
        reader.chain.mine(gap - 1)
        reader.chain.asked.clear()
        reader.watcher.step()
        assert reader.chain.asked["block"] <= 2
        assert reader.chain.asked.total() <= 6
    assert reader.texts() == [f"p{number}" for number in range(3)]


@pytest.mark.parametrize(("gap", "depth"), [(7, 1), (30, 33), (63, 64), (1, 65), (30, 65)])
def test_a_node_that_looks_seldom_survives_the_same_reorgs(reader: Reader, gap: int, depth: int) -> None:
    for number in range(130 // gap + 1):
        reader.pay(f"old {number}")
        reader.chain.mine(gap - 1)
        reader.read()
    before = reader.texts()
    reader.chain.reorganise(depth)
    reader.pay("new")
    reader.read()
    is_too_deep = depth > REORG_DEPTH_MAX
    assert reader.watcher.state.health == ("halted" if is_too_deep else "ok")
    assert reader.texts() == (before if is_too_deep else reader.told())


def test_blocks_before_the_contracts_are_not_read(reader: Reader) -> None:
    reader.pay("a")
    reader.pay("b")
    reader.open(first_block=2)
    reader.read()
    assert reader.texts() == ["b"]


def test_a_long_chain_is_read_in_chunks_and_by_few_blocks(reader: Reader) -> None:
    for number in range(30):
        reader.pay(f"early {number}")
    reader.chain.mine(1_000)
    reader.open(chunk_blocks_max=100)
    reader.read()
    assert len(reader.texts()) == 30
    assert reader.chain.asked["block"] < 300
    assert reader.ledger.events.finalized_number() == reader.chain.finalized_number()


def test_an_endpoint_with_a_limit_is_asked_for_less(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        reader.pay(f"p{number}")
    answer = reader.chain.logs

    def logs(addresses: Sequence[Address], first: int, last: int) -> list[Log]:
        if last - first >= 10:
            raise ChainError("a range of more than 10 blocks: ask for less")
        return answer(addresses, first, last)

    monkeypatch.setattr(reader.chain, "logs", logs)
    reader.open()
    for _ in range(60):
        reader.watcher.step()
    assert reader.texts() == [f"p{number}" for number in range(40)]


# ---- what is final


def test_final_is_what_is_read_and_deep_enough(reader: Reader) -> None:
    reader.pay("a")
    reader.chain.mine(4)
    reader.read()
    assert reader.ledger.events.finalized_number() == 3
    reader.chain.mine()
    reader.read()
    assert reader.ledger.events.finalized_number() == 4


def test_logs_that_an_endpoint_had_not_yet_are_found_before_their_block_counts_as_final(reader: Reader) -> None:
    reader.chain.is_hiding_logs = True
    reader.pay("a")
    reader.pay("b")
    reader.read()
    assert reader.texts() == []
    reader.chain.is_hiding_logs = False
    reader.pay("c")
    reader.read()
    assert reader.texts() == ["a", "b", "c"]
    assert reader.ledger.events.finalized_number() == 1


def test_logs_that_are_gone_the_second_time_are_not_final_by_a_third_look_alone(reader: Reader) -> None:
    reader.pay("a")
    reader.read()
    reader.chain.mine(2)
    reader.chain.is_hiding_logs = True
    reader.watcher.step()
    reader.chain.is_hiding_logs = False
    reader.read()
    assert reader.texts() == ["a"]


# ---- reorganisations


@pytest.mark.parametrize("depth", [1, 12, 64])
def test_a_reorg_leaves_what_the_new_chain_says(reader: Reader, depth: int) -> None:
    reader.chain.finality_depth = 64
    for number in range(100):
        reader.pay(f"old {number}")
        reader.read()
    reader.chain.reorganise(depth)
    reader.pay("new")
    reader.read()
    assert reader.watcher.state.health == "ok"
    assert reader.texts() == reader.told()
    assert len(reader.texts()) == 100 - depth + 1
    assert reader.ledger.events.last_blocks()[0].hash == reader.chain.head().hash


def test_a_reorg_while_the_node_was_off_is_seen_at_its_next_start(reader: Reader) -> None:
    reader.pay("a")
    reader.pay("b")
    reader.read()
    reader.chain.reorganise(1)
    reader.chain.mine(3_000)
    reader.pay("c")
    reader.open()
    reader.read()
    assert reader.texts() == ["a", "c"]


@pytest.mark.parametrize("depth", [65, 140])
def test_a_deeper_reorg_halts_until_the_operator_rescans_the_chain(reader: Reader, depth: int) -> None:
    for number in range(150):
        reader.pay(f"old {number}")
    reader.read()
    before = reader.texts()
    reader.chain.reorganise(depth)
    for _ in range(2):
        reader.read()
        assert reader.watcher.state.health == "halted"
        assert "took back more than 64 blocks below block 150" in (reader.watcher.state.why or "")
        reader.open()
    assert reader.texts() == before

    reader.read()
    reader.watcher.rescan()
    reader.read()
    assert reader.watcher.state.health == "ok"
    assert reader.texts() == reader.told()


@pytest.mark.parametrize("question", ["head", "block", "logs", "finalized_number"])
@pytest.mark.parametrize("after", [0, 2])
def test_a_reorg_between_any_two_questions_is_seen_in_the_end(
    reader: Reader, question: str, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        reader.pay(f"old {number}")
    reader.chain.finality_depth = 4
    reorganise_once = once(reader.chain, question, after, lambda: reader.chain.reorganise(3))
    monkeypatch.setattr(reader.chain, "_answer", reorganise_once)
    for number in range(8):
        reader.watcher.step()
        reader.pay(f"new {number}")
        reader.chain.mine(2)
    reader.read()
    assert reader.chain.branch == 1
    assert reader.texts() == reader.told()
    assert reader.ledger.events.finalized_number() == reader.chain.finalized_number()


def once(chain: ScriptedChain, question: str, after: int, act: Callable[[], None]) -> Callable[[str], None]:
    """Act in the middle of an answer, once."""
    answer = chain._answer
    done: list[bool] = []

    def answer_and_act(name: str) -> None:
        answer(name)
        if name == question and chain.asked[question] > after and not done:
            done.append(True)
            act()

    return answer_and_act


# ---- endpoints that are down, behind, or of another chain


def test_an_endpoint_that_is_behind_takes_nothing_back(reader: Reader) -> None:
    reader.pay("a")
    reader.pay("b")
    reader.read()
    ahead = reader.chain.chain
    reader.chain.chain = ahead[:2]
    reader.read()
    assert (reader.watcher.state.health, reader.texts()) == ("ok", ["a", "b"])
    reader.chain.chain = ahead
    reader.pay("c")
    reader.read()
    assert reader.texts() == ["a", "b", "c"]


@pytest.mark.parametrize("lag", [REORG_DEPTH_MAX, REORG_DEPTH_MAX + 1, BLOCKS_KEPT - 1])
def test_an_endpoint_that_is_far_behind_what_was_read_at_once_halts_nothing(reader: Reader, lag: int) -> None:
    reader.pay("a")
    reader.chain.mine(2 * BLOCKS_KEPT)
    reader.read()
    ahead = reader.chain.chain
    reader.chain.chain = ahead[:-lag]
    reader.read()
    assert (reader.watcher.state.health, reader.texts()) == ("ok", ["a"])
    assert reader.ledger.events.last_blocks()[0].number == ahead[-1].block.number
    reader.chain.chain = ahead
    reader.pay("b")
    reader.read()
    assert reader.texts() == ["a", "b"]


def test_a_second_server_that_is_behind_takes_nothing_back(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.chain.mine(2 * BLOCKS_KEPT)
    reader.pay("a")
    reader.read()
    reader.chain.mine(2)
    block = reader.chain.block
    monkeypatch.setattr(
        reader.chain, "block", lambda number: block(number) if number < len(reader.chain.chain) - 3 else None
    )
    assert not reader.watcher.step()
    assert (reader.watcher.state.health, reader.texts()) == ("down", ["a"])
    assert "one of its servers is behind" in (reader.watcher.state.why or "")
    monkeypatch.undo()
    reader.pay("b")
    reader.read()
    assert (reader.watcher.state.health, reader.texts()) == ("ok", ["a", "b"])


def test_another_chain_is_neither_read_nor_taken_for_a_reorg(reader: Reader) -> None:
    reader.pay("a")
    reader.chain.told_chain_id = 1
    reader.read()
    assert (reader.watcher.state.health, reader.texts()) == ("down", [])
    reader.chain.told_chain_id = CHAIN_ID
    reader.open()
    reader.read()
    reader.chain.told_chain_id = 1
    reader.chain.reorganise(1)
    for _ in range(2):
        reader.read()
        assert (reader.watcher.state.health, reader.texts()) == ("down", ["a"])
        assert "is on chain 1, not 7331" in (reader.watcher.state.why or "")
        reader.open()


def test_logs_that_cannot_be_read_are_the_endpoints_fault(reader: Reader) -> None:
    def refuse(log: Log) -> Event | None:
        raise MalformedError("Claimed of PaymentChannels can't be read")

    reader.open(decode=refuse)
    reader.pay("a")
    reader.read()
    assert (reader.watcher.state.health, reader.ledger.events.last_blocks()) == ("down", [])
