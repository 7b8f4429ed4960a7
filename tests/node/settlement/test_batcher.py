"""What goes into a claim, for any receipts: whole ones, in order, once each, and never more than is covered."""

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signed import CONFIG, NODE, PAYMENTS, account, digest, plain_receipt

from openledger_node.ledger.receipts import ReceiptRow
from openledger_node.settlement.batcher import (
    ADAPTER_GAS,
    GAS,
    ITEM_GAS,
    POT_GAS,
    ClaimableLane,
    ClaimBatch,
    ClaimLimits,
    batch,
    epoch_claim,
)
from openledger_protocol.attribution import Share
from openledger_protocol.claims import check_claim
from openledger_protocol.eip712 import hex_digest
from openledger_protocol.payments import ChannelConfig, SignedVoucher, Voucher, channel_id, receipt_digest
from openledger_protocol.primitives import BASE_ONLY, AdapterId, ChannelId, DatanetId, Salt, Wei

DATANETS = [DatanetId(digest(digit)) for digit in "de"]
SHARES = {
    BASE_ONLY: (),
    AdapterId(digest("a")): tuple(Share(datanet_id=DATANETS[0], account=account(n), ppm=500_000) for n in (1, 2)),
    AdapterId(digest("b")): tuple(Share(datanet_id=DATANETS[1], account=account(n), ppm=250_000) for n in range(4)),
    AdapterId(digest("c")): (),
}
ADAPTERS = list(SHARES)
Lane = tuple[AdapterId, ChannelId]


@dataclass(frozen=True)
class Spent:
    """A channel as a strategy draws it: receipts as (adapter, amount), and what covers them."""

    receipts: tuple[tuple[AdapterId, int], ...]
    num_claimed: int  # of the receipts, by claims before this one
    ceiling_wei: int  # of each lane
    left_wei: int  # of the deposit
    gap_at: int | None  # a receipt that is not signed yet
    ready_at_s: int | None
    is_countersigned: bool = True


spent = st.builds(
    Spent,
    receipts=st.lists(st.tuples(st.sampled_from(ADAPTERS), st.integers(0, 9)), max_size=6).map(tuple),
    num_claimed=st.integers(0, 3),
    ceiling_wei=st.integers(0, 20),
    left_wei=st.integers(0, 20),
    gap_at=st.none() | st.integers(0, 5),
    ready_at_s=st.none() | st.integers(1, 99),
    is_countersigned=st.booleans(),
)
limits = st.builds(
    ClaimLimits,
    items_max=st.integers(1, 4),
    adapters_max=st.integers(1, 4),
    pots_max=st.integers(1, 3),
    payouts_max=st.integers(2, 7),
)


def config_of(number: int) -> ChannelConfig:
    return replace(CONFIG, salt=Salt("0x" + number.to_bytes(32, "big").hex()))


def receipt_of(channel: ChannelId, seq: int, adapter: AdapterId, amount: int, cumulative: int) -> ReceiptRow:
    receipt = plain_receipt(
        amount, SHARES[adapter], channel_id=channel, seq=seq, adapter_id=adapter, cumulative_wei=Wei(cumulative)
    )
    return ReceiptRow(
        digest=hex_digest(receipt_digest(receipt, PAYMENTS)),
        receipt=receipt,
        shares=SHARES[adapter],
        countersignature=b"c",
    )


def claimable(number: int, drawn: Spent) -> list[ClaimableLane]:
    """The lanes of one channel."""
    config = config_of(number)
    channel = channel_id(config, PAYMENTS)
    charged: dict[AdapterId, int] = {}
    claimed: dict[AdapterId, int] = {}
    earned: dict[AdapterId, list[ReceiptRow]] = {}
    for seq, (adapter, amount) in enumerate(drawn.receipts):
        charged[adapter] = charged.get(adapter, 0) + amount
        row = receipt_of(channel, 1 + seq, adapter, amount, charged[adapter])
        if seq < drawn.num_claimed:
            claimed[adapter] = charged[adapter]
        elif seq != drawn.gap_at:
            kept = row if drawn.is_countersigned else replace(row, countersignature=None)
            earned.setdefault(adapter, []).append(kept)
    return [
        ClaimableLane(
            channel_id=channel,
            adapter_id=adapter,
            config=config,
            voucher=SignedVoucher(
                voucher=Voucher(channel_id=channel, adapter_id=adapter, max_claimable_wei=Wei(drawn.ceiling_wei)),
                signature=bytes(65),
            ),
            left_wei=Wei(drawn.left_wei),
            claimed_wei=Wei(claimed.get(adapter, 0)),
            earned=tuple(rows),
            ready_at_s=drawn.ready_at_s,
        )
        for adapter, rows in earned.items()
    ]


