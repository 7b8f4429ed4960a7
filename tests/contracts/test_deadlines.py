"""Our deadlines against the contracts', on a chain: they agree to the second."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chain_world.contract_world import ADAPTERS, STRANGER_KEY, WITHDRAW_DELAY_S, ContractWorld
from support.signed import NODE, PAYER_KEY, SIGNER_KEY
from support.tiers import depth

from openledger_node.chain.dev.constants import DEVELOPMENT_WINDOWS as WINDOWS
from openledger_protocol.epoch import (
    epoch_at,
    is_claimable_epoch,
    propose_until_s,
    ready_at_s,
    show_until_s,
    withdrawal_s,
)
from openledger_protocol.primitives import ZERO_DIGEST


@settings(max_examples=depth(light=8, deep=1_000))
@given(timestamp_s=st.integers(0, 2**40))
def test_an_epoch_is_the_contracts(world: ContractWorld, timestamp_s: int) -> None:
    assert world.chain.read("Params", "epochAt", timestamp_s) == epoch_at(timestamp_s, WINDOWS)


@pytest.mark.parametrize("age", [-1, 0, 1, 2])
def test_an_epoch_can_be_claimed_when_we_say_so(world: ContractWorld, age: int) -> None:
    items = [world.item(5)]
    claim = replace(world.claim_of(items), epoch=epoch_at(world.now_s + 1, WINDOWS) - age)
    sent = world.chain.send("PaymentChannels", "claim", claim, ADAPTERS, items, b"", key=SIGNER_KEY)
    assert sent.is_ok == is_claimable_epoch(claim.epoch, world.now_s, WINDOWS)


@pytest.mark.parametrize("late_s", [0, 1])
def test_the_last_second_of_a_proposal_is_ours(world: ContractWorld, late_s: int) -> None:
    record, _, _ = world.claim([world.item(5)])
    last_s = propose_until_s(record.claimed_at_s, WINDOWS)
    world.wait(last_s + late_s - 1 - world.now_s)
    sent = world.chain.send("AttributionRewards", "propose", record, ZERO_DIGEST, [], key=SIGNER_KEY)
    assert world.now_s == last_s + late_s
    assert sent.is_ok == (late_s == 0)
    late = world.chain.send("AttributionRewards", "finalizeLate", record, key=STRANGER_KEY)
    assert late.is_ok == (late_s == 1)


@pytest.mark.parametrize("early_s", [1, 0])
def test_the_first_second_after_the_review_period_is_ours(world: ContractWorld, early_s: int) -> None:
    record, _, _ = world.claim([world.item(5)])
    world.propose(record, [])
    first_s = ready_at_s(world.now_s, WINDOWS)
    world.wait(first_s - early_s - 1 - world.now_s)
    sent = world.chain.send("AttributionRewards", "draw", NODE, record.seq, key=SIGNER_KEY)
    assert (world.now_s, sent.is_ok) == (first_s - early_s, early_s == 0)


@pytest.mark.parametrize("late_s", [0, 1])
def test_the_last_second_of_a_list_that_is_not_shown_is_ours(world: ContractWorld, late_s: int) -> None:
    record, _, _ = world.claim([world.item(5)])
    world.propose(record, [])
    last_s = show_until_s(ready_at_s(world.now_s, WINDOWS), WINDOWS)
    world.wait(last_s + late_s - 1 - world.now_s)
    late = world.chain.send("AttributionRewards", "finalizeLate", record, key=STRANGER_KEY)
    assert (world.now_s, late.is_ok) == (last_s + late_s, late_s == 1)


@pytest.mark.parametrize(("edge", "shift_s", "is_taken"), [(0, -1, False), (0, 0, True), (1, 0, True), (1, 1, False)])
def test_the_edges_of_a_withdrawal_are_ours(world: ContractWorld, edge: int, shift_s: int, is_taken: bool) -> None:
    config = world.open()
    world.must("PaymentChannels", "startWithdraw", config, 7, key=PAYER_KEY)
    at_s = withdrawal_s(world.now_s, WITHDRAW_DELAY_S, WINDOWS)[edge] + shift_s
    world.wait(at_s - 1 - world.now_s)
    sent = world.chain.send("PaymentChannels", "finishWithdraw", config, key=PAYER_KEY)
    assert world.now_s == at_s
    assert sent.is_ok == is_taken
