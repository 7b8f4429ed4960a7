"""Events of kinds that an earlier release did not know, which the watcher reads once more after an update."""

import logging
from collections.abc import Sequence

import pytest
from support.scripted_chain import CHAIN_ID, ScriptedChain

from openledger_node.chain import new_kinds
from openledger_node.chain.contracts import load_contract
from openledger_node.chain.encoding import UnsignedTransaction, encode_signed, signing_digest
from openledger_node.chain.new_kinds import UNNOTED, LogKind, LogKinds, kinds_of
from openledger_node.chain.watcher import Watcher
from openledger_node.ledger.events import EventRows
from openledger_node.ledger.ledger import Ledger
from openledger_protocol.chain import ContractCall, Log
from openledger_protocol.events import BLOCKS_KEPT, BlockId, Event
from openledger_protocol.primitives import Address, Wei, check_address
from openledger_protocol.signatures import address_of, sign_digest
from openledger_protocol.transactions import GasPrice

KEY = bytes(31) + b"\x01"
SHOP, OTHER = (check_address("0x" + letter * 40) for letter in "cd")
PAID = {"Shop.Paid(string)": LogKind(contract=SHOP, name="paid")}
BOTH = {**PAID, "Shop.Thanked(string)": LogKind(contract=SHOP, name="thanked")}


def open_watcher(chain: ScriptedChain, ledger: Ledger, kinds: LogKinds, chunk: int = 1_000) -> Watcher:
    """A watcher of a release that knows these kinds; a call's text is the kind of its event and its number."""
    names = {each.name for each in kinds.values()}

    def decode(log: Log) -> Event | None:
        name, _, number = log.data.decode().partition(" ")
        if name not in names:
            return None
        return Event(
            contract=log.address,
            name=name,
            arguments={"number": int(number)},
            block=BlockId(number=log.block_number, hash=log.block_hash),
            transaction_hash=log.transaction_hash,
            log_index=log.log_index,
        )

    return Watcher(
        client=chain,
        journal=ledger.events,
        chain_id=CHAIN_ID,
        addresses=[SHOP, OTHER],
        first_block=1,
        decode=decode,
        kinds=kinds,
        chunk_blocks_max=chunk,
    )


def say(chain: ScriptedChain, *texts: str) -> None:
    """One block with these events of the shop."""
    nonce = len(chain.nonces(address_of(KEY)))
    for place, text in enumerate(texts):
        unsigned = UnsignedTransaction(
            chain_id=CHAIN_ID,
            nonce=nonce + place,
            price=GasPrice(fee_max_wei=Wei(10**9), tip_max_wei=Wei(1)),
            gas_limit=100_000,
            call=ContractCall(to=SHOP, data=text.encode()),
        )
        chain.send(encode_signed(unsigned, sign_digest(KEY, signing_digest(unsigned))))
    chain.mine()


def read(watcher: Watcher) -> None:
    while watcher.step():
        pass


def found(events: EventRows) -> list[str]:
    return [f"{each.name} {each.arguments['number']}" for each in events.in_blocks(0, 10_000)]


def again_from(ledger: Ledger) -> int | None:
    """The block up to which the events of the new kind are read."""
    return ledger.events.kinds()["Shop.Thanked(string)"]


@pytest.fixture
def read_before(chain: ScriptedChain, ledger: Ledger) -> list[str]:
    """What the chain says, of which an earlier release has read the payments."""
    said = [f"{kind} {number}" for number in range(1, 31) for kind in ("thanked", "paid")]
    watcher = open_watcher(chain, ledger, PAID)
    for number in range(0, len(said), 2):
        say(chain, *said[number : number + 2])
        read(watcher)
    assert found(ledger.events) == said[1::2]
    return said