channels = st.lists(spent, max_size=6).map(
    lambda drawn: [lane for number, one in enumerate(drawn) for lane in claimable(number, one)]
)


def lane_of(row: ReceiptRow) -> Lane:
    return row.receipt.adapter_id, row.receipt.channel_id


@given(channels, limits)
def test_claims_take_every_covered_receipt_once_whole_in_order_and_within_limits_deposit_and_contract(
    found: list[ClaimableLane], most: ClaimLimits
) -> None:
    taken: list[str] = []
    left = found
    for _ in range(100):
        content = batch(left, most)
        if content is None:
            break
        check_claimable(content, left, most)
        taken += [row.digest for row in content.earned]
        left = after(left, content)
    assert content is None, "claims end"
    assert len(set(taken)) == len(taken)
    for lane in left:  # what is left can't be claimed: not covered, behind a gap, worth nothing, or too much at once
        roomy = batch([lane])
        assert roomy is None or not fits(lane, most)


def check_claimable(content: ClaimBatch, found: list[ClaimableLane], most: ClaimLimits) -> None:
    check_items(content, found)
    shares = [(row.receipt.adapter_id, share, row) for row in content.earned for share in row.shares]
    payouts = {(adapter, share.datanet_id, share.account) for adapter, share, _ in shares}
    nobodys = {(adapter, share.datanet_id) for adapter, share, row in shares if row.countersignature is None}
    assert 0 < len(content.items) <= most.items_max
    assert len(content.adapters) <= most.adapters_max
    assert len({(adapter, share.datanet_id) for adapter, share, _ in shares}) <= most.pots_max
    assert len(payouts) + len(nobodys) <= most.payouts_max
    assert list(content.adapters) == sorted({row.receipt.adapter_id for row in content.earned})
    claim = epoch_claim(content, node=NODE, seq=0, epoch=7, domain=PAYMENTS)
    check_claim(claim, content.adapters, content.items, PAYMENTS)


def check_items(content: ClaimBatch, found: list[ClaimableLane]) -> None:
    """Each item goes on where its lane was claimed to, receipt by receipt, and no further than the payer covers."""
    known = {(lane.adapter_id, lane.channel_id): lane for lane in found}
    groups = [(key, list(rows)) for key, rows in groupby(content.earned, lane_of)]
    taken_wei: dict[ChannelId, int] = defaultdict(int)
    for item, (key, rows) in zip(content.items, groups, strict=True):
        lane = known[key]
        assert (content.adapters[item.adapter], channel_id(item.config, PAYMENTS)) == key
        assert tuple(rows) == lane.earned[: len(rows)]
        charged = int(lane.claimed_wei)
        for row in rows:
            charged += row.receipt.amount_wei
            assert row.receipt.cumulative_wei == charged
        assert (item.from_wei, item.to_wei) == (lane.claimed_wei, charged)
        assert item.from_wei < item.to_wei <= item.max_claimable_wei
        taken_wei[lane.channel_id] += item.amount_wei
    assert all(taken_wei[lane.channel_id] <= lane.left_wei for lane in found)


def after(lanes: list[ClaimableLane], content: ClaimBatch) -> list[ClaimableLane]:
    """The lanes once a claim is on the chain."""
    claimed: dict[Lane, Wei] = {}
    spent_wei: dict[ChannelId, int] = {}
    for item in content.items:
        key = channel_id(item.config, PAYMENTS)
        claimed[content.adapters[item.adapter], key] = item.to_wei
        spent_wei[key] = spent_wei.get(key, 0) + item.amount_wei
    digests = {row.digest for row in content.earned}
    return [
        replace(
            lane,
            claimed_wei=claimed.get((lane.adapter_id, lane.channel_id), lane.claimed_wei),
            left_wei=Wei(lane.left_wei - spent_wei.get(lane.channel_id, 0)),
            earned=tuple(row for row in lane.earned if row.digest not in digests),
        )
        for lane in lanes
    ]


