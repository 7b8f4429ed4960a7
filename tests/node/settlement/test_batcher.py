"""What goes into a claim, for any receipts: whole ones, in order, once each, and never more than is covered."""

from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from support.signed import CONFIG, NODE, PAYMENTS, WORK, account, digest

from openledger_node.settlement.batcher import Claimable, ClaimBatch, ClaimLimits, Earned, batch, epoch_claim
from openledger_protocol.attribution import Share, shares_hash
from openledger_protocol.claims import check_claim
from openledger_protocol.eip712 import hex_digest
from openledger_protocol.payments import ChannelConfig, Receipt, SignedVoucher, Voucher, channel_id, receipt_digest
from openledger_protocol.primitives import BASE_ONLY, AdapterId, ChannelId, DatanetId, Salt, Wei

DATANETS = [DatanetId(digest(digit)) for digit in "de"]
SHARES = {
    BASE_ONLY: (),
    AdapterId(digest("a")): tuple(Share(datanet_id=DATANETS[0], account=account(n), ppm=500_000) for n in (1, 2)),
    AdapterId(digest("b")): tuple(Share(datanet_id=DATANETS[1], account=account(n), ppm=250_000) for n in range(4)),
    AdapterId(digest("c")): (),
}
ADAPTERS = list(SHARES)


@dataclass(frozen=True)
class Spent:
    """A channel as a strategy draws it: receipts as (adapter, amount), and what covers them."""

    receipts: tuple[tuple[AdapterId, int], ...]
    num_claimed: int  # of the receipts, by claims before this one
    ceiling_wei: int
    deposit_wei: int
    gap_at: int | None  # a receipt that is not signed yet
    ready_at_s: int | None


