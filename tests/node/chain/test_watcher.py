"""The watcher over a chain that reorganises under it, hides logs, and answers from two branches at once."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from support.scripted_chain import CHAIN_ID, ScriptedChain

from openledger_node.chain.encoding import UnsignedTransaction, encode_signed, signing_digest
from openledger_node.chain.watcher import Watcher
from openledger_node.errors import ChainError
from openledger_node.ledger.ledger import Ledger
from openledger_protocol.chain import ContractCall, Log
from openledger_protocol.errors import MalformedError
from openledger_protocol.events import BLOCKS_KEPT, BlockId, Event
from openledger_protocol.primitives import Address, Wei, check_address
from openledger_protocol.signatures import address_of, sign_digest
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


def open_watcher(chain: ScriptedChain, ledger: Ledger, **changes: Any) -> Watcher:
    settings: dict[str, Any] = {
        "client": chain,
        "journal": ledger.events,
        "chain_id": CHAIN_ID,
        "addresses": [CONTRACT],
        "first_block": 1,
        "decode": decode,
    }
    return Watcher(**{**settings, **changes})


@pytest.fixture
def watcher(chain: ScriptedChain, ledger: Ledger) -> Watcher:
    return open_watcher(chain, ledger)


def pay(chain: ScriptedChain, *texts: str, to: Address = CONTRACT) -> None:
    """One block with a payment each."""
    mined = chain.nonces(address_of(KEY))
    for nonce, text in enumerate(texts, start=len(mined)):
        unsigned = UnsignedTransaction(
            chain_id=CHAIN_ID,
            nonce=nonce,
            price=GasPrice(fee_max_wei=Wei(10**9), tip_max_wei=Wei(1)),
            gas_limit=100_000,
            call=ContractCall(to=to, data=text.encode()),
        )
        chain.send(encode_signed(unsigned, sign_digest(KEY, signing_digest(unsigned))))
    chain.mine()


def read(watcher: Watcher) -> None:
    while watcher.step():
        pass


def texts(ledger: Ledger) -> list[str]:
    return [str(event.arguments["text"]) for event in ledger.events.find("Paid")]


def told(chain: ScriptedChain) -> list[str]:
    return [log.data.decode() for mined in chain.chain for log in mined.logs if log.address == CONTRACT]


# ---- reading on


def test_what_contracts_said_is_read_in_order_and_nothing_else(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher
) -> None:
    pay(chain, "a", "?", "b")
    pay(chain, "foreign", to=FOREIGN)
    pay(chain, "c")
    read(watcher)
    assert texts(ledger) == ["a", "b", "c"]
    assert ledger.events.last_blocks()[0].hash == chain.head().hash
    assert watcher.head == chain.head()


def test_only_what_is_new_is_read_again(chain: ScriptedChain, ledger: Ledger, watcher: Watcher) -> None:
    pay(chain, "a")
    read(watcher)
    asked = chain.asked["logs"]
    read(watcher)
    assert chain.asked["logs"] == asked
    pay(chain, "b")
    read(watcher)
    assert texts(ledger) == ["a", "b"]


def test_whether_the_next_block_follows_the_last_one_is_seen_without_a_question(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher
) -> None:
    read(watcher)
    asked = chain.asked["block"]
    chain.mine()
    read(watcher)
    assert chain.asked["block"] == asked


def test_a_head_that_has_not_moved_costs_one_question(chain: ScriptedChain, watcher: Watcher) -> None:
    pay(chain, "a")
    read(watcher)
    chain.asked.clear()
    read(watcher)
    assert chain.asked == {"head": 1}


@pytest.mark.parametrize("gap", [1, 7, 64, 200])
def test_a_look_takes_the_same_few_questions_however_long_the_last_one_was_ago(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher, gap: int
) -> None:
    chain.mine(100)
    read(watcher)
    for number in range(3):
        pay(chain, f"p{number}")
        chain.mine(gap - 1)
        chain.asked.clear()
        watcher.step()
        assert chain.asked["block"] <= 2
        assert chain.asked.total() <= 6
    assert texts(ledger) == [f"p{number}" for number in range(3)]


@pytest.mark.parametrize(("gap", "depth"), [(7, 1), (30, 33), (63, 64), (1, 65), (30, 65)])
def test_a_node_that_looks_seldom_survives_the_same_reorgs_and_no_deeper_ones(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher, gap: int, depth: int
) -> None:
    for number in range(130 // gap + 1):
        pay(chain, f"old {number}")
        chain.mine(gap - 1)
        read(watcher)
    before = texts(ledger)
    chain.reorganise(depth)
    pay(chain, "new")
    read(watcher)
    is_too_deep = depth > REORG_DEPTH_MAX
    assert watcher.state.health == ("halted" if is_too_deep else "ok")
    assert texts(ledger) == (before if is_too_deep else told(chain))


def test_blocks_before_the_contracts_are_not_read(chain: ScriptedChain, ledger: Ledger) -> None:
    pay(chain, "a")
    pay(chain, "b")
    read(open_watcher(chain, ledger, first_block=2))
    assert texts(ledger) == ["b"]


def test_a_long_chain_is_read_in_chunks_and_by_few_blocks(chain: ScriptedChain, ledger: Ledger) -> None:
    for number in range(30):
        pay(chain, f"early {number}")
    chain.mine(1_000)
    watcher = open_watcher(chain, ledger, chunk_blocks_max=100)
    read(watcher)
    assert len(texts(ledger)) == 30
    assert chain.asked["block"] < 300
    assert ledger.events.finalized_number() == chain.finalized_number()


def test_a_restart_goes_on_where_the_last_run_was(chain: ScriptedChain, ledger: Ledger, watcher: Watcher) -> None:
    pay(chain, "a")
    read(watcher)
    pay(chain, "b")
    read(open_watcher(chain, ledger))
    assert texts(ledger) == ["a", "b"]


def test_an_endpoint_that_finds_a_chunk_too_long_is_asked_for_less(
    chain: ScriptedChain, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        pay(chain, f"p{number}")
    answer = chain.logs

    def logs(addresses: Sequence[Address], first: int, last: int) -> list[Log]:
        if last - first >= 10:
            raise ChainError("a range of more than 10 blocks: ask for less")
        return answer(addresses, first, last)

    monkeypatch.setattr(chain, "logs", logs)
    watcher = open_watcher(chain, ledger)
    for _ in range(60):
        watcher.step()
    assert texts(ledger) == [f"p{number}" for number in range(40)]


# ---- what is final


def test_final_is_what_is_read_and_deep_enough(chain: ScriptedChain, ledger: Ledger, watcher: Watcher) -> None:
    pay(chain, "a")
    chain.mine(4)
    read(watcher)
    assert ledger.events.finalized_number() == 3
    chain.mine()
    read(watcher)
    assert ledger.events.finalized_number() == 4


def test_logs_that_an_endpoint_had_not_yet_are_found_before_their_block_counts_as_final(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher
) -> None:
    chain.is_hiding_logs = True
    pay(chain, "a")
    pay(chain, "b")
    read(watcher)
    assert texts(ledger) == []
    chain.is_hiding_logs = False
    pay(chain, "c")
    read(watcher)
    assert texts(ledger) == ["a", "b", "c"]
    assert ledger.events.finalized_number() == 1


def test_logs_that_are_gone_the_second_time_are_not_final_by_a_third_look_alone(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher
) -> None:
    pay(chain, "a")
    read(watcher)
    chain.mine(2)
    chain.is_hiding_logs = True
    watcher.step()
    chain.is_hiding_logs = False
    read(watcher)
    assert texts(ledger) == ["a"]


# ---- reorganisations


@pytest.mark.parametrize("depth", [1, 2, 5, 12, 30, 64])
def test_a_reorg_leaves_what_the_new_chain_says(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher, depth: int
) -> None:
    chain.finality_depth = 64
    for number in range(100):
        pay(chain, f"old {number}")
        read(watcher)
    chain.reorganise(depth)
    pay(chain, "new")
    read(watcher)
    assert watcher.state.health == "ok"
    assert texts(ledger) == told(chain)
    assert len(texts(ledger)) == 100 - depth + 1
    assert ledger.events.last_blocks()[0].hash == chain.head().hash


def test_a_reorg_of_a_chain_that_is_younger_than_what_is_kept_is_survived(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher
) -> None:
    pay(chain, "a")
    pay(chain, "b")
    read(watcher)
    chain.reorganise(2)
    pay(chain, "c")
    read(watcher)
    assert texts(ledger) == ["c"]


def test_a_reorg_while_the_node_was_off_is_seen_at_its_next_start(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher
) -> None:
    pay(chain, "a")
    pay(chain, "b")
    read(watcher)
    chain.reorganise(1)
    chain.mine(3_000)
    pay(chain, "c")
    read(open_watcher(chain, ledger))
    assert texts(ledger) == ["a", "c"]


@pytest.mark.parametrize("depth", [65, 100, 140])
def test_a_deeper_reorg_halts_and_changes_nothing(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher, depth: int
) -> None:
    for number in range(150):
        pay(chain, f"old {number}")
    read(watcher)
    before = texts(ledger)
    chain.reorganise(depth)
    for again in (watcher, open_watcher(chain, ledger)):
        read(again)
        assert again.state.health == "halted"
        assert "took back more than 64 blocks below block 150" in (again.state.why or "")
    assert texts(ledger) == before


def test_after_a_halt_the_operator_can_have_the_chain_read_anew(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher
) -> None:
    for number in range(150):
        pay(chain, f"old {number}")
    read(watcher)
    chain.reorganise(100)
    read(watcher)
    watcher.rescan()
    read(watcher)
    assert watcher.state.health == "ok"
    assert texts(ledger) == told(chain)


@pytest.mark.parametrize("question", ["head", "block", "logs", "finalized_number"])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_reorg_between_any_two_questions_is_seen_in_the_end(
    chain: ScriptedChain,
    ledger: Ledger,
    watcher: Watcher,
    question: str,
    after: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(5):
        pay(chain, f"old {number}")
    chain.finality_depth = 4
    monkeypatch.setattr(chain, "_answer", once(chain, question, after, lambda: chain.reorganise(3)))
    for number in range(8):
        watcher.step()
        pay(chain, f"new {number}")
        chain.mine(2)
    read(watcher)
    assert chain.branch == 1
    assert texts(ledger) == told(chain)
    assert ledger.events.finalized_number() == chain.finalized_number()


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


def test_while_the_endpoint_is_down_nothing_is_lost(chain: ScriptedChain, ledger: Ledger, watcher: Watcher) -> None:
    pay(chain, "a")
    read(watcher)
    chain.is_down = True
    read(watcher)
    assert (watcher.state.health, texts(ledger)) == ("down", ["a"])
    chain.is_down = False
    read(watcher)
    assert watcher.state.health == "ok"


def test_an_endpoint_that_is_behind_takes_nothing_back(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher
) -> None:
    pay(chain, "a")
    pay(chain, "b")
    read(watcher)
    ahead = chain.chain
    chain.chain = ahead[:2]
    read(watcher)
    assert (watcher.state.health, texts(ledger)) == ("ok", ["a", "b"])
    chain.chain = ahead
    pay(chain, "c")
    read(watcher)
    assert texts(ledger) == ["a", "b", "c"]


@pytest.mark.parametrize("lag", [REORG_DEPTH_MAX, REORG_DEPTH_MAX + 1, BLOCKS_KEPT - 1])
def test_an_endpoint_that_is_far_behind_what_was_read_at_once_halts_nothing(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher, lag: int
) -> None:
    pay(chain, "a")
    chain.mine(2 * BLOCKS_KEPT)
    read(watcher)
    ahead = chain.chain
    chain.chain = ahead[:-lag]
    read(watcher)
    assert (watcher.state.health, texts(ledger)) == ("ok", ["a"])
    assert ledger.events.last_blocks()[0].number == ahead[-1].block.number
    chain.chain = ahead
    pay(chain, "b")
    read(watcher)
    assert texts(ledger) == ["a", "b"]


def test_an_endpoint_whose_second_server_is_behind_takes_nothing_back(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.mine(2 * BLOCKS_KEPT)
    pay(chain, "a")
    read(watcher)
    chain.mine(2)
    block = chain.block
    monkeypatch.setattr(chain, "block", lambda number: block(number) if number < len(chain.chain) - 3 else None)
    assert not watcher.step()
    assert (watcher.state.health, texts(ledger)) == ("down", ["a"])
    assert "one of its servers is behind" in (watcher.state.why or "")
    monkeypatch.undo()
    pay(chain, "b")
    read(watcher)
    assert (watcher.state.health, texts(ledger)) == ("ok", ["a", "b"])


def test_another_chain_is_no_reorg(chain: ScriptedChain, ledger: Ledger, watcher: Watcher) -> None:
    pay(chain, "a")
    read(watcher)
    chain.told_chain_id = 1
    chain.reorganise(1)
    for again in (watcher, open_watcher(chain, ledger)):
        read(again)
        assert (again.state.health, texts(ledger)) == ("down", ["a"])
        assert "is on chain 1, not 7331" in (again.state.why or "")


def test_an_endpoint_is_asked_for_its_chain_before_its_first_block_is_believed(
    chain: ScriptedChain, ledger: Ledger, watcher: Watcher
) -> None:
    chain.told_chain_id = 1
    pay(chain, "a")
    read(watcher)
    assert (watcher.state.health, texts(ledger)) == ("down", [])


def test_logs_that_cannot_be_read_are_the_endpoints_fault(chain: ScriptedChain, ledger: Ledger) -> None:
    def refuse(log: Log) -> Event | None:
        raise MalformedError("Claimed of PaymentChannels can't be read")

    watcher = open_watcher(chain, ledger, decode=refuse)
    pay(chain, "a")
    read(watcher)
    assert (watcher.state.health, ledger.events.last_blocks()) == ("down", [])
