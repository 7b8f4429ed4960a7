"""The audit's own arithmetic: where a value stands, whose code it is, and how a claim divides."""

from dataclasses import replace
from typing import Any

import pytest
from audited_economy import Economy
from support.chain_world.contract_world import PROTOCOL
from support.rows import event_of
from support.signed import NODE

from openledger_node.audit.chain import is_code_of, pin_chain
from openledger_node.audit.claims import ClaimReader, claim_faults, read_all
from openledger_node.audit.draws import Draws, redraws_max
from openledger_node.audit.report import read_fixed
from openledger_node.audit.splits import EpochTerms, RegistryState, check_split
from openledger_node.audit.staking import Fixed, Stakes
from openledger_node.chain.contracts import load_contract
from openledger_node.network_file import CONTRACTS
from openledger_protocol.primitives import Wei
from openledger_protocol.settlement import ClaimRecord


@pytest.fixture(scope="module")
def reader(session: Economy, still: Any) -> ClaimReader:
    chain = pin_chain(still, session.network)
    return read_all(chain.events(), read_fixed(chain))


# ---- whose code it is


@pytest.mark.parametrize("name", CONTRACTS)
def test_code_is_ours_but_for_what_the_constructor_wrote(session: Economy, still: Any, name: str) -> None:
    creation = load_contract(name).bytecode
    deployed = still.code(session.network.contracts[name])
    assert is_code_of(deployed, creation)
    assert not is_code_of(b"", creation)
    assert not is_code_of(deployed[:-1] + bytes([deployed[-1] ^ 1]), creation)
    assert not is_code_of(deployed[:100] + bytes([deployed[100] ^ 1]) + deployed[101:], creation)
    assert not [other for other in CONTRACTS if other != name and is_code_of(deployed, load_contract(other).bytecode)]


# ---- how a claim divides


def widest(session: Economy, reader: ClaimReader) -> ClaimRecord:
    """The claim that owes the most people, of those by the newest terms and owners."""
    newest, _ = reader.registry.terms[-1]
    records = [record for record in session.records if record.epoch >= newest]
    return max(records, key=lambda record: len(record.credits))


def moved(record: ClaimRecord, **changes: int) -> ClaimRecord:
    """The same record with so much more of some of its parts."""
    return replace(record, **{name: Wei(getattr(record, name) + more) for name, more in changes.items()})


def first_credit(record: ClaimRecord, more: int) -> ClaimRecord:
    credit = record.credits[0]
    return replace(record, credits=(replace(credit, amount_wei=Wei(credit.amount_wei + more)), *record.credits[1:]))


def first_pot(record: ClaimRecord, more: int) -> ClaimRecord:
    pot = record.pots[0]
    return replace(record, pots=(replace(pot, amount_wei=Wei(pot.amount_wei + more)), *record.pots[1:]))


