"""Settlement over chains and endpoints that misbehave: whatever happened, all that was earned is paid, once."""

from collections import defaultdict
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from node.settlement.bad_times import BadTimes, bad_times, plan_of
from support.chain_world.world import OPEN, World
from support.scripted_chain import read_raw
from support.tiers import depth

from openledger_node.audit.report import audit
from openledger_node.settlement.claim_line import find_line
from openledger_node.settlement.records import integer, payouts_of
from openledger_node.settlement.settler import SettlementPolicy
from openledger_protocol.events import Event
from openledger_protocol.payouts import payout_list
from openledger_protocol.primitives import Wei

SEEDS = depth(light=3, deep=500)


@pytest.mark.process
@pytest.mark.parametrize("seed", range(SEEDS))
def test_bad_times_cost_nobody_anything(tmp_path: Path, seed: int) -> None:
    plan = plan_of(seed)
    print(plan)  # shown when the test fails
    with bad_times(tmp_path, plan) as times:
        times.live()
        times.calm_down()
        check(times)


# ---- one lie at a time


def states(world: World) -> list[str]:
    return [claim.state for claim in world.node.ledger.claims.newest()]


def settle_all(world: World) -> None:
    """Settle until a claim was made and nothing is on its way, as far as the node can see, and some steps more."""
    ledger = world.node.ledger
    world.run(lambda: ledger.claims.newest() and ledger.outbox.unfinished() == [])
    for _ in range(3):
        world.settle()


def calls_all(world: World, *, is_ok: bool) -> Any:
    """Answers for the receipts of transactions that were all mined well, or all reverted."""
    receipt = world.node.client.receipt
    return lambda name: (found := receipt(name)) and replace(found, is_ok=is_ok)


def test_a_claim_that_an_endpoint_leaves_out_of_its_logs_is_missed_and_read_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both readings lack it, the first one and that at finality."""
    node = world.node
    world.earn(world.open_channel(), OPEN)
    with monkeypatch.context() as lying:
        lying.setattr(node.client, "logs", lambda *_: [])
        settle_all(world)
        assert node.ledger.events.find("Claimed") == []
    world.run(lambda: states(world) == ["final"])


def test_a_claim_that_an_endpoint_calls_reverted_is_not_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its event, its receipts would go into a claim that nobody can make, and the first would come late."""
    node = world.node
    world.earn(world.open_channel(), OPEN)
    with monkeypatch.context() as lying:
        lying.setattr(node.client, "logs", lambda *_: [])
        lying.setattr(node.client, "receipt", calls_all(world, is_ok=False))
        settle_all(world)
        assert states(world) == ["sent"]
        assert "`openledger-node network rescan`" in node.alerts[0]
    world.run(lambda: states(world) == ["final"])
    assert node.alerts == ()


def test_a_claim_that_is_mined_after_it_was_given_up_is_brought_to_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was called reverted, a reorganisation took it back, and the outbox sent it again."""
    node = world.node
    node.settlement.claimer.policy = SettlementPolicy(coin_price_wei=Wei(1))  # claims come an epoch after each other
    channel = world.open_channel()
    world.earn(channel, OPEN)
    with monkeypatch.context() as lying:
        lying.setattr(node.client, "receipt", calls_all(world, is_ok=False))
        world.run(lambda: [each for each in node.ledger.outbox.newest(limit=9) if each.state == "failed"])
    (claimed,) = node.ledger.events.find("Claimed")
    world.chain.client.reorganise(world.chain.client.head().number - claimed.block.number + 1)
    node.step()
    assert states(world) == ["refused"]
    world.earn(channel, OPEN)
    world.run(lambda: states(world) == ["final", "final"])
    assert node.deployment.channel(channel).claimed_wei == 2 * OPEN
    assert node.ledger.receipts.unclaimed() == []


def test_a_reverted_claim_that_an_endpoint_calls_mined_is_claimed_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = world.node
    channel = world.open_channel()
    world.earn(channel, OPEN)
    with monkeypatch.context() as lying:
        lying.setattr(node.client, "estimate_gas", lambda *_, **__: 50_000)  # it runs out of gas
        lying.setattr(node.client, "receipt", calls_all(world, is_ok=True))
        world.run(lambda: node.ledger.claims.newest() and node.ledger.outbox.unfinished() == [])
    world.run(lambda: "final" in states(world))
    assert sorted(states(world)) == ["final", "refused"]
    assert node.deployment.channel(channel).claimed_wei == OPEN


def test_a_wrong_time_of_a_head_puts_off_no_later_claim(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval to the next claim began at that time."""
    node = world.node
    node.settlement.claimer.policy = SettlementPolicy(coin_price_wei=Wei(1))
    channel = world.open_channel()
    world.earn(channel, OPEN)
    head = node.client.head
    with monkeypatch.context() as lying:
        lying.setattr(node.client, "head", lambda: replace(head(), timestamp_s=head().timestamp_s + 10**8))
        node.step()
    world.run(lambda: "final" in states(world))
    assert node.deployment.channel(channel).claimed_wei == OPEN