spent = st.builds(
    Spent,
    receipts=st.lists(st.tuples(st.sampled_from(ADAPTERS), st.integers(0, 9)), max_size=6).map(tuple),
    num_claimed=st.integers(0, 3),
    ceiling_wei=st.integers(0, 50),
    deposit_wei=st.integers(0, 50),
    gap_at=st.none() | st.integers(0, 5),
    ready_at_s=st.none() | st.integers(1, 99),
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


def receipt_of(channel: ChannelId, seq: int, adapter: AdapterId, amount: int, cumulative: int) -> Earned:
    receipt = Receipt(
        channel_id=channel,
        seq=seq,
        adapter_id=adapter,
        amount_wei=Wei(amount),
        cumulative_wei=Wei(cumulative),
        algo_id=1,
        flags=1,
        nonce_commit=digest("9"),
        shares_hash=shares_hash(SHARES[adapter]),
        work=WORK,
    )
    digest_ = hex_digest(receipt_digest(receipt, PAYMENTS))
    return Earned(digest=digest_, receipt=receipt, shares=SHARES[adapter], nonce=None)


def claimable(number: int, drawn: Spent) -> Claimable:
    config = config_of(number)
    channel = channel_id(config, PAYMENTS)
    charged, earned = 0, []
    for seq, (adapter, amount) in enumerate(drawn.receipts):
        charged += amount
        earned.append(receipt_of(channel, 1 + seq * 10 + number, adapter, amount, charged))
    claimed = sum(amount for _, amount in drawn.receipts[: drawn.num_claimed])
    kept = [one for place, one in enumerate(earned) if place >= drawn.num_claimed and place != drawn.gap_at]
    voucher = Voucher(channel_id=channel, max_claimable_wei=Wei(drawn.ceiling_wei))
    return Claimable(
        channel_id=channel,
        config=config,
        voucher=SignedVoucher(voucher=voucher, signature=bytes(65)),
        deposit_wei=Wei(drawn.deposit_wei),
        claimed_wei=Wei(claimed),
        earned=tuple(kept),
        ready_at_s=drawn.ready_at_s,
    )


channels = st.lists(spent, max_size=6).map(lambda drawn: [claimable(n, one) for n, one in enumerate(drawn)])


@given(channels, limits)
def test_each_item_holds_whole_receipts_that_follow_on_what_is_claimed(
    found: list[Claimable], most: ClaimLimits
) -> None:
    content = batch(found, most)
    if content is None:
        return
    known = {channel.channel_id: channel for channel in found}
    for item in content.items:
        channel = known[channel_id(item.config, PAYMENTS)]
        mine = [one.receipt for one in content.earned if one.receipt.channel_id == channel.channel_id]
        assert [one.digest for one in channel.earned[: len(mine)]] == [
            one.digest for one in content.earned if one.receipt.channel_id == channel.channel_id
        ]
        charged = int(channel.claimed_wei)
        for receipt in mine:
            charged += receipt.amount_wei
            assert receipt.cumulative_wei == charged
        assert (item.from_wei, item.to_wei) == (channel.claimed_wei, charged)
        assert item.from_wei < item.to_wei <= min(item.max_claimable_wei, channel.deposit_wei)
        assert sum(part.amount_wei for part in item.parts) == item.to_wei - item.from_wei
        for part in item.parts:
            adapter = content.adapters[part.adapter]
            assert part.amount_wei == sum(one.amount_wei for one in mine if one.adapter_id == adapter) > 0
        assert [part.adapter for part in item.parts] == sorted({part.adapter for part in item.parts})


@given(channels, limits)
def test_a_claim_stays_within_its_bounds_and_has_a_form_that_the_contract_takes(
    found: list[Claimable], most: ClaimLimits
) -> None:
    content = batch(found, most)
    if content is None:
        return
    pots = {(one.receipt.adapter_id, share.datanet_id) for one in content.earned for share in one.shares}
    payouts = {
        (one.receipt.adapter_id, share.datanet_id, share.account) for one in content.earned for share in one.shares
    }
    assert 0 < len(content.items) <= most.items_max
    assert len(content.adapters) <= most.adapters_max
    assert len(pots) <= most.pots_max
    assert len(payouts) <= most.payouts_max
    assert set(content.adapters) == {one.receipt.adapter_id for one in content.earned}
    assert list(content.adapters) == sorted(set(content.adapters))
    order = [(one.receipt.channel_id, one.receipt.seq) for one in content.earned]
    assert all(left < right for left, right in pairwise(order))
    claim = epoch_claim(content, node=NODE, seq=0, epoch=7)
    check_claim(claim, content.adapters, content.items)
    assert claim.count == len(content.earned)


@given(channels, limits)
def test_claims_after_each_other_take_every_receipt_that_is_covered_once(
    found: list[Claimable], most: ClaimLimits
) -> None:
    taken: list[str] = []
    content: ClaimBatch | None
    left = found
    for _ in range(100):
        content = batch(left, most)
        if content is None:
            break
        taken += [one.digest for one in content.earned]
        left = [after(channel, content) for channel in left]
    assert content is None
    assert len(set(taken)) == len(taken)
    for (
        channel
    ) in left:  # what is left can't be claimed: not covered, behind a gap, worth nothing, or too much at once
        roomy = batch([channel])
        assert roomy is None or not fits(channel, most)


def after(channel: Claimable, content: ClaimBatch) -> Claimable:
    """The channel once a claim is on the chain."""
    claimed = {channel_id(item.config, PAYMENTS): item.to_wei for item in content.items}
    digests = {one.digest for one in content.earned}
    return replace(
        channel,
        claimed_wei=claimed.get(channel.channel_id, channel.claimed_wei),
        earned=tuple(one for one in channel.earned if one.digest not in digests),
    )


def fits(channel: Claimable, most: ClaimLimits) -> bool:
    """Whether its receipts up to the first that is worth something fit one claim."""
    first = next(place for place, one in enumerate(channel.earned) if one.receipt.amount_wei)
    needed = channel.earned[: first + 1]
    pots = {(one.receipt.adapter_id, share.datanet_id) for one in needed for share in one.shares}
    payouts = {(one.receipt.adapter_id, share.datanet_id, share.account) for one in needed for share in one.shares}
    return (
        len({one.receipt.adapter_id for one in needed}) <= most.adapters_max
        and len(pots) <= most.pots_max
        and len(payouts) <= most.payouts_max
    )


def test_a_payer_that_withdraws_comes_first_whatever_its_channel_is_called() -> None:
    calm, soon, sooner = (
        claimable(number, Spent(((BASE_ONLY, 5),), 0, 50, 50, None, ready_at_s))
        for number, ready_at_s in enumerate([None, 20, 10])
    )
    content = batch([calm, soon, sooner], ClaimLimits(items_max=2))
    assert content is not None
    assert {one.receipt.channel_id for one in content.earned} == {soon.channel_id, sooner.channel_id}
    assert content.deadline_s == 10


def test_a_withdrawal_from_a_channel_that_has_nothing_to_claim_hurries_nobody() -> None:
    calm = claimable(0, Spent(((BASE_ONLY, 5),), 0, 50, 50, None, None))
    empty = claimable(1, Spent(((BASE_ONLY, 5),), 0, 50, 4, None, 10))
    content = batch([calm, empty])
    assert content is not None
    assert (len(content.items), content.deadline_s) == (1, None)


def test_no_claim_needs_more_gas_than_a_transaction_may_use() -> None:
    most = ClaimLimits(gas_max=1_000_000)
    drawn = Spent(
        tuple((adapter, 1) for adapter in ADAPTERS), 0, ceiling_wei=9, deposit_wei=9, gap_at=None, ready_at_s=None
    )
    waiting = [claimable(number, drawn) for number in range(80)]
    sizes = []
    while content := batch(waiting, most):
        sizes.append(len(content.items))
        waiting = [after(channel, content) for channel in waiting]
    assert sizes == [28, 28, 24]
