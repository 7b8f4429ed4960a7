"""What settlement does where the way is not straight, on the real contracts."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from node.settlement.mortal_settlement import ADAPTER, prepare
from support.chain_world.world import OPEN, World
from support.contributors import ADA
from support.signed import AUTHORIZER_KEY, account, digest

from openledger_node.chain.encoding import transaction_hash
from openledger_node.errors import ChainError
from openledger_node.settlement import claimer
from openledger_node.settlement.actions import CloseChannel, RemoveStake, RetireAdapter
from openledger_node.settlement.batcher import ClaimLimits, batch
from openledger_node.settlement.claimer import COIN_WEI
from openledger_node.settlement.gas import BASE_GAS, LANE_GAS
from openledger_node.settlement.records import integer, payouts_of, record_of
from openledger_node.settlement.settler import SettlementPolicy, Settler
from openledger_node.text import rfc3339
from openledger_protocol.attribution import Share
from openledger_protocol.chain import Block, ContractCall, Fees
from openledger_protocol.constants import LATE_PPM, PPM
from openledger_protocol.eip712 import digest_word
from openledger_protocol.errors import RevertedError
from openledger_protocol.payouts import lapse_fee_wei
from openledger_protocol.primitives import ZERO_DIGEST, ChannelId, DatanetId, Digest, Wei
from openledger_protocol.signatures import sign_digest
from openledger_protocol.transactions import Intent

FEE_PPM = 50_000  # of the protocol


def states(world: World) -> list[str]:
    return [claim.state for claim in world.node.ledger.claims.newest(limit=99)]


def are_late(world: World) -> list[object]:
    return [event.arguments["late"] for event in world.node.ledger.events.find("Finalized")]


def earn_of_rows(world: World, folder: Path) -> ChannelId:
    """A receipt of an adapter, whose list names accounts."""
    shares, channel = prepare(world, folder), world.open_channel()
    world.earn(channel, OPEN, adapter_id=ADAPTER, shares=shares)
    return channel


def desk_of(world: World, policy: SettlementPolicy) -> Settler:
    """The node's own, of another policy."""
    node = world.node
    return Settler(
        ledger=node.ledger,
        client=node.client,
        deployment=node.deployment,
        node=node.accounts.wallet,
        signer=node.accounts.signer,
        windows=node.windows,
        policy=policy,
    )


def test_a_list_that_was_not_proposed_in_time_costs_the_node_and_frees_the_claim(
    world: World, tmp_path: Path
) -> None:
    earn_of_rows(world, tmp_path)
    world.run(lambda: world.node.deployment.next_seq(world.node.accounts.wallet) == 1)
    world.wait(world.node.windows.propose_s + 1)  # the node slept
    world.run(lambda: states(world) == ["final"])
    share = record_of(world.node.ledger.events.find("Claimed")[0]).node_share_wei
    assert are_late(world) == [True]
    assert world.node.treasury.earnings().credited_wei == share - share * LATE_PPM // PPM


