"""Lanes, receipts and claims as rows: nothing falls, nothing is given out twice, nothing is in two claims."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.signed import CHANNEL, CONFIG, NODE, PAYER, PAYMENTS, account, digest, plain_receipt

from openledger_node.ledger.ledger import Ledger, open_ledger
from openledger_node.ledger.receipts import Draft, ReceiptRow
from openledger_protocol.eip712 import hex_digest
from openledger_protocol.payments import ChannelConfig, Receipt, SignedVoucher, Voucher, channel_id, receipt_digest
from openledger_protocol.primitives import BASE_ONLY, AdapterId, ChannelId, Salt, Wei
from openledger_protocol.settlement import EpochClaim

ADAPTER = AdapterId(digest("a"))
OTHER_CONFIG = replace(CONFIG, salt=Salt(digest("6")), payer=account(7))
OTHER = channel_id(OTHER_CONFIG, PAYMENTS)


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    with closing(open_ledger(file)) as opened:
        add_channels(opened)
        yield opened


def add_channels(ledger: Ledger) -> None:
    for key, config in ((CHANNEL, CONFIG), (OTHER, OTHER_CONFIG)):
        ledger.channels.ensure(key, config, now_ns=1)


def commit(
    ledger: Ledger, amount: int, *, channel: ChannelId = CHANNEL, adapter: AdapterId = BASE_ONLY
) -> ReceiptRow:
    def build(seq: int, cumulative_wei: Wei) -> Receipt:
        return plain_receipt(
            amount,
            channel_id=channel,
            seq=seq,
            adapter_id=adapter,
            shares_hash=digest("0"),
            cumulative_wei=cumulative_wei,
        )

    draft = Draft(
        build=build,
        digest=lambda receipt: hex_digest(receipt_digest(receipt, PAYMENTS)),
        channel_id=channel,
        adapter_id=adapter,
        amount_wei=Wei(amount),
        shares=(),
    )
    return ledger.receipts.commit(draft)


def add_claim(ledger: Ledger, rows: list[ReceiptRow], *, seq: int = 0) -> int:
    claim = EpochClaim(node=NODE, seq=seq, epoch=1, items_hash=digest("1"))
    digests = [row.digest for row in rows]
    return ledger.claims.add(f"claim {seq}", claim, digests, gross_wei=Wei(1), now_s=1).claim_id


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 10**30), st.sampled_from([CHANNEL, OTHER]), st.sampled_from([BASE_ONLY, ADAPTER]))
    )
)
def test_receipts_count_in_their_channel_and_each_is_charged_on_the_one_before_in_its_lane(
    drawn: list[tuple[int, ChannelId, AdapterId]],
) -> None:
    with TemporaryDirectory() as folder, closing(open_ledger(Path(folder) / "ledger.db")) as ledger:
        add_channels(ledger)
        num_receipts = {CHANNEL: 0, OTHER: 0}
        charged: dict[tuple[ChannelId, AdapterId], int] = {}
        for amount, channel, adapter in drawn:
            receipt = commit(ledger, amount, channel=channel, adapter=adapter).receipt
            num_receipts[channel] += 1
            charged[channel, adapter] = charged.get((channel, adapter), 0) + amount
            assert receipt.seq == num_receipts[channel]
            assert receipt.cumulative_wei == charged[channel, adapter]
        lanes = [lane for channel in ledger.channels.all() for lane in channel.lanes]
        assert {(lane.channel_id, lane.adapter_id): lane.charged_wei for lane in lanes} == charged
        assert sum(channel.charged_wei for channel in ledger.channels.all()) == sum(charged.values())


def test_a_ceiling_and_a_charge_never_fall_and_the_signature_of_the_highest_is_kept(ledger: Ledger) -> None:
    for ceiling in (5, 3, 2**127, 7, 1):
        voucher = Voucher(channel_id=CHANNEL, adapter_id=ADAPTER, max_claimable_wei=Wei(ceiling))
        ledger.channels.raise_ceiling(SignedVoucher(voucher=voucher, signature=b"%d" % ceiling))
    for cumulative in (9, 10, 3):
        ledger.channels.charge(CHANNEL, ADAPTER, Wei(cumulative))
    row = ledger.channels.find(CHANNEL)
    assert row is not None
    lane = row.lane(ADAPTER)
    assert (lane.ceiling_wei, lane.voucher, row.ceiling_wei) == (2**127, b"%d" % 2**127, 2**127)
    assert (row.charged_wei, row.lane(BASE_ONLY).signed_voucher) == (10, None)


def test_a_receipt_waits_for_its_signature_and_then_for_its_first_countersignature(ledger: Ledger) -> None:
    first, second, elsewhere = commit(ledger, 1), commit(ledger, 2, adapter=ADAPTER), commit(ledger, 3, channel=OTHER)
    assert (ledger.receipts.unsigned(), ledger.receipts.open(CHANNEL)) == ([first, second, elsewhere], [])
    for row in (first, second, elsewhere):
        ledger.receipts.sign(row.digest, b"signature")
    assert ledger.receipts.unsigned() == []
    assert [row.digest for row in ledger.receipts.open(CHANNEL)] == [first.digest, second.digest]
    for name in (b"1", b"2"):
        ledger.receipts.countersign(first.digest, name)
    assert [row.digest for row in ledger.receipts.open(CHANNEL)] == [second.digest]
    (found,) = [row for row in ledger.receipts.newest(limit=9) if row.digest == first.digest]
    assert found.countersignature == b"1"


def test_a_payout_list_counts_on_the_countersignatures_of_its_time(ledger: Ledger) -> None:
    early, late = commit(ledger, 1), commit(ledger, 2)
    ledger.receipts.countersign(early.digest, b"c")
    claim_id = add_claim(ledger, [early, late])
    assert [row.countersignature for row in ledger.receipts.of_claim(claim_id)] == [b"c", None]
    ledger.receipts.countersign(late.digest, b"d")  # it comes while the list is made
    ledger.receipts.fix_countersigned(claim_id, [early.digest])
    assert [row.countersignature for row in ledger.receipts.of_claim(claim_id)] == [b"c", None]
    assert ledger.receipts.unclaimed() == []


def test_only_a_sellers_own_receipts_wait_for_its_claim(ledger: Ledger) -> None:
    assert not ledger.receipts.has_unclaimed(NODE)
    row = commit(ledger, 10)
    assert (ledger.receipts.has_unclaimed(NODE), ledger.receipts.has_unclaimed(PAYER)) == (True, False)
    assert [each.digest for each in ledger.receipts.unclaimed(NODE)] == [row.digest]
    assert ledger.receipts.unclaimed(PAYER) == []
    add_claim(ledger, [row])
    assert not ledger.receipts.has_unclaimed(NODE)


def test_what_a_claim_skipped_and_what_a_refused_one_held_is_free_for_the_next(ledger: Ledger) -> None:
    rows = [commit(ledger, 1), commit(ledger, 2)]
    first = add_claim(ledger, rows)
    ledger.claims.move(first, "refused")
    assert [row.digest for row in ledger.receipts.unclaimed()] == [row.digest for row in rows]
    second = add_claim(ledger, rows, seq=1)
    assert {row.claim_id for row in ledger.receipts.newest(limit=9)} == {second}
    assert len(ledger.receipts.of_claim(first)) == 2  # what it held stays known
    ledger.receipts.release(second, [rows[1].digest])
    assert [row.digest for row in ledger.receipts.unclaimed()] == [rows[1].digest]


def test_a_channel_is_the_config_that_was_heard_first(ledger: Ledger) -> None:
    again: ChannelConfig = ledger.channels.ensure(CHANNEL, CONFIG, now_ns=99).config
    assert again == CONFIG
    assert [channel.channel_id for channel in ledger.channels.of_payer(PAYER)] == [CHANNEL]


def test_sums_are_over_what_this_node_wrote_and_each_receipt_is_in_one_state(ledger: Ledger) -> None:
    rows = [commit(ledger, 10**20 + number) for number in range(5)]
    for row in rows[1:]:
        ledger.receipts.sign(row.digest, b"signature")
    add_claim(ledger, rows[3:])
    bought = replace(CONFIG, node=account(9))
    other = channel_id(bought, PAYMENTS)
    ledger.channels.ensure(other, bought, now_ns=1)
    commit(ledger, 7, channel=other)  # another node's word to us
    sums = ledger.sums.money(NODE)
    assert sums.num_receipts == {"unsigned": 1, "unclaimed": 2, "claimed": 2}
    assert sums.unclaimed_wei == sum(row.receipt.amount_wei for row in rows[:3])
    assert sums.num_claims == {"sent": 1}
    assert (sums.num_transactions, sums.num_replacements, sums.fees_wei) == ({}, 0, 0)