@pytest.mark.parametrize("chunk", [1_000, 7, 1])
def test_an_updated_node_reads_what_it_did_not_know(
    chain: ScriptedChain, ledger: Ledger, read_before: list[str], chunk: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watcher = open_watcher(chain, ledger, BOTH, chunk)
    read(watcher)
    assert found(ledger.events) == read_before
    assert "reading events that an earlier release did not know: Shop.Thanked(string)" in caplog.text
    assert watcher.seen is not None
    say(chain, "thanked 31")
    chain.mine(10)
    read(watcher)
    assert found(ledger.events) == [*read_before, "thanked 31"]


def test_it_is_read_once(chain: ScriptedChain, ledger: Ledger, read_before: list[str]) -> None:
    read(open_watcher(chain, ledger, BOTH))
    chain.asked.clear()
    read(open_watcher(chain, ledger, BOTH))
    assert chain.asked["logs"] == 0


def test_an_interrupted_reading_goes_on(chain: ScriptedChain, ledger: Ledger, read_before: list[str]) -> None:
    watcher = open_watcher(chain, ledger, BOTH, 7)
    watcher.step()
    assert watcher.seen is None
    again = open_watcher(chain, ledger, BOTH, 7)
    asked: list[tuple[int, int]] = []
    answer = chain.logs

    def logs(addresses: Sequence[Address], first: int, last: int) -> list[Log]:
        asked.append((first, last))
        return answer(addresses, first, last)

    chain.logs = logs  # type: ignore[method-assign]  # to see what is asked
    until = again_from(ledger)
    read(again)
    assert found(ledger.events) == read_before
    assert until == 7
    assert 1 not in [first for first, _ in asked]


def test_a_kind_whose_contract_says_nothing_else_is_asked_of_that_contract_only(
    chain: ScriptedChain, ledger: Ledger, read_before: list[str]
) -> None:
    watcher = open_watcher(chain, ledger, {**PAID, "Other.Sold(string)": LogKind(contract=OTHER, name="sold")})
    asked: list[Sequence[Address]] = []
    answer = chain.logs

    def logs(addresses: Sequence[Address], first: int, last: int) -> list[Log]:
        asked.append(addresses)
        return answer(addresses, first, last)

    chain.logs = logs  # type: ignore[method-assign]  # to see what is asked
    watcher.step()
    assert [OTHER] in [list(each) for each in asked]
    assert all(list(each) in ([OTHER], [SHOP, OTHER]) for each in asked)


def test_new_blocks_do_not_wait_for_it(chain: ScriptedChain, ledger: Ledger, read_before: list[str]) -> None:
    """Claims and cases have deadlines, and a long chain is read for hours."""
    say(chain, "paid 31")
    watcher = open_watcher(chain, ledger, BOTH, 20)
    for _ in range(3):
        watcher.step()
        until = again_from(ledger)
        if "paid 31" in found(ledger.events):
            break
    assert until is not None
    assert "paid 31" in found(ledger.events)
    assert watcher.seen is None
    read(watcher)
    assert found(ledger.events) == [*read_before, "paid 31"]


def test_a_reorganisation_meanwhile_leaves_what_the_chain_says(
    chain: ScriptedChain, ledger: Ledger, read_before: list[str]
) -> None:
    watcher = open_watcher(chain, ledger, BOTH, 7)
    watcher.step()
    chain.reorganise(2)
    say(chain, "thanked 99")
    chain.mine(5)
    read(watcher)
    assert found(ledger.events) == [
        log.data.decode() for mined in chain.chain for log in mined.logs if log.address == SHOP
    ]


def note_blocks(chain: ScriptedChain) -> list[tuple[int, int]]:
    """The first and last block of each request for logs from now on."""
    asked: list[tuple[int, int]] = []
    answer = chain.logs

    def logs(addresses: Sequence[Address], first: int, last: int) -> list[Log]:
        asked.append((first, last))
        return answer(addresses, first, last)

    chain.logs = logs  # type: ignore[method-assign]  # to see what is asked
    return asked


def test_final_blocks_are_not_read_again_on_a_chain_whose_finality_lags(ledger: Ledger) -> None:
    """By then the ledger has forgotten the hash of each final block, and the endpoint may have pruned its logs."""
    chain = ScriptedChain(finality_depth=BLOCKS_KEPT + 72)
    watcher = open_watcher(chain, ledger, PAID)
    for number in range(1, 301):
        say(chain, f"paid {number}")
        read(watcher)
    final = ledger.events.finalized_number()
    assert final == 100
    asked = note_blocks(chain)
    read(open_watcher(chain, ledger, {**PAID, "Other.Sold(string)": LogKind(contract=OTHER, name="sold")}))
    assert found(ledger.events) == [f"paid {number}" for number in range(1, 301)]
    assert asked == [(final + 1, 300), (1, final)]  # the second for the new kind, of its contract only
    chain.mine()
    read(watcher)
    assert watcher.seen is not None


def test_a_return_to_an_earlier_release_is_noticed(
    chain: ScriptedChain, ledger: Ledger, read_before: list[str]
) -> None:
    read(open_watcher(chain, ledger, BOTH))
    earlier = open_watcher(chain, ledger, PAID)
    read(earlier)
    say(chain, "thanked 31")
    chain.mine(20)
    read(earlier)
    assert "thanked 31" not in found(ledger.events)
    read(open_watcher(chain, ledger, BOTH))
    assert found(ledger.events) == [*read_before, "thanked 31"]


def test_a_journal_without_notes_lacks_what_came_after_that_release(
    chain: ScriptedChain, ledger: Ledger, read_before: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.events.forget_kinds(list(PAID))
    monkeypatch.setattr(new_kinds, "UNNOTED", frozenset(BOTH) - frozenset(PAID))
    read(open_watcher(chain, ledger, BOTH))
    assert found(ledger.events) == read_before
    assert ledger.events.kinds() == dict.fromkeys(BOTH)


def test_a_new_journal_lacks_nothing(chain: ScriptedChain, ledger: Ledger) -> None:
    say(chain, "thanked 1", "paid 1")
    read(open_watcher(chain, ledger, BOTH))
    assert (found(ledger.events), ledger.events.kinds()) == (["thanked 1", "paid 1"], dict.fromkeys(BOTH))


def test_the_kinds_that_the_last_release_did_not_know_exist() -> None:
    assert kinds_of({"DatanetRegistry": SHOP}).keys() >= UNNOTED
    assert set(load_contract("DatanetRegistry").event_kinds().values()) > {"DatanetCreated", "RowsCommitted"}
