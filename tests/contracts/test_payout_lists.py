"""Payout lists on a chain: an honest one can be shown for every seed, and everybody is credited what we compute."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from contracts.claimed_work import Answer, Lane, claim_work, drawn, list_of, points_of, root_of, shown
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chain_world.contract_world import (
    ADAPTERS,
    OPEN,
    PROTOCOL,
    STRANGER_KEY,
    ContractWorld,
)
from support.signed import NODE, SIGNER_KEY, uints
from support.tiers import depth

from openledger_node.chain.dev.constants import DEVELOPMENT_WINDOWS
from openledger_protocol.chain import TransactionReceipt
from openledger_protocol.openings import ClaimLine
from openledger_protocol.payments import ChannelConfig
from openledger_protocol.payouts import (
    Beneficiaries,
    Credited,
    PayoutList,
    late_amounts,
    payout_amounts,
)
from openledger_protocol.primitives import Address, Digest
from openledger_protocol.settlement import NOBODY, opening_tuple, payouts_hash

FEW = settings(max_examples=depth(light=4, deep=1_000))
WINDOWS = DEVELOPMENT_WINDOWS
DEEP_WEI = 10**6 * OPEN
"""A deposit that lasts for all examples."""


@pytest.fixture(scope="module")
def configs(world: ContractWorld) -> list[ChannelConfig]:
    """Channels whose lanes go on from one example to the next."""
    return [world.open(DEEP_WEI), world.open(DEEP_WEI)]


def beneficiaries(world: ContractWorld) -> Beneficiaries:
    treasuries = {id_: terms.treasury for id_, terms in world.datanets.items()}
    return Beneficiaries(node=NODE, protocol=PROTOCOL, treasuries=treasuries)


def credited_in(world: ContractWorld, receipt: TransactionReceipt) -> list[tuple[Any, ...]]:
    events = [event for event in world.events_of(receipt, "AttributionRewards") if event.name == "Credited"]
    return [(e.arguments["account"], e.arguments["amount"], e.arguments["role"]) for e in events]


def told(credited: Sequence[Credited]) -> list[tuple[Any, ...]]:
    return [(credit.account, credit.amount_wei, int(credit.role)) for credit in credited]


def sums(credited: Sequence[Credited]) -> dict[Address, int]:
    totals: Counter[Address] = Counter()
    for credit in credited:
        totals[credit.account] += credit.amount_wei
    return dict(totals)


def assert_conserved(world: ContractWorld) -> None:
    """Every wei that was paid in is somewhere, and is there once."""
    channels = world.chain.read("PaymentChannels", "totals")
    parts = ("refunded", "withdrawn", "escrowed", "live", "released")
    assert channels["paidIn"] == sum(channels[part] for part in parts)
    rewards = world.chain.read("AttributionRewards", "totals")
    assert channels["released"] == rewards["credited"]
    token = {name: world.chain.read("OpenToken", "balanceOf", at) for name, at in world.chain.contracts.items()}
    assert token["PaymentChannels"] == channels["escrowed"] + channels["live"]
    assert token["AttributionRewards"] == rewards["credited"] - rewards["paidOut"]


# ---- lists of all sorts

answers = st.builds(
    Answer,
    amount=st.one_of(st.integers(0, 9), uints(60)),
    scores=st.lists(uints(16), max_size=12).map(tuple),
    is_countersigned=st.sampled_from([True, True, True, False]),
)
lanes = st.builds(
    Lane,
    adapter=st.integers(0, len(ADAPTERS) - 1),
    channel=st.integers(0, 1),
    answers=st.lists(answers, min_size=1, max_size=4).map(tuple),
    is_short=st.sampled_from([False, False, False, False, True]),
).filter(lambda lane: lane.amount > 0)
claims = st.lists(lanes, min_size=1, max_size=6, unique_by=lambda lane: (lane.adapter, lane.channel)).filter(
    lambda drawn_lanes: any(not lane.is_short for lane in drawn_lanes)
)


@FEW
@given(made=claims, unlisted=st.sampled_from([None, None, None, 0, 1]))
def test_an_honest_list_is_shown_and_pays_what_we_compute(
    world: ContractWorld, configs: list[ChannelConfig], made: list[Lane], unlisted: int | None
) -> None:
    line = claim_work(world, made, configs)
    whole = list_of(line)
    listed = replace(whole, payouts=tuple(payout for payout in whole.payouts if payout.pot != unlisted))
    openings = drawn(world, line, listed)
    proposal = world.chain.read("AttributionRewards", "proposalOf", NODE, line.record.seq)
    assert proposal["payoutsHash"] == payouts_hash(listed.payouts)
    expected = payout_amounts(line.record, listed.payouts, beneficiaries(world))
    before = {credit.account: world.balance(credit.account) for credit in expected}
    receipt = world.finalize(line.record, listed.payouts, openings)
    assert credited_in(world, receipt) == told(expected)
    assert {owner: world.balance(owner) - wei for owner, wei in before.items()} == sums(expected)
    assert_conserved(world)


WORK = [
    Lane(adapter=0, answers=(Answer(amount=30),)),
    Lane(adapter=1, answers=(Answer(amount=7_001, scores=(5, 0, 3)), Answer(amount=2_000), Answer(amount=0))),
    Lane(adapter=1, channel=1, answers=(Answer(amount=5_000, scores=(2, 2)),)),
    Lane(
        adapter=2, channel=1, answers=(Answer(amount=4_000, is_countersigned=False), Answer(amount=999, scores=(1,)))
    ),
]
"""Two adapters and two Datanets, a treasury's part, a part of nobody's, and one wei or none of it here and there."""


def test_every_point_of_a_list_can_be_shown(world: ContractWorld, configs: list[ChannelConfig]) -> None:
    """The seeds are of all blocks that the chain still knows, in place of those that a draw would name."""
    line = claim_work(world, WORK, configs)
    listed = list_of(line)
    seeds = [
        block.hash
        for number in range(world.chain.client.head().number)
        if (block := world.chain.client.block(number))
    ]
    shown_accounts = set()
    for seed in seeds[-40:]:
        openings = shown(world, line, listed, seed)
        named = [point.account for point in points_of(world, line, listed, seed) if point.account != NOBODY]
        assert [opening.shares[opening.share].account for opening in openings] == named
        shown_accounts |= set(named)
    assert shown_accounts == {payout.account for payout in listed.payouts} - {NOBODY}


def test_a_node_that_lists_nothing_keeps_no_pot(world: ContractWorld, configs: list[ChannelConfig]) -> None:
    line = claim_work(world, WORK, configs)
    world.propose(line.record, [])
    world.wait(WINDOWS.window_s)
    receipt = world.finalize(line.record, [])
    assert credited_in(world, receipt) == told(payout_amounts(line.record, [], beneficiaries(world)))


# ---- draws that lapse


def lapse(world: ContractWorld) -> None:
    """Wait until the newest draw can be repeated in the next block."""
    world.chain.client.mine(WINDOWS.redraw_blocks)


def redraw(world: ContractWorld, line: ClaimLine) -> Digest:
    """Draw again, and return the seed."""
    world.must("AttributionRewards", "draw", NODE, line.record.seq, key=SIGNER_KEY)
    seed: Digest = world.chain.client.mine().hash
    world.wait(1)
    return seed


def proposed(world: ContractWorld, configs: list[ChannelConfig]) -> tuple[ClaimLine, PayoutList]:
    line = claim_work(world, WORK, configs)
    listed = list_of(line)
    world.propose(line.record, listed.payouts, root=root_of(line, listed))
    return line, listed


def test_a_second_draw_costs_the_fee_that_we_compute(world: ContractWorld, configs: list[ChannelConfig]) -> None:
    line, listed = proposed(world, configs)
    num_redraws = 2
    world.draw(line.record)
    for _ in range(num_redraws):
        lapse(world)
        seed = redraw(world, line)
    receipt = world.finalize(line.record, listed.payouts, shown(world, line, listed, seed))
    expected = payout_amounts(line.record, listed.payouts, beneficiaries(world), num_redraws=num_redraws)
    assert credited_in(world, receipt) == told(expected)
    assert_conserved(world)


def test_the_openings_of_a_lapsed_draw_show_nothing(world: ContractWorld, configs: list[ChannelConfig]) -> None:
    line, listed = proposed(world, configs)
    first = shown(world, line, listed, world.draw(line.record))
    lapse(world)
    second = shown(world, line, listed, redraw(world, line))
    assert first != second
    arguments = (line.record, listed.payouts, [opening_tuple(opening) for opening in first])
    refused = world.chain.error_of("AttributionRewards", "finalize", *arguments, key=SIGNER_KEY)
    # By what the blocks draw: too few or too many openings, of another account, or of another pot's adapter.
    assert refused in {"WrongOpenings", "NotShown", "NotCountersigned"}
    world.finalize(line.record, listed.payouts, second)


# ---- lists that come late


@FEW
@given(made=claims, is_proposed=st.booleans(), num_redraws=st.integers(-1, 2))
def test_a_late_claim_pays_what_we_compute(
    world: ContractWorld, configs: list[ChannelConfig], made: list[Lane], is_proposed: bool, num_redraws: int
) -> None:
    line = claim_work(world, made, configs)
    if is_proposed:
        listed = list_of(line)
        world.propose(line.record, listed.payouts, root=root_of(line, listed))
        world.wait(WINDOWS.window_s)
        for _ in range(num_redraws + 1):
            world.must("AttributionRewards", "draw", NODE, line.record.seq, key=SIGNER_KEY)
            world.chain.client.mine(WINDOWS.redraw_blocks + 1)
    world.wait(WINDOWS.propose_s + 1)
    receipt = world.must("AttributionRewards", "finalizeLate", line.record, key=STRANGER_KEY)
    expected = late_amounts(
        line.record, beneficiaries(world), is_proposed=is_proposed, num_redraws=max(num_redraws, 0)
    )
    assert credited_in(world, receipt) == told(expected)
    assert_conserved(world)