def test_a_countersignature_that_comes_while_the_list_is_made_costs_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list does not count it, so the openings must not count it either."""
    shares, channel = prepare(world, tmp_path), world.open_channel()
    late = world.earn(channel, OPEN // 10, adapter_id=ADAPTER, shares=shares, is_countersigned=False)
    world.earn(channel, OPEN, adapter_id=ADAPTER, shares=shares)
    propose = world.node.deployment.propose

    def countersign_and_propose(*list_: Any) -> ContractCall:
        world.node.ledger.receipts.countersign(late.digest, sign_digest(AUTHORIZER_KEY, digest_word(late.digest)))
        return propose(*list_)

    monkeypatch.setattr(world.node.deployment, "propose", countersign_and_propose)
    world.run(lambda: states(world) == ["final"])
    assert are_late(world) == [False]
    assert len(world.node.ledger.events.find("Drawn")) == 1


def test_a_node_that_can_no_longer_show_its_list_draws_no_points_and_pays_one_fee(
    world: World, tmp_path: Path
) -> None:
    """A backup from before the countersignatures was restored."""
    earn_of_rows(world, tmp_path)
    node = world.node
    world.run(lambda: states(world) == ["proposed"])
    (claim,) = node.ledger.claims.unfinished()
    node.ledger.receipts.fix_countersigned(claim.claim_id, [])
    (proposed,) = node.ledger.events.find("Proposed")
    world.wait(integer(proposed, "readyAt") - world.now_s)
    world.settle()
    (alert,) = node.alerts
    assert "the payout list of claim 0 is not that of this ledger's receipts" in alert
    world.run(lambda: states(world) == ["final"])
    record = record_of(node.ledger.events.find("Claimed")[0])
    assert node.ledger.events.find("Drawn") == []
    assert node.treasury.earnings().credited_wei == record.node_share_wei - lapse_fee_wei(record)


def test_a_reorg_that_changes_the_drawn_block_is_answered_before_the_draw_lapses(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was mined for the points drawn before is refused, and finality may take longer than a draw lives."""
    shares = prepare(world, tmp_path)
    channel = world.open_channel()
    for _ in range(10):  # so that other points can hardly fall on the same receipts
        world.earn(channel, OPEN // 10, adapter_id=ADAPTER, shares=shares)
    events, client = world.node.ledger.events, world.chain.client
    world.run(lambda: events.find("Finalized"))
    number = client.finalized_number()
    monkeypatch.setattr(client, "finalized_number", lambda: number)
    (drawn,) = events.find("Drawn")
    client.reorganise(client.head().number - integer(drawn, "drawBlock") + 1)
    world.settle()
    world.run(lambda: events.find("Finalized"))
    assert are_late(world) == [False]
    assert len(events.find("Drawn")) == 1
    assert "reverted" in [row.state for row in world.node.ledger.outbox.newest(limit=9)]


def test_an_endpoint_whose_answers_make_no_sense_is_down_and_ends_no_node(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.earn(world.open_channel(), OPEN)
    for answer in (lambda *_, **__: b"", lambda *_, **__: b"\xff" * 31, refuse):
        with monkeypatch.context() as broken:
            broken.setattr(world.node.client, "call", answer)
            with pytest.raises(ChainError, match="as the contract never does"):
                world.node.step()
    world.run(lambda: states(world) == ["final"])


def test_a_claim_whose_end_a_reorganisation_took_back_is_brought_to_its_end_again(
    world: World, tmp_path: Path
) -> None:
    """The chain called the end final; the draw is in another block now, and its points are others."""
    earn_of_rows(world, tmp_path)
    world.run(lambda: states(world) == ["drawn"])
    (claim,) = world.node.treasury.earnings().settlements
    assert set(claim.transactions) == {"claim", "propose", "draw"}
    assert world.node.treasury.earnings().pending_wei == claim.node_share_wei
    world.run(lambda: states(world) == ["final"])
    (drawn,) = world.node.ledger.events.find("Drawn")
    world.chain.client.reorganise(world.chain.client.head().number - drawn.block.number + 1)
    world.node.step()
    assert states(world) != ["final"]
    world.run(lambda: states(world) == ["final"])
    ended = [event for event in world.chain.events("AttributionRewards") if event.name == "Finalized"]
    assert [event.arguments["late"] for event in ended] == [False]


def test_a_claim_whose_list_does_not_add_up_holds_up_no_other(world: World, tmp_path: Path) -> None:
    prepare(world, tmp_path)
    elsewhere = (Share(datanet_id=DatanetId(digest("f")), account=account(9), ppm=PPM),)
    world.earn(world.open_channel(), OPEN, adapter_id=ADAPTER, shares=elsewhere)
    world.run(lambda: "claimed" in states(world))
    world.earn(world.open_channel(), OPEN)
    world.run(lambda: sorted(states(world)) == ["final", "final"])
    assert sorted(map(bool, are_late(world))) == [False, True]


def lapsed_wei(world: World) -> int:
    """Fees that the node paid for draws that it did not show."""
    share = record_of(world.node.ledger.events.find("Claimed")[0]).node_share_wei
    return share - world.node.treasury.earnings().credited_wei


def test_a_list_is_not_drawn_while_gas_costs_more_than_showing_it_may(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The draw alone is cheap enough at this price. Each draw that is not shown would cost half of the pots."""
    earn_of_rows(world, tmp_path)
    world.run(lambda: states(world) == ["proposed"])
    node = world.node
    with monkeypatch.context() as dear:
        dear.setattr(node.client, "fees", lambda: Fees(base_wei=Wei(2 * 10**11), tip_wei=Wei(10**9)))
        for _ in range(node.windows.window_s + 20):
            world.settle()
        (alert,) = node.alerts
        assert re.fullmatch(
            r"claim 0 is not drawn: at 1.5 times the current gas price, its draw and its finalisation cost "
            r"0.\d+ coins, and their cap is 0.065 coins. Wait, or raise \[chain\] fee_max_wei",
            alert,
        )
        assert node.ledger.events.find("Drawn") == []
    world.run(lambda: states(world) == ["final"])
    assert (len(node.ledger.events.find("Drawn")), lapsed_wei(world), world.balance(ADA) > 0) == (1, 0, True)


def test_a_list_is_not_drawn_until_the_signers_coins_cover_all_that_is_drawn(world: World, tmp_path: Path) -> None:
    earn_of_rows(world, tmp_path)
    world.run(lambda: states(world) == ["proposed"])
    node, signer = world.node, world.node.accounts.signer
    fees = node.client.fees()
    spend(world, node.deployment.coin_balance(signer) - 500_000 * (2 * fees.base_wei + fees.tip_wei))
    for _ in range(node.windows.window_s + 20):
        world.settle()
    (alert,) = node.alerts
    assert alert.startswith(
        f"claim 0 is not drawn: {signer} has too few coins for gas of its finalisation. Send 0.00"
    )
    assert (node.ledger.events.find("Drawn"), node.alert_counts["gas"]) == ([], 1)
    world.chain.fund(signer)
    world.run(lambda: states(world) == ["final"])
    assert (len(node.ledger.events.find("Drawn")), lapsed_wei(world), world.balance(ADA) > 0) == (1, 0, True)


def test_a_signer_whose_coins_ran_out_after_a_draw_does_not_draw_again_without_them(
    world: World, tmp_path: Path
) -> None:
    earn_of_rows(world, tmp_path)
    world.run(lambda: states(world) == ["proposed"])
    node, signer = world.node, world.node.accounts.signer
    world.run(lambda: any(found.intent.kind == "draw" for found in node.ledger.outbox.unfinished()))
    spend(world, node.deployment.coin_balance(signer) - 10**14)
    for _ in range(node.windows.redraw_blocks + 10):
        world.settle()
    lapsed, why_not = node.settlement.alerts
    assert lapsed == "the draw of claim 0 lapsed: another one costs half of its pots"
    assert "claim 0 is not drawn: " in why_not
    assert len(node.ledger.events.find("Drawn")) == 1
    world.chain.fund(signer)
    world.run(lambda: states(world) == ["final"])
    assert world.balance(ADA) > 0


def spend(world: World, amount_wei: int) -> None:
    """Send coins of the node's signer away, as an operator's other program may."""
    call = ContractCall(to=world.payer.accounts.wallet, value_wei=Wei(amount_wei))
    signer = world.node.accounts.signer
    world.node.ledger.outbox.add(Intent(key="spend", kind="spend", summary="spend", sender=signer, call=call))


def test_nothing_is_claimed_at_a_loss(world: World) -> None:
    world.earn(world.open_channel(), 1000)
    dear = desk_of(world, SettlementPolicy(coin_price_wei=Wei(OPEN)))
    dear.step(world.chain.client.head())
    assert states(world) == []
    assert re.fullmatch(
        r"claiming 0.000000000000001 OPEN costs about 0\.\d+ OPEN, more than it brings", dear.claimer.why_not or ""
    )
    free = desk_of(world, SettlementPolicy(coin_price_wei=None))
    free.step(world.chain.client.head())
    assert states(world) == ["sent"]


def test_dust_of_one_payer_does_not_keep_the_money_of_others_unclaimed(world: World) -> None:
    """At this price a claim of the one lane is worth its gas, and a claim with twenty lanes of dust is not."""
    dusty, channel = [world.open_channel() for _ in range(20)], world.open_channel()
    for each in dusty:
        world.earn(each, 1)
    world.earn(channel, OPEN)
    desk = desk_of(world, priced(world, 700_000, OPEN))
    desk.step(world.chain.client.head())
    (claim,) = world.node.ledger.claims.unfinished()
    assert {row.receipt.channel_id for row in world.node.ledger.receipts.of_claim(claim.claim_id)} == {channel}


def priced(world: World, gas: int, worth_wei: int) -> SettlementPolicy:
    """At this price of a coin, so much gas costs so much."""
    fees = world.node.deployment.fees()
    return SettlementPolicy(coin_price_wei=Wei(worth_wei * COIN_WEI // (gas * (fees.base_wei + fees.tip_wei))))


def receipts_of_newest(world: World) -> set[Digest]:
    (claim,) = world.node.ledger.claims.newest(limit=1)
    return {row.digest for row in world.node.ledger.receipts.of_claim(claim.claim_id)}


ONE_LANE_GAS = BASE_GAS + LANE_GAS


def test_a_claim_waits_until_its_gas_is_cheap_or_its_oldest_receipt_a_week_old(world: World) -> None:
    """At this price, the gas for one lane costs a twentieth of 1 OPEN: too dear for less, and cheap for 1."""
    channel, head = world.open_channel(), world.chain.client.head()
    first = world.earn(channel, OPEN // 2, issued_at_s=head.timestamp_s)
    policy = priced(world, ONE_LANE_GAS, OPEN // 20)
    desk = desk_of(world, policy)
    desk.step(head)
    assert states(world) == []
    due = rfc3339(head.timestamp_s + 7 * 86_400)
    assert (desk.claimer.why_not or "").endswith(
        f"the node waits for cheaper gas or more receipts, at most until {due}; `openledger-node rewards claim` "
        "claims now"
    )
    desk.step(replace(head, timestamp_s=head.timestamp_s + 7 * 86_400 - 1))
    assert states(world) == []
    week = desk_of(world, policy)
    week.step(replace(head, timestamp_s=head.timestamp_s + 7 * 86_400))
    assert receipts_of_newest(world) == {first.digest}


def test_an_operator_claims_at_once_what_is_worth_its_gas(world: World) -> None:
    world.earn(world.open_channel(), OPEN // 2, issued_at_s=world.chain.client.head().timestamp_s)
    desk = desk_of(world, priced(world, ONE_LANE_GAS, OPEN // 20))
    desk.claimer.hurry()
    desk.step(world.chain.client.head())
    assert states(world) == ["sent"]


def test_a_lane_whose_gas_is_cheap_does_not_wait_for_one_whose_gas_is_not(world: World) -> None:
    """The other alone is worth its gas, and in one claim with the first it would make that too dear."""
    channels, now_s = (world.open_channel(), world.open_channel()), world.chain.client.head().timestamp_s
    rich = world.earn(channels[0], OPEN + OPEN // 100, issued_at_s=now_s)
    world.earn(channels[1], OPEN // 100, issued_at_s=now_s)
    desk = desk_of(world, priced(world, ONE_LANE_GAS, OPEN // 20))
    desk.step(world.chain.client.head())
    assert receipts_of_newest(world) == {rich.digest}


def test_the_last_receipts_of_a_retired_adapter_do_not_wait_for_cheap_gas(world: World, tmp_path: Path) -> None:
    shares, channel = prepare(world, tmp_path), world.open_channel()
    world.node.settlement.claimer.policy = policy = priced(world, 1_000_000, OPEN // 2)
    world.earn(channel, OPEN, adapter_id=ADAPTER, shares=shares, issued_at_s=world.chain.client.head().timestamp_s)
    world.act(RetireAdapter(adapter_id=ADAPTER, name="a", bond_wei=Wei(10 * OPEN)))
    world.run(lambda: world.node.ledger.events.find("AdapterRetired"))
    (retired,) = world.node.ledger.events.find("AdapterRetired")
    last_s = integer(retired, "reclaimableAt") - 2 * world.node.windows.epoch_s
    desk, head = desk_of(world, policy), world.chain.client.head()
    assert head.timestamp_s < last_s
    desk.step(replace(head, timestamp_s=last_s - 1))
    assert states(world) == []
    desk.step(replace(head, timestamp_s=last_s))
    assert states(world) == ["sent"]


NEARLY_FREE = SettlementPolicy(coin_price_wei=Wei(1))
"""Of a network for real money whose gas is cheap for any claim."""


def test_what_did_not_fit_a_claim_is_claimed_next_without_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claimer, "batch", partial(batch, limits=ClaimLimits(items_max=1)))
    world.node.settlement.claimer.policy = NEARLY_FREE
    for channel in (world.open_channel(), world.open_channel()):
        world.earn(channel, OPEN)
    world.run(lambda: len(states(world)) == 2)
    world.earn(channel, OPEN)
    for _ in range(3):
        world.settle()
    assert len(states(world)) == 2, "and then the interval is waited for"


def test_lanes_are_read_from_the_chain_only_after_something_happened_to_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node with 1,000 lanes would otherwise ask its endpoint 3,000 times at each look."""
    channels = [world.open_channel() for _ in range(5)]
    world.node.settlement.claimer.policy = NEARLY_FREE
    world.earn(channels[0], OPEN)
    world.run(lambda: states(world) == ["final"])
    for channel in channels:
        world.earn(channel, OPEN)
    asked = []
    call = world.node.client.call
    monkeypatch.setattr(
        world.node.client, "call", lambda *args, **kwargs: asked.append(args) or call(*args, **kwargs)
    )

    def num_asked() -> int:
        asked.clear()
        world.node.step()
        return len(asked)

    assert num_asked() == 3 * len(channels) + 2, "each lane once, and the node's stake and the parameters"
    world.wait(1)
    assert num_asked() == 2
    world.act(
        CloseChannel(channel_id=channels[1], config=world.configs[channels[1]], amount_wei=Wei(OPEN)), by=world.payer
    )
    world.payer.step()
    world.wait(1)
    assert num_asked() == 6, "that lane, and the number of the claim that it is in"
    assert len(states(world)) == 2, "a payer that withdraws is claimed from at once"


def test_a_node_below_the_minimum_stake_claims_nothing_and_says_what_to_do(world: World) -> None:
    node, channel = world.node, world.open_channel()
    world.act(RemoveStake(amount_wei=Wei(OPEN)))
    world.run(lambda: node.deployment.stake(node.accounts.wallet).bonded_wei == 99 * OPEN)
    world.earn(channel, OPEN)
    for _ in range(3):
        world.settle()
    assert states(world) == []
    why_not = "99 OPEN are bonded, claims need 100 OPEN: `openledger-node stake add`"
    assert node.treasury.rewards().why_not_claimed == node.settlement.claimer.why_not == why_not


def test_receipts_beyond_the_deposit_and_unsigned_ones_wait(world: World) -> None:
    full, channel = world.open_channel(2 * OPEN), world.open_channel()
    *_, beyond = (world.earn(full, OPEN) for _ in range(3))
    world.earn(channel, OPEN // 2)
    unsigned = world.earn(channel, OPEN)
    world.node.ledger.receipts.sign(unsigned.digest, b"")
    world.run(lambda: states(world) == ["final"])
    assert [world.node.deployment.channel(each).claimed_wei for each in (full, channel)] == [2 * OPEN, OPEN // 2]
    assert {row.digest for row in world.node.ledger.receipts.unclaimed()} == {beyond.digest, unsigned.digest}
    assert world.node.settlement.claimer.why_not is None
    assert world.node.treasury.rewards().unclaimed_wei == 2 * OPEN


def finalize_ahead(world: World) -> None:
    """Let a stranger's `finalize` of the newest claim be mined just before the node's own."""
    events, stranger = world.node.ledger.events, world.payer
    proposed, claimed = events.find("Proposed")[-1], events.find("Claimed")[-1]
    while world.now_s < integer(proposed, "readyAt"):
        world.settle()
    intent = Intent(
        key=f"ahead of {claimed.arguments['seq']}",
        kind="finalize",
        summary="",
        sender=stranger.accounts.wallet,
        call=stranger.deployment.finalize(record_of(claimed), payouts_of(proposed), []),
    )
    stranger.ledger.outbox.add(intent)
    stranger.outbox.step()
    world.settle()
    assert world.node.ledger.outbox.newest(limit=1)[0].intent.kind == "finalize"


def test_strangers_that_finalize_first_stop_no_later_claim(world: World) -> None:
    channel = world.open_channel()
    for number in range(1, 5):
        world.earn(channel, OPEN)
        world.node.settlement.claimer.hurry()
        world.run(lambda: states(world)[:1] == ["proposed"])
        if number < 4:
            finalize_ahead(world)
        world.run(lambda number=number: states(world) == ["final"] * number)
    found = [row.state for row in world.node.ledger.outbox.newest(limit=99) if row.intent.kind == "finalize"]
    assert found[0] in ("mined", "final")
    assert set(found[1:]) <= {"reverted", "failed"}
    assert world.node.outbox.alerts == ()


def withdraw_from(world: World, channel: ChannelId) -> None:
    """Let the payer start to take back the whole deposit, and wait until the node sees it."""
    close = CloseChannel(channel_id=channel, config=world.configs[channel], amount_wei=Wei(10 * OPEN))
    world.act(close, by=world.payer)
    world.run(lambda: world.node.deployment.withdrawal(channel).amount_wei)


def is_in_time(world: World, channel: ChannelId) -> bool:
    """Whether what was earned on a channel is claimed before its payer can take it."""
    ready_at_s = world.node.deployment.withdrawal(channel).ready_at_s
    claimed_wei = world.node.deployment.channel(channel).claimed_wei
    return claimed_wei == 9 * OPEN and world.chain.client.head().timestamp_s < ready_at_s


def test_a_claim_that_waits_for_cheap_gas_is_taken_back_for_one_that_cannot_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, leaving = world.open_channel(), world.open_channel()
    withdraw_from(world, leaving)
    monkeypatch.setattr(world.node.client, "fees", lambda: Fees(base_wei=Wei(10**12), tip_wei=Wei(10**9)))
    world.earn(small, OPEN // 1_000)
    world.settle()
    assert states(world) == ["sent"]
    assert "gas currently costs more than its cap" in world.node.outbox.alerts[0]
    world.earn(leaving, 9 * OPEN)
    world.run(lambda: is_in_time(world, leaving))
    assert world.node.deployment.channel(small).claimed_wei == OPEN // 1_000
    assert states(world)[1:] == ["refused"]


def test_a_claim_that_was_refused_by_accident_is_tried_again_before_its_payer_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving = world.open_channel()
    while world.now_s % world.node.windows.epoch_s:
        world.wait(1)  # an epoch begins, and the next one is as far as can be
    began_s = world.now_s
    withdraw_from(world, leaving)
    with monkeypatch.context() as faulty:
        faulty.setattr(world.node.client, "estimate_gas", refuse)
        world.earn(leaving, 9 * OPEN)
        world.run(lambda: states(world) == ["refused"])
    world.run(lambda: is_in_time(world, leaving))
    assert world.now_s < began_s + world.node.windows.epoch_s


def refuse(*_: object, **__: object) -> int:
    raise RevertedError("a fault of the endpoint")


def test_a_signed_claim_is_hastened_when_another_cannot_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    small, leaving = world.open_channel(), world.open_channel()
    withdraw_from(world, leaving)
    with monkeypatch.context() as lost:
        lost.setattr(world.node.client, "send", transaction_hash)  # taken, and forgotten
        world.earn(small, OPEN // 1_000)
        world.settle()
        world.earn(leaving, 9 * OPEN)
        world.settle()
        row = world.node.ledger.outbox.find(world.node.ledger.claims.newest(limit=1)[0].key)
        assert row is not None
        assert row.state == "sent"
        assert row.intent.deadline_s == world.node.deployment.withdrawal(leaving).ready_at_s
        assert row.intent.value_at_risk_wei >= 9 * OPEN
    world.run(lambda: is_in_time(world, leaving))


def test_claims_come_an_interval_after_each_other_but_for_a_payer_that_withdraws_or_an_operator_in_a_hurry(
    world: World,
) -> None:
    calm, leaving = world.open_channel(), world.open_channel()
    world.node.settlement.claimer.policy = NEARLY_FREE
    world.earn(calm, OPEN)
    world.run(lambda: states(world) == ["claimed"])
    world.earn(calm, OPEN)
    world.settle()
    assert len(states(world)) == 1
    assert "the next claim is due" in (world.node.settlement.claimer.why_not or "")
    world.earn(leaving, OPEN)
    withdraw_from(world, leaving)
    world.settle()
    transaction = world.node.ledger.outbox.find(world.node.ledger.claims.newest(limit=1)[0].key)
    assert transaction is not None
    assert transaction.intent.deadline_s == world.node.deployment.withdrawal(leaving).ready_at_s
    world.run(lambda: world.node.deployment.channel(leaving).claimed_wei == OPEN)
    world.earn(calm, OPEN)
    world.settle()
    assert len(states(world)) == 2
    world.node.settlement.claimer.hurry()
    world.settle()
    assert states(world)[0] == "sent"


def test_a_claim_of_the_base_is_seen_at_each_stage_to_the_wei(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    node = world.node
    world.run(lambda: node.is_idle)
    waits_for = [node.waits_for]  # which decides how soon it looks at the chain again
    world.earn(world.open_channel(), OPEN)
    waits_for.append(node.waits_for)
    check_channel_of_both_sides(world)
    share = OPEN - OPEN * FEE_PPM // PPM
    seen = node.treasury.earnings()
    assert (seen.unclaimed_wei, seen.pending_wei, seen.credited_wei) == (OPEN, 0, 0)
    node.step()
    waits_for.append(node.waits_for)
    world.run(lambda: states(world) == ["proposed"])
    seen = node.treasury.earnings()
    assert (seen.unclaimed_wei, seen.pending_wei, seen.credited_wei) == (0, share, 0)
    (claim,) = seen.settlements
    assert (claim.gross_wei, claim.node_share_wei, set(claim.transactions)) == (OPEN, share, {"claim", "propose"})
    world.run(lambda: states(world) == ["final"])
    seen = node.treasury.earnings()
    assert set(seen.settlements[0].transactions) == {"claim", "propose", "finalize"}
    assert (seen.unclaimed_wei, seen.pending_wei, seen.credited_wei, seen.balance_wei) == (0, 0, share, share)
    assert seen.gas_wei > 0
    (proposed,) = node.ledger.events.find("Proposed")
    assert payouts_of(proposed) == []
    assert proposed.arguments["receiptsRoot"] != ZERO_DIGEST, "receipts of the base stand on the claim's line, too"
    assert node.ledger.events.find("Drawn") == []
    assert [*waits_for, node.waits_for] == ["nothing", "payers", "block", "nothing"]
    monkeypatch.setattr(node.client, "head", is_silent)
    node.step()
    assert (node.waits_for, node.is_idle) == ("block", False)


def check_channel_of_both_sides(world: World) -> None:
    (ours,), (theirs,) = world.node.treasury.channels(), world.payer.treasury.channels()
    assert (ours.role, theirs.role) == ("node", "payer")
    assert (ours.deposit_wei, ours.charged_wei, ours.ceiling_wei, ours.claimed_wei) == (10 * OPEN, OPEN, OPEN, 0)
    assert theirs == replace(ours, role="payer", charged_wei=Wei(0), ceiling_wei=Wei(0), last_receipt_at=None)


def is_silent() -> Block:
    raise ChainError("the endpoint does not answer")
