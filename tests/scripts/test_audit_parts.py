"""The audit's own arithmetic: where a value stands, whose code it is, and how a claim divides."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from audited_economy import Economy, run_economy
from support.chain_world.contract_world import ADAPTERS, PROTOCOL

from openledger_node.audit.chain import PinnedChain, is_code_of, pin_chain
from openledger_node.audit.claims import ClaimReader, claim_faults, read_all
from openledger_node.audit.splits import ADAPTER_OWNERS, DATANET_OWNERS, check_split
from openledger_node.audit.storage_layout import layout_of
from openledger_node.chain.contracts import load_contract
from openledger_node.network_file import CONTRACTS
from openledger_protocol.primitives import Wei
from openledger_protocol.settlement import ClaimRecord


@pytest.fixture(scope="module")
def session() -> Iterator[Economy]:
    session = run_economy()
    yield session
    session.client.close()


@pytest.fixture(scope="module")
def chain(session: Economy) -> PinnedChain:
    return pin_chain(session.client, session.network)


@pytest.fixture(scope="module")
def reader(chain: PinnedChain) -> ClaimReader:
    return read_all(chain.events(), PROTOCOL)


# ---- where a value stands


def test_a_list_of_fixed_length_is_read_where_the_contract_reads_it(chain: PinnedChain) -> None:
    terms = chain.ask("ModelRegistry", "termsOf", ADAPTERS[1])
    for index in range(len(terms["datanetIds"])):
        row = ("ModelRegistry", "_adapters", ADAPTERS[1])
        assert chain.stored((*row, "weightsPpm", index)) == terms["weightsPpm"][index]
        assert chain.stored((*row, "datanetIds", index)) == int(terms["datanetIds"][index], 16)


def test_a_list_that_grows_is_read_where_the_contract_reads_it(chain: PinnedChain) -> None:
    assert chain.stored(("Params", "_history")) == 2
    from_epoch = chain.stored(("Params", "_history", 1, "fromEpoch"))
    values = chain.ask("Params", "valuesAt", from_epoch)
    for name in ("protocolPpm", "stakersPpm", "dataPpm", "minDeposit", "adapterBond", "creditTokensMax"):
        assert chain.stored(("Params", "_history", 1, "values", name)) == values[name]


def test_a_variable_that_is_no_more_is_said_so() -> None:
    with pytest.raises(AssertionError, match="no variable _gone"):
        layout_of("Params").place("_gone")


# ---- whose code it is


@pytest.mark.parametrize("name", CONTRACTS)
def test_code_is_ours_but_for_what_the_constructor_wrote(session: Economy, name: str) -> None:
    creation = load_contract(name).bytecode
    deployed = session.client.code(session.network.contracts[name])
    assert is_code_of(deployed, creation)
    assert not is_code_of(b"", creation)
    assert not is_code_of(deployed[:-1] + bytes([deployed[-1] ^ 1]), creation)
    assert not is_code_of(deployed[:100] + bytes([deployed[100] ^ 1]) + deployed[101:], creation)
    assert not [other for other in CONTRACTS if other != name and is_code_of(deployed, load_contract(other).bytecode)]


# ---- how a claim divides


def test_each_credit_has_its_role(session: Economy, reader: ClaimReader) -> None:
    split = check_split(session.records[4], reader.registry)
    assert (set(split.roles), split.faults) == ({ADAPTER_OWNERS, DATANET_OWNERS}, ())


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
    "an owner takes a wei of the node's": lambda record: first_credit(moved(record, node_share_wei=-1), 1),
    "the node takes a wei of a pot": lambda record: first_pot(moved(record, node_share_wei=1), -1),
    "the node takes all of the protocol's": lambda record: moved(
        record, node_share_wei=record.protocol_wei, protocol_wei=-record.protocol_wei
    ),
    "stakers get too much": lambda record: moved(record, node_share_wei=-50, stakers_wei=50),
    "somebody whom no adapter owes": lambda record: replace(
        record, credits=(*record.credits, replace(record.credits[0], account=PROTOCOL))
    ),
    "a pot is left out": lambda record: replace(record, pots=record.pots[1:]),
    "an owner is left out": lambda record: replace(record, credits=record.credits[1:]),
    "an epoch's terms are another's": lambda record: replace(record, epoch=0),
}


@pytest.mark.parametrize("how", WRONG)
def test_a_claim_that_divides_otherwise_is_found_out(session: Economy, reader: ClaimReader, how: str) -> None:
    record = max(reversed(session.records), key=lambda record: len(record.credits))
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


def test_a_claim_whose_parts_are_more_than_the_whole_is_found_out(reader: ClaimReader) -> None:
    claim = next(claim for claim in reader.claims.values() if claim.is_final and claim.record)
    assert claim_faults(claim) == []
    assert claim.record is not None
    claim = replace(claim, record=moved(claim.record, node_share_wei=1))
    assert [fault for fault in claim_faults(claim) if "its parts sum to" in fault]