WRONG: dict[str, Any] = {
    "the node takes a wei of a royalty": lambda record: first_credit(moved(record, node_share_wei=1), -1),
    "the node takes a wei of a pot": lambda record: first_pot(moved(record, node_share_wei=1), -1),
    "the node takes all of the protocol's": lambda record: moved(
        record, node_share_wei=record.protocol_wei, protocol_wei=-record.protocol_wei
    ),
    "the protocol gets too much": lambda record: moved(record, node_share_wei=-50, protocol_wei=50),
    "somebody whom no adapter owes": lambda record: replace(
        record, credits=(*record.credits, replace(record.credits[0], account=PROTOCOL))
    ),
    "a pot is left out": lambda record: replace(record, pots=record.pots[1:]),
    "a pot begins a wei later": lambda record: replace(
        record, pots=(*record.pots[:-1], replace(record.pots[-1], start_wei=Wei(record.pots[-1].start_wei + 1)))
    ),
    "an epoch's terms are another's": lambda record: replace(record, epoch=0),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_claim_that_divides_otherwise_is_found_out(session: Economy, reader: ClaimReader, how: str) -> None:
    record = widest(session, reader)
    assert check_split(record, reader.registry).faults == ()
    wrong = WRONG[how](record)
    assert check_split(wrong, reader.registry).faults, wrong


def test_a_claim_for_an_adapter_whose_bond_is_free_is_found_out(session: Economy, reader: ClaimReader) -> None:
    record = max(reversed(session.records), key=lambda record: len(record.pots))
    adapter_id = record.pots[0].adapter_id
    for until_s, is_wrong in ((record.claimed_at_s + 1, False), (record.claimed_at_s, True)):
        terms = replace(reader.registry.adapters[adapter_id], claimable_until_s=until_s)
        registry = replace(reader.registry, adapters={**reader.registry.adapters, adapter_id: terms})
        faults = check_split(record, registry).faults
        assert faults == (
            (f"it claims for adapter {adapter_id}, which was retired and whose bond was free",) * is_wrong
        )


def test_a_record_of_another_block_or_whose_parts_are_more_than_the_whole_is_found_out(reader: ClaimReader) -> None:
    claim = next(claim for claim in reader.claims.values() if claim.is_final and claim.record)
    assert claim_faults(claim) == []
    assert claim.record is not None
    [fault] = claim_faults(replace(claim, claimed_in=claim.claimed_in + 1))
    assert "its record names block" in fault
    claim = replace(claim, record=moved(claim.record, node_share_wei=1))
    assert [fault for fault in claim_faults(claim) if "its parts sum to" in fault]


# ---- how draws are counted


def drawn(*blocks: int) -> Draws:
    """Draws that were mined in these blocks."""
    draws = Draws()
    for block in blocks:
        draws.draw(block + 1, mined_in=block, redraw_blocks=16)
    return draws


def test_each_draw_that_lapsed_counts() -> None:
    found = [drawn(100), drawn(100, 118), drawn(100, 118, 136)]
    assert [(draws.redraws, draws.faults) for draws in found] == [(0, []), (1, []), (2, [])]


def test_a_draw_while_one_stands_or_by_a_block_that_is_there_already_is_found_out() -> None:
    [fault] = drawn(100, 117).faults
    assert "until 117 the draw stood" in fault
    draws = Draws()
    draws.draw(100, mined_in=100, redraw_blocks=16)
    assert draws.faults == ["its draw of block 100 names block 100, not the next one"]


@pytest.mark.parametrize(("mined_in", "is_known"), [(101, False), (102, True), (357, True), (358, False)])
def test_a_list_becomes_final_while_the_hash_of_its_draw_is_known(mined_in: int, is_known: bool) -> None:
    draws = drawn(100)
    draws.show(mined_in)
    assert (draws.faults == []) is is_known


def test_more_redraws_than_a_nodes_share_covers_are_found_out(reader: ClaimReader) -> None:
    claim = next(claim for claim in reader.claims.values() if claim.draws.redraws)
    assert claim.record is not None
    many = Draws(block=claim.draws.block, redraws=redraws_max(claim.record) + 1)
    assert "more than its node's share covers" in claim_faults(replace(claim, draws=many))[0]


# ---- how stakes are counted


def stakes_after(*told: tuple[str, int]) -> Stakes:
    fixed = Fixed(treasury=NODE, windows={"epoch": 30, "slashGap": 60}, seconds_of=lambda block: block.number)
    terms = EpochTerms(protocol_ppm=0, data_ppm=0, min_stake_wei=100)
    stakes = Stakes(fixed, RegistryState(terms=[(0, terms)]))
    for number, (name, amount) in enumerate(told):
        arguments = {"node": NODE, "amount": amount, "readyAt": 100 + number}
        stakes.read(event_of(name, arguments, block=number))
    return stakes


UNBONDS = (("Bonded", 100), ("UnbondStarted", 10), ("UnbondStarted", 20), ("UnbondStarted", 30))


@pytest.mark.parametrize(
    ("then", "bonded", "requests"),
    [
        (("Slashed", 39), 1, [(10, 101), (20, 102), (30, 103)]),
        (("Slashed", 45), 0, [(5, 101), (20, 102), (30, 103)]),
        (("Slashed", 71), 0, [(29, 103)]),
        (("Slashed", 100), 0, []),
        (("StakeWithdrawn", 30), 40, [(30, 103)]),
    ],
)
def test_stake_is_taken_as_on_chain(then: tuple[str, int], bonded: int, requests: list[tuple[int, int]]) -> None:
    stakes = stakes_after(*UNBONDS, then)
    assert (stakes.bonded[NODE], stakes.requests[NODE], stakes.faults) == (bonded, requests, [])
    assert stakes.unbonding == sum(amount for amount, _ in requests)


@pytest.mark.parametrize("then", [("Slashed", 101), ("StakeWithdrawn", 11), ("StakeWithdrawn", 61)])
def test_stake_that_cannot_have_been_taken_is_found_out(then: tuple[str, int]) -> None:
    assert stakes_after(*UNBONDS, then).faults


def test_more_than_the_minimum_stake_or_a_second_slash_within_the_gap_is_found_out() -> None:
    more = stakes_after(("Bonded", 200), ("Slashed", 101))
    assert more.faults == [f"{NODE} lost 101 wei of stake at once, and 100 are the most"]
    twice = stakes_after(("Bonded", 200), ("Slashed", 1), ("Slashed", 1))
    assert twice.faults == [f"{NODE} was slashed twice within 60 s"]
    assert twice.slashed_at_s == {NODE: 2}