def fits(lane: ClaimableLane, most: ClaimLimits) -> bool:
    """True if its receipts up to the first that is worth something fit one claim."""
    first = next(place for place, row in enumerate(lane.earned) if row.receipt.amount_wei)
    needed = [(share, row) for row in lane.earned[: first + 1] for share in row.shares]
    payouts = {(share.datanet_id, share.account) for share, _ in needed}
    nobodys = {share.datanet_id for share, row in needed if row.countersignature is None}
    return (
        len({share.datanet_id for share, _ in needed}) <= most.pots_max
        and len(payouts) + len(nobodys) <= most.payouts_max
    )


@pytest.mark.parametrize(("left_wei", "num_items"), [(4, 0), (5, 1), (9, 1), (10, 2)])
def test_the_lanes_of_a_channel_share_its_deposit(left_wei: int, num_items: int) -> None:
    content = batch(claimable(0, Spent(tuple((adapter, 5) for adapter in ADAPTERS[:2]), 0, 50, left_wei, None, None)))
    assert (len(content.items) if content else 0) == num_items


@pytest.mark.parametrize(
    ("limits", "num_items"),
    [
        (ClaimLimits(), 4),
        (ClaimLimits(items_max=2), 2),
        (ClaimLimits(adapters_max=3), 3),
        (ClaimLimits(pots_max=1), 3),
        (ClaimLimits(pots_max=2), 4),
        (ClaimLimits(payouts_max=15), 3),
        (ClaimLimits(payouts_max=16), 4),
    ],
)
def test_a_claim_has_as_many_lanes_as_its_limits_allow(limits: ClaimLimits, num_items: int) -> None:
    """Of four adapters, one pays two accounts of a Datanet, and one four of another, a quarter of 16 payouts."""
    content = batch(claimable(0, Spent(tuple((adapter, 1) for adapter in ADAPTERS), 0, 9, 9, None, None)), limits)
    assert content is not None
    assert len(content.items) == num_items


def test_a_payer_that_withdraws_comes_first_whatever_its_channel_is_called() -> None:
    calm, soon, sooner = (
        claimable(number, Spent(((BASE_ONLY, 5),), 0, 50, 50, None, ready_at_s))[0]
        for number, ready_at_s in enumerate([None, 20, 10])
    )
    content = batch([calm, soon, sooner], ClaimLimits(items_max=2))
    assert content is not None
    assert {row.receipt.channel_id for row in content.earned} == {soon.channel_id, sooner.channel_id}
    assert content.deadline_s == 10


def test_a_withdrawal_from_a_channel_that_has_nothing_to_claim_hurries_nobody() -> None:
    calm = claimable(0, Spent(((BASE_ONLY, 5),), 0, 50, 50, None, None))
    empty = claimable(1, Spent(((BASE_ONLY, 5),), 0, 50, 4, None, 10))
    content = batch([*calm, *empty])
    assert content is not None
    assert (len(content.items), content.deadline_s) == (1, None)


def test_receipts_that_an_unknown_claim_has_taken_hold_up_no_later_ones() -> None:
    """A restored ledger may have forgotten that claim, and its receipts are unclaimed in it."""
    (lane,) = claimable(0, Spent(((BASE_ONLY, 5), (BASE_ONLY, 0), (BASE_ONLY, 3)), 0, 50, 50, None, None))
    content = batch([replace(lane, claimed_wei=Wei(5))])
    assert content is not None
    assert [(item.from_wei, item.to_wei) for item in content.items] == [(5, 8)]
    assert content.earned == lane.earned[1:]


def test_no_claim_needs_more_gas_than_a_transaction_may_use() -> None:
    most = ClaimLimits(gas_max=200_000)
    drawn = Spent(
        tuple((adapter, 1) for adapter in ADAPTERS), 0, ceiling_wei=9, left_wei=9, gap_at=None, ready_at_s=None
    )
    waiting = [lane for number in range(20) for lane in claimable(number, drawn)]
    num_items = 0
    while content := batch(waiting, most):
        pots = {(row.receipt.adapter_id, share.datanet_id) for row in content.earned for share in row.shares}
        parts = ((ITEM_GAS, content.items), (ADAPTER_GAS, content.adapters), (POT_GAS, pots))
        assert GAS + sum(gas * len(part) for gas, part in parts) <= most.gas_max
        num_items += len(content.items)
        waiting = after(waiting, content)
    assert num_items == 80


# ---- the money of one payer is not kept out of claims by that of others