# ---- what must hold


def check(times: BadTimes) -> None:
    """What must hold once the chain is honest again."""
    assert times.plan.may_halt or not times.num_rescans, "a halt is for what no honest chain does"
    assert times.plan.may_fail or not times.num_forgiven, "a circuit opens for paid failures only"
    check_nothing_is_stuck(times)
    check_books(times)
    check_everything_is_paid(times)
    check_nothing_is_signed_twice(times)
    check_fees_are_excused(times)
    check_lists(times)


def events(times: BadTimes, contract: str, name: str) -> dict[int, Event]:
    """Events on the chain of the node's claims, by the claim's number."""
    found = (event for event in times.world.chain.events(contract) if event.name == name)
    return {integer(event, "seq"): event for event in found}


def check_nothing_is_stuck(times: BadTimes) -> None:
    """Every claim on the chain is closed, by a claim of the ledger; no transaction is under way."""
    ledger = times.world.node.ledger
    claimed = events(times, "PaymentChannels", "Claimed")
    assert set(claimed) == set(events(times, "AttributionRewards", "Finalized"))
    final = [claim.seq for claim in ledger.claims.newest() if claim.state == "final"]
    assert sorted(final) == sorted(claimed)
    assert ledger.outbox.unfinished() == ledger.claims.unfinished() == []


def check_books(times: BadTimes) -> None:
    """Every line holds to the wei, and no lane is claimed beyond its channel."""
    report = audit(times.chain, times.world.chain.network)
    assert report.holds, (report.faults, [line for line in report.lines if not line.holds])
    deployment = times.world.node.deployment
    for channel, lanes in groupby(times.lanes, lambda lane: lane[0]):
        in_lanes = sum(deployment.lane_claimed_wei(channel, adapter) for _, adapter, _ in lanes)
        assert in_lanes == deployment.channel(channel).claimed_wei


def check_everything_is_paid(times: BadTimes) -> None:
    """Each lane is claimed as far as its receipts go.

    A payer may keep what was not claimed before its withdrawal, if the chain stood still for longer than that took.
    """
    node = times.world.node
    earned: dict[tuple[str, str], int] = defaultdict(int)
    for row in node.ledger.receipts.newest(limit=999):
        earned[row.receipt.channel_id, row.receipt.adapter_id] += row.receipt.amount_wei
    gone = {
        event.arguments["channelId"]
        for event in times.world.chain.events("PaymentChannels")
        if event.name == "WithdrawFinished"
    }
    assert times.plan.is_unusable or not gone
    for channel, adapter_id, _ in times.lanes:
        if channel not in gone:
            assert node.deployment.lane_claimed_wei(channel, adapter_id) == earned[channel, adapter_id]
    assert {row.receipt.channel_id for row in node.ledger.receipts.unclaimed()} <= gone


def check_nothing_is_signed_twice(times: BadTimes) -> None:
    """The bytes that were sent with one nonce differ in their fees only."""
    calls = defaultdict(set)
    for sent in map(read_raw, times.endpoint.sent):
        calls[sent.sender, sent.nonce].add((sent.to, sent.data))
    assert [place for place, found in calls.items() if len(found) > 1] == []


def check_fees_are_excused(times: BadTimes) -> None:
    """No list came late and no draw lapsed, unless the chain stood still beyond the time for it."""
    if times.plan.is_unusable:
        return
    late = [seq for seq, event in events(times, "AttributionRewards", "Finalized").items() if event.arguments["late"]]
    drawn = [event for event in times.world.chain.events("AttributionRewards") if event.name == "Drawn"]
    assert late == []
    assert len(drawn) == len({integer(event, "seq") for event in drawn})


def check_lists(times: BadTimes) -> None:
    """Each list names whom the countersigned receipts name, with their weights."""
    node = times.world.node
    proposed = events(times, "AttributionRewards", "Proposed")
    for claim in node.ledger.claims.newest():
        if claim.state == "final" and claim.seq in proposed:
            rows = node.ledger.receipts.of_claim(claim.claim_id)
            line = find_line(node.ledger, node.accounts.wallet, claim.seq, rows)
            assert line is not None
            assert payout_list(line.record.pots, line.receipts).payouts == tuple(payouts_of(proposed[claim.seq]))