def worth(content: ClaimBatch | None) -> bool:
    return content is not None and content.is_worth


@given(channels, limits, st.sampled_from([1, 2, 3]))
def test_if_some_lane_alone_is_worth_a_claim_so_is_the_claim(
    found: list[ClaimableLane], most: ClaimLimits, divisor: int
) -> None:
    """Amounts are up to 9, so a claim of one lane costs 5 to 15, and each lane that is added up to 4."""
    scale = 10**5 // divisor
    rich = [replace_amounts(lane, scale) for lane in found]
    content = batch(rich, most, gas_wei=Wei(1))
    if any(worth(batch([lane], most, gas_wei=Wei(1))) for lane in rich):
        assert worth(content)
    if content:
        check_claimable(content, rich, most)


def replace_amounts(lane: ClaimableLane, scale: int) -> ClaimableLane:
    """The lane in another currency."""

    def scaled(row: ReceiptRow) -> ReceiptRow:
        receipt = row.receipt
        amount, cumulative = Wei(receipt.amount_wei * scale), Wei(receipt.cumulative_wei * scale)
        return replace(row, receipt=replace(receipt, amount_wei=amount, cumulative_wei=cumulative))

    signed = lane.voucher
    most = Wei(signed.voucher.max_claimable_wei * scale)
    return replace(
        lane,
        voucher=replace(signed, voucher=replace(signed.voucher, max_claimable_wei=most)),
        left_wei=Wei(lane.left_wei * scale),
        claimed_wei=Wei(lane.claimed_wei * scale),
        earned=tuple(map(scaled, lane.earned)),
    )


def lanes_of(*amounts: int, adapter: AdapterId = BASE_ONLY, ready_at_s: int | None = None) -> list[ClaimableLane]:
    """A lane each of channels whose ids no order is known of."""
    drawn = [Spent(((adapter, amount),), 0, 10**9, 10**9, None, ready_at_s) for amount in amounts]
    first = 100 * len(amounts)
    return [lane for number, one in enumerate(drawn, first) for lane in claimable(number, one)]


def test_256_lanes_of_dust_stay_out_of_the_claim_of_a_lane_that_is_worth_it() -> None:
    dust, rich = lanes_of(*[1_000] * 256), lanes_of(500_000)
    content = batch([*dust, *rich], gas_wei=Wei(1))
    assert worth(content)
    assert content is not None
    assert ([row.receipt.amount_wei for row in content.earned], content.has_more) == ([500_000], False)
    only = batch(dust, gas_wei=Wei(1))
    assert only is not None
    assert (len(only.items), only.is_worth) == (256, False), "a claim of dust is not worth its gas"


def test_lanes_in_a_hurry_that_are_not_worth_a_claim_hold_up_no_lane_that_is() -> None:
    hurried, rich = lanes_of(*[60_000] * 9, ready_at_s=10), lanes_of(600_000)
    content = batch([*hurried, *rich], ClaimLimits(items_max=4), gas_wei=Wei(1))
    assert content is not None
    assert (content.is_worth, content.deadline_s, content.has_more) == (True, 10, True)
    assert sorted(row.receipt.amount_wei for row in content.earned) == [60_000] * 3 + [600_000]


def test_the_rare_draw_of_cheap_lanes_holds_up_no_lane_without_one() -> None:
    """Two lanes of an adapter are worth their own gas, but not the draw that they need."""
    cheap, rich = lanes_of(*[140_000] * 2, adapter=ADAPTERS[1]), lanes_of(480_000)
    content = batch([*cheap, *rich], gas_wei=Wei(1))
    assert content is not None
    assert (content.is_worth, content.adapters) == (True, (BASE_ONLY,))


def test_a_lane_of_many_accounts_comes_first_or_waits_for_a_claim_of_its_own() -> None:
    """One receipt with a share of everybody's fills a payout list. In front of others it would keep them out."""
    crowd, few = lanes_of(5, adapter=ADAPTERS[2]), lanes_of(3, 9, adapter=ADAPTERS[1])
    most = ClaimLimits(payouts_max=4)
    first = batch([*crowd, *few], most)
    assert first is not None
    assert ([row.receipt.amount_wei for row in first.earned], first.has_more) == ([3, 9], True)
    second = batch(after([*crowd, *few], first), most)
    assert second is not None
    assert [row.receipt.amount_wei for row in second.earned] == [5]
